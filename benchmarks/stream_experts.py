#!/usr/bin/env python3
"""Runs a mixture of experts within less memory than it takes, and says what that costs.

    python3 benchmarks/stream_experts.py --erne build/release/erne MODEL.erne [--ram 900M]

For every limit (default: half of the file) a line: whether the text is that of a run
without a limit, the most memory the process held, experts found in memory, and seconds
beside those that the disk needs for the bytes of experts that were missing, at the speed
with which it reads pieces of an expert's size past the system's cache.
"""
import argparse
import mmap
import os
import random
import re
import subprocess
import sys
import tempfile
import time

PIECE = 4 << 20


def disk_rate(path, n_pieces=64):
    """Bytes a second of reads of PIECE bytes at random places."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    buffer = mmap.mmap(-1, PIECE)
    last = os.path.getsize(path) // PIECE - 1
    places = [random.Random(1).randrange(last) for _ in range(n_pieces)]
    start = time.monotonic()
    for place in places:
        os.preadv(fd, [buffer], place * PIECE)
    seconds = time.monotonic() - start
    os.close(fd)
    return n_pieces * PIECE / seconds


def run(args, ram):
    """What `erne run` answered, what it says of it, and its peak memory in MiB."""
    command = [args.erne, "run", "-m", args.model, "--raw", "-f", args.file,
               "-n", str(args.n), "--temp", "0", "-t", str(args.threads)]
    command += ["--ram", ram] if ram else []
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        out.seek(0)
        err.seek(0)
        text = err.read().decode()
        if status:
            sys.exit(f"{' '.join(command)}: {text}")
        return out.read(), text, usage.ru_maxrss / 1024


def beginning(path, n_bytes=2400):
    """As much of a text as any model's context holds, in a file of its own."""
    file = tempfile.NamedTemporaryFile()
    with open(path, "rb") as text:
        file.write(text.read(n_bytes).decode(errors="ignore").encode())
    file.flush()
    return file


def number(pattern, text):
    found = re.search(pattern, text)
    return float(found.group(1)) if found else 0.0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--erne", default="build/release/erne")
    parser.add_argument("--ram", action="append",
                        help="as erne's; may be given several times")
    parser.add_argument("-f", "--file", default="README.md",
                        help="the prompt's text, of which 2400 bytes are taken")
    parser.add_argument("-n", type=int, default=32, help="tokens to generate")
    parser.add_argument("-t", "--threads", type=int, default=2)
    args = parser.parse_args()
    prompt = beginning(args.file)
    args.file = prompt.name
    size = os.path.getsize(args.model)
    limits = args.ram or [f"{size // 2 >> 20}M"]
    rate = disk_rate(args.model)
    print(f"file {size / 2**20:.0f} MiB; the disk reads {rate / 1e6:.0f} MB/s\n")
    print("| limit | same text | peak MiB | found | MiB read | prefill t/s | decode t/s "
          "| reading alone, s | all, s |")
    print("|---|---|---|---|---|---|---|---|---|")
    want, same = None, True
    for ram in [None] + limits:
        out, err, peak = run(args, ram)
        want = out if want is None else want
        same = same and out == want
        n_read = number(r"([\d.]+) MiB read", err)
        found = number(r"([\d.]+) % of experts", err)
        prefill = number(r"Prompt: ([\d.]+)", err)
        decode = number(r"Generation: ([\d.]+)", err)
        seconds = number(r"prompt tokens in ([\d.]+) s", err) + \
            number(r"generated in ([\d.]+) s", err)
        print(f"| {ram or 'none'} | {'yes' if out == want else 'NO'} | {peak:.0f} "
              f"| {found:.1f} % | {n_read:.0f} | {prefill:.1f} | {decode:.1f} "
              f"| {n_read * 2**20 / rate:.1f} | {seconds:.1f} |")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
