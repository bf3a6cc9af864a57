"""Counts how many pictures the small VL checkpoint reads right, for each scheme.

usage: read_pictures.py --erne PROGRAM [--pictures DIR | --sheet COUNT SEED] [SCHEME ...]

DIR has pictures and labels.txt, a file and its text a line; --sheet draws COUNT new ones
with models/tiny-ernie-vl/render.py (needs Pillow and the DejaVu fonts). Default: the 40
pictures beside the checkpoint. Every picture is one call of `erne run`, greedy.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

HOME = pathlib.Path(__file__).resolve().parent.parent / "models" / "tiny-ernie-vl"


def read(erne, model, picture):
    out = subprocess.run([erne, "run", model, "--image", picture, "-p", "Read the text.",
                          "--temp", "0"], capture_output=True, text=True, check=True)
    return out.stdout.strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--erne", required=True)
    parser.add_argument("--pictures", type=pathlib.Path, default=HOME / "pictures")
    parser.add_argument("--sheet", type=int, nargs=2, metavar=("COUNT", "SEED"))
    parser.add_argument("schemes", nargs="*", metavar="SCHEME")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        folder = args.pictures
        if args.sheet:
            folder = pathlib.Path(tmp) / "sheet"
            subprocess.run([sys.executable, HOME / "render.py", folder,
                            *map(str, args.sheet)], check=True)
        labels = [line.split(None, 1) for line in
                  (folder / "labels.txt").read_text(encoding="utf-8").splitlines()]
        print("| scheme | file | read right |\n|---|---|---|")
        for scheme in args.schemes or ["f32", "bf16", "w8", "w4", "w4-g32a"]:
            model = f"{tmp}/{scheme}.erne"
            subprocess.run([args.erne, "convert", HOME, "-o", model, "--scheme", scheme],
                           check=True, capture_output=True)
            right = sum(read(args.erne, model, folder / name) == text
                        for name, text in labels)
            size = pathlib.Path(model).stat().st_size / 2**20
            print(f"| {scheme} | {size:.1f} MiB | {right} of {len(labels)} |", flush=True)


if __name__ == "__main__":
    main()
