#!/bin/sh
# check_steady.sh ERNE_PROGRAM TESTS_FOLDER -- a token of decode takes nothing from the
# system: 64 tokens more make no more system calls but those by which threads wait for
# each other, and no more allocations. One in every two tokens would be 32: fewer are the
# start's own, which differ from run to run with what else the machine does. Without
# strace and valgrind, or where they may not look: 77, skipped.
# shellcheck disable=SC2016 source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

command -v strace >/dev/null && command -v valgrind >/dev/null || exit 77
strace -o "$scratch/trace" true 2>/dev/null || exit 77
"$erne" convert "$2/../models/tiny-ernie-vl" -o "$scratch/tiny.erne" --scheme w4 \
    >"$out" 2>"$err" || failed 'convert'

# bench TOOL.. -- a benchmark of $tokens tokens under a tool.
bench() {
    "$@" "$erne" bench "$scratch/tiny.erne" -p 16 -n "$tokens" -r 1 -t 2 --no-check \
        --no-warmup \
        --isa avx2 --backend cpu >"$out" 2>"$err" || failed "erne bench under $1"
}

# System calls of $tokens tokens, in $calls.
count_calls() {
    bench strace -f -qq -o "$scratch/trace"
    calls=$(grep -cvE ' (futex|sched_yield)\(|<\.\.\. (futex|sched_yield) resumed' \
        "$scratch/trace")
}

# Allocations of $tokens tokens, in $allocations.
count_allocations() {
    bench valgrind --log-file="$scratch/valgrind"
    allocations=$(sed -n 's/.*total heap usage: \([0-9,]*\) allocs.*/\1/p' \
        "$scratch/valgrind" | tr -d ,)
}

tokens=68 && count_calls && few=$calls
tokens=132 && count_calls
echo "system calls: $few of 68 tokens, $calls of 132"
check '[ "$calls" -le $((few + 31)) ]' "64 tokens made $((calls - few)) system calls"
tokens=68 && count_allocations && few=$allocations
tokens=132 && count_allocations
echo "allocations: $few of 68 tokens, $allocations of 132"
check '[ "$allocations" -le $((few + 31)) ]' \
    "64 tokens allocated $((allocations - few)) times"
finish
