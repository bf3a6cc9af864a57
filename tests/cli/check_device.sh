#!/bin/sh
# check_device.sh -- device profiles: listing, probing, and converting for a device.
# shellcheck disable=SC2016 source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

# Every profile is listed, and makes a file that runs.
expect 0 'raspberry-pi-5-8gb' devices --profiles
cp "$out" "$scratch/profiles"
n=$(wc -l <"$scratch/profiles")
check "[ $n -eq $(ls "$2/../platforms/devices" | wc -l) ]" "not all are listed"
while read -r name rest; do
    expect 0 "device $name ($rest)" convert "$golden/moe" --device "$name" \
        -o "$scratch/$name.erne"
    check 'grep -q "^    fits$" "$out"' "$name: does not fit"
    expect 0 "name: \"$name\"" inspect "$scratch/$name.erne"
    expect 0 '' logits "$scratch/$name.erne" --tokens-file "$golden/moe/tokens.txt" \
        -o "$scratch/device.npy"
done <"$scratch/profiles"

# The file has the profile's settings, and options override them.
pi=$scratch/raspberry-pi-5-8gb.erne
expect 0 'context: 2048' inspect "$pi"
expect 0 'scheme: "w4-g32a"' inspect "$pi"
expect 0 'scheme: "w8"' inspect "$scratch/server-epyc-9354-384gb.erne"
expect 0 '' convert "$golden/moe" --device steam-deck --scheme w8 -o "$scratch/w8.erne"
expect 0 'scheme: "w8"' inspect "$scratch/w8.erne"

# What is in few bits already is not rounded again to more, unless it is asked for.
gguf=$golden/gguf-llama/model.gguf
# One's own profile: probed, edited, used.
expect 0 'erne_profile: 1' devices --probe
cp "$out" "$scratch/mine.yaml"
expect 0 'device this-machine' convert "$golden/tiny" --device "$scratch/mine.yaml" \
    --dry-run
expect 2 'do not go together' devices --probe --profiles

# What does not fit is told: by a dry run, or before any work.
sed -e 's/for_models: .*/for_models: 1 MiB/' "$scratch/mine.yaml" >"$scratch/poor.yaml"
expect 0 'does not fit' convert "$golden/moe" --device "$scratch/poor.yaml" --dry-run
expect 4 'this-machine cannot hold the model' convert "$golden/moe" \
    --chat-template ernie --device "$scratch/poor.yaml" -o "$scratch/poor.erne"
check '[ ! -e "$scratch/poor.erne" ] && [ ! -e "$scratch/poor.erne.part" ]' 'work began'
# These experts take less than a MiB; to stream sets 8 aside, as a limited run does.
expect 0 'even if experts stream' convert "$golden/moe" --device "$scratch/poor.yaml" \
    --dry-run
check 'awk "/^ *together/ { all = \$2 }
    /does not fit/ { exit !(\$4 - all > 7 && \$4 - all < 8.05) }" "$out"' \
    'what the program grows by is not counted'

# Experts stream where the whole does not fit: as large as all 21B-A3B, from config.json.
mkdir "$scratch/21b"
cat >"$scratch/21b/config.json" <<'CONFIG'
{ "model_type": "ernie4_5_moe", "hidden_size": 2560, "num_hidden_layers": 28,
  "num_attention_heads": 20, "num_key_value_heads": 4, "intermediate_size": 12288,
  "vocab_size": 103424, "max_position_embeddings": 131072, "rope_theta": 500000,
  "moe_num_experts": 64, "moe_k": 6, "moe_intermediate_size": 1536,
  "moe_num_shared_experts": 2, "moe_layer_start_index": 1, "torch_dtype": "bfloat16",
  "tie_word_embeddings": true }
CONFIG
expect 0 'fits if experts stream' convert "$scratch/21b" --device raspberry-pi-5-8gb \
    --dry-run
expect 0 '21825.4 M weights' convert "$scratch/21b" --device orion-o6-32gb --dry-run
check 'grep -q "^    fits$" "$out"' '21B does not fit into 32 GB'
# Sizes by hand: 2 bytes a weight, and 2 x 28 layers x 4 heads x 128 x 2 bytes a position,
# which are 896 MiB of 16384, and 4 bytes a token.
expect 0 'file 41638.1 MiB, 16.00 bits' convert "$scratch/21b" --dry-run
expect 0 '896.1 MiB  (16384 tokens, f16)' convert "$scratch/21b" --device rk3588-16gb \
    --dry-run
sed -e 's/context: .*/context: 131072/' -e 's/total: .*/total: 17 GiB/' \
    -e 's/for_models: .*/for_models: 15 GiB/' "$scratch/mine.yaml" >"$scratch/long.yaml"
expect 0 'fits, with a shorter context' convert "$scratch/21b" --dry-run \
    --device "$scratch/long.yaml"

# What takes fewer bits already is not rounded again to more, unless that is asked for.
gguf=$golden/gguf-llama/model.gguf
sed -e 's/scheme: .*/scheme: w8-g32a/' "$scratch/mine.yaml" >"$scratch/wide.yaml"
expect 0 'exact where rounding again to w8-g32a would save nothing: 1 matrix' \
    convert "$gguf" --device "$scratch/wide.yaml" --dry-run
check 'grep -q "attention out .* Q5_0 .* w8-g32 *exact" "$out"' 'Q5_0 is rounded again'
check 'grep -q "logits .* F16 .* w8-g32a *rounded" "$out"' 'F16 is not rounded'
expect 0 'device this-machine' convert "$gguf" --device "$scratch/wide.yaml" --dry-run \
    --scheme w8-g32a
check 'grep -q "attention out .* Q5_0 .* w8-g32a *rounded" "$out"' 'Q5_0 is kept'
check '! grep -q "rounding again" "$out"' '--scheme does not decide'

# Slips are told by line and column.
expect 2 'device toaster: neither a file' convert "$golden/tiny" --dry-run \
    --device toaster
expect 1 "$scratch/none.yaml" convert "$golden/tiny" --dry-run \
    --device "$scratch/none.yaml"
sed -e 's/  threads:/  thread:/' "$scratch/mine.yaml" >"$scratch/slip.yaml"
expect 3 'column 3: cpu.thread is no key of a device profile' convert "$golden/tiny" \
    --device "$scratch/slip.yaml" --dry-run

finish
