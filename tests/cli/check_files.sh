#!/bin/sh
# check_files.sh -- convert, inspect, verify and logits: files in, files out.
# Conditions are quoted for check, which evaluates them.
# shellcheck disable=SC2016 source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

# convert
expect 0 'w8' convert "$golden/tiny" -o "$scratch/plan.erne" --scheme w8 --dry-run
check '[ ! -e "$scratch/plan.erne" ]' 'a dry run wrote a file'
expect 0 'w8' convert "$golden/tiny" --scheme w8 --dry-run
model tiny
cp "$scratch/tiny.erne" "$scratch/first.erne"
expect 2 "$scratch/tiny.erne" convert "$golden/tiny" -o "$scratch/tiny.erne"
expect 0 '' convert "$golden/tiny" -o "$scratch/tiny.erne" --force -t 1 --max-ram 64M
# The first to read it asks for large pages; there are none where small ones lie already.
if command -v fincore >/dev/null && [ "$(stat -f -c %T "$scratch")" = ext2/ext3 ]; then
    check '[ "$(fincore -nb -o res "$scratch/tiny.erne")" -eq 0 ]' 'pages are left'
fi
check 'cmp -s "$scratch/first.erne" "$scratch/tiny.erne"' 'threads change the file'
check '! grep -q "[0-9] %" "$err"' 'progress is shown where there is no terminal'
expect 1 "$scratch/nothing" convert "$scratch/nothing" -o "$scratch/x.erne"
mkfifo "$scratch/pipe.gguf" # that nobody writes to
expect 1 "$scratch/pipe.gguf" convert "$scratch/pipe.gguf" -o "$scratch/x.erne"
ln -s /dev/null "$scratch/null" # a rename would replace it
expect 2 "$scratch/null: a device" convert "$golden/tiny" -o "$scratch/null" --force
expect 2 '1000 bytes of memory (max-ram): a thread' convert "$golden/tiny" \
    -o "$scratch/x.erne" --max-ram 1000 --chat-template none
cp -r "$golden/tiny" "$scratch/own"
expect 2 'source and destination are one file' convert "$scratch/own" \
    -o "$scratch/./own/model.safetensors" --force
expect 2 'w9' convert "$golden/tiny" -o "$scratch/x.erne" --scheme w9
check '[ ! -e "$scratch/x.erne" ]' 'a failed conversion left a file'

# convert --calibrate: other bytes, the same for any number of threads, and no leftovers
prose=$scratch/prose.txt
head -c 4000 "$2/data/northanger.txt" >"$prose"
expect 0 '' convert "$golden/moe" -o "$scratch/plain.erne" --scheme w4
expect 0 ' experts (median' convert "$golden/moe" -o "$scratch/cal.erne" --scheme w4 \
    --calibrate "$prose" --max-ram 64M
expect 0 'calibrated on' convert "$golden/moe" -o "$scratch/cal1.erne" --scheme w4 \
    --calibrate "$prose" -t 1
check 'cmp -s "$scratch/cal.erne" "$scratch/cal1.erne"' 'threads change the calibration'
check '! cmp -s "$scratch/cal.erne" "$scratch/plain.erne"' 'calibrating changed nothing'
expect 0 'calibration: "prose.txt (hash ' inspect "$scratch/cal.erne"
expect 0 'every hash matches' verify "$scratch/cal.erne"
expect 1 "$scratch/nothing" convert "$golden/moe" -o "$scratch/x.erne" --scheme w4 \
    --chat-template none --calibrate "$scratch/nothing"
expect 2 'calibration text would be replaced' convert "$golden/moe" -o "$prose" --force \
    --scheme w4 --calibrate "$prose"
cp -r "$golden/moe" "$scratch/spoilt"
chmod -R u+w "$scratch/spoilt"
weights=$scratch/spoilt/model.safetensors
printf '\377\377\377\377' |
    dd of="$weights" bs=1 seek=$(($(wc -c <"$weights") - 4)) conv=notrunc 2>/dev/null
expect 3 'not finite' convert "$scratch/spoilt" -o "$scratch/x.erne" --scheme w4 \
    --chat-template none --calibrate "$prose"
