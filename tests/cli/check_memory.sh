#!/bin/sh
# check_memory.sh -- the memory that erne convert --device foretells for the bundled model
# is within 5 % of what erne run then takes at most, but for a large page (2 MiB) of the
# file that is needed in part at either end, for devices of few and many threads, small
# and large steps. The context is made one that is filled quickly;
# benchmarks/check_memory.py takes all devices and any model.
# Then: that erne run stays within --ram.
# Takes one more argument: peak_memory (peak_memory.c).
# shellcheck disable=SC2016 source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
peak=$3
text=$scratch/text.txt
context=1536
spare=40 # tokens that the text leaves free

# talk THREADS -- fills the context with the text, and answers.
talk() {
    n_done=$((n_done + 1))
    "$peak" "$scratch/kib" "$erne" run "$scratch/model.erne" --raw -f "$text" -n 2 \
        -t "$1" --backend cpu --seed 1 >"$out" 2>"$err" || failed "it does not run"
    n_tokens=$(sed -n 's/^ *\([0-9]*\) prompt tokens.*/\1/p' "$err")
}

for name in raspberry-pi-5-8gb laptop-i5-1235u-16gb server-epyc-9354-384gb; do
    profile=$2/../platforms/devices/$name.yaml
    threads=$(sed -n 's/^  threads: *\([0-9]*\).*/\1/p' "$profile")
    sed "s/^  context:.*/  context: $context/" "$profile" >"$scratch/profile.yaml"
    expect 0 "device $name" convert "$2/../models/tiny-ernie-vl" --golden off --force \
        --device "$scratch/profile.yaml" -o "$scratch/model.erne"
    told=$(sed -n 's/^ *together *\([0-9.]*\) MiB$/\1/p' "$out")
    if [ ! -f "$text" ]; then # as many bytes as fill the context
        head -c 2000 "$2/data/northanger.txt" >"$text"
        talk 1
        head -c $((2000 * (context - spare) / n_tokens)) "$2/data/northanger.txt" >"$text"
    fi
    talk "$threads"
    check '[ "$n_tokens" -gt $((context * 9 / 10)) ]' "$n_tokens tokens are too few"
    check 'awk -v told="$told" -v kib="$(cat "$scratch/kib")" \
        "BEGIN { told *= 1024; exit !(kib > told * 0.95 && kib < told * 1.05 + 4096) }"' \
        "$name: $told MiB foretold, $(cat "$scratch/kib") KiB measured"
done

# No run takes more than --ram, whether or not all experts fit.
"$erne" convert "$2/../models/tiny-ernie-vl" --golden off --force --scheme w4-g64 \
    -o "$scratch/model.erne" >"$out" 2>"$err" || failed "it does not convert"
limited() {
    n_done=$((n_done + 1))
    "$peak" "$scratch/kib" "$erne" run "$scratch/model.erne" --raw -f "$text" -n 16 \
        -t 2 -b 16 -c 2048 --backend cpu --seed 1 --ram "$1K" >"$out" 2>"$err"
}
# Each refusal tells what is needed, first without the session; the program itself differs
# by some hundred KiB from run to run.
limit=1024
for _ in 1 2 3; do
    limited "$limit" && break
    limit=$(sed -n 's/.*too few: \([0-9.]*\) MiB.* and \([0-9.]*\) MiB.*/\1 \2/p' "$err" |
        awk '{ print int(($1 + $2) * 1024) + 2048 }')
done
check '[ "$limit" -gt 1024 ]' "1 MiB is enough"
for more in 0 1024 8192; do
    limited $((limit + more)) || failed "it does not run"
    check '[ "$(cat "$scratch/kib")" -le $((limit + more)) ]' \
        "$((limit + more)) KiB allowed, $(cat "$scratch/kib") KiB taken"
done
finish
