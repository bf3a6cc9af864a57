#!/usr/bin/env python3
"""What rounding costs, beside llama.cpp: one table for docs/MODELS.md.

usage: quality_table.py --erne build/release/erne --gguf MODEL.gguf [--calibrate TEXT]
           [--text FILE] [--chunks 23] [-t THREADS] [--work FOLDER]
           [--llama-perplexity PROGRAM]

The original is the checkpoint widened to f32, and once more with its residual stream
rotated (rotate_residual.py), which takes away the four-bit grid that its weights are on.
Both programs read the text with the original first, then with each rounded model, and say
how far the next token's distribution moved: every row is one program against itself.

Bits a weight are counted alike: the bytes of all tensors of the file, embedding, norms
and padding included, over the number of weights of the original.

The calibration is guided by a text that the model writes itself, unless one is given.

Needs numpy and gguf; llama-perplexity, with llama-quantize beside it, as for
compare_llamacpp.py. With --work, files that are there already are used again.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import gguf

from compare_llamacpp import (KLD, PPL_MODEL, ROOT, SAME_TOP, find_llama, number,
                              run)

LLAMA_TYPES = ["Q4_0", "Q4_K_M", "Q2_K"]
BUDGETS = {"original": ["4.0", "5.0", "5.7"], "rotated": ["4.0", "5.0", "5.9"]}
# Beginnings of what the model is to write, until it is enough: its own words are what its
# layers meet, and need no collection of texts.
BEGINNINGS = [
    "It was a cold evening, and the old house", "The history of the city begins",
    "In this paper we show that", "def main():", "She looked at him and said,",
    "The Battle of", "Question: What is the capital of", "Dear Sir, I write to you",
    "The cell membrane is", "Once upon a time there was",
    "Today the government announced",
    "Chapter 1. In which", "To install the program, first", "The economy of",
    "My mother always told me that", "He was born in 1872 in",
    "\"I do not believe you,\" cried", "The theory of relativity",
    "Ingredients: 2 cups of", "The film tells the story of",
    "Let x be a real number. Then", "It is a truth that",
    "The weather in the mountains", "After the war, many people"]
ENOUGH = 30000  # bytes
ROTATE = pathlib.Path(__file__).resolve().parent / "rotate_residual.py"


def widened(args, model):
    """The original of a model as a GGUF file, and its number of weights."""
    path = args.work / f"{model}.gguf"
    if not path.exists():
        run([sys.executable, ROTATE, args.gguf, path,
             *(["--widen-only"] if model == "original" else [])])
    return path, sum(t.n_elements for t in gguf.GGUFReader(path).tensors)


def text_args(args):
    return ["-f", args.text, "-c", args.ctx, "--chunks", args.chunks, "-t", args.threads]


def llama_base(args, model):
    path = args.work / f"{model}.llama-logits"
    if not path.exists():
        run([args.llama_perplexity, "-m", args.work / f"{model}.gguf", *text_args(args),
             "--save-all-logits", path])
    return path


def llama_kld(args, model, base):
    """What llama-perplexity says of a GGUF file."""
    return run([args.llama_perplexity, "-m", model, "-c", args.ctx, "--chunks",
                args.chunks, "-t", args.threads, "--kl-divergence",
                "--kl-divergence-base", base])


def llama_rows(args, model, n_weights):
    base = llama_base(args, model)
    for kind in LLAMA_TYPES:
        path = args.work / f"{model}-{kind}.gguf"
        if not path.exists():
            run([args.llama_perplexity.with_name("llama-quantize"),
                 args.work / f"{model}.gguf", path, kind, args.threads])
        size = sum(int(t.n_bytes) for t in gguf.GGUFReader(path).tensors)
        yield f"llama.cpp {kind}", 8 * size / n_weights, llama_kld(args, path, base)


def own_text(args):
    """A text that the model wrote."""
    path, model = args.work / "own.txt", args.work / "source.erne"
    if path.exists():
        return path
    run([args.erne, "convert", args.gguf, "-o", model, "--force"])
    text = ""
    for seed, beginning in enumerate(BEGINNINGS, 1):
        if len(text) < ENOUGH:
            text += subprocess.run(
                [args.erne, "run", model, "--raw", "-p", beginning, "-n", "640", "-c",
                 "1024", "-s", str(seed), "--temp", "1", "--top-k", "0", "--top-p", "1",
                 "--min-p", "0.02", "--repeat-last-n", "256", "--frequency-penalty",
                 "0.3", "-t", str(args.threads)], check=True, text=True,
                errors="replace", stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL).stdout + "\n"
    path.write_text(text, encoding="utf-8")
    model.unlink()
    return path


def erne_base(args, model):
    path = args.work / f"{model}.erne-logits"
    exact = args.work / f"{model}.erne"
    if not path.exists():
        run([args.erne, "convert", args.work / f"{model}.gguf", "-o", exact, "--scheme",
             "f32", "-t", args.threads, "--force"])
        run([args.erne, "eval", "perplexity", exact, *text_args(args), "--save-base",
             path])
        exact.unlink()
    return path


def erne_rows(args, model, n_weights):
    base = erne_base(args, model)
    calibrate = ("--calibrate", args.calibrate)
    eight = ("--tensor", "embed|lm_head=w8")
    ways = [("w4-g32a, plain", ("--scheme", "w4-g32a", *eight)),
            ("w4-g32a", ("--scheme", "w4-g32a", *eight, *calibrate)),
            ("w2-g32a", ("--scheme", "w2-g32a", *eight, *calibrate))]
    for bits in BUDGETS[model]:
        ways.append((f"--target-bpw {bits}", ("--target-bpw", bits, *calibrate)))
    for name, options in ways:
        path = args.work / f"{model}-{name.replace(' ', '')}.erne"
        if not path.exists():
            run([args.erne, "convert", args.work / f"{model}.gguf", "-o", path, "-t",
                 args.threads, *options])
        # By itself: the file's name alone would go to standard error, too.
        listing = json.loads(subprocess.run([args.erne, "inspect", "--json", path],
                                            check=True, capture_output=True).stdout)
        size = sum(t["bytes"] for t in listing["tensors"])
        yield f"erne {name}", 8 * size / n_weights, run(
            [args.erne, "eval", "kld", path, "--base", base, "-t", args.threads,
             "--chunks", args.chunks])


def row(model, name, bits, log):
    """A line of the table, made at once: a log that lacks something ends the program."""
    return (f"| {model} | {name} | {bits:.2f} | {number(PPL_MODEL, log):.3f} "
            f"| {number(KLD, log):.4f} | {number(SAME_TOP, log):.1f} % |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--erne", type=pathlib.Path, required=True)
    parser.add_argument("--gguf", type=pathlib.Path, required=True)
    parser.add_argument("--calibrate", type=pathlib.Path)
    parser.add_argument("--text", type=pathlib.Path,
                        default=ROOT / "tests" / "data" / "northanger.txt")
    parser.add_argument("--llama-perplexity", type=pathlib.Path)
    parser.add_argument("-c", "--ctx", type=int, default=512)
    parser.add_argument("--chunks", type=int, default=23)
    parser.add_argument("-t", "--threads", type=int, default=os.cpu_count())
    parser.add_argument("--work", type=pathlib.Path)
    args = parser.parse_args()
    args.llama_perplexity = args.llama_perplexity or find_llama()
    with tempfile.TemporaryDirectory() as temporary:
        args.work = args.work or pathlib.Path(temporary)
        args.calibrate = args.calibrate or own_text(args)
        table = []
        for model in BUDGETS:
            path, n_weights = widened(args, model)
            if model == "rotated":
                log = llama_kld(args, path, llama_base(args, "original"))
                table.append(row("rotated", "f32, against the original", 32.0, log))
            for rows in (llama_rows, erne_rows):
                for name, bits, log in rows(args, model, n_weights):
                    table.append(row(model, name, bits, log))
    print("\n| model | rounded by | bits a weight | perplexity | KL divergence "
          "| same top token |\n|---|---|---|---|---|---|")
    print("\n".join(table))


if __name__ == "__main__":
    main()