check '[ -z "$(find "$scratch" -name "x.erne*")" ]' 'an exact copy is left behind'
# What is not UTF-8 is more tokens than bytes here: three each.
head -c 1000 "$2/data/northanger.txt" | LC_ALL=C tr 'a-z' '\340-\371' >"$prose"
expect 0 'calibrated on' convert "$golden/odd" -o "$scratch/cal1.erne" --scheme w4 \
    --chat-template none --force --calibrate "$prose"
echo 'too short' >"$prose"
mkdir -p "$scratch/x.erne.work/exact" # refused before anything is written there
: >"$scratch/x.erne.work/lock"
expect 2 "$prose: 10 tokens are too few to calibrate" convert "$golden/moe" \
    -o "$scratch/x.erne" --chat-template none --scheme w4 --calibrate "$prose"
rm -r "$scratch/x.erne.work"
check '[ -z "$(find "$scratch" -name "*.work")" ]' 'left behind'

# Ctrl-C, SIGTERM and SIGHUP end a conversion, and nothing stays of it.
# interrupted SIGNAL CODE -- sends it in the middle; the conversion ends with that code.
# One that was done too soon is tried again.
head -c 4000 "$2/data/northanger.txt" >"$prose"
interrupted() {
    for _ in 1 2 3 4 5; do
        rm -f "$scratch/x.erne"
        "$erne" convert "$golden/hub" -o "$scratch/x.erne" --chat-template none -t 1 \
            --target-bpw 3.5 --calibrate "$prose" >"$out" 2>"$err" &
        pid=$!
        until [ -e "$scratch/x.erne.work/factors" ] || ! kill -0 $pid; do
            sleep 0.02
        done 2>"$scratch/gone"
        kill "-$1" $pid 2>"$scratch/gone"
        wait $pid
        code=$?
        [ $code -eq "$2" ] && break
    done
    check '[ $code -eq '"$2"' ]' "exit code $code, not $2, after $1"
    check '[ -z "$(find "$scratch" -name "x.erne.*")" ]' "left behind by $1"
}
interrupted INT 130
interrupted TERM 143
if (sh -c 'kill -HUP $$') 2>"$scratch/gone"; [ $? -eq 129 ]; then # it is not ignored
    interrupted HUP 129
    check '[ ! -e "$scratch/x.erne" ]' 'there is a file of an interrupted conversion'
    trap '' HUP # as nohup has it
    interrupted HUP 0
    trap - HUP
fi
rm -f "$scratch/x.erne"

# inspect and verify
expect 0 'architecture: ernie4_5' inspect "$scratch/tiny.erne"
expect 0 '"xxh3"' inspect --json -m "$scratch/tiny.erne"
expect 0 'every hash matches' verify "$scratch/tiny.erne"
expect 0 'golden logits of tokens' inspect "$scratch/tiny.erne"
expect 0 'no tensor was rounded' inspect "$scratch/tiny.erne"
expect 0 '"likeliest_next"' inspect --json "$scratch/tiny.erne"
expect 0 '' convert "$golden/tiny" -o "$scratch/bare.erne" --golden off
check '! "$erne" inspect "$scratch/bare.erne" | grep -q "golden logits"' 'not left out'
expect 2 "'often' is not auto, on or off" convert "$golden/tiny" --golden often \
    --chat-template none -o "$scratch/often.erne"
expect 1 "$scratch/nothing" inspect "$scratch/nothing"
expect 1 "$scratch/nothing" verify "$scratch/nothing"
echo 'no model at all' >"$scratch/text"
expect 3 "$scratch/text" inspect "$scratch/text"
expect 3 "$scratch/text" verify "$scratch/text"
expect 3 "$scratch/text" run "$scratch/text" -p a
head -c 5000 "$scratch/tiny.erne" >"$scratch/short.erne"
expect 3 "$scratch/short.erne" verify "$scratch/short.erne"

if [ -w /dev/full ]; then
    "$erne" inspect "$scratch/tiny.erne" >/dev/full 2>"$err"
    check "[ $? -eq 1 ]" 'a report to a full disk'
    check 'grep -q "cannot write to standard output: No space" "$err"' 'no reason is told'
fi

