# lines.awk -- the rules of house style that one line, or one file's length, can break.
# Prints "file:line: [rule] text" for each. Paths are relative to the root of the tree.

function report(rule, text) { printf "%s:%d: [%s] %s\n", FILENAME, FNR, rule, text }

# What a folder may include by quotes; the first pattern that matches the path counts.
# Dependencies go one way: platforms <- runtime <- quantize, backends <- converters, and
# the program stands outside, behind the public header.
function may_include(inc) {
    if (FILENAME ~ /^runtime\/include\//)
        return inc ~ /^erne(_measure)?\.h$/
    if (inc == "runtime/include/erne.h" || inc ~ /^platforms\/[a-z_]*\.h$/)
        return 1
    if (FILENAME ~ /^platforms\//)
        return inc ~ /^platforms\//
    if (FILENAME ~ /^runtime\/cli\//)
        return inc == "erne.h" || inc ~ /^runtime\/cli\//
    if (FILENAME ~ /^runtime\//)
        return inc ~ /^runtime\// && inc !~ /^runtime\/cli\//
    if (FILENAME ~ /^quantize\//)
        return inc ~ /^quantize\// || inc ~ /^runtime\/(arena|ask|dtype|error)\.h$/
    if (match(FILENAME, /^backends\/[a-z]+\//))
        return index(inc, substr(FILENAME, 1, RLENGTH)) == 1 || inc ~ /^quantize\// ||
            inc ~ /^runtime\/(op|op_list|tensor|dtype|backend|error|arena)\.h$/ ||
            inc ~ /^runtime\/(expert_cache|kv_row|round|route)\.h$/
    if (FILENAME ~ /^converters\//)
        return inc ~ /^(converters|quantize)\// ||
            inc ~ /^runtime\/(arena|ask|dtype|error|le|op)\.h$/ ||
            inc ~ /^runtime\/(footprint|graph|model_check|model_desc|model_file)\.h$/ ||
            inc ~ /^runtime\/(profile|tokenizer|watch)\.h$/
    return 1
}

# The line without comments and without the text of strings.
function code_of(line,   out, i, c, two) {
    out = ""
    for (i = 1; i <= length(line); i++) {
        c = substr(line, i, 1)
        two = substr(line, i, 2)
        if (in_comment) {
            if (two == "*/") { in_comment = 0; i++ }
        } else if (in_string) {
            if (c == "\\") i++
            else if (c == "\"") { in_string = 0; out = out c }
        } else if (two == "/*") {
            in_comment = 1
            i++
        } else {
            if (c == "'" && substr(line, i + 2, 1) == "'") { i += 2; continue }
            if (c == "\"") in_string = 1
            out = out c
        }
    }
    in_string = 0
    return out
}

function check_include(line,   inc) {
    if (match(line, /^#include "[^"]+"/)) {
        inc = substr(line, 11, RLENGTH - 11)
        if (!may_include(inc))
            report("layering", "this folder may not include " inc)
    }
}

function check_system(line) {
    if (FILENAME ~ /^(platforms|tests|benchmarks)\// ||
        FILENAME == "runtime/include/erne.h")
        return
    if (line ~ /_WIN32|__APPLE__|__linux__|<sys\// ||
        line ~ /<(pthread|unistd|windows|fcntl|dlfcn|io)\.h>/)
        report("system", "only platforms/ knows the operating system")
}

function check_library(code) {
    if (code ~ /(^|[^a-z_])(printf|puts|putchar|perror)[ ]*\(/ ||
        code ~ /(^|[^a-z_])(vf|f)(printf|puts|putc)[ ]*\([ ]*(stderr|stdout)/)
        report("print", "the library speaks through the log callback only")
    if (code ~ /(^|[^a-z_])(abort|exit|_Exit|quick_exit)[ ]*\(/)
        report("abort", "the library returns a status")
}

function check_code(line, code) {
    check_include(line)
    check_system(line)
    if (FILENAME ~ /^(runtime|backends|quantize|converters|platforms)\// &&
        FILENAME !~ /^runtime\/(cli|server)\//)
        check_library(code)
    if (code ~ /(^|[^a-z_])(secure_)?getenv[ ]*\(/ &&
        FILENAME != "platforms/posix/pf_user.c")
        report("getenv", "options are fields of structs")
    if (code ~ /case ERNE_OP_/ && FILENAME != "runtime/op.c")
        report("op-switch", "operators are rows of tables; only op.c switches on them")
    if (line ~ /immintrin|arm_neon/ &&
        FILENAME !~ /_(avx2|avxvnni|avx512(bf16|ymm)?|i8mm|neon)(\.inc)?\.c$/)
        report("intrinsics", "belong in a file whose suffix names the instruction set")
    if (line ~ /^#[ ]*if 0/)
        report("dead-code", "delete it; git remembers")
    if (line ~ /(^|[^A-Za-z_])(TODO|FIXME|XXX)([^A-Za-z_]|$)/)
        report("marker", "do it, or write down the limit where its users look")
    if (line ~ /\t/)
        report("tab", "indent by spaces")
}

FNR == 1 {
    if (n_lines)
        end_of_file()
    in_comment = in_string = 0
    is_c = FILENAME ~ /\.(c|h|comp|cl)$/
    base = FILENAME
    sub(/.*\//, "", base)
    if (is_c && index($0, "/* " base " ") != 1)
        report("opening", "a file opens with /* " base " -- what it is")
    file = FILENAME
}

{
    n_lines = FNR
    if (is_c)
        check_code($0, code_of($0))
    if (FILENAME !~ /\.(md|json|csv|in)$/ && length($0) > 90)
        report("columns", length($0) " columns, at most 90")
    if ($0 ~ /[ \t\r]$/)
        report("trailing", "white space at the end of the line")
    if ($0 ~ /\342\200[\213-\217\252-\256]|\342\201\240|\357\273\277/)
        report("invisible", "a character that cannot be seen")
}

# Sizes: a header is read whole, a file is found one's way in.
function end_of_file(   limit) {
    limit = file ~ /\.h$/ ? 300 : 1500
    if (file == "runtime/include/erne.h")
        limit = 600
    if (file ~ /\.(c|h|comp|cl)$/) {
        if (n_lines > limit)
            printf "%s:%d: [file-size] longer than %d lines\n", file, n_lines, limit
        total += n_lines
        if (n_lines > 800)
            large += n_lines
    }
    if (file == "CMakeLists.txt" && n_lines >= 250)
        printf "%s:%d: [file-size] 250 lines or more\n", file, n_lines
}

END {
    end_of_file()
    if (large * 100 >= total * 15)
        printf "tree:0: [file-size] %d of %d lines are in files above 800\n", large, total
}
