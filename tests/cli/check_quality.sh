#!/bin/sh
# check_quality.sh -- what rounding costs small models stays what it was: the divergences
# of quality.csv, within a tenth, which is more than instruction sets and libraries
# change. A change that moves them on purpose changes that table, too.
# Conditions are quoted for check, which evaluates them.
# shellcheck disable=SC2016 source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

head -c 4000 "$2/data/northanger.txt" >"$scratch/prose"
tail -c 2000 "$2/data/northanger.txt" >"$scratch/text"

# measure MODEL OPTION... -- $kld: how far its predictions move, $bits: its size
measure() {
    src=$golden/$1
    shift
    expect 0 '' convert "$src" -o "$scratch/rounded.erne" --force --chat-template none \
        -t 1 "$@"
    bits=$(sed -n 's/^  file .*, \([0-9.]*\) bits a weight.*/\1/p' "$out")
    expect 0 'Same top token' eval kld "$scratch/rounded.erne" --base "$scratch/base" \
        -t 1 -ctk f32
    kld=$(sed -n 's/^Mean  *KLD *: *\([0-9.]*\) .*/\1/p' "$out")
}

# A line: the model, the most bits a weight, the divergence, the options.
last=
while IFS=, read -r name most want options; do
    case $name in '#'* | '') continue ;; esac
    if [ "$name" != "$last" ]; then
        expect 0 '' convert "$golden/$name" -o "$scratch/exact.erne" --scheme f32 \
            --force --chat-template none
        expect 0 '' eval perplexity "$scratch/exact.erne" -f "$scratch/text" -c 256 \
            -t 1 -ctk f32 --save-base "$scratch/base"
        last=$name
    fi
    case $options in *--calibrate*) options="$options $scratch/prose" ;; esac
    # shellcheck disable=SC2086  # words
    measure "$name" $options
    last_options=$options
    check 'awk "BEGIN { exit !($bits <= $most) }"' "$name $options: $bits bits"
    check 'awk "BEGIN { d = $kld / $want - 1; exit !(d > -0.1 && d < 0.1) }"' \
        "$name $options: KL divergence $kld, was $want"
done <"$(dirname "$0")/quality.csv"

# What a calibrated file says of itself.
expect 0 'kl_divergence: 0.' inspect "$scratch/rounded.erne"
expect 0 '"exact_perplexity": ' inspect --json "$scratch/rounded.erne"
expect 0 '"qkv": 0.' inspect --json "$scratch/rounded.erne"
expect 0 'relative error of ' inspect "$scratch/rounded.erne"
expect 0 'every hash matches' verify "$scratch/rounded.erne"
cp "$scratch/rounded.erne" "$scratch/first.erne"
# shellcheck disable=SC2086
expect 0 '' convert "$golden/$last" -o "$scratch/rounded.erne" --force \
    --chat-template none -t 2 $last_options
check 'cmp -s "$scratch/first.erne" "$scratch/rounded.erne"' 'threads change the choice'

# A text too short for all experts: they are named, and counted for who asks.
head -c 700 "$scratch/prose" >"$scratch/short"
expect 0 'none went to expert' convert "$golden/moe-bare" -o "$scratch/few.erne" \
    --chat-template none -t 1 --scheme w4 --calibrate "$scratch/short" -v
check 'grep -q "layer 3: tokens by expert 0 0 [1-9]" "$err"' 'no counts by expert'
expect 0 'layer 3: none went to expert 0-1' inspect "$scratch/few.erne"
check '! grep -q "^layers.3.experts.0.down" "$out"' 'every tensor is listed unasked'
expect 0 '"calibration_tokens": 0' inspect --json "$scratch/few.erne"
expect 0 'layers.3.experts.0.down ' inspect --tensors "$scratch/few.erne"
# One token is not taken for all that an expert will meet: plain rounding is near.
check 'awk "/^layers.4.experts.[45].down/ { error[\$NF == 1] = \$(NF - 2) }
        END { exit !(error[1] > 0 && error[1] < error[0]) }" "$out"' \
    'a single token led rounding astray'

# What leads from the tower to the language model is of the tower's budget.
# see BUDGET SCHEME -- what the budget makes of PaddleOCR-VL's projector
see() {
    expect 0 '' convert "$golden/ocr" -o "$scratch/see.erne" --force \
        --chat-template none -t 1 --target-bpw "$1" --calibrate "$scratch/prose"
    scheme=$2
    expect 0 '' inspect --tensors "$scratch/see.erne"
    check 'grep -q "^projector.fc1  *$scheme" "$out"' "$1 bits: not $scheme"
}
see 8 w8
see 8,vision=7 w4

# Budgets that cannot be: refused before the exact copy is made, whose name is taken.
mkdir -p "$scratch/no.erne.work/exact"
: >"$scratch/no.erne.work/lock"
no() {
    text=$1
    shift
    expect 2 "$text" convert "$golden/hub" -o "$scratch/no.erne" --chat-template none "$@"
}
no 'needs a text to measure with' --target-bpw 4
no 'is not a number of bits' --target-bpw 4x --calibrate "$scratch/prose"
no 'without --scheme' --target-bpw 4 --calibrate "$scratch/prose" --scheme w4
no 'without --dry-run' --target-bpw 4 --calibrate "$scratch/prose" --dry-run
no '1.5 bits a weight are too few: it takes 2.' --target-bpw 1.5 \
    --calibrate "$scratch/prose"
no '30 bits a weight are too many: it takes 8.' --target-bpw 30 \
    --calibrate "$scratch/prose"
no '4 bits a weight are too few: it takes 4.79 by the rules' --target-bpw 4 \
    --calibrate "$scratch/prose" --tensor '.*=w4'
no 'nothing left to choose' --target-bpw 5 --calibrate "$scratch/prose" --tensor '.*=w4'
no 'nothing to calibrate' --calibrate "$scratch/prose" --scheme source
no 'nothing to calibrate' --calibrate "$scratch/prose" --scheme source --dry-run
no '"4,vision=6": the model has no vision' --target-bpw 4,vision=6 \
    --calibrate "$scratch/prose"
expect 2 'too few for vision' convert "$golden/vl" -o "$scratch/no.erne" \
    --chat-template none --target-bpw 20,vision=2 --calibrate "$scratch/prose"
rm -r "$scratch/no.erne.work"
check '[ -z "$(find "$scratch" -name "*.erne.*" -o -name "no.erne")" ]' 'left behind'

finish