# logits
ids=$golden/tiny/tokens.txt
npy=$scratch/logits.npy
expect 0 '' logits "$scratch/tiny.erne" --tokens-file "$ids" -o "$npy"
check '[ "$(head -c 6 "$npy" | tail -c 5)" = NUMPY ]' 'no .npy file'
check 'head -c 128 "$npy" | grep -q "<f4.*False.*shape.*32"' 'the header of the .npy file'
check '[ "$(wc -c <"$npy")" -eq $((128 + 4 * 32 * $(wc -w <"$ids"))) ]' 'the .npy size'
check '[ ! -e "$npy.part" ]' 'the .part file is still there'
# The same bits for any number of threads, for tokens read from a pipe, and for -b.
t=$scratch/tiny.erne
expect 2 "$t: is read, and would be" logits "$t" --tokens-file "$ids" -o "$t"
expect 2 "$ids: is read, and would be" logits "$t" --tokens-file "$ids" -o "$ids"
expect 0 '' logits "$t" --tokens-file "$ids" -o "$scratch/t1.npy" -t 1
check 'cmp -s "$npy" "$scratch/t1.npy"' 'threads change the logits'
"$erne" logits "$t" --tokens-file - -o "$scratch/pipe.npy" <"$ids" 2>"$err"
check 'cmp -s "$npy" "$scratch/pipe.npy"' 'ids from a pipe change the logits'
expect 0 '' logits "$t" --tokens-file "$ids" -o "$scratch/b1.npy" -b 1
check '[ "$(wc -c <"$npy")" -eq "$(wc -c <"$scratch/b1.npy")" ]' 'the size with -b 1'
expect 0 '' logits "$t" -p 'abc' --backend reference -o "$scratch/p.npy"

bad() {
    printf '%b' "$1" >"$scratch/ids"
    expect 2 "$2" logits "$t" --tokens-file "$scratch/ids" -o "$scratch/no.npy"
}
bad '' 'no token ids'
bad ' \n\t ' 'no token ids'
bad '1 2\n3 x4' "line 2: 'x4' is not a token id"
bad '1 2.5' "line 1: '2.5' is not a token id"
bad '1 +2' "'+2' is not a token id"
bad '1\n\n99' 'line 3: token 99 is outside the vocabulary of 32'
bad '-1' 'token -1 is outside'
bad '99999999999999999999' 'is outside the vocabulary'
bad '1 2\00003' 'not a text: byte 3 is 0'
check '[ ! -e "$scratch/no.npy" ]' 'a failure left a file'
expect 2 'prompt is empty' logits "$t" -p '' -o "$scratch/no.npy"
expect 1 'no/such/folder' logits "$t" -p a -o "$scratch/no/such/folder/x.npy"
expect 2 "$scratch/null: a device" logits "$t" -p a -o "$scratch/null"
check '[ -L "$scratch/null" ]' 'a device was replaced'
expect 2 "$scratch: a folder" logits "$t" -p a -o "$scratch"
# Half a KiB: a file that may not grow is told and removed. Not with ThreadSanitizer or
# LLVM's OpenMP: they keep files of their own, and die when those may not grow.
if ! grep -qE '__tsan_init|__kmpc_fork_call' "$erne"; then
    (
        ulimit -f 1
        "$erne" logits "$t" --tokens-file "$ids" -o "$scratch/big.npy" 2>&1
        echo "exit code $?"
    ) >"$out" 2>"$err"
    check 'grep -q "^erne: $scratch/big.npy.part: " "$out"' 'a size limit is not told'
    check 'grep -q "exit code 1$" "$out"' 'the exit code at a size limit'
    check '[ ! -e "$scratch/big.npy.part" ]' 'a size limit left a file'
fi
expect 4 'cuda' logits "$t" -p a -o "$scratch/no.npy" --backend cuda
expect 4 'cuda' logits "$t" -p a -o "$scratch/no.npy" --device cuda:0
expect 2 'behind the colon' logits "$t" -p a -o "$scratch/no.npy" --device cpu:first
expect 2 'phase think' logits "$t" -p a -o "$scratch/no.npy" --backend think=cpu
expect 2 'decode is placed twice' logits "$t" -p a -o "$scratch/no.npy" \
    --backend decode=reference,decode=auto
expect 2 '--time-limit' logits "$t" -p a -o "$scratch/no.npy" --time-limit -1
expect 0 '' logits "$t" -p 'abc' --backend prefill=reference,decode=auto \
    -o "$scratch/phases.npy"
expect 0 ' runs, ' logits "$t" -p 'abc' --verbose -o "$scratch/phases.npy"
yes 3 | head -n 4000 >"$scratch/ids"
expect 1 '4000 tokens' logits "$t" --tokens-file "$scratch/ids" \
    -o "$scratch/no.npy"

finish
