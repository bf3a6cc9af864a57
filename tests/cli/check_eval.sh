#!/bin/sh
# check_eval.sh -- perplexity and divergence, counted again here from `erne logits`.
# Conditions are quoted for check, which evaluates them.
# shellcheck disable=SC2016 source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

model gguf-ernie
model gguf-llama
m=$scratch/gguf-ernie.erne
n_ctx=32
text=$scratch/text
i=0
while [ $i -lt 40 ]; do
    echo "line $i: the quick brown fox, $((i * 7919))"
    i=$((i + 1))
done >"$text"

expect 0 'Final estimate: PPL = ' eval perplexity "$m" -f "$text" -c $n_ctx --chunks 3 \
    --save-base "$scratch/base" -ctk f32
check 'grep -q "^\[1\].*,\[2\].*,\[3\].*,$" "$out"' 'not three running values'
ppl=$(sed -n 's/^Final estimate: PPL = \([0-9.]*\) .*/\1/p' "$out")
expect 2 "$text: is read, and would be" eval perplexity "$m" -f "$text" -c $n_ctx \
    --save-base "$text"

# The base file: 24 bytes, then the tokens as they were evaluated. Each chunk goes through
# `erne logits` as f32, and the logits of its second half through awk.
n_vocab=$(od -A n -t u4 -j 12 -N 4 "$scratch/base" | tr -d ' ')
: >"$scratch/nll"
for chunk in 0 1 2; do
    od -A n -t d4 -v -w4 -j $((24 + 4 * n_ctx * chunk)) -N $((4 * n_ctx)) \
        "$scratch/base" >"$scratch/ids"
    expect 0 '' logits "$m" --tokens-file "$scratch/ids" -o "$scratch/chunk.npy"
    od -A n -t f4 -v -w4 -j 128 "$scratch/chunk.npy" |
        awk -v n_ctx=$n_ctx -v n_vocab="$n_vocab" -v ids="$scratch/ids" '
            BEGIN { while ((getline line < ids) > 0) id[n++] = line + 0 }
            {
                position = int((NR - 1) / n_vocab)
                token = (NR - 1) % n_vocab
                if (position < n_ctx / 2 || position > n_ctx - 2)
                    next
                sum[position] += exp($1)
                if (token == id[position + 1])
                    logit[position] = $1
            }
            END { for (p in sum) print log(sum[p]) - logit[p] }' >>"$scratch/nll"
done
check '[ "$(wc -l <"$scratch/nll")" -eq $((3 * (n_ctx / 2 - 1))) ]' 'tokens scored'
counted=$(awk '{ sum += $1 } END { printf "%.6f\n", exp(sum / NR) }' "$scratch/nll")
check 'close "$ppl" "$counted"' "perplexity $ppl, counted $counted"

# -b does not change what is counted.
expect 0 'PPL = ' eval perplexity "$m" -f "$text" -c $n_ctx --chunks 3 -ctk f32 -b 5
other=$(sed -n 's/^Final estimate: PPL = \([0-9.]*\) .*/\1/p' "$out")
check 'close "$other" "$ppl"' "perplexity $other with another batch size, $ppl before"

# A model compared with itself; with another one; on another text.
expect 0 '' eval kld "$m" --base "$scratch/base" -ctk f32
check 'grep -q "^Maximum KLD *: *0.000000$" "$out"' 'divergence from itself'
check 'grep -q "^Same top token, % *: 100.000000" "$out"' 'top token of itself'
expect 0 '' convert "$golden/gguf-ernie/model.gguf" -o "$scratch/small.erne" --scheme w2
expect 0 '' eval kld "$scratch/small.erne" --base "$scratch/base"
check 'awk "/^Mean    KLD/ { found = \$4 > 0.0001 } END { exit !found }" "$out"' \
    'two bits a weight cost nothing'
expect 0 'Final estimate' eval kld "$m" -f "$text" -c $n_ctx --chunks 3 -ctk f32 \
    --save-base "$scratch/again"
check 'cmp -s "$scratch/base" "$scratch/again"' 'the base differs'

# The text may be named again, and must then be the same; a part of it will do.
expect 0 '' eval kld "$m" -f "$text" -c $n_ctx --base "$scratch/base" -ctk f32
check 'grep -q "^Maximum KLD *: *0.000000$" "$out"' 'divergence on the text of -f'
expect 0 '1 chunks of 32' eval kld "$m" --base "$scratch/base" --chunks 1
sed s/quick/slow/ "$text" >"$scratch/other"
expect 2 'not the text that' eval kld "$m" -f "$scratch/other" --base "$scratch/base"
expect 2 "$scratch/base has chunks of 32" eval kld "$m" --base "$scratch/base" -c 16

# What is wrong with a text or a base is told.
expect 1 "$scratch/none" eval perplexity "$m" -f "$scratch/none"
echo hi >"$scratch/short"
expect 2 'a chunk needs 512' eval perplexity "$m" -f "$scratch/short"
expect 2 'option -c' eval perplexity "$m" -f "$text" -c 3
expect 2 'option --chunks' eval perplexity "$m" -f "$text" -c $n_ctx --chunks 0
expect 3 'not a file of base logits' eval kld "$m" --base "$text"
expect 3 'not a file of base logits' eval kld "$m" --base "$scratch/short"
head -c 1000 "$scratch/base" >"$scratch/cut"
expect 3 "$scratch/cut: 1000 bytes, its header says" eval kld "$m" --base "$scratch/cut"
# poke OFFSET BYTES -- a copy of the base with other bytes there.
poke() {
    cp "$scratch/base" "$scratch/poked"
    printf '%b' "$2" | dd of="$scratch/poked" bs=1 seek="$1" conv=notrunc 2>"$err"
}
poke $((24 + 4 * (n_ctx - 1))) '\377\377\377\177' # the last token of a chunk
expect 3 'token 31 is 2147483647' eval kld "$m" --base "$scratch/poked"
poke $((24 + 4 * n_ctx * 3)) '\000\000\300\177' # the first logit: not a number
expect 3 'not a finite number' eval kld "$m" --base "$scratch/poked"
model tiny
expect 2 'the model'"'"'s is 32' eval kld "$scratch/tiny.erne" --base "$scratch/base"

finish
