#!/bin/sh
# check_report.sh -- the page of erne bench --html, drawn by Chromium: its table is the
# one that the program printed, of two models on all backends that this machine has; its
# charts are there, nothing is loaded from elsewhere, and it is drawn at the width of a
# phone, dark and printed. Without Chromium: 77, skipped.
# shellcheck disable=SC2016 source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

browser=$(command -v chromium || command -v chromium-browser) || exit 77
draw() {
    HOME=$scratch timeout 60 "$browser" --headless --no-sandbox --disable-gpu \
        --disable-dev-shm-usage --user-data-dir="$scratch/profile" "$@" \
        "file://$scratch/report.html" 2>"$err"
}

model tiny
model moe
# The CPU or what stands for it, the reference, and every kind of device.
backends=auto,reference$("$erne" devices | sed -n 's/^\(vulkan\|opencl\):0 .*/,\1/p' |
    tr -d '\n')
n_lanes=$(echo "$backends" | tr ',' '\n' | wc -l)
# Drivers' own leaks are not ours.
ASAN_OPTIONS=detect_leaks=0
export ASAN_OPTIONS
expect 0 'interval' bench "$scratch/tiny.erne" "$scratch/moe.erne" -p 8 -n 4 -pg 4,2 \
    -d 0,8 -r 2 -t 1 --e2e 8,3 --backend "$backends" -o json -oe md --no-warmup \
    --html "$scratch/report.html"
check 'grep -q "^experts of .*moe.erne: " "$err"' 'no line about experts'
grep '^| ' "$err" | tr -d ' ' >"$scratch/table"
check '[ ! -e "$scratch/report.html.part" ]' 'an unfinished page'
check '! grep -Eq "(src|href)=|@import|url\(|fetch\(" "$scratch/report.html"' \
    'the page loads something'

draw --dump-dom >"$scratch/dom.html"
[ -s "$scratch/dom.html" ] || exit 77 # no browser that runs here
for text in 'Speed' 'pp8 over depth' 'tg4 over depth' 'Time to the first token' \
    'Time between tokens' 'Stages of a request' 'Experts of moe.erne' 'Roofline' \
    'Memory' 'All tests' 'Operators of decode, tiny.erne' \
    'Operators of prefill, moe.erne'; do
    check 'grep -qF ">$text<" "$scratch/dom.html"' "no section $text"
done
check '[ "$(grep -o "<svg" "$scratch/dom.html" | wc -l)" -ge 8 ]' 'too few charts'
check '! grep -Eq ">(NaN|undefined|null)|NaN" "$scratch/dom.html"' 'a number is missing'

# The rows of both tables: test, mean and deviation, median, interval.
awk -F'|' 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i }
           NR > 2 { print $at["test"] "|" $at["t/s"] "|" $at["median"] "|" $at["interval"]
           }' "$scratch/table" >"$scratch/printed"
{ tr '\n' ' ' <"$scratch/dom.html"; echo; } |
    sed 's/.*>All tests<//; s/<h2>.*//; s/<tr>/\n/g' |
    sed -n 's/ *<td>\([^<]*\)<\/td><td class="left">[^<]*<\/td>/\1|/; T
            s/|<td>\([^<]*\)<\/td><td>\([^<]*\)<\/td><td>\([^<]*\)<.*/|\1|\2|\3/p' |
    tr -d ' ' >"$scratch/drawn"
check '[ "$(wc -l <"$scratch/printed")" -eq $((14 * n_lanes)) ]' 'rows of the table'
diff "$scratch/printed" "$scratch/drawn" >"$err"
check '[ ! -s "$err" ]' 'the page has other numbers'
# And both are those of the JSON.
grep '"median_ts": ' "$out" | sed 's/.*: //; s/,$//' | awk '{ printf "%.2f\n", $1 }' \
    >"$scratch/medians"
cut -d'|' -f3 "$scratch/printed" >"$scratch/printed-medians"
check 'cmp -s "$scratch/medians" "$scratch/printed-medians"' 'JSON has other numbers'

# By the width of the window and the scheme of colours: 0 dark, 1 light.
for view in 1000:1 360:1 360:0; do
    draw --window-size=${view%:*},1600 --blink-settings=preferredColorScheme=${view#*:} \
        --screenshot="$scratch/$view.png" >"$out"
    check '[ "$(wc -c <"$scratch/$view.png")" -gt 20000 ]' "nothing drawn at $view"
done
check '! cmp -s "$scratch/360:0.png" "$scratch/360:1.png"' 'dark is as light'
draw --print-to-pdf="$scratch/report.pdf" >"$out"
check '[ "$(wc -c <"$scratch/report.pdf")" -gt 20000 ]' 'nothing printed'
finish
