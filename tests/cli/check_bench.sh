#!/bin/sh
# check_bench.sh -- erne bench: which tests are taken, how they are written, what is said
# of two files of results. Never how fast anything is.
# shellcheck disable=SC2016 source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

model tiny
m=$scratch/tiny.erne

# shellcheck disable=SC2086  # options are words
bench() {
    expect 0 "$1" bench "$m" -r 4 -t 1 $2
}

# The tests and their order are llama-bench's.
bench 'pp4' '-p 4,8 -n 2 -pg 4,2 -d 0,6 -o csv'
names() {
    tail -n +2 "$out" | sed 's/^\("[^"]*",\)\{6\}.*"f16","f16","\([^"]*\)".*/\2/' |
        tr '\n' ' '
}
check '[ "$(names)" = "pp4 pp8 tg2 pp4+tg2 pp4 @ d6 pp8 @ d6 tg2 @ d6 pp4+tg2 @ d6 " ]' \
    "tests: $(names)"
bench 'pp4' '-p 4 -p 2-4+2 -n 0 -o csv'
check '[ "$(names)" = "pp4 pp2 " ]' "tests: $(names)" # each value once

# A cross product of lanes.
lanes='-t 2 -ub 2,4 -ctk f16,f32 --backend auto,reference'
bench '| threads |' "-p 4 -n 2 -r 1 --no-check --no-warmup $lanes"
check '[ "$(grep -c "^| ernie4_5" "$out")" -eq 32 ]' 'not 2*2*2*2 lanes of two tests'
check 'grep -q "n_ubatch" "$out" && grep -q "type_k" "$out"' 'columns that vary'
check '! grep -q "n_batch" "$out"' 'a column that does not vary'

bench '"n_gen": 2' '-p 4 -n 2 -o json'
bench 'INSERT INTO erne_bench' '-p 4 -n 2 -o sql'
bench '"samples_ns": [' '-p 4 -n 2 -o jsonl'
cp "$out" "$scratch/a.jsonl"
"$erne" bench "$m" -p 4 -n 0 -r 1 -oe csv >"$out" 2>"$err"
check 'grep -q "^build_commit,cpu_info" "$err"' 'no table on stderr'
bench 'run 4 of 4' '-p 4 -n 2 --progress --no-warmup'
check '! grep -q warm-up "$err"' 'a warm-up'

# Columns are as wide as what is in them.
check '[ "$(grep "^|" "$out" | sed "s/±/+/" | awk "{ print length }" | sort -u |
    wc -l)" -eq 1 ]' 'a table that is not straight'

# Rows say what computed, and what they need of memory, whatever else is measured.
bench '"others_cpu": null' '-p 4 -n 2 -o jsonl' # shorter than a tick of the clock
check '! grep -q "\"backends\": \"auto\"" "$out"' 'auto computes nothing'
bench '"peak_memory": null' '-p 4 -n 0 -o jsonl --no-warmup'
model vl
peaks() {
    expect 0 '' bench -m "$1" -p 4 -n 0 -r 1 -t 1 --no-check -o jsonl
    sed 's/.*"model_filename": "\([^"]*\)".*"peak_memory": \([^,]*\),.*/\1 \2/' "$out" |
        sort
}
if grep -q VmHWM /proc/self/status; then
    peaks "$m,$scratch/vl.erne" >"$scratch/peaks"
    peaks "$scratch/vl.erne,$m" | paste -d' ' "$scratch/peaks" - >"$scratch/both"
    check 'awk "!(\$2 > 1e6 && \$2 < 1.1 * \$4 && \$4 < 1.1 * \$2) { exit 1 }" \
        "$scratch/both"' "peaks depend on the order: $(cat "$scratch/both")"
fi

