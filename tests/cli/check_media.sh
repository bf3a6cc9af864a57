#!/bin/sh
# check_media.sh -- pictures and videos on the command line: the small VL checkpoint of
# models/ reads what transformers reads, and everything that can be wrong is told.
# Conditions are quoted for check, which evaluates them.
# shellcheck disable=SC2016 source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

tiny=$2/../models/tiny-ernie-vl
pictures=$tiny/pictures
if ! reads_png; then
    echo 'this build reads no PNG'
    exit 77
fi

m=$scratch/tiny.erne
"$erne" convert "$tiny" -o "$m" --scheme source >"$out" 2>"$err" ||
    failed 'cannot convert the small VL checkpoint'

# read_picture FILE -- the answer goes to $out.
read_picture() {
    expect 0 '1 picture' run "$m" --image "$1" -p 'Read the text.' --temp 0
}

# Every fourth picture, as transformers read it (reference.json, a field a line).
sed -n 's/^"file": "\(.*\)",$/\1/p' "$pictures/reference.json" >"$scratch/files"
sed -n 's/^"read": "\(.*\)",$/\1/p' "$pictures/reference.json" >"$scratch/read"
paste "$scratch/files" "$scratch/read" | sed -n '3~4p' >"$scratch/list"
check '[ "$(wc -l <"$scratch/list")" -eq 10 ]' 'not 10 pictures to read'
while read -r file want; do
    read_picture "$pictures/$file"
    check '[ "$(cat "$out")" = "$want" ]' "$file: not $want"
done <"$scratch/list"

# Two pictures, cut into steps of any size; logits are the same bits but for rounding.
expect 0 '2 pictures' run "$m" --image "$pictures/002.png" --image "$pictures/004.png" \
    -p 'Read the text.' --temp 0 -b 5 -n 8
cp "$out" "$scratch/two"
expect 0 '2 pictures' run "$m" --image "$pictures/002.png" --image "$pictures/004.png" \
    -p 'Read the text.' --temp 0 -n 8
check 'cmp -s "$out" "$scratch/two"' 'another batch size, another answer'

# chat: a picture by option and by command; bad files do not end it.
chat() {
    printf '%b' "$1" | "$erne" chat "$m" --image "$pictures/002.png" --temp 0 >"$out" \
        2>"$err"
    check "[ $? -eq 0 ]" "chat: $1"
}
one=$(sed -n '3p' "$scratch/read")
two=$(sed -n '5p' "$scratch/read")
chat 'Read the text.\n'
check '[ "$(cat "$out")" = "$one" ]' "chat does not read $one"
chat "Read the text.\n/clear\n/image $pictures/004.png\nRead the text.\n"
check '[ "$(cat "$out")" = "$one
$two" ]' 'another picture of the same size, the same answer'
chat "/image $scratch/none\n/video $2/cli/lib.sh\nRead the text.\n"
check 'grep -q "none" "$err"' 'nothing says that a picture is missing'
check 'grep -q "lib.sh" "$err"' 'nothing says that a video is none'
check '[ "$(cat "$out")" = "$one" ]' 'bad files spoil the chat'

# A folder of frames is a video; this model's own chat layout has no place for one.
mkdir "$scratch/frames"
cp "$pictures/002.png" "$scratch/frames/1.png"
cp "$pictures/002.png" "$scratch/frames/2.png"
expect 4 'no place for videos' run "$m" --video "$scratch/frames" -p x
"$erne" convert "$tiny" -o "$scratch/vl-chat.erne" --chat-template ernie-vl >"$out" \
    2>"$err" || failed 'convert with the chat template of the VL models'
expect 0 '1 picture or video' run "$scratch/vl-chat.erne" --video "$scratch/frames" \
    -p x -n 4

# logits: placeholders of a token file, and their number.
expect 0 '' logits "$m" --chat --image "$pictures/002.png" -p 'Read the text.' \
    -o "$scratch/logits.npy"
cp -r "$golden/vl" "$scratch/vl"
"$erne" convert "$scratch/vl" -o "$scratch/vl.erne" --scheme f32 >"$out" 2>"$err" ||
    failed 'cannot convert golden/vl'
expect 0 '' logits "$scratch/vl.erne" --tokens-file "$golden/vl/tokens.txt" \
    --image "$golden/vl/img0.png" --image "$golden/vl/img1.png" \
    --image "$golden/vl/img2.png" -o "$scratch/vl.npy"
check '[ "$(wc -c <"$scratch/vl.npy")" -eq "$(wc -c <"$golden/vl/logits.npy")" ]' \
    'logits of another size'
expect 2 'enough for 2 of 2' logits "$scratch/vl.erne" \
    --tokens-file "$golden/vl/tokens.txt" --image "$golden/vl/img0.png" \
    --image "$golden/vl/img1.png" -o "$scratch/x.npy"
expect 2 'enough for 3 of 4' logits "$scratch/vl.erne" \
    --tokens-file "$golden/vl/tokens.txt" --image "$golden/vl/img0.png" \
    --image "$golden/vl/img1.png" --image "$golden/vl/img2.png" \
    --image "$golden/vl/img2.png" -o "$scratch/x.npy"
expect 2 '--image needs' logits "$scratch/vl.erne" -p 'abc' \
    --image "$golden/vl/img0.png" -o "$scratch/x.npy"

# What a model or a file cannot do.
expect 2 '--image needs a chat' run "$m" --raw --image "$pictures/002.png" -p x
expect 1 "$scratch/none" run "$m" --image "$scratch/none" -p x
expect 3 'lib.sh' run "$m" --image "$2/cli/lib.sh" -p x
expect 2 '--image' run "$m" --image
expect 2 'no such rule' run "$m" --vision-rule 'no such rule' -p x
expect 1 'context length exceeded' run "$m" --image "$pictures/002.png" -p x -c 8
expect 5 'MiB of memory are too few' run "$m" --ram 1M -p x
expect 2 '--ram' run "$m" --ram much -p x
expect 0 'experts found in memory' run "$m" --ram 4G -p x -n 2 -c 64
expect 0 'experts found in memory' logits "$m" --ram 4G -p x -o "$scratch/ram.npy"
model gguf-ernie
"$erne" convert "$golden/gguf-ernie/model.gguf" -o "$scratch/text.erne" \
    --chat-template ernie >"$out" 2>"$err" || failed 'convert with a chat template'
expect 4 'neither pictures nor videos' run "$scratch/text.erne" \
    --image "$pictures/002.png" -p x

finish
