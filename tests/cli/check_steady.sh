#!/bin/sh
# check_steady.sh ERNE_PROGRAM TESTS_FOLDER -- a token of decode takes nothing from the
# system: 64 tokens more make no more system calls but those by which threads wait for
# each other, and no more allocations. Fewer than one in two tokens are the start's own,
# which differ from run to run: libraries of FFmpeg's measure the clock before main.
# Without strace and valgrind, or where they may not look: 77, skipped.
# shellcheck disable=SC2016 source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

command -v strace >/dev/null && command -v valgrind >/dev/null || exit 77
strace -o "$scratch/trace" true 2>/dev/null || exit 77
"$erne" convert "$2/../models/tiny-ernie-vl" -o "$scratch/tiny.erne" --scheme w4 \
    >"$out" 2>"$err" || failed 'convert'

# bench TOOL.. -- a benchmark of $tokens tokens on $threads threads under a tool.
bench() {
    "$@" "$erne" bench "$scratch/tiny.erne" -p 16 -n "$tokens" -r 1 -t "$threads" \
        --no-check --no-warmup --isa avx2 --backend cpu >"$out" 2>"$err" ||
        failed "erne bench under $1"
}

# What $tokens tokens take, in $taken.
count_calls() {
    bench strace -f -qq -o "$scratch/trace"
    taken=$(grep -cvE ' (futex|sched_yield)\(|<\.\.\. (futex|sched_yield) resumed' \
        "$scratch/trace")
}

count_allocations() {
    bench valgrind --log-file="$scratch/valgrind"
    taken=$(sed -n 's/.*total heap usage: \([0-9,]*\) allocs.*/\1/p' \
        "$scratch/valgrind" | tr -d ,)
}

# steady COUNT -- whether 64 tokens more take nothing, in one of three tries.
steady() {
    for try in 1 2 3; do
        tokens=68 && "$1" && few=$taken
        tokens=132 && "$1"
        echo "$1, threads $threads: $few of 68 tokens, $taken of 132"
        [ "$taken" -le $((few + 31)) ] && return
    done
    return 1
}

for threads in 1 2; do
    check 'steady count_calls' "$threads threads make system calls"
    check 'steady count_allocations' "$threads threads allocate"
done
finish
