"""What the peers' runners have in common: options and output of llama-bench, as far as
compare_speed.py needs them. A runner gives `main` a function that opens the model, and
gets seconds for n tokens of a prompt or of an answer. Standard library only.
"""
import argparse
import json
import os


def numbers(text):
    return [int(n) for n in text.split(",")]


def main(name, open_model):
    """open_model(args) -> seconds(n_prompt, n_gen, n_depth), or None where it cannot."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-m", dest="model", required=True)
    parser.add_argument("-p", dest="prompt", type=numbers, default=[512])
    parser.add_argument("-n", dest="gen", type=numbers, default=[128])
    parser.add_argument("-d", dest="depth", type=numbers, default=[0])
    parser.add_argument("-r", dest="repeats", type=int, default=5)
    parser.add_argument("-t", dest="threads", type=int, default=os.cpu_count())
    parser.add_argument("-o", dest="output", choices=["json"], default="json")
    args = parser.parse_args()
    tests = [(p, n, d) for d in args.depth
             for p, n in [(p, 0) for p in args.prompt] + [(0, n) for n in args.gen]
             if p + n > 0]
    args.n_ctx = max(sum(t) for t in tests) + 1
    seconds = open_model(args)
    records = []
    for p, n, d in tests:
        seconds(p, min(n, 1), 0)  # a warm-up, as llama-bench's
        times = [seconds(p, n, d) for _ in range(args.repeats)]
        if None in times:
            continue
        speeds = [(p + n) / t for t in times]
        records.append({"backends": name, "model_filename": args.model,
                        "n_threads": args.threads, "n_prompt": p, "n_gen": n,
                        "n_depth": d, "avg_ts": sum(speeds) / len(speeds),
                        "samples_ns": [int(t * 1e9) for t in times],
                        "samples_ts": speeds})
    print(json.dumps(records, indent=2))
