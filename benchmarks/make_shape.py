"""Makes a GGUF file of the shape of a released ERNIE 4.5 model with random weights.

usage: make_shape.py SHAPE OUT.gguf

SHAPE is one of
    0.3b    ERNIE-4.5-0.3B: 18 layers of 1024, dense, tied
    21b-5   the first five layers of ERNIE-4.5-21B-A3B: one dense, four of 64 experts
    small-moe   no model's: three layers, two of them of 32 experts, quick to convert

Both `erne convert` and llama-quantize read the file, so that two programs are timed on
the same numbers. Weights are bf16 of unit gain, drawn from one pool at random offsets, so
that making them takes little longer than writing them: speed is all that this file is
good for. The vocabulary is 103424 pieces without a meaning. Needs: numpy, gguf.
"""
import sys

import gguf
import numpy as np

VOCAB = 103424
SHAPES = {
    "0.3b": dict(arch="ernie4_5", layers=18, hidden=1024, ff=3072, heads=16, kv=2),
    "21b-5": dict(arch="ernie4_5-moe", layers=5, hidden=2560, ff=12288, heads=20, kv=4,
                  experts=64, used=6, ff_expert=1536, shared=2, dense=1),
    "small-moe": dict(arch="ernie4_5-moe", layers=3, hidden=1024, ff=3072, heads=16, kv=2,
                      experts=32, used=6, ff_expert=512, shared=2, dense=1),
}
DIM = 128
BF16 = gguf.GGMLQuantizationType.BF16


class Weights:
    """Tensors of random numbers, made when they are asked for."""

    def __init__(self, writer):
        self.writer = writer
        self.rng = np.random.default_rng(9)
        self.pool = self.rng.standard_normal(1 << 24).astype(np.float32)

    def matrix(self, name, *shape, kind=BF16):
        """Rows [.., n, k] of unit gain."""
        scale = np.float32(shape[-1] ** -0.5)
        data = np.empty(int(np.prod(shape)), np.uint16 if kind == BF16 else np.float32)
        for at in range(0, len(data), len(self.pool) // 2):
            first = int(self.rng.integers(0, len(self.pool) // 2))
            part = self.pool[first:first + min(len(data) - at, len(self.pool) // 2)]
            part = part * scale
            data[at:at + len(part)] = part.view(np.uint32) >> 16 if kind == BF16 else part
        self.writer.add_tensor(name, data.reshape(shape).view(
            np.uint8 if kind == BF16 else np.float32), raw_dtype=kind)

    def f32(self, name, n, value):
        self.writer.add_tensor(name, np.full(n, value, np.float32))


def add_metadata(writer, s):
    writer.add_context_length(131072)
    writer.add_embedding_length(s["hidden"])
    writer.add_block_count(s["layers"])
    writer.add_feed_forward_length(s["ff"])
    writer.add_head_count(s["heads"])
    writer.add_head_count_kv(s["kv"])
    writer.add_key_length(DIM)
    writer.add_value_length(DIM)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(500000.0)
    writer.add_rope_dimension_count(DIM)
    writer.add_vocab_size(VOCAB)
    if "experts" in s:
        writer.add_expert_count(s["experts"])
        writer.add_expert_used_count(s["used"])
        writer.add_expert_feed_forward_length(s["ff_expert"])
        writer.add_expert_shared_count(s["shared"])
        writer.add_expert_shared_feed_forward_length(s["shared"] * s["ff_expert"])
        writer.add_leading_dense_block_count(s["dense"])
        writer.add_interleave_moe_layer_step(1)


def add_tokenizer(writer):
    unknown, control, normal, byte = 2, 3, 1, 6
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + ["\u2581"]
    types = [unknown, control, control] + [byte] * 256 + [normal]
    pieces += [f"p{i}" for i in range(VOCAB - len(pieces))]
    types += [normal] * (VOCAB - len(types))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_scores([0.0] * VOCAB)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)


def add_experts(w, prefix, s):
    n, ff, hidden = s["experts"], s["ff_expert"], s["hidden"]
    w.matrix(prefix + "ffn_gate_inp.weight", n, hidden,
             kind=gguf.GGMLQuantizationType.F32)
    w.f32(prefix + "exp_probs_b.bias", n, 0.0)
    for part, shared in ("exps", 0), ("shexp", s["shared"]):
        lead = () if shared else (n,)
        width = ff * max(1, shared)
        w.matrix(f"{prefix}ffn_gate_{part}.weight", *lead, width, hidden)
        w.matrix(f"{prefix}ffn_up_{part}.weight", *lead, width, hidden)
        w.matrix(f"{prefix}ffn_down_{part}.weight", *lead, hidden, width)


def add_layer(w, layer, s):
    prefix, hidden = f"blk.{layer}.", s["hidden"]
    q, kv = s["heads"] * DIM, s["kv"] * DIM
    w.f32(prefix + "attn_norm.weight", hidden, 1.0)
    w.matrix(prefix + "attn_q.weight", q, hidden)
    w.matrix(prefix + "attn_k.weight", kv, hidden)
    w.matrix(prefix + "attn_v.weight", kv, hidden)
    w.matrix(prefix + "attn_output.weight", hidden, q)
    w.f32(prefix + "ffn_norm.weight", hidden, 1.0)
    if layer >= s.get("dense", s["layers"]):
        add_experts(w, prefix, s)
        return
    w.matrix(prefix + "ffn_gate.weight", s["ff"], hidden)
    w.matrix(prefix + "ffn_up.weight", s["ff"], hidden)
    w.matrix(prefix + "ffn_down.weight", hidden, s["ff"])


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in SHAPES:
        sys.exit(__doc__)
    s = SHAPES[sys.argv[1]]
    writer = gguf.GGUFWriter(sys.argv[2], s["arch"], use_temp_file=True)
    add_metadata(writer, s)
    add_tokenizer(writer)
    w = Weights(writer)
    w.matrix("token_embd.weight", VOCAB, s["hidden"])
    for layer in range(s["layers"]):
        add_layer(w, layer, s)
    w.f32("output_norm.weight", s["hidden"], 1.0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file(progress=True)
    writer.close()


if __name__ == "__main__":
    main()
