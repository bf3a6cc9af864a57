/* vocab_regex.c -- pre-tokeniser patterns from the dialect of the tokenizers library
 * (Oniguruma) to that of PCRE2. What is known to match the same text in both passes, all
 * else is refused by name: \h, \v, \w, ^ or [a[b]] compile in both and differ. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "converters/vocab.h"

#define DIGITS "0123456789"

/* \p{Lu}: a general category. Names of scripts are wider in newer versions of PCRE2. */
static size_t category_len(const char *s)
{
    static const char known[] =
        " L Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po"
        " S Sm Sc Sk So Z Zs Zl Zp C Cc Cf Co Cn ";
    char name[] = "    ";
    size_t n = s[2] == '{' ? strcspn(s + 3, "}") : 0;

    if (n < 1 || n > 2 || s[3 + n] != '}')
        return 0;
    memcpy(name + 1, s + 3, n);
    name[n + 2] = '\0';
    return strstr(known, name) ? n + 4 : 0;
}

static size_t escape_len(const char *s)
{
    if (s[1] == 'p' || s[1] == 'P')
        return category_len(s);
    return s[1] != '\0' && strchr("rntfsSdD!\"#$%&()*+,-./:;=?@[\\]^{|}~", s[1]) ? 2 : 0;
}

/* Without regard to case, Oniguruma may match several characters as one: only texts in
 * which none of these occurs. */
static size_t group_len(const char *s)
{
    static const char *const known[] = {
        "(?:",
        "(?=",
        "(?!",
        "(?<=",
        "(?<!",
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        "(?i:[sdmt]|ll|ve|re)",
    };

    for (size_t i = 0; i < ERNE_ARRAY_LEN(known); i++)
        if (strncmp(s, known[i], strlen(known[i])) == 0)
            return strlen(known[i]);
    return s[1] == '?' || s[1] == '*' ? 0 : 1;
}

/* {n}, {n,} and {n,m}; a "?" or "+" behind them is no suffix in Oniguruma. */
static size_t repeat_len(const char *s)
{
    size_t n = 1 + strspn(s + 1, DIGITS);

    if (n == 1)
        return 0;
    if (s[n] == ',')
        n += 1 + strspn(s + n + 1, DIGITS);
    return s[n] == '}' && s[n + 1] != '?' && s[n + 1] != '+' ? n + 1 : 0;
}

/* How long what s starts with is, 0 if it is not known to be the same in both. */
static size_t construct_len(const char *s, bool *in_class)
{
    size_t n = 1;

    if (*s == '\\')
        return escape_len(s);
    if (*in_class) {
        *in_class = *s != ']';
        return *s == '[' || strncmp(s, "&&", 2) == 0 ? 0 : 1;
    }
    if (*s == '[') {
        *in_class = true;
        n += s[1] == '^';
        return s[n] == ']' ? 0 : n;
    }
    if (*s == '(')
        return group_len(s);
    if (*s == '{')
        return repeat_len(s);
    return *s == '^' || *s == '$' ? 0 : 1;
}

static int refuse_at(const char *regex, const char *at, struct erne_error *err)
{
    size_t n = *at == '\\' || *at == '&' ? 2 : *at == '(' ? 3 : 1;

    if (strncmp(at, "\\p{", 3) == 0 || strncmp(at, "\\P{", 3) == 0)
        n = strcspn(at, "}") + 1;
    return erne_fail(err, ERNE_EUNSUPPORTED,
                     "pre-tokeniser pattern: \"%.*s\" at byte %zu is not supported",
                     (int)(n < 32 ? n : 32), at, (size_t)(at - regex));
}

/* The library cuts where nothing matches as well; tok_bpe.c does not. A pattern that does
 * not compile is refused when the vocabulary is written. */
static int check_not_empty(const char *pattern, struct erne_error *err)
{
    int code;
    PCRE2_SIZE at;
    uint32_t empty = 0;
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                         PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);

    if (!compiled)
        return code == PCRE2_ERROR_HEAP_FAILED
                   ? erne_fail(err, ERNE_ENOMEM, "vocabulary: out of memory")
                   : 0;
    pcre2_pattern_info(compiled, PCRE2_INFO_MATCHEMPTY, &empty);
    pcre2_code_free(compiled);
    return empty ? erne_fail(err, ERNE_EUNSUPPORTED,
                             "pre-tokeniser pattern \"%s\" can match nothing: "
                             "not supported",
                             pattern)
                 : 0;
}

static int translate(char *out, const char *regex, struct erne_error *err)
{
    bool in_class = false;

    for (const char *s = regex; *s != '\0';) {
        size_t n = construct_len(s, &in_class), n_word;
        const char *word = s;

        if (n == 0)
            return refuse_at(regex, s, err);
        n_word = n;
        /* In PCRE2 \s has U+180E, which is no white space since Unicode 6.3. */
        if (*s == '\\' && (s[1] == 's' || s[1] == 'S')) {
            word = s[1] == 's' ? "\\p{White_Space}" : "\\P{White_Space}";
            n_word = strlen(word);
        }
        memcpy(out, word, n_word);
        out += n_word;
        s += n;
    }
    *out = '\0';
    return 0;
}

int vocab_add_pattern(struct erne_vocab *vocab, const char *regex, struct erne_error *err)
{
    enum { LONGEST = 15 };       /* strlen("\\p{White_Space}") */
    char *pattern;
    int status;

    if (vocab->n_patterns == ERNE_VOCAB_PATTERNS_MAX)
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "vocabulary: more than %d pre-tokeniser patterns",
                         ERNE_VOCAB_PATTERNS_MAX);
    /* Two letters become LONGEST at most; a last single letter fits as well. */
    pattern = malloc((strlen(regex) / 2 + 1) * LONGEST + 1);
    if (!pattern)
        return erne_fail(err, ERNE_ENOMEM, "vocabulary: out of memory");
    status = translate(pattern, regex, err);
    if (status == 0)
        status = check_not_empty(pattern, err);
    if (status < 0) {
        free(pattern);
        return status;
    }
    vocab->patterns[vocab->n_patterns++] = pattern;
    return 0;
}
