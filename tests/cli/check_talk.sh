#!/bin/sh
# check_talk.sh -- run and chat, on models whose weights are random but always the same.
# Conditions are quoted for check, which evaluates them.
# shellcheck disable=SC2016 source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

model gguf-ernie
m=$scratch/gguf-ernie.erne

# run: text on stdout, the rest on stderr; greedy is greedy.
expect 0 'Generation:' run "$m" -p 'abc' -n 6 --temp 0
check '[ -s "$out" ]' 'no text'
check '! grep -q "Generation:" "$out"' 'the summary is on stdout'
check 'grep -q "6 generated" "$err"' 'not 6 tokens'
if "$erne" devices | grep -q '^cpu'; then
    check 'grep -q "^cpu: .* threads" "$err"' 'nothing says who computes'
fi
check '[ -z "$(tail -c 1 "$out")" ]' 'no newline at the end'
cp "$out" "$scratch/greedy"
expect 0 '' run "$m" -p 'abc' -n 6 --temp 0 -t 1 --seed 5
check 'cmp -s "$out" "$scratch/greedy"' 'greedy text differs'
expect 0 '' run -m "$m" -p 'abc' -n 6 --top-k 1
check 'cmp -s "$out" "$scratch/greedy"' 'top-k 1 is not greedy'
printf 'abc' | "$erne" run "$m" -p - -n 6 --temp 0 >"$out" 2>"$err"
check 'cmp -s "$out" "$scratch/greedy"' 'the prompt of a pipe differs'
printf 'abc\n' >"$scratch/prompt"
expect 0 '' run "$m" -f "$scratch/prompt" -n 6 --temp=0
check 'cmp -s "$out" "$scratch/greedy"' 'the prompt of a file differs'

# The same seed, the same text; hot enough for another seed to give another one.
expect 0 '' run "$m" -p 'abc' -n 40 --temp 5 --top-k 0 --top-p 1 --min-p 0 -s 1
cp "$out" "$scratch/seed1"
expect 0 '' run "$m" -p 'abc' -n 40 --temp 5 --top-k 0 --top-p 1 --min-p 0 -s 1
check 'cmp -s "$out" "$scratch/seed1"' 'the same seed gives another text'
expect 0 '' run "$m" -p 'abc' -n 40 --temp 5 --top-k 0 --top-p 1 --min-p 0 -s 2
check '! cmp -s "$out" "$scratch/seed1"' 'another seed gives the same text'

# A stop string ends the text before it, also in the middle of it.
answer=$(head -n 1 "$scratch/greedy")
stop=$(printf %s "$answer" | tail -c 3)
expect 0 '' run "$m" -p 'abc' -n 6 --temp 0 --stop 'never met' --stop "$stop"
check '[ "$(cat "$out")" = "${answer%%"$stop"*}" ]' "stop '$stop' in '$answer'"

expect 0 '0 generated' run "$m" -p 'abc' -n 0
expect 1 'context length exceeded' run "$m" -p 'abc def ghi' -c 4
expect 1 'the context' run "$m" -p 'abc' -c 16 --temp 0 --repeat-penalty 100 -r zzz
expect 2 'f8' run "$m" -p 'abc' -ctk f8
expect 1 "$scratch/none" run "$m" -f "$scratch/none"
mkfifo "$scratch/fifo"
expect 1 'fifo: not a file (- reads' run "$m" -f "$scratch/fifo"

# chat: scripted. Answers on stdout, a line each; what commands say on stderr.
expect 4 'no chat description' chat "$m" </dev/null
"$erne" convert "$golden/gguf-ernie/model.gguf" -o "$scratch/chat.erne" \
    --chat-template ernie >"$out" 2>"$err" || failed 'convert with a chat template'
c=$scratch/chat.erne

# chat_with LINES EXIT_CODE ARGUMENT... -- LINES as printf writes them.
chat_with() {
    lines=$1
    want=$2
    shift 2
    n_done=$((n_done + 1))
    # shellcheck disable=SC2059
    printf "$lines" | "$erne" chat "$c" --temp 0 "$@" >"$out" 2>"$err"
    got=$?
    [ "$got" -eq "$want" ] || failed "exit code $got, not $want: erne chat $*"
}

