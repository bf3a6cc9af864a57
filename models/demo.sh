#!/bin/sh
# demo.sh -- checkpoints go in, portable files come out, and run: a small ERNIE-VL reads
# pictures, SmolLM2 answers questions.
#
# usage: models/demo.sh BUILD_DIR [CACHE_DIR]
# BUILD_DIR holds the built program, or is where it was installed. CACHE_DIR (default
# models/cache) keeps the downloaded checkpoint. Every command is printed before it runs.
set -eu

here=$(dirname "$0")
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: $0 BUILD_DIR [CACHE_DIR]" >&2
    exit 2
fi
build=$1
cache=${2:-$here/cache}

erne=
for candidate in "$build/erne" "$build/bin/erne" "$build/runtime/cli/erne"; do
    [ -f "$candidate" ] && [ -x "$candidate" ] && erne=$candidate && break
done
[ -n "$erne" ] || { echo "demo: no erne program under $build: build it" >&2; exit 1; }

run() {
    printf '\n$'
    for word in "$@"; do
        case $word in
        *[!A-Za-z0-9_./=:-]*) printf " '%s'" "$word" ;;
        *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "$@"
}

mkdir -p "$cache"
reader=$cache/tiny-ernie-vl.erne
run "$erne" convert "$here/tiny-ernie-vl" -o "$reader" --scheme w8 --overwrite
for picture in 001 002 008; do
    run "$erne" run "$reader" --image "$here/tiny-ernie-vl/pictures/$picture.png" \
        -p 'Read the text.' --temp 0
done

gguf=$("$here/fetch_smollm2.sh" "$cache")
model=$cache/smollm2-135m.erne

run "$erne" convert "$gguf" -o "$model" --overwrite
run "$erne" verify "$model"
run "$erne" inspect "$model"
run "$erne" run "$model" -p 'What is the capital of France?' --temp 0 -n 64
run "$erne" run "$model" -p 'What is gravity?' --temp 0 -n 128