# A test that the model is not made for is left out, with a word on it.
expect 0 'vision 56x56 on' bench "$m" -p 4 -n 0 -r 1 -t 1 --image-size 56x56
check 'grep -q "no figures: the model takes no pictures" "$out"' 'why no figures'
bench 'pp100000 on' '-p 4,100000 -n 0'
check 'grep -q "no figures: a context of 100000 tokens: the model has" "$out"' \
    'why no figures'

# Names of models may have commas in them.
cp "$m" "$scratch/a,b.erne"
expect 0 'pp4' bench -m "$scratch/a,b.erne" -p 4 -n 0 -r 1 -t 1 --no-check
expect 1 'none: No such file' bench -m none,b.erne

# Ctrl-C: what was measured is printed.
# interrupted TEXT ARGUMENT... -- once TEXT is on stderr.
interrupted() {
    text=$1
    shift
    : >"$err"
    "$erne" bench "$@" -t 1 --progress >"$out" 2>"$err" &
    pid=$!
    until grep -q "$text" "$err" || ! kill -0 $pid; do sleep 0.05; done 2>"$scratch/gone"
    kill -INT $pid
    wait $pid
    check "[ $? -eq 130 ]" "exit code of bench $*"
}
interrupted 'run 3 of' "$m" -p 4 -n 2 -r 1000 --html "$scratch/none.html"
check 'grep -q "pp4 on .*: only [0-9]* samples: interrupted" "$out"' 'what there was'
check 'grep -q "tg2 | .*±" "$out" && [ ! -e "$scratch/none.html" ]' 'figures, no page'
interrupted 'decode embed' ops "$m"
check 'grep -q "^| embed .*cpu\|^| embed .*reference" "$out"' 'operators that were timed'

# A whole request has stages and latencies.
bench '"ttft_p50": ' '-p 0 -n 0 --e2e 4,3 -o jsonl'
check 'grep -q "\"test\": \"e2e" "$out"' 'no whole request'
check '! grep -q "\"decode_ms\": null" "$out"' 'no stages'
check 'grep -q "\"error\": null" "$out"' 'a whole request with an error'
# The stages are the whole, but for the reading of clocks.
expect 0 'e2e' bench "$m" -p 0 -n 0 --e2e 32,16 -r 1 -t 1 -o json
check 'awk -F"[:,]" "/\"(tokenise|prefill|first_token|decode|sample)_ms\"/ { sum += \$2 }
                     /\"avg_ns\"/ { whole = \$2 / 1e6 }
                     END { exit !(sum > 0.9 * whole && sum < 1.001 * whole) }" "$out"' \
    'the stages are not the whole'
bench '"tokenise_ms": null' '-p 4 -n 2 -o jsonl'

# Operators, alone.
expect 0 'matmul' bench ops "$m" -p 8 -d 4 -t 1 --backend auto,reference
check 'grep -q "^decode of" "$out" && grep -q "^prefill of" "$out"' 'phases'
expect 0 '"op": "attention"' bench ops -m "$m" -p 8 --backend reference -o jsonl
check '! grep -v "\"error\": 0," "$out"' 'the reference differs from itself'
cp "$out" "$scratch/ops.jsonl"
expect 2 'tokens behind' bench ops "$m" -d 100000
check 'grep -q "\"disturbed\": " "$scratch/ops.jsonl"' 'no word on what else ran'
expect 2 'option -p: bench ops takes one value, no list' bench ops "$m" -p 4,8
expect 2 'option -d: bench ops takes one value, no list' bench ops "$m" -d 1-3
expect 2 'option -p: bench ops takes a batch of 2 tokens or more' bench ops "$m" -p 0
for unused in '-n 4' '-pg 4,2' '--e2e 4,2' '--image-size 8x8' '-r 3' '-b 4' '-ub 4' \
    '-ctv f16' '--delay 1' '--no-warmup' '--no-check' "--results $scratch" "-f $m"; do
    # shellcheck disable=SC2086  # an option and its value
    expect 2 "option ${unused%% *}" bench ops "$m" $unused
done

