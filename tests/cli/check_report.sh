#!/bin/sh
# check_report.sh -- the page of erne bench --html, drawn by Chromium: its numbers are
# those of the table, its charts are there, nothing is loaded from elsewhere, and it is
# drawn at the width of a phone, dark and printed. Without Chromium: 77, skipped.
# shellcheck disable=SC2016 source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

browser=$(command -v chromium || command -v chromium-browser) || exit 77
draw() {
    HOME=$scratch timeout 60 "$browser" --headless --no-sandbox --disable-gpu \
        --disable-dev-shm-usage --user-data-dir="$scratch/profile" "$@" \
        "file://$scratch/report.html" 2>"$err"
}

model tiny
expect 0 'interval' bench "$scratch/tiny.erne" -p 8 -n 4 -pg 4,2 -d 0,8 -r 4 --e2e 8,3 \
    -t 1 --backend auto,reference -o csv -oe md --html "$scratch/report.html"
cp "$out" "$scratch/results.csv"
check '[ ! -e "$scratch/report.html.part" ]' 'an unfinished page'
check '! grep -Eq "(src|href)=|@import|url\(|fetch\(" "$scratch/report.html"' \
    'the page loads something'

draw --dump-dom >"$scratch/dom.html"
[ -s "$scratch/dom.html" ] || exit 77 # no browser that runs here
for text in 'Speed' 'pp8 over depth' 'tg4 over depth' 'Time to the first token' \
    'Time between tokens' 'Stages of a request' 'Roofline' 'Memory' 'All tests' \
    'Operators of decode' 'Operators of prefill'; do
    check 'grep -qF ">$text<" "$scratch/dom.html"' "no section $text"
done
check '[ "$(grep -o "<svg" "$scratch/dom.html" | wc -l)" -ge 8 ]' 'too few charts'
check '! grep -Eq ">(NaN|undefined|null)|NaN" "$scratch/dom.html"' 'a number is missing'

# Each median of the table, to two decimals.
awk -F'",|,"|,' 'NR == 1 { n = split($0, names, ",")
                           for (i = 1; i <= n; i++) if (names[i] == "median_ts") at = i
                           next }
     { line = $0
       while (match(line, /"[^"]*"/)) # texts may hold commas
           line = substr(line, 1, RSTART - 1) "t" substr(line, RSTART + RLENGTH)
       split(line, values, ",")
       printf "%.2f\n", values[at] }' "$scratch/results.csv" >"$scratch/medians"
check '[ "$(wc -l <"$scratch/medians")" -eq 14 ]' 'not 14 medians'
while read -r median; do
    check 'grep -qF "<td>$median</td>" "$scratch/dom.html"' "no median $median"
done <"$scratch/medians"

for view in 1000,1600 360,1600; do
    draw --window-size=$view --screenshot="$scratch/view.png" >"$out"
    check '[ "$(wc -c <"$scratch/view.png")" -gt 20000 ]' "nothing drawn at $view"
done
draw --print-to-pdf="$scratch/report.pdf" >"$out"
check '[ "$(wc -c <"$scratch/report.pdf")" -gt 20000 ]' 'nothing printed'
finish
