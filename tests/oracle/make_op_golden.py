#!/usr/bin/env python3
"""Writes tests/unit/data/op_golden.txt: inputs and results of operators, as torch and
transformers compute them. tests/unit/test_reference.c compares the reference backend.

    python3 tests/oracle/make_op_golden.py > tests/unit/data/op_golden.txt

Each line is a name, a count and that many numbers (rows flattened).
"""
import torch
import torch.nn.functional as F
from transformers import Ernie4_5_MoeConfig, Ernie4_5Config, LlamaConfig
from transformers.activations import ACT2FN
from transformers.models.ernie4_5 import modeling_ernie4_5 as ernie
from transformers.models.ernie4_5_moe import modeling_ernie4_5_moe as moe
from transformers.models.llama import modeling_llama as llama


def emit(name, tensor):
    values = tensor.detach().reshape(-1).tolist()
    print(name, len(values), *(f"{v:.9g}" for v in values))


def rms_norm():
    x = torch.randn(3, 10)
    norm = ernie.Ernie4_5RMSNorm(10, eps=1e-5)
    norm.weight.data = torch.randn(10)
    emit("rms_norm.x", x)
    emit("rms_norm.w", norm.weight)
    emit("rms_norm.dst", norm(x))


def rope(name, rotary, apply, heads=2, d=16):
    """rotary and apply: the classes of one family; positions near and far."""
    position = torch.tensor([[0, 1, 77, 131071]])
    x = torch.randn(1, heads, 4, d)
    cos, sin = rotary(x, position)
    q, _ = apply(x, x, cos, sin)
    emit(f"{name}.x", x.transpose(1, 2))
    emit(f"{name}.position", position)
    emit(f"{name}.inv_freq", rotary.inv_freq)
    emit(f"{name}.dst", q.transpose(1, 2))


def rope_config(config):
    return config(hidden_size=32, num_attention_heads=2, num_key_value_heads=2,
                  head_dim=16,
                  rope_parameters={"rope_type": "default", "rope_theta": 500000.0})


def attention(past=70, tokens=4, heads=6, kv_heads=2, d=4):
    """The last `tokens` of past + tokens positions attend causally."""
    total = past + tokens
    q = torch.randn(1, heads, tokens, d)
    k, v = torch.randn(1, kv_heads, total, d), torch.randn(1, kv_heads, total, d)
    mask = torch.ones(tokens, total, dtype=torch.bool).tril(past)
    dst = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    emit("attention.q", q.transpose(1, 2))
    emit("attention.k", k.transpose(1, 2))
    emit("attention.v", v.transpose(1, 2))
    emit("attention.dst", dst.transpose(1, 2))


def matmul():
    x, w, bias, residual = (torch.randn(3, 12), torch.randn(7, 12), torch.randn(7),
                            torch.randn(3, 7))
    emit("matmul.x", x)
    emit("matmul.w", w)
    emit("matmul.bias", bias)
    emit("matmul.residual", residual)
    emit("matmul.dst", F.linear(x, w, bias) + residual)
    emit("embed.dst", F.embedding(torch.tensor([6, 0, 6]), w))
    emit("gather_rows.dst", x.index_select(0, torch.tensor([2, 0])))


def swiglu(n_ff=20, k=12):
    x, gate, up = torch.randn(3, k), torch.randn(n_ff, k), torch.randn(n_ff, k)
    emit("swiglu.x", x)
    emit("swiglu.gate", gate)
    emit("swiglu.up", up)
    emit("swiglu.dst", F.silu(F.linear(x, gate)) * F.linear(x, up))


def layer_norm():
    x, w, bias = torch.randn(3, 10) + 5, torch.randn(10), torch.randn(10)
    emit("layer_norm.x", x)
    emit("layer_norm.w", w)
    emit("layer_norm.bias", bias)
    emit("layer_norm.dst", F.layer_norm(x, (10,), w, bias, eps=1e-6))


def acts():
    """By one input: the product is x itself."""
    x = torch.linspace(-12, 12, 25)
    emit("act.x", x)
    names = {"erf": "gelu", "tanh": "gelu_pytorch_tanh", "quick": "quick_gelu"}
    for name, act in names.items():
        emit(f"act.{name}", ACT2FN[act](x))


def segment_attention(lengths=(3, 1, 5), heads=2, d=6):
    """Rows attend to those of their segment."""
    n = sum(lengths)
    q, k, v = (torch.randn(1, heads, n, d) for _ in range(3))
    number = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    mask = number[:, None] == number[None]
    dst = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    for name, x in ("q", q), ("k", k), ("v", v), ("dst", dst):
        emit(f"segment_attention.{name}", x.transpose(1, 2))


def moe_route(tokens=6, experts=8, used=3):
    """The router alone: dense weights, zero where an expert was not chosen. The bias of
    expert 5 makes every token choose it, but is no part of its weight."""
    config = Ernie4_5_MoeConfig(hidden_size=experts, moe_num_experts=experts, moe_k=used)
    router = moe.Ernie4_5_MoeTopKRouter(config)
    router.weight.data = torch.eye(experts)
    bias = 0.1 * torch.randn(1, experts)
    bias[0, 5] = 10
    router.moe_statics.e_score_correction_bias.data = bias
    logits = 2 * torch.randn(tokens, experts)
    _, indices, weights = sort_out(router(logits), experts, used)
    emit("moe_route.logits", logits)
    emit("moe_route.bias", bias)
    emit("moe_route.dst", torch.zeros(tokens, experts).scatter(1, indices, weights))


def sort_out(results, experts, used):
    """The router's results in the order (logits, indices, weights)."""
    chosen = [r for r in results if r.shape[-1] == used]
    logits = next(r for r in results if r.shape[-1] == experts)
    indices = next(r for r in chosen if not r.is_floating_point())
    return logits, indices, next(r for r in chosen if r.is_floating_point())


def main():
    torch.manual_seed(45)
    rms_norm()
    rope("rope_interleaved", ernie.Ernie4_5RotaryEmbedding(rope_config(Ernie4_5Config)),
         ernie.apply_rotary_pos_emb)
    rope("rope_neox", llama.LlamaRotaryEmbedding(rope_config(LlamaConfig)),
         llama.apply_rotary_pos_emb)
    attention()
    matmul()
    swiglu()
    layer_norm()
    acts()
    segment_attention()
    moe_route()


if __name__ == "__main__":
    main()
