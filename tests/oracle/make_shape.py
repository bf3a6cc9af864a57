"""Makes a checkpoint of a released model's true shapes with random weights, few layers.

usage: make_shape.py OUT_DIR 300b|vl-28b|vl-424b N_LAYERS [FIRST_WITH_EXPERTS]

For what only real sizes show: memory and time of a conversion, that such layers run. VL
models have all layers of their vision tower. Layers before FIRST_WITH_EXPERTS (default:
the released model's) are dense. Weights are bf16 in shards of 2 GiB at most, as
make_large.py draws them. Needs: numpy.
"""
import json
import pathlib
import shutil
import sys

import make_large
import numpy as np

COMMON = dict(hidden_act="silu", max_position_embeddings=131072, rms_norm_eps=1e-5,
              rope_theta=500000.0, vocab_size=103424, pad_token_id=0, bos_token_id=1,
              eos_token_id=2, use_bias=False, moe_gate_act="softmax",
              moe_layer_interval=1, torch_dtype="bfloat16")
TOWER = dict(depth=32, embed_dim=1280, hidden_size=1280, hidden_act="quick_gelu",
             in_channels=3, mlp_ratio=4, num_heads=16, patch_size=14,
             spatial_merge_size=2)
VL = dict(model_type="ernie4_5_moe_vl", vision_config=TOWER, freq_allocation=20,
          rope_3d=True, spatial_conv_size=2, temporal_conv_size=2,
          use_temporal_conv=True, moe_num_experts=[64, 64], **COMMON)
SMALL = dict(hidden_size=2560, num_attention_heads=20, num_key_value_heads=4,
             intermediate_size=12288, moe_k=6, tie_word_embeddings=True)
LARGE = dict(hidden_size=8192, num_attention_heads=64, num_key_value_heads=8,
             intermediate_size=28672, moe_k=8, tie_word_embeddings=False)
SHAPES = {
    "300b": (dict(model_type="ernie4_5_moe", moe_num_experts=64,
                  moe_intermediate_size=3584, **LARGE, **COMMON), 3),
    "vl-28b": (dict(moe_intermediate_size=[1536, 512], moe_num_shared_experts=2,
                    **SMALL, **VL), 1),
    "vl-424b": (dict(moe_intermediate_size=[3584, 1536], **LARGE, **VL), 3),
}


def pair(value):
    return value if isinstance(value, list) else [value]


def swiglu(base, width, h):
    return {base + "gate_proj.weight": (width, h), base + "up_proj.weight": (width, h),
            base + "down_proj.weight": (h, width)}


def layer_shapes(c, i):
    h, p = c["hidden_size"], f"model.layers.{i}."
    q, kv = 128 * c["num_attention_heads"], 128 * c["num_key_value_heads"]
    out = {p + "input_layernorm.weight": (h,),
           p + "post_attention_layernorm.weight": (h,),
           p + "self_attn.q_proj.weight": (q, h), p + "self_attn.k_proj.weight": (kv, h),
           p + "self_attn.v_proj.weight": (kv, h), p + "self_attn.o_proj.weight": (h, q)}
    counts, widths = pair(c["moe_num_experts"]), pair(c["moe_intermediate_size"])
    if i < pair(c["moe_layer_start_index"])[0]:
        return out | swiglu(p + "mlp.", c["intermediate_size"], h)
    first = 0
    for bank, (n, width) in enumerate(zip(counts, widths)):
        shape = (n, h) if len(counts) == 1 else (h, n)
        out[p + "mlp.gate.weight" + (f"_{bank}" if bank else "")] = shape
        for e in range(first, first + n):
            out |= swiglu(f"{p}mlp.experts.{e}.", width, h)
        first += n
    if c.get("moe_num_shared_experts"):
        out |= swiglu(p + "mlp.shared_experts.",
                      c["moe_num_shared_experts"] * widths[0], h)
    return out


def linear(base, n, k):
    return {base + ".weight": (n, k), base + ".bias": (n,)}


def vision_shapes(c):
    v, h = TOWER["hidden_size"], c["hidden_size"]
    out = {"vision_model.patch_embed.proj.weight": (v, 588),
           "vision_model.ln.weight": (v,), "vision_model.ln.bias": (v,)}
    for i in range(TOWER["depth"]):
        p = f"vision_model.blocks.{i}."
        out |= linear(p + "attn.qkv", 3 * v, v) | linear(p + "attn.proj", v, v)
        out |= linear(p + "mlp.fc1", 4 * v, v) | linear(p + "mlp.fc2", v, 4 * v)
        for norm in "norm1", "norm2":
            out |= {f"{p}{norm}.weight": (v,), f"{p}{norm}.bias": (v,)}
    p = "model.resampler_model."
    for what, k in ("spatial_linear", 4 * v), ("temporal_linear", 8 * v):
        out |= linear(f"{p}{what}.0", 4 * v, k) | linear(f"{p}{what}.2", 4 * v, 4 * v)
        out |= {f"{p}{what}.3.weight": (4 * v,), f"{p}{what}.3.bias": (4 * v,)}
    return out | linear(p + "mlp", h, 4 * v) | {p + "after_norm.weight": (h,)}


def all_shapes(c):
    h, vocab = c["hidden_size"], c["vocab_size"]
    out = {"model.embed_tokens.weight": (vocab, h), "model.norm.weight": (h,)}
    if not c["tie_word_embeddings"]:
        out["lm_head.weight"] = (vocab, h)
    for i in range(c["num_hidden_layers"]):
        out |= layer_shapes(c, i)
    return out | (vision_shapes(c) if "vision_config" in c else {})


def main():
    out, name, n_layers = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    config, first = SHAPES[name]
    first = int(sys.argv[4]) if len(sys.argv) > 4 else first
    last = n_layers - 1
    both = "vision_config" in config
    config = dict(config, num_hidden_layers=n_layers,
                  moe_layer_start_index=[first] * 2 if both else first,
                  moe_layer_end_index=[last] * 2 if both else last)
    rng = np.random.default_rng(11)
    values = rng.standard_normal(1 << 23).astype(np.float32) / 64
    pool = (values.view(np.uint32) >> 16).astype(np.uint16)
    shards, size = [{}], 0
    for tensor, shape in all_shapes(config).items():
        if size + make_large.n_bytes(shape) > make_large.SHARD and shards[-1]:
            shards, size = shards + [{}], 0
        shards[-1][tensor] = shape
        size += make_large.n_bytes(shape)
    out.mkdir(parents=True, exist_ok=True)
    weight_map = {}
    for i, shard in enumerate(shards):
        file = f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        make_large.write_shard(out / file, shard, pool, rng)
        weight_map |= {tensor: file for tensor in shard}
    (out / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map}))
    golden = pathlib.Path(__file__).parents[1] / "models/golden/vl"
    for file in "tokenizer.model", "added_tokens.json":
        shutil.copy(golden / file, out / file)
    (out / "config.json").write_text(json.dumps(config, indent=1))
    print(f"{len(weight_map)} tensors in {len(shards)} shards")


if __name__ == "__main__":
    main()
