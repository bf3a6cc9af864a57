/* cli_options.c -- every option of every subcommand: names, range, owner and help.
 * Spellings are llama.cpp's where it has the same thing. */
#include "runtime/cli/cli_options.h"

#include <float.h>
#include <limits.h>
#include <stddef.h>

#define AT(member) offsetof(struct cli_args, member)

enum {
    ANY = ~0,
    TALK = CLI_RUN | CLI_CHAT,
    COMPUTE = TALK | CLI_EVAL | CLI_LOGITS,
    TIMED = COMPUTE | CLI_BENCH,
    MODEL = COMPUTE | CLI_INSPECT | CLI_VERIFY
};

static const double most = FLT_MAX;

/* clang-format off: one row an option, help last */
const struct cli_option cli_options[] = {
    { "-m, --model", "FILE", CLI_TEXT, AT(model), 0, 0, MODEL,
      "the model file; may also be given without -m" },

    { "-p, --prompt", "TEXT", CLI_TEXT, AT(prompt), 0, 0, CLI_RUN | CLI_LOGITS,
      "the prompt; - reads standard input" },
    { "-f, --file", "FILE", CLI_TEXT, AT(prompt_file), 0, 0, CLI_RUN | CLI_EVAL,
      "take the text from a file; - reads standard input" },
    { "--image", "FILE", CLI_MEDIA, AT(media), 0, 0, TALK | CLI_LOGITS,
      "a picture in front of the (first) prompt: JPEG, PNG or WebP; may be given several "
      "times" },
    { "--video", "FILE", CLI_MEDIA, AT(media), 0, 0, TALK | CLI_LOGITS,
      "a video in front of the (first) prompt, or a folder of its frames; likewise" },
    { "--vision-rule", "RULE", CLI_TEXT, AT(session.vision_rule), 0, 0, COMPUTE,
      "tokens for vision experts: from-id (default), media or placeholder" },
    { "-sys, --system-prompt", "TEXT", CLI_TEXT, AT(system), 0, 0, TALK,
      "what the model is told before the conversation" },
    { "--raw, --no-chat", NULL, CLI_FLAG, AT(raw), 0, 0, CLI_RUN,
      "continue the prompt as plain text, even if the model can chat" },
    { "--think", "off|on", CLI_WORD, AT(thinking), 0, 0, TALK,
      "whether the model reasons before it answers (default: what it was made for)" },
    { "--reasoning", "show|hide", CLI_WORD, AT(reasoning), 0, 0, TALK,
      "print the reasoning in front of the answer, or not (default show)" },
    { "-n, --n-predict", "N", CLI_INT, AT(n_predict), -1, INT_MAX, TALK,
      "tokens to generate at most (default -1: until the model stops)" },
    { "-r, --stop, --reverse-prompt", "TEXT", CLI_LIST, AT(stops), 0, 0, TALK,
      "stop before this text; may be given several times" },

    { "--temp", "T", CLI_FLOAT, AT(session.sampling.temperature), 0, most, TALK,
      "temperature of sampling (default 0.8); 0 takes the likeliest token" },
    { "--top-k", "N", CLI_INT, AT(session.sampling.top_k), 0, INT_MAX, TALK,
      "sample from the N likeliest tokens (default 40); 0: off" },
    { "--top-p", "P", CLI_FLOAT, AT(session.sampling.top_p), 0, 1, TALK,
      "sample from the likeliest tokens that make up P (default 0.95); 1: off" },
    { "--min-p", "P", CLI_FLOAT, AT(session.sampling.min_p), 0, 1, TALK,
      "drop tokens less likely than P times the best (default 0.05); 0: off" },
    { "--repeat-penalty", "X", CLI_FLOAT, AT(session.sampling.repeat_penalty), FLT_MIN,
      most, TALK, "make tokens of the window less likely (default 1: off)" },
    { "--presence-penalty", "X", CLI_FLOAT, AT(session.sampling.presence_penalty), -most,
      most, TALK, "subtract X from the logits of tokens of the window (default 0)" },
    { "--frequency-penalty", "X", CLI_FLOAT, AT(session.sampling.frequency_penalty),
      -most, most, TALK, "subtract X an occurrence in the window (default 0)" },
    { "--repeat-last-n", "N", CLI_INT, AT(session.sampling.penalty_last_n), -1, INT_MAX,
      TALK, "tokens in the window of the penalties (default 64); -1: the whole context" },
    { "-s, --seed", "N", CLI_INT64, AT(seed), -1, 0x1p63, TALK,
      "seed of sampling (default -1: another one every time)" },

    { "--tokens-file", "FILE", CLI_TEXT, AT(tokens_file), 0, 0, CLI_LOGITS,
      "token ids, separated by white space; - reads standard input" },
    { "--chat", NULL, CLI_FLAG, AT(chat), 0, 0, CLI_LOGITS,
      "lay the prompt out as a chat message" },
    { "-o, --output", "FILE", CLI_TEXT, AT(output), 0, 0, CLI_LOGITS | CLI_CONVERT,
      "the file to write; it appears when it is complete" },

    { "--chunks", "N", CLI_INT, AT(n_chunks), -1, INT_MAX, CLI_EVAL,
      "chunks of the text to use (default -1: all)" },
    { "--save-base", "FILE", CLI_TEXT, AT(save_base), 0, 0, CLI_EVAL,
      "keep the logits, to compare other models with (4 bytes x vocabulary a token)" },
    { "--base", "FILE", CLI_TEXT, AT(base), 0, 0, CLI_EVAL,
      "kld: compare with these logits, on their text (-f checks that it is the same)" },

    { "-c, --ctx-size", "N", CLI_INT, AT(session.n_ctx), 0, INT_MAX, TALK | CLI_EVAL,
      "tokens of context (default 0: what the model has, at most 4096; eval: 512)" },
    { "-b, --batch-size", "N", CLI_INT, AT(session.n_batch), 1, 1 << 20, COMPUTE,
      "tokens a step takes at most (default 512; eval and logits: 128)" },
    { "-ctk, --kv-type", "TYPE", CLI_TEXT, AT(session.kv_type), 0, 0, COMPUTE,
      "f16 or f32: how keys and values are kept (default f16; logits: f32)" },
    { "--draft-max", "N", CLI_INT, AT(session.n_draft), 0, 1, TALK,
      "tokens to guess ahead: 0 or 1 (default: what the model can); same answers" },
    { "-t, --threads", "N", CLI_INT, AT(engine.n_threads), 1, 4096, COMPUTE,
      "threads to compute with (default: one a core)" },
    { "--backend", "NAME", CLI_TEXT, AT(engine.backend), 0, 0, COMPUTE,
      "what computes: auto, cpu, reference (see erne devices)" },
    { "--isa", "LEVEL", CLI_TEXT, AT(engine.isa), 0, 0, TIMED,
      "highest CPU instruction set to use: auto, c, avx2, avx512" },

    { "-m, --model", "LIST", CLI_LIST, AT(bench.models), 0, 0, CLI_BENCH,
      "model files. Lists are separated by commas, or the option is repeated; numbers "
      "may be ranges A-B, A-B+STEP, A-B*FACTOR. Lists make a cross product" },
    { "-p, --n-prompt", "LIST", CLI_LIST, AT(bench.n_prompt), 0, 0, CLI_BENCH,
      "evaluate prompts of so many tokens (default 512; 0: none)" },
    { "-n, --n-gen", "LIST", CLI_LIST, AT(bench.n_gen), 0, 0, CLI_BENCH,
      "evaluate so many tokens one by one (default 128; 0: none)" },
    { "-pg", "P,N", CLI_LIST, AT(bench.pairs), 0, 0, CLI_BENCH,
      "a prompt of P tokens and N more one by one; may be given several times" },
    { "-d, --n-depth", "LIST", CLI_LIST, AT(bench.n_depth), 0, 0, CLI_BENCH,
      "behind so many tokens of context (default 0)" },
    { "-f, --file", "FILE", CLI_TEXT, AT(prompt_file), 0, 0, CLI_BENCH,
      "take the tokens from this text (default: one that is built in)" },
    { "-b, --batch-size", "LIST", CLI_LIST, AT(bench.n_batch), 0, 0, CLI_BENCH,
      "tokens given to one call at most (default 2048)" },
    { "-ub, --ubatch-size", "LIST", CLI_LIST, AT(bench.n_ubatch), 0, 0, CLI_BENCH,
      "tokens a step takes at most (default 512)" },
    { "-ctk, --cache-type-k", "LIST", CLI_LIST, AT(bench.type_k), 0, 0, CLI_BENCH,
      "f16 or f32: how keys are kept (default f16)" },
    { "-ctv, --cache-type-v", "LIST", CLI_LIST, AT(bench.type_v), 0, 0, CLI_BENCH,
      "how values are kept (default: as keys)" },
    { "-t, --threads", "LIST", CLI_LIST, AT(bench.n_threads), 0, 0, CLI_BENCH,
      "threads to compute with (default: one a core)" },
    { "--backend", "LIST", CLI_LIST, AT(bench.backends), 0, 0, CLI_BENCH,
      "what computes: auto, cpu, reference (see erne devices)" },
    { "-r, --repetitions", "N", CLI_INT, AT(bench.n_repeats), 1, 1000, CLI_BENCH,
      "samples of each test, taken in turns (default 5)" },
    { "--delay", "SECONDS", CLI_INT, AT(bench.delay), 0, 3600, CLI_BENCH,
      "wait before each sample (default 0)" },
    { "--no-warmup", NULL, CLI_FLAG, AT(bench.no_warmup), 0, 0, CLI_BENCH,
      "do not run each test once before" },
    { "-o, --output", "md|csv|json|jsonl|sql", CLI_WORD, AT(bench.format), 0, 0,
      CLI_BENCH, "how to print the results (default md)" },
    { "-oe, --output-err", "md|csv|json|jsonl|sql|none", CLI_WORD, AT(bench.err_format),
      0, 0, CLI_BENCH, "the same on stderr (default none)" },
    { "--progress", NULL, CLI_FLAG, AT(bench.progress), 0, 0, CLI_BENCH,
      "say on stderr what runs" },

    { "--scheme", "S", CLI_TEXT, AT(convert.scheme), 0, 0, CLI_CONVERT,
      "how to store weights: source, f32, bf16, f16, w8, w4, w4-g64a, w2 ...; vision "
      "towers get 8 bits where it has fewer" },
    { "--tensor", "REGEX=S", CLI_LIST, AT(rules), 0, 0, CLI_CONVERT,
      "another scheme for the tensors whose names match; the first match counts" },
    { "--chat-template", "NAME", CLI_TEXT, AT(convert.chat_template), 0, 0, CLI_CONVERT,
      "lay out chats like this (ernie, ernie-vl, none ...), not the checkpoint's way" },
    { "-t, --threads", "N", CLI_INT, AT(convert.n_threads), 1, 1024, CLI_CONVERT,
      "threads to convert with (default: one a core)" },
    { "--max-ram", "SIZE", CLI_SIZE, AT(convert.max_ram), 1, 0x1p63, CLI_CONVERT,
      "memory to use at most, as 512M or 2G (default 1G)" },
    { "--dry-run", NULL, CLI_FLAG, AT(convert.dry_run), 0, 0, CLI_CONVERT,
      "print the plan and write nothing; config.json alone will do" },
    { "-mm, --mmproj", "FILE", CLI_TEXT, AT(convert.mmproj), 0, 0, CLI_CONVERT,
      "the vision tower of a GGUF model (default: mmproj*.gguf beside it)" },
    { "--lora", "DIR[:SCALE]", CLI_LIST, AT(loras), 0, 0, CLI_CONVERT,
      "merge an adapter of PEFT or PaddleFormers; may be given several times" },
    { "--with-mtp", NULL, CLI_FLAG, AT(convert.with_mtp), 0, 0, CLI_CONVERT,
      "keep the block for multi-token prediction, which is left out otherwise" },
    { "--force, --overwrite", NULL, CLI_FLAG, AT(convert.overwrite), 0, 0, CLI_CONVERT,
      "replace DST if it exists" },

    { "--json", NULL, CLI_FLAG, AT(json), 0, 0, CLI_INSPECT,
      "one JSON object instead of text" },
    { "-v, --verbose", NULL, CLI_FLAG, AT(verbose), 0, 0, TIMED | CLI_CONVERT,
      "say more, such as which kernel took which operator" },
    { "-h, --help", NULL, CLI_FLAG, AT(help), 0, 0, (unsigned)ANY, "print this" },
};
/* clang-format on */

const size_t cli_n_options = sizeof(cli_options) / sizeof(cli_options[0]);
