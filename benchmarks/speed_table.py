#!/usr/bin/env python3
"""Speed of models in erne and llama.cpp beside what the machine can do, in one table.

usage: speed_table.py --erne build/release/erne --llama-bench PROGRAM
           --pair NAME=MODEL.gguf,MODEL.erne [--pair ..] [--ik-llama-bench PROGRAM]
           [-p 512] [-n 64] [-d 0] [-ctk f16,q8,q4] [-t 2] [--rounds 3]

Each pair is one model in two files of about the same size, such as the shapes that
make_shape.py makes. All programs and benchmarks/limits.c run in turns, one sample of each
test a round, so that what the machine does meanwhile falls on all of them alike. Cells
are medians with the least and the most; the ratio is that of the medians. Percentages
say how near to the machine's limits erne is: decode to the bytes a second that it reads
when it does nothing else, prefill to the int8 operations a second on registers alone.

The bytes and operations of a token are counted from the file: all matrices, of a mixture
those of the experts that a token uses; the embedding is read for the logits of a decoded
token only. Keys and values are counted at depth, as they are kept. Peers keep theirs in
f16; -ctk gives erne's a column of its own for each type. Needs a C compiler for limits.c.
Standard library only.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import tempfile

from compare_speed import output

ROOT = pathlib.Path(__file__).resolve().parent
KV_BYTES = {"f16": lambda d: 2 * d, "f32": lambda d: 4 * d, "q8": lambda d: d + 2,
            "q4": lambda d: d / 2 + 2}


def forget(file):
    """Each program reads its file in its own way: what others have read of it may lie in
    pages that are slower to find. POSIX; of no effect on tmpfs."""
    with open(file, "rb") as f:
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Limits:
    """What the machine can do, sampled as the programs are."""

    def __init__(self, folder, threads):
        self.program = pathlib.Path(folder) / "limits"
        self.threads = threads
        self.read, self.int8 = [], []
        output(["cc", "-O3", "-march=native", "-fopenmp", ROOT / "limits.c",
                ROOT / "limits_avx512.c", "-o", self.program])

    def sample(self):
        text = output([self.program, self.threads, 512, 0.3])
        for name, samples in ("read", self.read), ("int8", self.int8):
            found = re.search(rf"^{name} ([\d.]+)", text, re.M)
            if found:
                samples.append(float(found.group(1)))


class Work:
    """What a token costs, by the model file: bytes when it is decoded, operations in a
    prompt, of whose last layer all but one token only have keys and values made."""

    def __init__(self, erne, file):
        said = json.loads(output([erne, "inspect", "--json", file]))
        model, moe = said["manifest"]["model"], said["manifest"].get("moe")
        self.ops = self.read = 0.0
        last = f"layers.{model['layers'] - 1}."
        for t in said["tensors"]:
            part = 1.0
            if moe and ".experts." in t["name"]:
                part = moe["experts_used"] / moe["experts"]
            logits = t["name"] in ("embed", "lm_head")
            if t["name"] != "embed" or model["tied_embeddings"]:
                self.read += part * t["bytes"]
            idle = t["name"].startswith(last) and t["name"] != last + "qkv"
            if len(t["shape"]) == 2 and not logits and not idle:
                self.ops += 2 * part * t["shape"][0] * t["shape"][1]
        self.rows = 2 * model["layers"] * model["kv_heads"]
        self.dim = model["head_dim"]

    def decode_bytes(self, depth, kv):
        return self.read + depth * self.rows * KV_BYTES[kv](self.dim)


def sample(program, file, args, tests, extra):
    """One round: (test, depth) -> tokens a second."""
    prompt, gen, depth = tests
    words = [*program, "-m", file, "-p", prompt, "-n", gen, "-d", depth, "-r", 1,
             "-t", args.threads, "-o", "json", *extra]
    return {("pp" if r["n_prompt"] else "tg", r["n_depth"]): r["avg_ts"]
            for r in json.loads(output(words))}


def cell(samples):
    return f"{statistics.median(samples):.0f} ({min(samples):.0f} .. {max(samples):.0f})"


def of_limit(key, speed, work, kv, limits):
    """How much erne does a second, and the part of the limit that it is."""
    if key[0] == "tg":
        rate, samples, unit = work.decode_bytes(key[1], kv), limits.read, "GB/s"
    else:
        rate, samples, unit = work.ops, limits.int8, "GOP/s"
    rate *= speed * 1e-9
    part = f", {100 * rate / statistics.median(samples):.0f} %" if samples else ""
    return f"{rate:.0f} {unit}{part}"


def print_pair(name, results, work, limits, args):
    peers = [p for p in results if not p.startswith("erne")]
    for program, tests in results.items():
        if program in peers:
            continue
        kv = program.split()[1]
        for key, samples in tests.items():
            test = f"{key[0]}{args.prompt if key[0] == 'pp' else args.gen}" + \
                (f" @ d{key[1]}" if key[1] else "")
            speed = statistics.median(samples)
            cells = [name, test, kv, cell(samples)]
            for peer in peers:
                theirs = results[peer][key]
                cells += [cell(theirs), f"{speed / statistics.median(theirs):.2f}"]
            cells.append(of_limit(key, speed, work, kv, limits))
            print("| " + " | ".join(cells) + " |")


def measure(name, gguf, file, limits, args):
    """All rounds of a pair: program -> (test, depth) -> samples."""
    peers = {"llama.cpp": args.llama_bench, "ik_llama.cpp": args.ik_llama_bench}
    results = {p: {} for p, path in peers.items() if path}
    results.update({f"erne {kv}": {} for kv in args.kv.split(",")})
    forget(gguf)
    forget(file)
    for _ in range(args.rounds):
        limits.sample()
        for depth in args.depth.split(","):
            prompt = args.prompt if depth == "0" else 0
            tests = prompt, args.gen, depth
            for program, all_of in results.items():
                if program.startswith("erne"):
                    got = sample([args.erne, "bench"], file, args, tests,
                                 ["--no-check", "-ctk", program.split()[1]])
                else:
                    got = sample([peers[program]], gguf, args, tests, [])
                for key, speed in got.items():
                    all_of.setdefault(key, []).append(speed)
    print_pair(name, results, Work(args.erne, file), limits, args)


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--erne", type=pathlib.Path, required=True)
    parser.add_argument("--llama-bench", type=pathlib.Path, required=True)
    parser.add_argument("--ik-llama-bench", type=pathlib.Path)
    parser.add_argument("--pair", action="append", required=True)
    parser.add_argument("-p", dest="prompt", default="512")
    parser.add_argument("-n", dest="gen", default="64")
    parser.add_argument("-d", dest="depth", default="0")
    parser.add_argument("-ctk", dest="kv", default="f16")
    parser.add_argument("-t", dest="threads", default="2")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def main():
    args = parse()
    peers = ["llama.cpp"] + (["ik_llama.cpp"] if args.ik_llama_bench else [])
    heads = ["model", "test", "KV", "erne t/s"]
    for peer in peers:
        heads += [f"{peer} t/s", "ratio"]
    heads.append("erne, of the limit")
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    with tempfile.TemporaryDirectory() as folder:
        limits = Limits(folder, args.threads)
        for pair in args.pair:
            name, files = pair.split("=", 1)
            measure(name, *files.split(",", 1), limits, args)
    print(f"\nlimits: read {cell(limits.read)} GB/s, int8 "
          f"{cell(limits.int8) if limits.int8 else 'unknown'} GOP/s")


if __name__ == "__main__":
    main()
