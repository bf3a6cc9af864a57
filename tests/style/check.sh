#!/bin/bash
# check.sh [--root DIR] [--library FILE] -- the rules of house style that need no eyes.
# CONTRIBUTING.md explains them. Prints file:line: [rule] text for each breach, and
# fails if there is one. The library is the built liberne.a, searched for globals.
set -u -o pipefail
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
library=
while [ $# -ge 2 ]; do
    case $1 in
    --root) root=$2 ;;
    --library) library=$2 ;;
    *) break ;;
    esac
    shift 2
done
[ $# -eq 0 ] || { echo "usage: check.sh [--root DIR] [--library FILE]" >&2; exit 2; }
cd "$root" || exit 2

ctags --version 2>/dev/null | grep -q Universal ||
    { echo "check.sh needs universal-ctags" >&2; exit 2; }

git=(git -c safe.directory='*')
# Only a repository of this very folder: an exported tree may lie inside another one.
in_git() { [ -e .git ] && "${git[@]}" rev-parse --git-dir >/dev/null 2>&1; }

list_files() {
    if in_git; then
        "${git[@]}" ls-files --cached --others --exclude-standard --deduplicate |
            while read -r file; do [ -f "$file" ] && echo "$file"; done
    else
        find . \( -path ./build -o -path ./.git -o -path ./models/cache \) -prune -o \
            -type f -printf '%P\n'
    fi | sort
}

# Data is not ours to format: golden files, texts, checkpoints.
mapfile -t files < <(list_files |
    grep -vE '^(tests/(data|models/.*|fuzz/.*|unit/data)|models/tiny-ernie-vl)/' |
    grep -vE '\.(erne|gguf|npy|part|png|pyc)$')
mapfile -t c_files < <(printf '%s\n' "${files[@]}" | grep -E '\.(c|h|comp|cl)$')
[ "${#c_files[@]}" -gt 0 ] || { echo "no sources under $root" >&2; exit 2; }

check_lines() {
    awk -f "$here/lines.awk" "${files[@]}"
}

check_last_newline() {
    local file
    for file in "${files[@]}"; do
        if [ -s "$file" ] && [ -n "$(tail -c 1 "$file")" ]; then
            echo "$file:$(wc -l <"$file"): [newline] the last line has no end"
        fi
    done
}

# One name, one file: only the two systems under platforms/ mirror each other.
check_names() {
    printf '%s\n' "${c_files[@]}" |
        awk -F/ '{
            key = $NF
            os = $0 ~ /^platforms\/(posix|win32)\// ? $2 : ""
            if (!(key in first)) {
                first[key] = $0
                os_of[key] = os
            } else if (!os || !os_of[key] || os == os_of[key])
                printf "%s:1: [name] %s has that name already\n", $0, first[key]
        }'
    printf '%s\n' "${files[@]}" |
        grep -E '_generated|\.spv$|\.o$|\.orig$|\.rej$' |
        sed 's/$/:1: [generated] belongs in the build folder/'
}

# Functions: at most 120 lines, 90 % within 60, less than 2 % above 100.
check_functions() {
    ctags --languages=C --langmap=C:.c.h --kinds-C=f --fields=+ne -f - \
        "${c_files[@]}" |
        awk -F'\t' '{
            line = end = 0
            for (i = 4; i <= NF; i++) {
                if ($i ~ /^line:/) line = substr($i, 6)
                if ($i ~ /^end:/) end = substr($i, 5)
            }
            if (end) print end - line + 1, $2 ":" line, $1
        }' | sort -n |
        awk '{ n++; size[n] = $1; where = $2; name = $3
               if ($1 > 100) n_long++
               if ($1 > 120)
                   printf "%s: [function] %s has %d lines, at most 120\n",
                       where, name, $1 }
             END {
               p90 = size[int(n * 0.9) + (n * 0.9 > int(n * 0.9))]
               if (p90 > 60)
                   printf "tree:0: [function] one in ten is longer than %d lines\n", p90
               if (n_long * 50 >= n && n_long > 1)
                   printf "tree:0: [function] %d of %d exceed 100 lines\n", n_long, n }'
}

