#!/bin/sh
# check_tune.sh -- erne tune and what it changes, by a program whose devices are stand-ins
# (tests/support/doubles.c): shadow:0 is slow, shadow:1 computes matrix products wrongly.
# shellcheck disable=SC2016 source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

cache=$scratch/cache/erne
model tiny
tiny=$scratch/tiny.erne
say="-p a -n 1 -c 64 -t 1 --raw"

# A first start with a device measures once; what it found is said ever after.
expect 0 'finding out which device is fastest' run "$tiny" $say
check 'grep -q "^decode on .*: .* t/s, shadow:0 .*, shadow:1 avoided" "$err"' 'no reason'
expect 0 'shadow:1 avoided' run "$tiny" $say
check '! grep -q "finding out" "$err"' 'it was measured again'
expect 0 '' run "$tiny" $say --tune off
check '! grep -q "decode on" "$err"' '--tune off has a placement'
# What is pinned comes first.
expect 0 '' run "$tiny" $say --device shadow:0
check '! grep -q "decode on" "$err"' 'a pinned device has a placement'
expect 0 '' run "$tiny" $say --backend reference
check '! grep -q "decode on" "$err"' 'a pinned backend has a placement'
# Figures of other commands do not depend on it.
expect 0 '' logits "$tiny" --tokens-file "$golden/tiny/tokens.txt" -o "$scratch/a.npy"
check '! grep -q "decode on" "$err"' 'logits are placed'

# Asked for, it tells of all devices, and of the operators.
expect 0 'so from now on, with 1 thread;' tune "$tiny" -t 1 -r 2 --force
check 'grep -q "^decode *shadow:0 .* times slower$" "$out"' 'the slow one is not told'
check 'grep -q "^decode *shadow:1 .* avoided: shadow computes matmul wrongly" "$out"' \
    'the wrong one is not told'
check 'grep -Eq "^decode *(cpu|reference) .* chosen$" "$out"' 'none is chosen'
check 'grep -q "^prefill *matmul .* shadow:0 " "$out"' 'no operators'
check '! grep -q "^prefill *matmul .* shadow:1 " "$out"' 'operators of the wrong one'
expect 0 '' tune "$tiny" -t 1 -r 1 --json --backend shadow:0
check 'grep -q "\"phase\": \"decode\", \"device\": \"shadow:0\", " "$out"' 'no JSON'
check '! grep -q "device\": \"shadow:1" "$out"' 'what was not asked for'
check 'grep -q "\"operators\": \[$" "$out"' 'no operators in JSON'
check 'grep -q "\"kept_in\": null, \"not_kept\": \"it knows shadow:1, too\"" "$out"' \
    'a part was kept instead of all'
expect 0 '' tune "$tiny" -t 1 -r 1 --only-phases
check '! grep -q "^phase *operator" "$out"' 'operators though only phases were wanted'

# What knows more stays, and it is for one number of threads.
expect 0 'what was kept before stays: it knows shadow:1, too' tune "$tiny" -t 1 -r 2 \
    --only-phases --backend shadow:0
expect 0 'shadow:1 avoided' run "$tiny" $say
expect 0 'finding out which device is fastest' run "$tiny" $say -t 2

# A machine that is busy with something else is told, at once and ever after.
if [ -r /proc/stat ]; then
    timeout 60 sh -c 'while :; do :; done' &
    busy=$!
    expect 0 'warning: the machine was busy: ' tune "$tiny" -t 1 -r 2 --only-phases \
        --force
    kill "$busy"
    check 'grep -q " disturbed and taken again: [1-9]" "$out"' 'no round was taken again'
    expect 0 'measured on a busy machine: ' run "$tiny" $say
fi

# The time is limited, and what was not verified in it is avoided.
rm -r "$cache"
expect 0 'too short to verify it' tune "$tiny" -t 1 -r 1 --seconds 0

# What no longer holds is ignored, and that is said to those who want to know.
for file in "$cache"/tune-*.txt; do
    cp "$file" "$scratch/kept"
    head -c 100 "$scratch/kept" >"$file"
done
expect 0 'is ignored: it is damaged' run "$tiny" $say --device auto -v
expect 0 'finding out' run "$tiny" $say
check 'grep -q "^end: " "$file"' 'nothing was kept'

# No figures for what computes wrongly: found now, or before.
quick="-p 8 -n 0 -r 1 -t 1"
expect 7 'shadow:1: no figures: shadow computes matmul wrongly (found before)' bench \
    "$tiny" $quick --device shadow:1
rm -r "$cache"
expect 7 'shadow:1: no figures: shadow computes matmul wrongly (' bench "$tiny" $quick \
    --device shadow:1,shadow:0
check 'grep -q "| shadow .* pp8 .*±" "$out"' 'the right one has no figure'
check '! grep "shadow:1 .* pp8" "$out" | grep -q "±"' 'the wrong one has a figure'
expect 7 'computes matmul wrongly' verify "$tiny" --device shadow:1
expect 0 'computes' verify "$tiny" --device shadow:0 --rounds 1

# Bad calls.
expect 2 'a model file is needed' tune
expect 4 'toaster is not in this build' tune "$tiny" --backend toaster
check '[ ! -s "$out" ]' 'something was printed before the error'
expect 4 'shadow:9: there is no such device' tune "$tiny" --backend shadow,shadow:9
expect 2 'option -r: 0 is less' tune "$tiny" -r 0
expect 1 "$scratch/none.erne" tune "$scratch/none.erne"
expect 2 'phase decode: no backend is named' run "$tiny" $say \
    --backend prefill=reference,decode=

# What cannot be kept is told all the same, and that it is not kept.
expect 1 'the placement could not be kept: /dev/null/x/' tune "$tiny" -t 1 -r 1 \
    --only-phases --cache-dir /dev/null/x
check 'grep -q "^decode *shadow:0 .* times slower$" "$out"' 'nothing was told'
check 'grep -q "computes matmul wrongly" "$out"' 'the wrong one is not told'
expect 1 'could not be kept' tune "$tiny" -t 1 -r 1 --only-phases --json \
    --cache-dir /dev/null/x
check 'grep -q "\"kept_in\": null" "$out" && grep -q "\"chosen\": true" "$out"' 'no JSON'
env -u HOME -u XDG_CACHE_HOME "$erne" tune "$tiny" -t 1 -r 1 --only-phases >"$out" \
    2>"$err"
check 'grep -q "^nothing is kept: .*--cache-dir DIR" "$out"' \
    'nothing is said of a folder that is missing'
finish
