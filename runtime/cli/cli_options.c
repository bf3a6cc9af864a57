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
    TIMED = COMPUTE | CLI_BENCH | CLI_TUNE,
    DEVICE = COMPUTE | CLI_VERIFY,
    CACHED = DEVICE | CLI_BENCH | CLI_TUNE,
    MODEL = COMPUTE | CLI_INSPECT | CLI_VERIFY | CLI_TUNE
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
      "tokens of context (default 0: the device's, else at most 4096; eval: 512)" },
    { "-b, --batch-size", "N", CLI_INT, AT(session.n_batch), 1, ERNE_BATCH_MAX, COMPUTE,
      "tokens a step takes at most (default 512; eval and logits: 128)" },
    { "-ctk, --kv-type", "TYPE", CLI_TEXT, AT(session.kv_type), 0, 0, COMPUTE,
      "f16, f32, q8 or q4: how keys and values are kept (default f16; logits: f32)" },
    { "--draft-max", "N", CLI_INT, AT(session.n_draft), 0, 1, TALK,
      "tokens to guess ahead: 0 or 1 (default: what the model can); same answers" },
    { "-t, --threads", "N", CLI_INT, AT(engine.n_threads), 1, ERNE_THREADS_MAX,
      COMPUTE | CLI_TUNE, "threads to compute with (default: one a core)" },
    { "--ram", "SIZE", CLI_SIZE, AT(engine.ram_bytes), 1, 0x1p63, TIMED,
      "memory to take at most, as 8G: experts that do not fit are read from the file as "
      "they are needed (default: the device's, else all stay in memory)" },
    { "--backend", "NAME", CLI_TEXT, AT(engine.backend), 0, 0, COMPUTE,
      "what computes: auto, cpu, vulkan, opencl, reference (see erne devices), or one "
      "for each phase, as vision=vulkan,prefill=vulkan,decode=cpu" },
    { "-dev, --device", "NAME:N", CLI_TEXT, AT(engine.device), 0, 0, DEVICE,
      "the device to compute on, as erne devices names it: vulkan:1" },
    { "--no-fallback", NULL, CLI_FLAG, AT(no_fallback), 0, 0, COMPUTE,
      "when a device is lost, end with exit code 6; otherwise the CPU goes on" },
    { "--time-limit", "MS", CLI_INT, AT(engine.time_limit_ms), 0, INT_MAX, CACHED,
      "milliseconds after which a device that does not answer is lost" },
    { "--cache-dir", "DIR", CLI_TEXT, AT(engine.cache_dir), 0, 0, CACHED,
      "where compiled kernels and what is known of devices are kept (default: "
      "~/.cache/erne)" },
    { "--tune", "auto|off", CLI_WORD, AT(tune), 0, 0, TALK | CLI_BENCH,
      "off: the CPU computes unless --backend or --device say otherwise; auto (default): "
      "what erne tune found fastest, and run and chat measure a new model once where "
      "there is a GPU" },
    { "--rounds", "N", CLI_INT, AT(n_rounds), 1, 1000, CLI_VERIFY,
      "with --device: rounds of fresh random data for each check (default 3)" },
    { "--isa", "LEVEL", CLI_TEXT, AT(engine.isa), 0, 0, TIMED,
      "highest CPU instruction set to use: auto, c; avx2, avxvnni, avx512; neon, i8mm" },

    { "--backend, -dev, --device", "LIST", CLI_LIST, AT(devices), 0, 0, CLI_TUNE,
      "what to look at beside the CPU: backends or devices, as vulkan,opencl:1 (default: "
      "all there is)" },
    { "-r, --repetitions", "N", CLI_INT, AT(bench.n_repeats), 1, 99, CLI_TUNE,
      "samples of each phase on each device, taken in turns (default 5)" },
    { "--seconds", "S", CLI_FLOAT, AT(seconds), 0, 1e6, CLI_TUNE,
      "begin nothing new after that long (default 60)" },
    { "--only-phases", NULL, CLI_FLAG, AT(only_phases), 0, 0, CLI_TUNE,
      "do not measure operators" },
    { "--force, --overwrite", NULL, CLI_FLAG, AT(replace), 0, 0, CLI_TUNE,
      "keep the placement even if the one that is kept is of more devices, of more "
      "samples, or of a machine that was less busy" },

    { "-m, --model", "LIST", CLI_LIST, AT(bench.models), 0, 0, CLI_BENCH,
      "model files. Lists are separated by commas (which names of files may have, too), "
      "or the option is repeated; numbers may be ranges A-B, A-B+STEP, A-B*FACTOR. Lists "
      "make a cross product" },
    { "-p, --n-prompt", "LIST", CLI_LIST, AT(bench.n_prompt), 0, 0, CLI_BENCH,
      "evaluate prompts of so many tokens (default 512; 0: none)" },
    { "-n, --n-gen", "LIST", CLI_LIST, AT(bench.n_gen), 0, 0, CLI_BENCH,
      "evaluate so many tokens one by one (default 128; 0: none)" },
    { "-pg, --pg", "P,N", CLI_LIST, AT(bench.pairs), 0, 0, CLI_BENCH,
      "a prompt of P tokens and N more one by one; may be given several times" },
    { "-d, --n-depth", "LIST", CLI_LIST, AT(bench.n_depth), 0, 0, CLI_BENCH,
      "behind so many tokens of context (default 0)" },
    { "--e2e", "P,N", CLI_LIST, AT(bench.whole), 0, 0, CLI_BENCH,
      "a whole request: about P tokens of text are tokenised, evaluated, N sampled" },
    { "--image-size", "WxH", CLI_LIST, AT(bench.images), 0, 0, CLI_BENCH,
      "the vision tower on pictures of these sizes; also in front of --e2e" },
    { "-f, --file", "FILE", CLI_TEXT, AT(prompt_file), 0, 0, CLI_BENCH,
      "take the tokens from this text (default: one that is built in)" },
    { "-b, --batch-size", "LIST", CLI_LIST, AT(bench.n_batch), 0, 0, CLI_BENCH,
      "tokens given to one call at most (default 2048)" },
    { "-ub, --ubatch-size", "LIST", CLI_LIST, AT(bench.n_ubatch), 0, 0, CLI_BENCH,
      "tokens a step takes at most (default 512)" },
    { "-ctk, --cache-type-k", "LIST", CLI_LIST, AT(bench.type_k), 0, 0, CLI_BENCH,
      "f16, f32, q8 or q4: how keys are kept (default f16)" },
    { "-ctv, --cache-type-v", "LIST", CLI_LIST, AT(bench.type_v), 0, 0, CLI_BENCH,
      "how values are kept (default: as keys)" },
    { "-t, --threads", "LIST", CLI_LIST, AT(bench.n_threads), 0, 0, CLI_BENCH,
      "threads to compute with (default: one a core)" },
    { "--backend", "LIST", CLI_LIST, AT(bench.backends), 0, 0, CLI_BENCH,
      "what computes: auto, cpu, vulkan, opencl, reference; a placement such as "
      "prefill=vulkan,decode=cpu is one value" },
    { "-dev, --device", "LIST", CLI_LIST, AT(bench.devices), 0, 0, CLI_BENCH,
      "devices that compute, as vulkan:1 (see erne devices)" },
    { "-r, --repetitions", "N", CLI_INT, AT(bench.n_repeats), 1, 1000, CLI_BENCH,
      "samples of each test, taken in turns (default 5)" },
    { "--delay", "SECONDS", CLI_INT, AT(bench.delay), 0, 3600, CLI_BENCH,
      "wait before each sample (default 0)" },
    { "--no-warmup", NULL, CLI_FLAG, AT(bench.no_warmup), 0, 0, CLI_BENCH,
      "do not run each test once before, nor once more to see what memory it takes" },
    { "--no-check", NULL, CLI_FLAG, AT(bench.no_check), 0, 0, CLI_BENCH,
      "give figures without comparing the operators with the reference first" },
    { "-o, --output", "md|csv|json|jsonl|sql", CLI_WORD, AT(bench.format), 0, 0,
      CLI_BENCH, "how to print the results (default md)" },
    { "-oe, --output-err", "md|csv|json|jsonl|sql|none", CLI_WORD, AT(bench.err_format),
      0, 0, CLI_BENCH, "the same on stderr (default none)" },
    { "--suite", "FILE", CLI_TEXT, AT(bench.suite), 0, 0, CLI_BENCH,
      "options from a YAML file (see benchmarks/suites); those given here come first" },
    { "--html", "FILE", CLI_TEXT, AT(bench.html), 0, 0, CLI_BENCH,
      "also write a page with charts; times the operators, too" },
    { "--results", "DIR", CLI_TEXT, AT(bench.results), 0, 0, CLI_BENCH,
      "also append the results to this machine's file of csv in DIR" },
    { "--compare", NULL, CLI_FLAG, AT(bench.compare), 0, 0, CLI_BENCH,
      "instead: what changed between two files of results (json, jsonl, csv), beyond "
      "noise; no other option goes with it, the exit code is 0 whatever changed" },
    { "--progress", NULL, CLI_FLAG, AT(bench.progress), 0, 0, CLI_BENCH,
      "say on stderr what runs" },

    { "--scheme", "S", CLI_TEXT, AT(convert.scheme), 0, 0, CLI_CONVERT,
      "how to store weights: source, f32, bf16, f16, w8, w4, w4-g64a, w2 ...; vision "
      "towers get 8 bits where it has fewer" },
    { "--device", "NAME|FILE.yaml", CLI_TEXT, AT(convert.device), 0, 0, CLI_CONVERT,
      "take scheme, context and more from a device's profile, and say whether the model "
      "fits (erne devices --profiles)" },
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
    { "--calibrate", "TEXT", CLI_TEXT, AT(convert.calibrate), 0, 0, CLI_CONVERT,
      "round few bits so that what the model makes of this text file changes least" },
    { "--golden", "auto|on|off", CLI_TEXT, AT(convert.golden), 0, 0, CLI_CONVERT,
      "keep logits that erne verify --device compares with (default auto: when the "
      "weights fit into --max-ram)" },
    { "--target-bpw", "BITS[,vision=BITS]", CLI_TEXT, AT(convert.target_bpw), 0, 0,
      CLI_CONVERT,
      "choose each matrix's scheme by what it costs the model, so that weights (a vision "
      "tower's apart) have this many bits on average; needs --calibrate" },
    { "--with-mtp", NULL, CLI_FLAG, AT(convert.with_mtp), 0, 0, CLI_CONVERT,
      "keep the block for multi-token prediction, which is left out otherwise" },
    { "--force, --overwrite", NULL, CLI_FLAG, AT(convert.overwrite), 0, 0, CLI_CONVERT,
      "replace DST if it exists" },

    { "--profiles", NULL, CLI_FLAG, AT(profiles), 0, 0, CLI_DEVICES,
      "list the device profiles that erne convert --device knows by name" },
    { "--probe", NULL, CLI_FLAG, AT(probe), 0, 0, CLI_DEVICES,
      "print a profile of this machine, to be kept as a file and edited" },
    { "--json", NULL, CLI_FLAG, AT(json), 0, 0, CLI_INSPECT | CLI_TUNE,
      "one JSON object instead of text" },
    { "--tensors", NULL, CLI_FLAG, AT(tensors), 0, 0, CLI_INSPECT,
      "list every tensor, with its scheme, its place and what rounding cost it; --json "
      "has that, too" },
    { "-v, --verbose", NULL, CLI_FLAG, AT(verbose), 0, 0, TIMED | CLI_CONVERT,
      "say more, such as which kernel took which operator" },
    { "-h, --help", NULL, CLI_FLAG, AT(help), 0, 0, (unsigned)ANY, "print this" },
};
/* clang-format on */

const size_t cli_n_options = sizeof(cli_options) / sizeof(cli_options[0]);
