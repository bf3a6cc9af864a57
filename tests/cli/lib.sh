# lib.sh -- what the command-line tests share. Sourced by check_*.sh, which are called as
#   check_TOPIC.sh ERNE_PROGRAM TESTS_FOLDER
# A test is a call of `expect`; every failure is printed, and ends the script at its end.
# shellcheck shell=sh disable=SC2034  # some variables are for the scripts
set -u
erne=$1
golden=$2/models/golden
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
out=$scratch/stdout
err=$scratch/stderr
# What was found out about devices before must not count; compiled kernels may.
: "${POCL_CACHE_DIR:=${XDG_CACHE_HOME:-${HOME:-$scratch}/.cache}/pocl}"
XDG_CACHE_HOME=$scratch/cache
export POCL_CACHE_DIR XDG_CACHE_HOME
n_failed=0
n_done=0

failed() {
    echo "FAILED: $*"
    sed 's/^/  stdout: /' "$out" | head -n 20
    sed 's/^/  stderr: /' "$err" | head -n 20
    n_failed=$((n_failed + 1))
}

# expect EXIT_CODE TEXT ARGUMENT... -- runs erne; TEXT must be in its only message or, for
# exit code 0, anywhere in what it printed.
expect() {
    want_code=$1
    want_text=$2
    shift 2
    n_done=$((n_done + 1))
    "$erne" "$@" >"$out" 2>"$err"
    got_code=$?
    if [ "$got_code" -ne "$want_code" ]; then
        failed "exit code $got_code, not $want_code: erne $*"
    elif [ "$want_code" -eq 0 ]; then
        [ -z "$want_text" ] || cat "$out" "$err" | grep -qF -e "$want_text" ||
            failed "no '$want_text': erne $*"
    else
        grep '^erne: ' "$err" | grep -qF -e "$want_text" ||
            failed "no '$want_text': erne $*"
        [ "$(grep '^erne: ' "$err" | grep -vc '^erne: warning: ')" -eq 1 ] ||
            failed "not one message: erne $*"
    fi
}

# check CONDITION TEXT -- CONDITION is a command.
check() {
    n_done=$((n_done + 1))
    eval "$1" || failed "$2"
}

# Whether the program was built with libpng.
reads_png() {
    "$erne" --version | grep -q ' png'
}

# model NAME [SCHEME] -- converts a golden checkpoint to $scratch/NAME.erne.
model() {
    src=$golden/$1
    [ -f "$src/model.gguf" ] && src=$src/model.gguf
    "$erne" convert "$src" -o "$scratch/$1.erne" --scheme "${2:-source}" \
        >"$out" 2>"$err" || failed "cannot convert $src"
}

# close A B -- whether two figures agree to 1 in 10,000.
close() {
    awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; exit !(b > 0 && d * d <= b * b * 1e-8) }'
}

finish() {
    echo "$n_done checks, $n_failed failed"
    [ "$n_done" -gt 0 ] && [ "$n_failed" -eq 0 ]
}
