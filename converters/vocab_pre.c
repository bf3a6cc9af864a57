/* vocab_pre.c -- how byte-level BPE cuts text into words: the pre-tokenisers that GGUF
 * files name (llama.cpp, src/llama-vocab.cpp). */
#include <string.h>

#include "converters/vocab.h"

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define WORDS "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define REST " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const struct pre_tokenizer {
    const char *names;           /* a space before and behind each */
    const char *patterns[ERNE_VOCAB_PATTERNS_MAX];
    bool ignore_merges, add_bos;
} pre_tokenizers[] = {
    { .names = " default ",
      .patterns = { "[\\p{P}$+<=>^~|]+", VOCAB_GPT2_PATTERN, "\\p{N}+",
                    "[0-9][0-9][0-9]" } },
    { .names = " gpt-2 phi-2 mpt olmo jais exaone4 gigachat modern-bert trillion ",
      .patterns = { VOCAB_GPT2_PATTERN } },
    { .names = " smollm starcoder refact command-r codeshell exaone minerva-7b ",
      .patterns = { "\\p{N}", VOCAB_GPT2_PATTERN } },
    { .names = " llama-bpe llama3 llama-v3 falcon3 pixtral ",
      .patterns = { CONTRACTIONS "|" WORDS "|\\p{N}{1,3}|" REST },
      .ignore_merges = true,
      .add_bos = true },
    { .names = " qwen2 deepseek-r1-qwen stablelm2 megrez hunyuan grok-2 ",
      .patterns = { CONTRACTIONS "|" WORDS "|\\p{N}|" REST } },
    { .names = " glm4 chatglm-bpe ",
      .patterns = { CONTRACTIONS "|" WORDS "|\\p{N}{1,3}|" REST } },
};

static bool is_named(const struct pre_tokenizer *pre, const char *name)
{
    size_t n = strlen(name);
    const char *at = n > 0 ? strstr(pre->names, name) : NULL;

    for (; at; at = strstr(at + 1, name))
        if (at[-1] == ' ' && at[n] == ' ')
            return true;
    return false;
}

int vocab_set_pre_tokenizer(struct erne_vocab *vocab, const char *name,
                            struct erne_error *err)
{
    for (size_t i = 0; i < ERNE_ARRAY_LEN(pre_tokenizers); i++) {
        const struct pre_tokenizer *pre = &pre_tokenizers[i];

        if (strchr(name, ' ') || !is_named(pre, name))
            continue;
        vocab->ignore_merges = pre->ignore_merges;
        vocab->add_bos = pre->add_bos;
        for (size_t k = 0; k < ERNE_VOCAB_PATTERNS_MAX && pre->patterns[k]; k++)
            ERNE_TRY(vocab_add_pattern(vocab, pre->patterns[k], err));
        return 0;
    }
    return erne_fail(err, ERNE_EUNSUPPORTED, "pre-tokeniser \"%s\" is not supported",
                     name);
}
