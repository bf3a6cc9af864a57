#!/usr/bin/env python3
"""From the start of the process to one generated token, and to its end.

usage: first_token.py [--erne PROGRAM] [-t THREADS] [-r RUNS] MODEL.erne

Runs `erne run` on a short prompt, RUNS times: seconds of the whole process as a shell
sees them, of which loading the model, the prompt and the token are erne's own figures.
The file is read once before, so that it is warm.
"""
import argparse
import re
import statistics
import subprocess
import time

PROMPT = "The sea was calm that day"


def run(args):
    begin = time.monotonic()
    done = subprocess.run([args.erne, "run", args.model, "-p", PROMPT, "-n", "1",
                           "--temp", "0", "-t", str(args.threads)], check=True,
                          text=True, errors="replace", capture_output=True)
    whole = time.monotonic() - begin
    said = re.search(r"(\d+) prompt tokens? in ([\d.]+) s, .* in ([\d.]+) s, "
                     r"model loaded in ([\d.]+) s", done.stderr)
    if not said:
        raise SystemExit(f"no times in:\n{done.stderr}")
    return (whole, *map(float, said.group(4, 2, 3)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--erne", default="build/release/erne")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-r", "--runs", type=int, default=7)
    args = parser.parse_args()
    with open(args.model, "rb") as file:
        while file.read(1 << 24):
            pass
    print("| run | whole, s | loading, s | prompt, s | token, s |\n|---|---|---|---|---|")
    rows = [run(args) for _ in range(args.runs)]
    for i, row in enumerate(rows, 1):
        print(f"| {i} | " + " | ".join(f"{x:.2f}" for x in row) + " |")
    print(f"| median | {statistics.median(row[0] for row in rows):.2f} | | | |")


if __name__ == "__main__":
    main()