chat_with 'abc\n' 0 -n 4
check '[ "$(wc -l <"$out")" -eq 1 ]' 'not one answer'
cp "$out" "$scratch/first"
chat_with 'abc' 0 -n 4
check 'cmp -s "$out" "$scratch/first"' 'a last line without an end differs'
chat_with 'abc\r\n\n/quit\nabc\n' 0 -n 4
check 'cmp -s "$out" "$scratch/first"' 'lines after /quit are answered, or \\r is kept'
chat_with 'abc\nabc\n/stats\n/exit\n' 0 -n 4
check '[ "$(wc -l <"$out")" -eq 2 ]' 'not two answers'
check 'grep -q "more kept from before" "$err"' 'the first turn was evaluated again'
chat_with 'abc\n/clear\nabc\n' 0 -n 4
check '[ "$(sort -u "$out")" = "$(cat "$scratch/first")" ]' '/clear leaves something'
chat_with '/system x\nabc\n/system\nabc\n' 0 -n 4
check '[ "$(tail -n 1 "$out")" = "$(cat "$scratch/first")" ]' '/system leaves something'
chat_with 'abc\n' 0 -n 4 -sys x
cp "$out" "$scratch/system"
chat_with '/system x\nabc\n' 0 -n 4
check 'cmp -s "$out" "$scratch/system"' '/system is not -sys'
chat_with '/help\n/nonsense\n' 0
check '[ ! -s "$out" ] && grep -q "/stats" "$err"' '/help'
check 'grep -q "no command /nonsense" "$err"' 'unknown commands'
chat_with 'a\\\nb\n' 0 -n 4
check '[ "$(wc -l <"$out")" -eq 1 ]' 'a continued line is two messages'
# Too long a message is told and taken back; the conversation goes on.
chat_with 'abc\n%0200d\n/clear\nabc\n' 0 -n 4 -c 64
check 'grep -q "context length exceeded.*64" "$err"' 'overflow is not told'
check 'grep -q "/clear starts again" "$err"' 'nothing says what to do'
check '[ "$(sort -u "$out")" = "$(cat "$scratch/first")" ]' 'overflow spoils the rest'

# A message ends at its first 0 byte: rather none than half of it.
printf 'abc\000def' >"$scratch/zero"
expect 2 "$scratch/zero: not a text: byte 3 is 0" run "$c" -f "$scratch/zero"
chat_with 'abc\n\000\n' 2 -n 4
check 'grep -q "the message: not a text" "$err"' 'a 0 byte is not told'
# Streams that are closed: no other file may take their place.
"$erne" chat "$c" -n 1 <&- >"$out" 2>"$err"
check "[ $? -eq 1 ]" 'a chat with standard input closed'
check 'grep -q "cannot read standard input" "$err"' 'closed standard input is not told'
"$erne" run "$c" -p abc -n 4 --temp 0 2>&- >"$out"
check 'cmp -s "$out" "$scratch/first"' 'closed standard error changes the answer'

# run lays a chat out; --raw does not.
expect 0 '' run "$c" -p 'abc' -n 4 --temp 0
check 'cmp -s "$out" "$scratch/first"' 'run and chat differ'
expect 0 '' run "$c" -p 'abc' -n 6 --temp 0 --raw
check 'cmp -s "$out" "$scratch/greedy"' '--raw is not raw'
expect 2 'plain text' run "$c" -p 'abc' --raw -sys x

# Reasoning: between marks and in front of the answer, or not shown. A model of random
# weights never ends it, so all is reasoning; what was said of it is the same either way.
expect 2 "'maybe' is none of off|on" run "$c" -p abc --think maybe
expect 4 'cannot think' run "$c" -p abc --think on
expect 2 'think needs a chat' run "$c" -p abc --raw --think off
expect 0 '' run "$c" -p abc -n 4 --temp 0 --think off
check 'cmp -s "$out" "$scratch/first"' '--think off changes a model that cannot think'
"$erne" convert "$golden/gguf-ernie/model.gguf" -o "$scratch/think.erne" \
    --chat-template ernie-thinking >"$out" 2>"$err" || failed 'convert, ernie-thinking'
