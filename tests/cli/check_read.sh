#!/bin/sh
# check_read.sh ERNE TESTS BACKEND -- the small VL checkpoint of models/ reads pictures on
# a GPU backend: in the checkpoint's numbers what transformers reads, in few bits what the
# CPU reads. 77: no such device here.
# Conditions are quoted for check, which evaluates them.
# shellcheck disable=SC2016 source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

backend=$3
tiny=$2/../models/tiny-ernie-vl
pictures=$tiny/pictures
"$erne" --version | grep -q ' png' || { echo 'this build reads no PNG'; exit 77; }
"$erne" devices | grep -q "^$backend:0" || { echo "no device of $backend"; exit 77; }

# A few pictures, as transformers read them (reference.json, a field a line).
sed -n 's/^"file": "\(.*\)",$/\1/p' "$pictures/reference.json" | sed -n '3~18p' \
    >"$scratch/files"
sed -n 's/^"read": "\(.*\)",$/\1/p' "$pictures/reference.json" | sed -n '3~18p' \
    >"$scratch/wanted"
check '[ "$(wc -l <"$scratch/files")" -ge 3 ]' 'too few pictures to read'

# read_all BACKEND -- the answers, a line each, go to $out.
read_all() {
    while read -r file; do
        printf '/clear\n/image %s\nRead the text.\n' "$pictures/$file"
    done <"$scratch/files" |
        "$erne" chat "$scratch/m.erne" --backend "$1" --no-fallback --temp 0 \
            --cache-dir "$scratch/cache" >"$out" 2>"$err"
    check "[ $? -eq 0 ]" "chat on $1"
}

for scheme in source w8 w4; do
    "$erne" convert "$tiny" -o "$scratch/m.erne" --scheme $scheme --force \
        >/dev/null 2>"$err" || failed "cannot convert to $scheme"
    if [ $scheme != source ]; then
        read_all cpu
        cp "$out" "$scratch/wanted"
    fi
    read_all "$backend"
    check 'cmp -s "$out" "$scratch/wanted"' "$scheme on $backend: another text"
done

finish
