"""Makes a dense ERNIE checkpoint of any size with random weights, to measure conversions.

usage: make_large.py OUT_DIR GIB [TOKENIZER_MODEL]

Weights are bf16 in shards of 2 GiB at most, drawn from one pool of random numbers at
random offsets, so that making them takes little longer than writing them; norms are one.
The tokenizer is that of tests/models/golden/tiny if none is given. Nothing here can be
generated with: the figures of interest are memory, time and bytes. Needs: numpy.
"""
import json
import pathlib
import shutil
import struct
import sys

import numpy as np

HIDDEN, FF, HEADS, KV, DIM, VOCAB = 3072, 8192, 32, 8, 128, 103424
SHARD = 2 << 30
ONE = b"\x80\x3f"  # in bf16


def layer_shapes(i):
    p = f"model.layers.{i}."
    return {
        p + "input_layernorm.weight": (HIDDEN,),
        p + "post_attention_layernorm.weight": (HIDDEN,),
        p + "self_attn.q_proj.weight": (HEADS * DIM, HIDDEN),
        p + "self_attn.k_proj.weight": (KV * DIM, HIDDEN),
        p + "self_attn.v_proj.weight": (KV * DIM, HIDDEN),
        p + "self_attn.o_proj.weight": (HIDDEN, HEADS * DIM),
        p + "mlp.gate_proj.weight": (FF, HIDDEN),
        p + "mlp.up_proj.weight": (FF, HIDDEN),
        p + "mlp.down_proj.weight": (HIDDEN, FF),
    }


def n_bytes(shape):
    return 2 * int(np.prod(shape))


def write_shard(path, tensors, pool, rng):
    header, end = {}, 0
    for name, shape in tensors.items():
        header[name] = {"dtype": "BF16", "shape": list(shape),
                        "data_offsets": [end, end + n_bytes(shape)]}
        end += n_bytes(shape)
    text = json.dumps(header).encode()
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for name, shape in tensors.items():
            left = n_bytes(shape) // 2
            if len(shape) == 1 and name.endswith(".weight"):
                out.write(ONE * left)  # a norm
                continue
            while left > 0:
                at = int(rng.integers(0, len(pool) // 2))
                part = pool[at:at + min(left, len(pool) // 2)]
                out.write(part.tobytes())
                left -= len(part)


def main():
    out, gib = pathlib.Path(sys.argv[1]), float(sys.argv[2])
    golden = pathlib.Path(__file__).parents[1] / "models/golden/tiny/tokenizer.model"
    tokenizer = pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else golden
    rng = np.random.default_rng(9)
    values = rng.standard_normal(1 << 23).astype(np.float32) / HIDDEN ** 0.5
    pool = (values.view(np.uint32) >> 16).astype(np.uint16)

    outside = {"model.embed_tokens.weight": (VOCAB, HIDDEN),
               "model.norm.weight": (HIDDEN,)}
    per_layer = sum(map(n_bytes, layer_shapes(0).values()))
    n_layers = max(1, round((gib * 2 ** 30 - sum(map(n_bytes, outside.values())))
                            / per_layer))
    tensors = dict(outside)
    for i in range(n_layers):
        tensors |= layer_shapes(i)

    shards, size = [{}], 0
    for name, shape in tensors.items():
        if size + n_bytes(shape) > SHARD:
            shards, size = shards + [{}], 0
        shards[-1][name] = shape
        size += n_bytes(shape)
    out.mkdir(parents=True, exist_ok=True)
    weight_map = {}
    for i, shard in enumerate(shards):
        name = f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        write_shard(out / name, shard, pool, rng)
        weight_map |= {tensor: name for tensor in shard}
    (out / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map}))
    (out / "config.json").write_text(json.dumps({
        "architectures": ["Ernie4_5ForCausalLM"], "model_type": "ernie4_5",
        "hidden_size": HIDDEN, "intermediate_size": FF, "num_hidden_layers": n_layers,
        "num_attention_heads": HEADS, "num_key_value_heads": KV, "head_dim": DIM,
        "vocab_size": VOCAB, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0, "hidden_act": "silu", "use_bias": False,
        "tie_word_embeddings": True, "eos_token_id": 2}, indent=1))
    shutil.copy(tokenizer, out / "tokenizer.model")
    print(f"{len(tensors)} tensors in {len(shards)} shards, {n_layers} layers")


if __name__ == "__main__":
    main()
