#!/usr/bin/env python3
"""Memory that `erne convert --device` foretells, and what `erne run` then takes.

usage: check_memory.py --erne build/release/erne [--devices DIR] [--context 2048]
           [--bound 5] [--once] [--text FILE] SOURCE...

SOURCE is what erne convert reads, or NAME=SOURCE. Each is converted for each profile of
DIR (default: platforms/devices), which is changed in one thing: its context, to what can
be filled in reasonable time. Then the file runs as the profile has it, with a text that
fills the context, and the most memory that the process held (resident, libraries
included) is compared with "together" of the plan. Ends with 1 if one is off by more than
--bound percent.

With --once, which suits large models, a source is converted once a scheme, and what else
a profile changes is told to erne run by options. The text should lead to all experts of a
mixture, which hold no memory before they are used: for a shape of make_shape.py one of
its pieces, such as p7p4201p99. Standard library only; tests/cli/check_memory.sh is a
small version.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SPARE = 40  # tokens of context that the text leaves free


def run(words):
    """What a program prints, and the most memory it held in MiB."""
    with tempfile.TemporaryFile("w+") as out:
        child = subprocess.Popen([str(w) for w in words], stdout=out,
                                 stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read()
    if child.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}:\n{text[-2000:]}")
    return text, usage.ru_maxrss / 1024


def prompt_tokens(printed):
    return int(re.search(r"(\d+) prompt tokens", printed).group(1))


def setting(profile, key):
    return re.search(rf"(?m)^  {key}: *(\S+)", profile).group(1)


class Bench:
    def __init__(self, args, scratch):
        self.args = args
        self.scratch = scratch
        self.profile = scratch / "profile.yaml"
        self.file = scratch / "model.erne"
        self.made = None  # source and scheme of the file
        self.text = scratch / "text.txt"

    def convert(self, source, device):
        """The plan's total for a copy of the profile with our context."""
        text = device.read_text(encoding="utf-8")
        text = re.sub(r"(?m)^(  context:).*", rf"\1 {self.args.context}", text)
        self.profile.write_text(text, encoding="utf-8")
        made = source, setting(text, "scheme")
        words = [self.args.erne, "convert", source, "--device", self.profile]
        if self.args.once and made == self.made:
            words += ["--dry-run"]
        else:
            words += ["-o", self.file, "--golden", "off", "--force"]
        plan, _ = run(words)
        self.made = made
        return float(re.search(r"together +([\d.]+) MiB", plan).group(1))

    def talk(self, text, threads):
        self.text.write_text(text, encoding="utf-8")
        profile = self.profile.read_text(encoding="utf-8")
        return run([self.args.erne, "run", self.file, "--raw", "-f", self.text, "-n", 2,
                    "-t", threads, "--backend", "cpu", "--seed", 1, "--draft-max", 0,
                    "-c", self.args.context, "-b", setting(profile, "batch"),
                    "-ctk", setting(profile, "kv_type")])

    def fill(self):
        """A text that fills the context, by how many bytes of it a token has."""
        some = self.args.context // 2  # bytes are at least as many as tokens
        text = self.args.text.read_text(encoding="utf-8")
        printed, _ = self.talk(text[:some], 2)
        n = int(some * (self.args.context - SPARE) / prompt_tokens(printed))
        return (text * (n // len(text) + 1))[:n]

    def measure(self, device, text):
        """The most memory of a run whose context is full, in MiB."""
        threads = setting(device.read_text(encoding="utf-8"), "threads")
        printed, used = self.talk(text, threads)
        if not 0.9 < prompt_tokens(printed) / self.args.context <= 1:
            sys.exit(f"{prompt_tokens(printed)} tokens do not fill the context")
        return used


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--erne", required=True)
    parser.add_argument("--devices", type=pathlib.Path,
                        default=ROOT / "platforms/devices")
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--bound", type=float, default=5)
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--text", type=pathlib.Path,
                        default=ROOT / "tests/data/northanger.txt")
    parser.add_argument("sources", nargs="+", metavar="SOURCE")
    args = parser.parse_args()
    worst = 0
    print("| model | device | foretold, MiB | measured, MiB | difference |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(args, pathlib.Path(scratch))
        for source in args.sources:
            name, _, path = source.rpartition("=")
            text = None
            devices = sorted(args.devices.glob("*.yaml"))
            if args.once:  # those of one scheme together
                devices.sort(key=lambda d: setting(d.read_text("utf-8"), "scheme"))
            for device in devices:
                told = bench.convert(path, device)
                text = text or bench.fill()
                used = bench.measure(device, text)
                off = 100 * (told - used) / used
                worst = max(worst, abs(off))
                print(f"| {name or pathlib.Path(path).name} | {device.stem} | {told:.1f} "
                      f"| {used:.1f} | {off:+.1f} % |", flush=True)
    return int(worst > args.bound)


if __name__ == "__main__":
    sys.exit(main())
