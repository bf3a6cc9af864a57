#!/bin/sh
# check_usage.sh -- options, help, and what is said when they are wrong.
# Conditions are quoted for check, which evaluates them.
# shellcheck disable=SC2016 source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

expect 0 'commands:' --help
expect 0 'erne ' --version
for command in convert inspect verify run chat eval logits bench tune devices; do
    expect 0 "usage: erne $command" $command --help
    check '[ ! -s "$err" ]' "help of $command prints on stderr"
    expect 0 "$command" --help
done
expect 0 reference devices

expect 2 'a command is needed'
expect 2 'convert inspect verify run chat eval logits bench tune devices' frobnicate
expect 2 'erne run has no option --frob' run m --frob -p x
expect 2 'no option --scheme' run m --scheme w4 -p x
expect 2 'no option -x' run m -x -p x
expect 2 'a prompt is needed' run m
expect 2 'either -p TEXT or -f FILE' run m -p a -f b
expect 2 'a model file is needed' run -p a
expect 2 "'n' is one argument too many" run m n -p a
expect 2 "'n' is one argument too many" run -m m n -p a
expect 2 'option -n needs a value' run m -p a -n
expect 2 "option -n: '5x' is not a whole number" run m -p a -n 5x
expect 2 "option -n: ' 5' is not a whole number" run m -p a -n ' 5'
expect 2 "option -n: '' is not a whole number" run m -p a -n ''
expect 2 'option --n-predict: -2 is less than -1' run m -p a --n-predict=-2
expect 2 'option -n: 99999999999 is more than 2147483647' run m -p a -n 99999999999
expect 2 'is more than' run m -p a -n 99999999999999999999999
expect 2 "option --temp: 'nan' is not a number" run m -p a --temp nan
expect 2 "option --temp: 'warm' is not a number" run m -p a --temp=warm
expect 2 'option --temp: 1e99 is more than' run m -p a --temp 1e99
expect 2 'option --top-p: 1.5 is more than 1' run m -p a --top-p 1.5
expect 2 'option --repeat-penalty: 0 is less than' run m -p a --repeat-penalty 0
expect 2 "option --raw takes no value, got 'yes'" run m -p a --raw=yes
expect 2 'option --stop: the value is empty' run m -p a --stop ''
expect 2 'option -r: the value is empty' run m -p a -r ''
expect 2 'its name is empty' run '' -p a
expect 2 'option -t: 1025 is more than 1024' convert x -o y -t 1025
expect 2 'a checkpoint is needed' convert -o x
expect 2 '-o DST' convert x
expect 2 "'y' is one argument too many" convert x y -o z
expect 2 "option --max-ram: '1Q' is not a size" convert x -o y --max-ram 1Q
expect 2 "option --max-ram: '-1' is not a size" convert x -o y --max-ram -1
expect 2 'option --max-ram: 99999999999G is more' convert x -o y --max-ram 99999999999G
expect 2 'option --max-ram: 0 is less than 1' convert x -o y --max-ram 0
expect 2 'perplexity or kld, not (nothing)' eval
expect 2 'perplexity or kld, not speed' eval speed m
expect 2 'a text is needed: -f FILE' eval perplexity m
expect 2 'either --save-base FILE' eval kld m
expect 2 'option --base is for erne eval kld' eval perplexity m --base b
expect 2 'either --prompt or --tokens-file' logits m -o x
expect 2 'either --prompt or --tokens-file' logits m -o x -p a --tokens-file b
expect 2 '--chat needs --prompt' logits m -o x --chat --tokens-file b
expect 2 '-o OUT.npy' logits m -p a
expect 2 "takes no arguments, got 'm'" devices m

# Everything after -- is an operand.
expect 1 '--help' inspect -- --help

# A full disk and a reader that went away are failures that are told.
if [ -w /dev/full ]; then
    "$erne" --help >/dev/full 2>"$err"
    check "[ $? -eq 1 ]" 'help to a full disk'
    check 'grep -q "cannot write to standard output" "$err"' 'a full disk is not told'
fi
{ sleep 1; "$erne" --help 2>"$err"; echo $? >"$scratch/code"; } | true
check '[ "$(cat "$scratch/code")" -eq 1 ]' 'help to a closed pipe'
check 'grep -q "cannot write to standard output" "$err"' 'a closed pipe is not told'

finish
