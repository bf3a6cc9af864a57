#!/bin/sh
# check_instructions.sh ERNE_PROGRAM TESTS_FOLDER COMPILER COUNT_KERNELS -- large
# regressions, by instructions executed and not by time: the same on every machine,
# however busy. Counts of a token of decode and of prefill, and of a matrix product in
# each scheme, are compared with benchmarks/instructions.csv, which
# `check_instructions.sh ... --write` renews. Without valgrind, or without a baseline for
# this compiler: 77, skipped.
# shellcheck disable=SC2016 source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

compiler=$3
kernels=$4
mode=${5:-}
tolerance=20 # percent
baseline=$2/../benchmarks/instructions.csv
command -v valgrind >/dev/null || exit 77
[ -n "$mode" ] || grep -q "^$compiler," "$baseline" || exit 77

# count OPTION... -- instructions of a benchmark with these tests, in $count.
count() {
    valgrind --tool=callgrind --callgrind-out-file="$scratch/callgrind" "$erne" bench \
        "$scratch/tiny-$scheme.erne" -r 1 --no-warmup --no-check -t 1 -ub 64 --isa avx2 \
        "$@" >"$out" 2>"$err" || failed "erne bench in valgrind"
    count=$(awk '/^summary:|^totals:/ { print $2; exit }' "$scratch/callgrind")
}

: >"$scratch/counts"
for scheme in w4; do
    "$erne" convert "$2/../models/tiny-ernie-vl" -o "$scratch/tiny-$scheme.erne" \
        --scheme $scheme >"$out" 2>"$err" || failed 'convert'
    # What starts and ends is in both, and goes away.
    count -p 64 -n 2
    start=$count
    count -p 64 -n 34
    echo "decode-$scheme,$(((count - start) / 32))" >>"$scratch/counts"
    count -p 128 -n 2
    echo "prefill-$scheme,$(((count - start) / 64))" >>"$scratch/counts"
done

# Parts end where count_mark is called; callgrind writes a file for each before the call,
# and one at the end.
(cd "$scratch" && valgrind --tool=callgrind --callgrind-out-file=part \
    --dump-before=count_mark "$kernels" avx2) >"$out" 2>"$err" || failed "$kernels"
i=0
while read -r work n; do
    i=$((i + 1))
    count=$(awk '/^summary:|^totals:/ { print $2; exit }' "$scratch/part.$i")
    [ "$work" = start ] || echo "$work,$((count / n))" >>"$scratch/counts"
done <"$out"
check '[ "$i" -ge 24 ]' "only $i kernels"

if [ -n "$mode" ]; then
    [ -f "$baseline" ] || echo 'compiler,work,instructions' >"$baseline"
    grep -v "^$compiler," "$baseline" >"$scratch/others"
    { cat "$scratch/others"; sed "s/^/$compiler,/" "$scratch/counts"; } >"$baseline"
    exit
fi
while IFS=, read -r work n; do
    want=$(sed -n "s/^$compiler,$work,//p" "$baseline")
    check '[ -n "$want" ]' "no baseline of $work"
    check '[ $((n * 100)) -le $((want * (100 + tolerance))) ]' \
        "$work: $n instructions, the baseline has $want"
    check '[ $((n * 2)) -ge "$want" ]' \
        "$work: only $n of $want instructions: renew the baseline, or nothing is counted"
    echo "$work: $n instructions, baseline $want"
done <"$scratch/counts"
finish
