#!/usr/bin/env python3
"""Widens a GGUF file of the `llama` architecture to f32, and rotates its residual stream.

usage: rotate_residual.py SRC.gguf DST.gguf [--seed 1] [--widen-only]

A checkpoint whose weights were rounded to four bits once has a grid that a second
quantiser may happen to share, and a residual stream with a few very large channels. After
a random orthogonal rotation Q of the stream both are gone, while the model computes the
same: norms have no bias, so their weights are folded into the matrices behind them, and
what is left of them commutes with Q.
    rows that read the stream:   W diag(norm) Q       columns that write it:   Q^T W
The embedding is E Q and the logits E diag(norm) Q, so that they are no longer tied.

The products are made in double precision and stored as f32; quality_table.py shows that
the logits stay the same. Needs numpy and gguf.
"""
import argparse
import sys

import gguf
import numpy as np

READS_ATTENTION = ("attn_q", "attn_k", "attn_v")
READS_FFN = ("ffn_gate", "ffn_up")
WRITES = ("attn_output", "ffn_down")


def load(reader):
    """Every tensor as float64, by name."""
    return {t.name: np.array(gguf.quants.dequantize(t.data, t.tensor_type), np.float64)
            for t in reader.tensors}


def rotation(n, seed):
    """A random orthogonal matrix, uniformly distributed."""
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))
    return q * np.sign(np.diag(r))


def rotate(weights, n_layers, q):
    """Folds the norms into what reads them, and turns the stream by q."""
    def fold(name, norm):
        weights[name] = weights[name] * weights[norm] @ q

    weights["output.weight"] = weights.get("output.weight", weights["token_embd.weight"])
    fold("output.weight", "output_norm.weight")
    weights["token_embd.weight"] = weights["token_embd.weight"] @ q
    weights["output_norm.weight"] = np.ones(len(q))
    for layer in range(n_layers):
        block = f"blk.{layer}."
        for norm, readers in (("attn_norm", READS_ATTENTION), ("ffn_norm", READS_FFN)):
            for name in readers:
                fold(f"{block}{name}.weight", f"{block}{norm}.weight")
            weights[f"{block}{norm}.weight"] = np.ones(len(q))
        for name in WRITES:
            weights[f"{block}{name}.weight"] = q.T @ weights[f"{block}{name}.weight"]
    for name in weights:
        if name.endswith(".bias"):
            sys.exit(f"{name}: models with biases are not rotated")


def write(path, reader, weights):
    """The fields of the source, and the weights as f32."""
    writer = gguf.GGUFWriter(path, "llama")
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture",
                                              "general.file_type"):
            continue
        sub_type = field.types[-1] if len(field.types) > 1 else None
        writer.add_key_value(key, field.contents(), field.types[0], sub_type=sub_type)
    writer.add_file_type(int(gguf.LlamaFileType.ALL_F32))
    for name, values in weights.items():
        writer.add_tensor(name, np.ascontiguousarray(values, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("src")
    parser.add_argument("dst")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--widen-only", action="store_true", help="do not rotate")
    args = parser.parse_args()
    reader = gguf.GGUFReader(args.src)
    if reader.fields["general.architecture"].contents() != "llama":
        sys.exit(f"{args.src}: not of the llama architecture")
    weights = load(reader)
    if not args.widen_only:
        width = reader.fields["llama.embedding_length"].contents()
        rotate(weights, reader.fields["llama.block_count"].contents(),
               rotation(width, args.seed))
    write(args.dst, reader, weights)


if __name__ == "__main__":
    main()