t=$scratch/think.erne
expect 4 'without thinking' run "$t" -p abc --think off
expect 0 '' run "$t" -p abc -n 6 --temp 0
check '[ "$(head -n 1 "$out")" = "[Start thinking]" ]' 'no mark where reasoning starts'
check 'tail -n 2 "$out" | grep -qxF "[End thinking]"' 'no mark where reasoning ends'
expect 0 '6 generated' run "$t" -p abc -n 6 --temp 0 --reasoning hide
check '[ ! -s "$out" ]' 'hidden reasoning is shown'
expect 2 'none of show|hide' run "$t" -p abc --reasoning some
expect 4 'without thinking' chat "$t" --think off
chat_with '/think on\n/think\nabc\n' 0 -n 4
check 'grep -q "cannot think" "$err" && grep -q "^/think on:" "$err"' '/think on'
check 'cmp -s "$out" "$scratch/first"' '/think on, which was refused, changes the answer'
old=$c
c=$t
chat_with 'abc\nabc\n' 0 -n 6 --think on
check '[ "$(grep -cxF "[End thinking]" "$out")" -eq 2 ]' 'chat does not mark reasoning'
c=$old

# Ctrl-C stops the answer, and the chat goes on with what follows.
yes 'abc
/clear' | head -n 400 >"$scratch/many"
: >"$out" # filled again by the chat, not before
# Slow, so that the signal does not hit the moment between two answers.
"$erne" chat "$c" --temp 0 -n 50 --backend reference <"$scratch/many" >"$out" 2>"$err" &
pid=$!
until [ -s "$out" ]; do kill -0 $pid || break; done 2>"$scratch/gone"
kill -INT $pid
until grep -q '(stopped' "$err" || ! kill -0 $pid; do sleep 0.1; done 2>"$scratch/gone"
n=$(wc -l <"$out")
until [ "$(wc -l <"$out")" -gt "$n" ] || ! kill -0 $pid; do
    sleep 0.1
done 2>>"$scratch/gone"
check 'grep -q "(stopped" "$err"' 'Ctrl-C does not stop the answer'
check '[ "$(wc -l <"$out")" -gt "$n" ]' 'Ctrl-C in an answer ends the chat'
kill $pid 2>>"$scratch/gone"
wait $pid 2>>"$scratch/gone"
check "[ $? -eq 143 ]" 'SIGTERM in a chat'

# Ctrl-C before the answer takes the message back: what follows is answered as if alone. A
# signal that came before the message was read, or after it was answered, is tried again.
chat_with 'abc\n' 0 -n 4 --backend reference
cp "$out" "$scratch/alone"
{ echo /stats && head -c 1700 "$2/data/northanger.txt" | tr '\n' ' ' && printf '\nabc\n'
} >"$scratch/long"
for _ in 1 2 3 4 5; do
    : >"$err"
    "$erne" chat "$c" --temp 0 -n 4 -t 1 --backend reference <"$scratch/long" \
        >"$out" 2>"$err" &
    pid=$!
    until grep -q 'context:' "$err" || ! kill -0 $pid; do
        sleep 0.02
    done 2>"$scratch/gone"
    sleep 0.1
    kill -INT $pid 2>"$scratch/gone"
    wait $pid
    grep -q 'message was not kept' "$err" && cmp -s "$out" "$scratch/alone" && break
done
check 'grep -q "message was not kept" "$err"' 'Ctrl-C before the answer is not told'
check 'cmp -s "$out" "$scratch/alone"' 'a message that was taken back is answered'

# Ctrl-C where a message is typed ends the program.
mkfifo "$scratch/typed"
: >"$err" # what is waited for stood there
"$erne" chat "$c" <"$scratch/typed" >"$out" 2>"$err" &
pid=$!
exec 3>"$scratch/typed"
echo '/stats' >&3
until grep -q 'context:' "$err" || ! kill -0 $pid 2>/dev/null; do sleep 0.1; done
kill -INT $pid
exec 3>&- # ThreadSanitizer runs a handler only when a call returns: let it return
wait $pid
check "[ $? -eq 130 ]" 'Ctrl-C at the prompt'

finish
