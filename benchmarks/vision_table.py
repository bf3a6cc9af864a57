#!/usr/bin/env python3
"""Speed and loss of a vision tower in erne and transformers, in one table.

usage: vision_table.py --build build/release --work DIR [-t 2] [--rounds 3] [--side 32]

DIR receives, once, a checkpoint of ERNIE-4.5-VL-28B's true tower and resampler with
random weights and one language layer (tests/oracle/make_shape.py, 8 GiB in all), files
in bf16 and w8, a picture of noise, side by side patches of it, and the features that
transformers makes of them in f32. --prepare stops there.

Then transformers in bf16 and erne with each file encode the picture in turns, a sample
each a round, so that what the machine does meanwhile falls on all of them alike. CPU
seconds are those of all threads; with -t 1 they say most on a machine that others use.
Transformers is timed from the cut patches on, erne from the picture's file on. Cells are
medians with the least and the most. Operations are those of the matrices, two a weight
and row, and of attention; the percentage is of what erne measures on registers alone, in
bf16, and in int8 for w8 (attention of which is bf16's).

Loss is that of the features: the root of the mean square of what differs from f32 beside
that of the features, and the least cosine of a token. Needs: torch transformers
safetensors numpy Pillow.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors import safe_open
from transformers.models.ernie4_5_vl_moe import (
    image_processing_pil_ernie4_5_vl_moe as processing,
    modeling_ernie4_5_vl_moe as modeling,
)

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEER = "transformers bf16"
SCHEMES = "bf16", "w8"


class Tower(torch.nn.Module):
    """The parts of the checkpoint that a picture goes through."""

    def __init__(self, folder):
        super().__init__()
        c = json.loads((folder / "config.json").read_text())
        v = c["vision_config"]
        text = dict(hidden_size=c["hidden_size"], rms_norm_eps=c["rms_norm_eps"])
        vision = dict(depth=v["depth"], hidden_size=v["hidden_size"],
                      hidden_act=v["hidden_act"], num_heads=v["num_heads"],
                      intermediate_size=v["mlp_ratio"] * v["hidden_size"])
        config = transformers.Ernie4_5_VLMoeConfig(text_config=text, vision_config=vision)
        config._attn_implementation = "sdpa"
        config.vision_config._attn_implementation = "sdpa"
        self.vision_model = modeling.Ernie4_5_VLMoeVisionTransformerPretrainedModel(
            config.vision_config)
        self.resampler_model = \
            modeling.Ernie4_5_VLMoeVariableResolutionResamplerModel(config)
        self.load_state_dict(self.read(folder))

    def read(self, folder):
        """The checkpoint's tensors under the names of this module's."""
        names, found = {}, {}
        for name in self.state_dict():
            stored = name
            for new, old in ("fc1", "0"), ("fc2", "2"), ("ln", "3"):
                stored = stored.replace(f"_linear.{new}.", f"_linear.{old}.")
            if name.startswith("resampler_model."):
                stored = "model." + stored
            names[stored] = name
        for file in folder.glob("*.safetensors"):
            with safe_open(file, "pt") as shard:
                found |= {names[n]: shard.get_tensor(n).float()
                          for n in shard.keys() if n in names}
        return found

    def forward(self, patches, grid):
        hidden = self.vision_model(patches, grid_thw=grid).last_hidden_state
        return self.resampler_model(hidden, grid)


class Erne:
    """A file, encoded on demand by a process that waits meanwhile."""

    def __init__(self, build, file, picture, threads):
        self.process = subprocess.Popen(
            [build / "tests/support/encode_media", file, picture, str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.bf16, self.int8 = map(float, self.answer().split()[1:])

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit("encode_media ended")
        return line

    def sample(self, features=""):
        self.process.stdin.write(f"{features}\n")
        self.process.stdin.flush()
        return tuple(map(float, self.answer().split()))


def output(words):
    subprocess.run([str(w) for w in words], check=True, stdout=subprocess.DEVNULL)


def patches_of(picture):
    made = processing.Ernie4_5_VLMoeImageProcessorPil()(
        Image.open(picture), return_tensors="pt")
    return made["pixel_values"], made["image_grid_thw"]


def prepare(args):
    work, side = args.work, 14 * args.side
    work.mkdir(parents=True, exist_ok=True)
    picture, reference = work / f"{side}.png", work / f"{side}.npy"
    if not (work / "vl").exists():
        output([sys.executable, ROOT / "tests/oracle/make_shape.py", work / "vl",
                "vl-28b", 1, 0])
    for scheme in SCHEMES:
        if not (work / f"{scheme}.erne").exists():
            output([args.build / "erne", "convert", work / "vl", "-o",
                    work / f"{scheme}.erne", "--scheme", scheme])
    if not picture.exists():
        noise = np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(noise).save(picture)
    if not reference.exists():
        with torch.no_grad():
            features = Tower(work / "vl")(*patches_of(picture))
        np.save(reference, features.numpy())
    return picture, np.load(reference)


def cell(samples):
    return f"{statistics.median(samples):.2f} ({min(samples):.2f} .. {max(samples):.2f})"


def loss(features, reference):
    a, b = (x.reshape(reference.shape).astype(np.float64) for x in (features, reference))
    error = np.sqrt(np.mean((a - b) ** 2) / np.mean(b ** 2))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return f"{100 * error:.2f} %", f"{cosine.min():.5f}"


def operations(tower, n_patches):
    """Of the matrices of the tower and the resampler, and of attention."""
    config = tower.vision_model.config
    matrices = 0
    for name, weight in tower.state_dict().items():
        if weight.dim() == 2:
            rows = n_patches if name.startswith("vision_model.") else n_patches // 4
            matrices += 2 * rows * weight.numel()
    attention = 4 * config.depth * n_patches ** 2 * config.hidden_size
    return matrices, attention


def measure(args, picture, reference):
    files = {s: Erne(args.build, args.work / f"{s}.erne", picture, args.threads)
             for s in SCHEMES}
    torch.set_num_threads(args.threads)
    tower = Tower(args.work / "vl").to(torch.bfloat16)
    patches, grid = patches_of(picture)
    patches = patches.to(torch.bfloat16)
    times = {name: [] for name in (PEER, *SCHEMES)}
    made = {}
    for turn in range(args.rounds + 1):  # the first one warms up
        start, work = time.perf_counter(), time.process_time()
        with torch.no_grad():
            features = tower(patches, grid)
        times[PEER].append((time.perf_counter() - start, time.process_time() - work))
        for scheme, erne in files.items():
            out = args.work / f"{scheme}.f32"
            times[scheme].append(erne.sample(out if turn == 0 else ""))
            made[scheme] = np.fromfile(out, np.float32)
    made[PEER] = features.float().numpy()
    report(times, made, reference, operations(tower, len(patches)), files["bf16"])


def report(times, made, reference, ops, limits):
    theirs = [statistics.median(s) for s in zip(*times[PEER][1:])]
    matrices, attention = (n * 1e-9 for n in ops)
    print("| program | seconds | transformers / it | CPU seconds | transformers / it | "
          "GOP/s | of the limit | relative error | least cosine |\n" + "|---" * 9 + "|")
    for name, samples in times.items():
        walls, works = zip(*samples[1:])
        median = statistics.median(walls)
        least = matrices / (limits.int8 if name == "w8" else limits.bf16) + \
            attention / limits.bf16
        cells = [name if name == PEER else "erne " + name, cell(walls),
                 f"{theirs[0] / median:.2f}", cell(works),
                 f"{theirs[1] / statistics.median(works):.2f}",
                 f"{(matrices + attention) / median:.0f}",
                 f"{100 * least * 1e9 / median:.0f} %", *loss(made[name], reference)]
        print("| " + " | ".join(cells) + " |")
    print(f"\n{matrices:.0f} GOP of matrices, {attention:.0f} of attention; limits "
          f"{limits.bf16 * 1e-9:.0f} GOP/s in bf16, {limits.int8 * 1e-9:.0f} in int8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("-t", dest="threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=32, help="patches a side")
    parser.add_argument("--prepare", action="store_true")
    args = parser.parse_args()
    picture, reference = prepare(args)
    if not args.prepare:
        measure(args, picture, reference)


if __name__ == "__main__":
    main()