# Pictures.
if reads_png; then
    expect 0 ' vision 56x84 |' bench "$scratch/vl.erne" -p 0 -n 0 -r 2 -t 1 \
        --e2e 8,2 --image-size 56x84,64x64
    check 'grep -q "e2e.*64x64" "$out"' 'no request with the second picture'
fi

# Suites: every one there is, and the command line before it.
for suite in "$2"/../benchmarks/suites/*.yaml; do
    case $suite in
    *vision*)
        ! reads_png || expect 0 'e2e' bench "$scratch/vl.erne" --suite "$suite" -r 1 \
            -t 1 --e2e 4,2 --image-size 56x56 --no-warmup ;;
    *) expect 0 'tg2' bench "$m" --suite "$suite" -r 1 --delay 1 -t 1 -p 4 \
        -n 2 -d 4 --e2e 4,2 --no-warmup ;;
    esac
done
suite=$scratch/s.yaml
printf 'name: mine\nn-prompt: [3, 5]\nn-gen: 0\nprogress: true\n' >"$suite"
expect 0 'pp5' bench "$m" --suite "$suite" -r 2 -t 1
check 'grep -q "pp3" "$out" && ! grep -q "tg" "$out" && grep -q "run 2 of 2" "$err"' \
    'options of a suite'
expect 0 'pp7' bench "$m" --suite "$suite" -p 7 -t 1
check '! grep -q "pp3" "$out"' 'a list of the suite is not replaced'
printf 'n-prompt: 1-\n' >"$suite"
expect 2 "s.yaml: line 1: option -p: '1-'" bench "$m" --suite "$suite"
printf 'name: a\nn-gen: 2\nbackend: [cpu, "x,"]\n' >"$suite"
expect 2 's.yaml: line 3: option --backend: a value is empty' bench "$m" --suite "$suite"
printf 'frobs: 3\n' >"$suite"
expect 2 's.yaml: line 1: erne bench has no option --frobs' bench "$m" --suite "$suite"
printf 'n-gen: 2\nprogress: yes\n' >"$suite"
expect 2 'line 2: option --progress takes no value' bench "$m" --suite "$suite"
printf 'n-gen: 2\nn-prompt: 4\nn-gen: 3\n' >"$suite"
expect 3 'line 3, column 1: this was given in line 1' bench "$m" --suite "$suite"
for other in suite compare help; do
    printf 'n-gen: 2\n%s: true\n' "$other" >"$suite"
    expect 3 'line 2, column 1: a suite cannot have this' bench "$m" --suite "$suite"
done
printf 'n-gen: 0\nn-prompt: 4\nprogress: false\nimage-size: 8x8\n' >"$suite"
expect 0 'the model takes no pictures' bench "$m" --suite "$suite" -r 1 -t 1
check '! grep -q "run 1" "$err"' 'progress: false'
printf 'n-gen: 3\nn-prompt: {a: b}\n' >"$suite"
expect 3 's.yaml: line 2, column 11: a value is needed here' bench "$m" --suite "$suite"
printf 'n-prompt: 4\nn-gen: []\n' >"$suite"
expect 3 's.yaml: line 2, column 8: a list without a value' bench "$m" --suite "$suite"
printf 'n-prompt: 4\nrepetitions: [1, 2]\n' >"$suite"
expect 3 'line 2, column 14: this option takes one value' bench "$m" --suite "$suite"
printf 'n-prompt: 4\nn-gen: 0\nrepetitions: [1]\n' >"$suite"
expect 0 'pp4' bench "$m" --suite "$suite" -t 1 --no-warmup
printf 'n-prompt: 4\n---\nn-gen: 3\n' >"$suite"
expect 3 'line 3, column 1: a second document begins' bench "$m" --suite "$suite"
printf 'n-prompt: 4\n...\n}\n' >"$suite"
expect 3 's.yaml: line 3, column 1: ' bench "$m" --suite "$suite"
printf 'n-gen: [3\nx: ]]\n' >"$suite"
expect 3 's.yaml: line 2' bench "$m" --suite "$suite"
printf -- '- 3\n' >"$suite"
expect 3 'not a mapping of options' bench "$m" --suite "$suite"

# The same is called the same; a tenth slower is slower.
expect 0 'not distinguishable' bench --compare "$scratch/a.jsonl" "$scratch/a.jsonl"
check '! grep -Eq "slower|faster" "$out"' 'a difference of nothing'
awk '{ match($0, /"samples_ns": \[[^]]*\]/)
       list = substr($0, RSTART + 15, RLENGTH - 16)
       n = split(list, x, ", ")
       list = "100"
       for (i = 2; i <= 4; i++) list = list ", " 100 + i
       print substr($0, 1, RSTART + 14) list substr($0, RSTART + RLENGTH - 1) }' \
    "$scratch/a.jsonl" >"$scratch/b.jsonl"
sed 's/"samples_ns": \[100, 102, 103, 104\]/"samples_ns": [111, 113, 114, 115]/' \
    "$scratch/b.jsonl" >"$scratch/c.jsonl"
expect 0 'slower by 9.' bench --compare "$scratch/b.jsonl" "$scratch/c.jsonl"
expect 0 'faster by 10' bench --compare "$scratch/c.jsonl" "$scratch/b.jsonl"

grep '"test": "pp4"' "$scratch/a.jsonl" >"$scratch/pp4.jsonl"
expect 0 'tg2 on' bench --compare "$scratch/a.jsonl" "$scratch/pp4.jsonl"
check 'grep -q "tg2 on .*: only in the first file" "$out"' 'which file has a row'
expect 0 'only in the second file' bench --compare "$scratch/pp4.jsonl" "$scratch/a.jsonl"
for other in '-r 3' '-p 4' '--html x' '--no-check'; do
    # shellcheck disable=SC2086  # an option and its value
    expect 2 'bench --compare has no use for it' bench --compare $other \
        "$scratch/a.jsonl" "$scratch/a.jsonl"
done

# A table a machine, to which results are appended, and of which the last count.
mkdir "$scratch/results"
bench 'results appended to' "-p 4 -n 2 -o json --results $scratch/results"
cp "$out" "$scratch/old.json"
bench 'results appended to' "-p 4 -n 2 -o json --results $scratch/results"
cp "$out" "$scratch/now.json"
table=$(echo "$scratch"/results/*cpu.csv)
check '[ "$(wc -l <"$table")" -eq 5 ]' "not two runs of two tests in $table"
expect 0 'not distinguishable (+0.0 %' bench --compare "$scratch/now.json" "$table"
expect 0 'pp4' bench --compare "$scratch/old.json" "$table"
for run in 1 2 3 4; do # at once: each waits for the others
    "$erne" bench "$m" -p 4 -n 0 -r 1 -t 1 --no-check --no-warmup \
        --results "$scratch/results" >"$scratch/at-once.$run" 2>&1 &
done
wait
cat "$scratch"/at-once.* >"$err"
check '[ "$(wc -l <"$table")" -eq 9 ]' "not four more runs in $table"
sed 's/"f16","f16","pp4",4/"f16","f16","pp4",x/' "$table" >"$scratch/bad.csv"
expect 3 'bad.csv: line 2: no number: x' bench --compare "$table" "$scratch/bad.csv"
echo 'a,b' >"$table"
expect 3 'cpu.csv: its columns are not those of this version' bench "$m" -p 4 -n 0 -r 1 \
    -t 1 --results "$scratch/results"
expect 2 "option --results: '$scratch/no' is no folder" bench "$m" -p 4 -n 0 \
    --results "$scratch/no"

# What cannot be written is said before anything is measured.
for option in --html --results; do
    [ "$option" = --html ] && path=/proc/x.html || path=/proc
    expect 1 "option $option: /proc/" bench "$m" "$option" "$path"
    check '[ ! -s "$out" ]' "measured before $option was tried"
done
expect 1 'option --html: /proc/' bench ops "$m" --html /proc/x.html
expect 2 "option --html: the page goes to a file, not to '-'" bench "$m" --html -
: >"$scratch/empty"
expect 2 "option -f: $scratch/empty: too few tokens" bench "$m" -f "$scratch/empty"

# Those that are kept here can be read, and are called after the processor.
n_kept=0
for table in "$2"/../benchmarks/results/*cpu.csv; do
    [ -e "$table" ] || continue
    n_kept=$((n_kept + 1))
    expect 0 'not distinguishable' bench --compare "$table" "$table"
    check '! grep -Eq "slower|faster|only in the" "$out"' "$table differs from itself"
    name=$(basename "$table" | sed 's/-[0-9]*cpu.csv//')
    check 'tail -n +2 "$table" | cut -d, -f1-12 | tr "A-Z" "a-z" | tr -c "a-z0-9\n" "-" |
        grep -vq -e "-$name-"; [ $? -eq 1 ]' "$table: another processor"
done
check '[ "$n_kept" -gt 0 ]' 'no results are kept'
for table in "$2"/../benchmarks/results/*-peers.csv; do
    [ -e "$table" ] || continue
    check 'awk -F, "NR == 1 { if (\$0 !~ /^date,program,model,test,samples,median_ts/)
                                 exit 1 }
                    NR > 1 { if (NF != 8 || !(\$7 <= \$6 && \$6 <= \$8)) exit 1 }" \
        "$table"' "$table: not a table of peers"
done

# Experts of a mixture: in the table, the lines and with -v by layers.
model moe
expect 0 'experts of' bench "$scratch/moe.erne" -p 4 -n 0 -r 1 -t 1 -v
check 'grep -q "layer 1: of 4 tokens .* took the busiest of 6 experts" "$err"' 'layers'
expect 0 '"expert_load": [{"layer": 1, "bank": 0, "n_tokens": 4, ' bench \
    "$scratch/moe.erne" -p 4 -n 0 -r 1 -t 1 -o jsonl
bench '"expert_load": []' '-p 4 -n 0 -o jsonl'

expect 2 'two files, got 1' bench --compare "$scratch/a.jsonl"
expect 3 'not JSON' bench --compare "$scratch/a.jsonl" "$m"
expect 1 'no/such' bench --compare "$scratch/a.jsonl" no/such
expect 2 'a model file is needed' bench -p 1
expect 2 'the model was given by -m' bench "$m" -m "$m"
expect 2 "option -p: '1-' is not a number or a range" bench "$m" -p 1-
expect 2 "option -p: '8-4'" bench "$m" -p 8-4
expect 2 'option -t: 0 is less than 1' bench "$m" -t 0
expect 2 "option -pg: '5' is not a pair such as 512,128" bench "$m" -pg 5
expect 2 "option --image-size: '5' is not a pair such as 512x128" bench "$m" \
    --image-size 5
expect 2 'range that advances' bench "$m" -d '1-8*1'
expect 2 'option -ctv: a value is empty' bench "$m" -ctv f16,
expect 2 'must be kept alike' bench "$m" -ctk f16 -ctv f32
expect 2 'no test is left' bench "$m" -p 0 -n 0
expect 2 'option -r: 0 is less than 1' bench "$m" -r 0
expect 2 "option -o: 'xml' is none of md|csv|json|jsonl|sql" bench "$m" -o xml
expect 2 'context of 100000 tokens' bench "$m" -p 100000 -n 0
expect 4 'takes no pictures' bench "$m" -p 0 -n 0 --image-size 8x8
expect 4 'backend abacus is not in this build' bench "$m" --backend abacus
expect 1 'no/such.erne' bench no/such.erne

finish
