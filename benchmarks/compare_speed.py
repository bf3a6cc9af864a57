#!/usr/bin/env python3
"""Speed of the same GGUF file in erne and its peers, in one table.

usage: compare_speed.py --erne build/release/erne --gguf MODEL.gguf
           [--llama-bench PROGRAM] [--peer NAME=COMMAND]... [--scheme w4] [-p 512]
           [-n 128] [-d 0,4096] [-t THREADS] [--rounds 7] [--csv FILE]

A peer is a command that takes llama-bench's options and prints its JSON, such as
"ik_llama.cpp=venv/bin/python benchmarks/peer_ik_llama.py" (peer_openvino.py likewise).

All programs run in turns, a sample of each test a round, so that what the machine does
meanwhile falls on all of them alike. The table has medians, and the ratio to erne with
the interval of 95 % that the ranks give (as erne bench --compare). --csv appends the
medians to a file of results, benchmarks/results/MACHINE-peers.csv unless it is named.

What is counted is the same: the evaluation of n tokens, in calls of at most 2048 and
steps of at most 512 for a prompt, one by one for an answer; no loading, tokenising or
sampling. docs/BENCHMARKING.md says what differs. Standard library only.
"""
import argparse
import csv
import datetime
import itertools
import json
import math
import pathlib
import platform
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def output(words):
    """What a program prints; its end with an error is ours."""
    done = subprocess.run([str(w) for w in words], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{words[0]} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def name_of(record):
    """pp512, tg128 @ d4096: as both programs show it."""
    name = (f"pp{record['n_prompt']}" if record["n_prompt"] else "") + \
        ("+" if record["n_prompt"] and record["n_gen"] else "") + \
        (f"tg{record['n_gen']}" if record["n_gen"] else "")
    return name + (f" @ d{record['n_depth']}" if record["n_depth"] else "")


def sample(program, args, model):
    """One round of one program: test -> tokens a second."""
    words = [*program, "-m", model, "-p", args.prompt, "-n", args.gen, "-d", args.depth,
             "-r", "1", "-o", "json"]
    if args.threads:
        words += ["-t", args.threads]
    return {name_of(r): r["avg_ts"] for r in json.loads(output(words))}


def u_distribution(n, m):
    """P(U = u) of the rank test of Mann and Whitney, for samples of n and m."""
    counts = {(0, j): [1.0] for j in range(m + 1)}
    for i in range(1, n + 1):
        counts[i, 0] = [1.0]
        for j in range(1, m + 1):
            p = [0.0] * (i * j + 1)
            for u, x in enumerate(counts[i - 1, j]):
                p[u + j] += x * i / (i + j)
            for u, x in enumerate(counts[i, j - 1]):
                p[u] += x * j / (i + j)
            counts[i, j] = p
    return counts[n, m]


def ratio(ours, theirs):
    """ours / theirs: the median of all pairs, and its interval, or None for too few."""
    pairs = sorted(math.log(a / b) for a in ours for b in theirs)
    p = list(itertools.accumulate(u_distribution(len(ours), len(theirs))))
    cut = sum(x <= 0.025 for x in p) - 1
    middle = math.exp(statistics.median(pairs))
    if cut < 0:
        return middle, None
    return middle, (math.exp(pairs[cut]), math.exp(pairs[-1 - cut]))


def machine():
    """A name for the file of results, as erne bench --results has it."""
    cpu = platform.processor() or platform.machine()
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() \
            if pathlib.Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    return re.sub(r"[^a-z0-9]+", "-", cpu.lower()).strip("-") + f"-{os.cpu_count()}cpu"


def write_csv(path, args, results):
    """One line a program and test."""
    new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        if new:
            rows.writerow(["date", "program", "model", "test", "samples", "median_ts",
                           "least_ts", "most_ts"])
        for program, tests in results.items():
            for test, speeds in tests.items():
                rows.writerow([datetime.date.today(), program, args.gguf.name, test,
                               len(speeds), f"{statistics.median(speeds):.2f}",
                               f"{min(speeds):.2f}", f"{max(speeds):.2f}"])


def print_table(results):
    """A test that a peer does not have is left out of its columns."""
    ours, peers = results["erne"], [p for p in results if p != "erne"]
    print("| test | " + " | ".join(f"{p} t/s" for p in results) + " | " +
          " | ".join(f"erne / {p}" for p in peers) + " |")
    print("|---|" + "---:|" * (len(results) + len(peers)))
    for test in ours:
        cells = [f"{statistics.median(tests[test]):.1f}" if test in tests else "-"
                 for tests in results.values()]
        for tests in (results[p] for p in peers):
            if test not in tests:
                cells.append("-")
                continue
            middle, interval = ratio(ours[test], tests[test])
            cells.append(f"{middle:.2f}" + (" (%.2f .. %.2f)" % interval
                                            if interval else " (too few rounds)"))
        print(f"| {test} | " + " | ".join(cells) + " |")


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--erne", type=pathlib.Path, required=True)
    parser.add_argument("--gguf", type=pathlib.Path, required=True)
    parser.add_argument("--llama-bench", type=pathlib.Path)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--scheme", default="source")
    parser.add_argument("-p", dest="prompt", default="512")
    parser.add_argument("-n", dest="gen", default="128")
    parser.add_argument("-d", dest="depth", default="0")
    parser.add_argument("-t", dest="threads")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--csv", nargs="?", type=pathlib.Path,
                        const=ROOT / "benchmarks" / "results" / f"{machine()}-peers.csv")
    args = parser.parse_args()
    found = shutil.which("llama-bench")
    if not args.llama_bench and found:
        args.llama_bench = pathlib.Path(found)
    if not args.llama_bench and not args.peer:
        sys.exit("no peer: llama-bench is not on PATH; name one with --llama-bench")
    for peer in args.peer:
        if not re.fullmatch(r"[^=]+=.+", peer):
            sys.exit(f"--peer {peer}: NAME=COMMAND is wanted")
    return args


def main():
    args = parse()
    with tempfile.TemporaryDirectory() as work:
        model = pathlib.Path(work) / "model.erne"
        output([args.erne, "convert", args.gguf, "-o", model, "--scheme", args.scheme])
        programs = {"erne": ([args.erne, "bench"], model)}
        if args.llama_bench:
            programs["llama.cpp"] = ([args.llama_bench], args.gguf)
        for peer in args.peer:
            name, command = peer.split("=", 1)
            programs[name] = (shlex.split(command), args.gguf)
        results = {name: {} for name in programs}
        for _ in range(args.rounds):
            for name, (program, file) in programs.items():
                for test, speed in sample(program, args, file).items():
                    results[name].setdefault(test, []).append(speed)
            programs["erne"] = ([args.erne, "bench", "--no-check"], model)
    print_table(results)
    if args.csv:
        write_csv(args.csv, args, results)


if __name__ == "__main__":
    main()
