#!/bin/sh
# check_slow_build.sh STEADY TESTS_FOLDER SLOW -- two runs of the same build are called
# the same, and a build that takes a tenth longer for each evaluation is called slower.
# Both builds are those of slow_build.c, run in turns as docs/BENCHMARKING.md says.
#
# One in twenty comparisons of equal things errs, and so do some where the machine changes
# meanwhile: of three tries one must be right in all its verdicts.
# shellcheck disable=SC2016 source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

slow=$3
# A model whose steps take much longer than to read a clock.
"$erne" convert "$2/../models/tiny-ernie-vl" -o "$scratch/m.erne" --scheme w4 >"$out" \
    2>"$err" || failed 'convert'

# sample BUILD FILE -- appends ten samples of two tests.
sample() {
    "$1" bench "$scratch/m.erne" -p 16 -n 8 -r 10 -t 1 --no-check -o jsonl \
        >>"$scratch/$2.jsonl" 2>"$err" || failed "$1 bench"
}

# said FILE WORDS -- both tests of FILE, compared with the first, are called that.
said() {
    "$erne" bench --compare "$scratch/first.jsonl" "$scratch/$1.jsonl" >"$out" 2>"$err" ||
        failed "compare with $1"
    cat "$out"
    [ "$(grep -c "$2" "$out")" -eq 2 ]
}

for try in 1 2 3; do
    rm -f "$scratch"/*.jsonl
    for turn in 1 2 3 4; do
        sample "$erne" first
        sample "$slow" slow
        sample "$erne" second
    done
    check : ''
    said second 'not distinguishable' && said slow 'slower by' && finish && exit
    echo "try $try: not all verdicts are right"
done
failed 'a verdict is wrong in each of three tries'
finish