# Half-identical kernels are one kernel: lines two of them share, braces not counted.
check_copies() {
    # shellcheck disable=SC2016  # the fields are awk's
    printf '%s\n' "${c_files[@]}" | grep '^backends/.*/kernels/' | xargs -r awk '
        FNR == 1 { file[++n_files] = FILENAME }
        { gsub(/^[ \t]+|[ \t]+$/, "") }
        length($0) < 12 || /^[#*\/]/ { next }
        { count[n_files]++; if (!seen[n_files, $0]++) of[$0] = of[$0] " " n_files }
        END {
            for (line in of) {
                k = split(of[line], in_files, " ")
                for (i = 1; i <= k; i++)
                    for (j = 1; j < i; j++)
                        shared[in_files[i], in_files[j]]++
            }
            for (pair in shared) {
                split(pair, two, SUBSEP)
                a = two[1]; b = two[2]
                less = count[a] < count[b] ? count[a] : count[b]
                if (less >= 20 && shared[pair] * 4 >= less)
                    printf "%s:1: [copy] shares %d of %d lines with %s\n",
                        file[a], shared[pair], less, file[b]
            }
        }'
}

# At least 40 % of the public header's lines are prose.
check_header_prose() {
    local header=runtime/include/erne.h
    [ -f "$header" ] || return
    awk -v name="$header" '
        /^[ \t]*$/ { next }
        { n++; prose += inside || /\/\*/ }
        /\/\*/ { inside = 1 }
        /\*\// { inside = 0 }
        END { if (prose * 100 < n * 40)
                  printf "%s:1: [prose] %d %% of it explains, at least 40\n",
                      name, prose * 100 / n }' "$header"
}

# Nothing of ours is writable and global; tables of const pointers are .data.rel.ro, and
# clang gives reductions of OpenMP a lock.
check_globals() {
    objdump -t "$library" 2>/dev/null |
        awk '/file format/ { object = $1 }
             $2 ~ /d/ { next }
             { section = ""; for (i = 2; i <= 4; i++)
                   if ($i ~ /^(\.t?(bss|data)(\..*)?|\*COM\*)$/) section = $i
               if (section && section !~ /^\.data\.rel\.ro/ && $NF != section &&
                   $NF !~ /^\.gomp_critical_/)
                   printf "%s0: [global] %s is a mutable global\n", object, $NF }'
}

# area: What it does; no full stop. At most 72 characters, and the reason in a body, in
# nine of ten at least: what is in the history cannot be mended.
check_commits() {
    "${git[@]}" log --no-merges --format='%h%x1f%s%x1f%b%x1e' -50 |
        tr -d '\n' | tr '\036' '\n' |
        awk -F'\037' '
            $1 { n++ }
            $1 && ($2 !~ /^[a-z0-9_\/,. -]+: [A-Za-z0-9]/ || $2 ~ /\.$/) {
                printf "commit:%s: [commit] not \"area: What it does\": %s\n", $1, $2 }
            length($2) > 72 { long++; last_long = $1 }
            $1 && $3 == "" { bare++; last_bare = $1 }
            END {
                if (long * 10 > n)
                    printf "commit:%s: [commit] %d of %d exceed 72 characters\n",
                        last_long, long, n
                if (bare * 10 > n)
                    printf "commit:%s: [commit] %d of %d give no reason in a body\n",
                        last_bare, bare, n
            }'
}

check_tooling() {
    local file
    for file in .clang-format .clang-tidy .editorconfig CMakePresets.json \
        CONTRIBUTING.md LICENSE docs/ARCHITECTURE.md; do
        [ -s "$file" ] || echo "$file:0: [tooling] is missing"
    done
}

breaches=$(
    check_lines
    check_last_newline
    check_names
    check_functions
    check_copies
    check_header_prose
    check_tooling
    if [ -n "$library" ]; then check_globals; fi
    if in_git; then check_commits; fi
)
if [ -n "$breaches" ]; then
    echo "$breaches"
    echo "style: $(wc -l <<<"$breaches") breaches in ${#files[@]} files" >&2
    exit 1
fi
echo "style: ${#files[@]} files, nothing found"
