"""Makes small random models of the family, each in every layout its weights come in.

usage: make_layouts.py OUT_DIR [CASE ...]

The committed folders in tests/models/layouts are `make_layouts.py tests/models/layouts`.
OUT_DIR/CASE holds, besides the tokenizer and config.json, folders of layouts:
    pt            as transformers saves the model: the names of the released files
    memory        the names and fused experts that the model has in transformers' memory
    paddle        Paddle's: [in, out] matrices, fused qkv_proj and up_gate_proj
    paddle-split  the same, but q, k, v and gate, up each
    gguf          model.gguf (and mmproj.gguf), as llama.cpp's converters write it
    lora-peft     an adapter as PEFT saves it, r = 4, with rank-stabilised scale
    lora-paddle   the same adapter as PaddleFormers has it, for fused matrices
    merged        the model with the adapter merged, in its own types
    wint2, fp8    Paddle's with quantised experts; pt-wint2, pt-fp8 have their values
All layouts hold the same values, so that converting any of them gives the same tensors.
CASE also has tokens.txt and logits.npy of transformers in f32, where it is text only.
Needs: torch transformers safetensors gguf sentencepiece numpy.
"""
import argparse
import json
import pathlib
import shutil

import gguf
import numpy as np
import torch
import transformers
from make_dense import write_tokenizer
from safetensors.torch import load_file, save_file

VOCAB = 96
ROPE = dict(rope_type="default", rope_theta=500000.0)
TOKENS = dict(image_token_id=90, image_start_token_id=91, image_end_token_id=92,
              video_token_id=95, video_start_token_id=93, video_end_token_id=94)
SPECIAL = ["IMAGE_PLACEHOLDER", "IMAGE_START", "IMAGE_END", "VIDEO_START", "VIDEO_END",
           "VIDEO_PLACEHOLDER"]


def text_config(**kw):
    """heads x head_dim = hidden: square matrices, whose layout no shape tells."""
    return dict(vocab_size=VOCAB, hidden_size=48, intermediate_size=40,
                num_attention_heads=3, num_key_value_heads=1, head_dim=16,
                max_position_embeddings=512, **kw)


def moe():
    return transformers.Ernie4_5_MoeForCausalLM(transformers.Ernie4_5_MoeConfig(
        **text_config(num_hidden_layers=2, tie_word_embeddings=True,
                      rope_parameters=ROPE), moe_num_experts=5, moe_k=2,
        moe_intermediate_size=24, moe_num_shared_experts=2, moe_layer_start_index=1))


def moe_untied():
    """Like 300B: dense layers first, no shared expert, logits of their own."""
    return transformers.Ernie4_5_MoeForCausalLM(transformers.Ernie4_5_MoeConfig(
        **text_config(num_hidden_layers=3, tie_word_embeddings=False,
                      rope_parameters=ROPE), moe_num_experts=4, moe_k=3,
        moe_intermediate_size=16, moe_num_shared_experts=0, moe_layer_start_index=2))


def vl():
    return transformers.Ernie4_5_VLMoeForConditionalGeneration(
        transformers.Ernie4_5_VLMoeConfig(
            text_config=dict(**text_config(num_hidden_layers=2, tie_word_embeddings=True),
                             rope_parameters=dict(mrope_section=[3, 3, 2], **ROPE),
                             moe_num_experts=3, moe_k=2, moe_intermediate_size=[24, 8],
                             moe_num_shared_experts=1),
            vision_config=dict(depth=1, hidden_size=8, intermediate_size=24, num_heads=2,
                               patch_size=14), tie_word_embeddings=True, **TOKENS))


def paddleocr():
    return transformers.PaddleOCRVLForConditionalGeneration(
        transformers.PaddleOCRVLConfig(
            text_config=dict(**text_config(num_hidden_layers=1),
                             tie_word_embeddings=False,
                             rope_parameters=dict(mrope_section=[2, 3, 3], **ROPE)),
            vision_config=dict(hidden_size=24, intermediate_size=36, num_hidden_layers=1,
                               num_attention_heads=2, image_size=42, patch_size=14),
            image_token_id=90, vision_start_token_id=91, vision_end_token_id=92,
            tie_word_embeddings=False))


def quantised():
    """Wide enough for a byte of two scales, which serves 128 inputs."""
    return transformers.Ernie4_5_MoeForCausalLM(transformers.Ernie4_5_MoeConfig(
        vocab_size=VOCAB, hidden_size=128, intermediate_size=16, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=512,
        num_hidden_layers=1, tie_word_embeddings=True, rope_parameters=ROPE,
        moe_num_experts=1, moe_k=1, moe_intermediate_size=128, moe_num_shared_experts=0,
        moe_layer_start_index=0))


def small_config(**kw):
    """As many experts as inputs: square routers."""
    return dict(vocab_size=VOCAB, hidden_size=8, intermediate_size=6,
                num_attention_heads=2, num_key_value_heads=1, head_dim=8,
                max_position_embeddings=512, moe_num_experts=8, moe_k=2,
                moe_num_shared_experts=0, tie_word_embeddings=True, **kw)


def moe_square():
    return transformers.Ernie4_5_MoeForCausalLM(transformers.Ernie4_5_MoeConfig(
        **small_config(rope_parameters=ROPE), num_hidden_layers=1,
        moe_intermediate_size=4, moe_layer_start_index=0))


def vl_square():
    """Experts in layers that no interval describes."""
    return transformers.Ernie4_5_VLMoeForConditionalGeneration(
        transformers.Ernie4_5_VLMoeConfig(
            text_config=dict(**small_config(), moe_intermediate_size=[4, 2],
                             num_hidden_layers=3,
                             mlp_layer_types=["sparse", "dense", "sparse"],
                             rope_parameters=dict(mrope_section=[1, 1, 2], **ROPE)),
            vision_config=dict(depth=1, hidden_size=8, intermediate_size=24, num_heads=2,
                               patch_size=14), tie_word_embeddings=True, **TOKENS))


CASES = {"moe": moe, "moe-untied": moe_untied, "vl": vl, "paddleocr": paddleocr,
         "quantised": quantised, "moe-square": moe_square, "vl-square": vl_square}


def randomize(model, seed):
    """bfloat16 values; a correction bias that matters; routers stay f32."""
    gen = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            x = torch.randn(p.shape, generator=gen)
            if name.endswith("bias"):
                x = 0.05 * x
            elif "norm" in name or name.endswith("ln.weight"):
                x = 1 + 0.1 * x
            else:
                x = x / p.shape[-1] ** 0.5
            p.copy_(x if is_f32(name) else x.bfloat16().float())
    return model.eval()


def is_f32(name):
    return "moe_statics" in name or ".gate.weight" in name


def cast(state):
    return {k: (v if is_f32(k) else v.bfloat16()).contiguous() for k, v in state.items()}


# ------------------------------------------------------------------------- Paddle

def is_linear(name, t):
    return t.ndim == 2 and not any(
        s in name for s in ("embed_tokens", "position_embedding", "moe_statics"))


def to_paddle(state, fused):
    """Prefix, transposed linear layers, [q | k | v] and [gate | up] side by side."""
    out = {}
    for name, t in state.items():
        base, _, last = name.rpartition(".")
        stem, _, what = base.rpartition(".")
        text = name.startswith(("model.layers.", "model.mtp_block."))
        if fused and text and what in ("k_proj", "v_proj", "up_proj"):
            continue
        if fused and text and what == "q_proj":
            t = torch.cat([state[f"{stem}.{c}_proj.{last}"] for c in "qkv"])
            name = f"{stem}.qkv_proj.{last}"
        if fused and text and what == "gate_proj":
            t = torch.cat([t, state[f"{stem}.up_proj.{last}"]])
            name = f"{stem}.up_gate_proj.{last}"
        # VL routers are [h, E] in either world
        if is_linear(name, t) and not ("weight_1" in state_names(state) and
                                       ".gate.weight" in name):
            t = t.T
        name = name.replace("model.vision_model.", "vision_model.")
        if name.startswith("model."):
            name = "ernie." + name[len("model."):]
        out[name] = t.contiguous()
    return out


def add_mtp(state, config, gen):
    """The block for multi-token prediction, which transformers does not know."""
    h = config["hidden_size"]
    out = dict(state)
    for name, t in state.items():  # a dense block, like that of layer 0
        if name.startswith("model.layers.0."):
            x = torch.randn(t.shape, generator=gen) / h ** 0.5
            out["model.mtp_block.0." + name[len("model.layers.0."):]] = x.bfloat16()
    for name, shape in (("emb_norm", (h,)), ("hidden_norm", (h,)),
                        ("linear_proj", (h, 2 * h))):
        out[f"model.mtp_{name}.0.weight"] = torch.randn(shape, generator=gen).bfloat16()
    return out


def state_names(state):
    return " ".join(state)


# --------------------------------------------------------------------------- GGUF

GGUF_NAMES = [  # longest first
    ("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"),
    ("lm_head", "output"), ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"), ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"), ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"), ("self_attn.out_proj", "attn_out"),
    ("mlp.shared_experts.gate_proj", "ffn_gate_shexp"),
    ("mlp.shared_experts.up_proj", "ffn_up_shexp"),
    ("mlp.shared_experts.down_proj", "ffn_down_shexp"),
    ("mlp.moe_statics.e_score_correction_bias", "exp_probs_b.bias"),
    ("mlp.gate_proj", "ffn_gate"), ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"), ("mlp.gate", "ffn_gate_inp"),
    ("mlp.fc1", "ffn_up"), ("mlp.fc2", "ffn_down"), ("layer_norm1", "ln1"),
    ("layer_norm2", "ln2"), ("visual.vision_model.encoder.layers", "v.blk"),
    ("visual.vision_model.embeddings.patch_embedding", "v.patch_embd"),
    ("visual.vision_model.embeddings.position_embedding", "v.position_embd"),
    ("visual.vision_model.post_layernorm", "v.post_ln"),
    ("mlp_AR.pre_norm", "mm.input_norm"), ("mlp_AR.linear_1", "mm.1"),
    ("mlp_AR.linear_2", "mm.2"), ("model.layers", "blk"),
]


def gguf_name(name):
    for hf, short in GGUF_NAMES:
        name = name.replace(hf, short)
    return name


def add_tensor(writer, name, t):
    """Matrices as bfloat16, what is small as f32: the values are the same."""
    if t.ndim == 1 or t.dtype == torch.float32:
        writer.add_tensor(name, t.float().numpy())
    else:
        bits = t.contiguous().view(torch.int16).numpy().view(np.uint8)
        writer.add_tensor(name, bits, raw_dtype=gguf.GGMLQuantizationType.BF16)


def add_stacks(writer, state, layer, n_experts):
    for what in ("gate", "up", "down"):
        names = [f"model.layers.{layer}.mlp.experts.{e}.{what}_proj.weight"
                 for e in range(n_experts)]
        if names and names[0] in state:
            add_tensor(writer, f"blk.{layer}.ffn_{what}_exps.weight",
                       torch.stack([state[n] for n in names]))


def add_vocabulary(writer, folder):
    import sentencepiece
    sp = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    pieces = [sp.id_to_piece(i) for i in range(sp.vocab_size())]
    added = json.loads((folder / "added_tokens.json").read_text())
    for i in range(sp.vocab_size(), VOCAB):
        pieces.append(next((k for k, v in added.items() if v == i), f"[PAD{i}]"))
    types = [2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 1
             for i in range(sp.vocab_size())]
    types += [3 if p in added else 5 for p in pieces[len(types):]]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_scores([sp.get_score(i) if i < sp.vocab_size() else -1000.0
                             for i in range(VOCAB)])
    writer.add_token_types(types)
    writer.add_add_space_prefix(False)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)


def write_gguf(path, config, state, folder):
    text = config.get("text_config", config)
    n_experts = text.get("moe_num_experts", 0)
    writer = gguf.GGUFWriter(str(path), "ernie4_5-moe" if n_experts else "paddleocr")
    writer.add_context_length(text["max_position_embeddings"])
    writer.add_embedding_length(text["hidden_size"])
    writer.add_block_count(text["num_hidden_layers"])
    writer.add_feed_forward_length(text["intermediate_size"])
    writer.add_head_count(text["num_attention_heads"])
    writer.add_head_count_kv(text["num_key_value_heads"])
    writer.add_key_length(text["head_dim"])
    writer.add_value_length(text["head_dim"])
    writer.add_layer_norm_rms_eps(text["rms_norm_eps"])
    writer.add_rope_freq_base(text["rope_parameters"]["rope_theta"])
    if n_experts:
        writer.add_expert_count(n_experts)
        writer.add_expert_used_count(text["moe_k"])
        writer.add_interleave_moe_layer_step(text["moe_layer_interval"])
        writer.add_leading_dense_block_count(text["moe_layer_start_index"])
        writer.add_expert_feed_forward_length(text["moe_intermediate_size"])
        writer.add_expert_shared_count(text["moe_num_shared_experts"])
        if text["moe_num_shared_experts"]:  # llama.cpp's formula, which is not the width
            writer.add_expert_shared_feed_forward_length(
                text["intermediate_size"] // text["num_key_value_heads"])
    else:
        writer.add_rope_dimension_sections(text["rope_parameters"]["mrope_section"] + [0])
    add_vocabulary(writer, folder)
    for name, t in state.items():
        if ".experts." not in name and not name.startswith(("visual", "mlp_AR")):
            t = t.reshape(-1) if "moe_statics" in name else t
            add_tensor(writer, gguf_name(name), t)
    for layer in range(text["num_hidden_layers"]):
        add_stacks(writer, state, layer, n_experts)
    finish(writer)


def write_mmproj(path, config, state, limits):
    vision = config["vision_config"]
    writer = gguf.GGUFWriter(str(path), "clip")
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("paddleocr")
    writer.add_vision_image_size(int(limits["max_pixels"] ** 0.5))  # not the positions'
    writer.add_vision_patch_size(vision["patch_size"])
    writer.add_vision_embedding_length(vision["hidden_size"])
    writer.add_vision_feed_forward_length(vision["intermediate_size"])
    writer.add_vision_block_count(vision["num_hidden_layers"])
    writer.add_vision_head_count(vision["num_attention_heads"])
    writer.add_vision_attention_layernorm_eps(vision["layer_norm_eps"])
    writer.add_vision_projection_dim(config["text_config"]["hidden_size"])
    writer.add_vision_min_pixels(limits["min_pixels"])
    writer.add_vision_max_pixels(limits["max_pixels"])
    writer.add_vision_image_mean(limits["image_mean"])
    writer.add_vision_image_std(limits["image_std"])
    writer.add_vision_use_gelu(True)
    for name, t in state.items():
        if name.startswith(("visual", "mlp_AR")):
            add_tensor(writer, gguf_name(name), t)
    finish(writer)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# --------------------------------------------------------------------------- LoRA

RANK, SCALE = 4, 4.0
TARGETS = [  # fused matrices with their parts, and others
    ("layers.0.self_attn.qkv_proj", ["q_proj", "k_proj", "v_proj"]),
    ("layers.1.self_attn.qkv_proj", ["q_proj", "k_proj", "v_proj"]),
    ("layers.0.self_attn.o_proj", ["o_proj"]),
    ("layers.0.mlp.up_gate_proj", ["gate_proj", "up_proj"]),
    ("layers.1.mlp.experts.1.up_gate_proj", ["gate_proj", "up_proj"]),
    ("layers.1.mlp.experts.1.down_proj", ["down_proj"]),
    ("layers.1.mlp.shared_experts.down_proj", ["down_proj"]),
]


def make_adapters(state, gen):
    """PEFT's tensors, PaddleFormers' and the merged state; one A serves q, k and v."""
    peft, paddle, merged = {}, {}, dict(state)
    for fused, parts in TARGETS:
        stem = "model." + fused.rpartition(".")[0]
        names = [f"{stem}.{part}.weight" for part in parts]
        n, k = sum(len(state[name]) for name in names), state[names[0]].shape[1]
        a = torch.randn((RANK, k), generator=gen) / k ** 0.5
        b = torch.randn((n, RANK), generator=gen) / 8
        paddle[f"ernie.{fused}.lora_A"] = a.T.contiguous()
        paddle[f"ernie.{fused}.lora_B"] = b.T.contiguous()
        for name, rows in zip(names, b.split([len(state[name]) for name in names])):
            base = "base_model.model." + name.removesuffix(".weight")
            peft[base + ".lora_A.weight"] = a.clone()
            peft[base + ".lora_B.weight"] = rows.contiguous()
            merged[name] = (state[name].double() + SCALE * rows.double() @ a.double()
                            ).to(state[name].dtype)
    return peft, paddle, merged


def write_adapters(case_dir, state, gen):
    peft, paddle, merged = make_adapters(state, gen)
    for folder, stem, tensors, name, config in (
            ("lora-peft", "adapter_model", peft, "adapter_config.json",
             dict(peft_type="LORA", r=RANK, lora_alpha=SCALE * RANK ** 0.5,
                  use_rslora=True, bias="none", init_lora_weights=True,
                  modules_to_save=None, rank_pattern={}, use_dora=False)),
            ("lora-paddle", "peft_model", paddle, "lora_config.json",
             dict(r=RANK, lora_alpha=int(SCALE * RANK), rslora=False, scaling=SCALE,
                  lora_plus_scale=1.0, do_qat=False, trainable_bias=None,
                  trainable_modules=[".*lora_A.*", ".*lora_B.*"]))):
        (case_dir / folder).mkdir()
        save_file(tensors, case_dir / folder / f"{stem}.safetensors")
        (case_dir / folder / f"{stem}.safetensors").chmod(0o644)
        (case_dir / folder / name).write_text(json.dumps(config, indent=1) + "\n")
    write_layout(case_dir, "merged", merged)


# ---------------------------------------------------------------- quantised releases

def quantise_wint2(gen, k, n):
    """Random codes and scales by name, and the values [k, n]; bfloat16 holds them."""
    def integers(low, high, *shape):
        return torch.randint(low, high, shape, generator=gen)
    codes = integers(0, 256, k // 4, n)
    halves = integers(0, 8, k // 128, 2, n)  # of a byte: 4-bit scales, below 8
    super_scales = torch.pow(2.0, integers(-9, -6, n).float())
    code_scale = 100 + 27 * torch.rand((n,), generator=gen)
    code_zp = 16 * torch.rand((n,), generator=gen)
    code = torch.floor(codes * code_scale + code_zp + 0.5).long()
    windows = torch.stack([(code >> shift & 63) - 32 for shift in (9, 6, 3, 0)], 1)
    scales = halves.reshape(-1, n).repeat_interleave(64, 0)
    values = windows.reshape(k, n) * scales * super_scales
    return dict(quant_weight=codes.to(torch.uint8),
                weight_scale=(halves[:, 0] * 16 + halves[:, 1]).to(torch.uint8),
                super_scales=super_scales, code_scale=code_scale, code_zp=code_zp), values


def quantise_fp8(gen, k, n):
    codes = torch.randn((k, n), generator=gen).to(torch.float8_e4m3fn)
    return dict(quant_weight=codes, weight_scale=torch.tensor([0.125]),
                activation_scale=torch.tensor([0.5])), codes.float() * 0.125


def write_quantised(case_dir, state, gen):
    for kind, quantise in (("wint2", quantise_wint2), ("fp8", quantise_fp8)):
        paddle, values = to_paddle(state, True), dict(state)
        for name in [name for name in paddle if ".experts." in name]:
            k, n = paddle.pop(name).shape
            base = name.removesuffix(".weight")
            tensors, w = quantise(gen, k, n)
            paddle |= {f"{base}.{what}": t for what, t in tensors.items()}
            base = base.replace("ernie.", "model.", 1)
            parts = [base]
            if base.endswith("up_gate_proj"):
                parts = [base.replace("up_gate", what) for what in ("gate", "up")]
            for part, rows in zip(parts, w.T.chunk(len(parts))):
                values[part + ".weight"] = rows.bfloat16().contiguous()
                assert torch.equal(values[part + ".weight"].float(), rows)
        write_layout(case_dir, kind, paddle)
        write_layout(case_dir, "pt-" + kind, values)


# -------------------------------------------------------------------------- folders

LIMITS = dict(min_pixels=3136, max_pixels=100352, image_mean=[0.5] * 3,
              image_std=[0.25] * 3, patch_size=14, merge_size=2)


def write_layout(case_dir, layout, state):
    folder = case_dir / layout
    folder.mkdir(exist_ok=True)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)


def make(case_dir, model, seed):
    shutil.rmtree(case_dir, ignore_errors=True)
    case_dir.mkdir(parents=True)
    randomize(model, seed)
    model.save_pretrained(case_dir)
    state = cast(load_file(case_dir / "model.safetensors"))
    (case_dir / "model.safetensors").unlink()
    (case_dir / "generation_config.json").unlink(missing_ok=True)
    config = json.loads((case_dir / "config.json").read_text())
    write_tokenizer(case_dir, dict(vocab=VOCAB))
    (case_dir / "added_tokens.json").write_text(json.dumps(
        {f"<|{name}|>": 90 + i for i, name in enumerate(SPECIAL)}, indent=1) + "\n")
    if "vision_config" in config:
        (case_dir / "preprocessor_config.json").write_text(
            json.dumps(LIMITS, indent=1) + "\n")
    if case_dir.name == "quantised":
        write_quantised(case_dir, state, torch.Generator().manual_seed(seed + 4))
        return
    gguf_state = state
    if case_dir.name == "moe-untied":
        state = add_mtp(state, config, torch.Generator().manual_seed(seed + 2))
    write_layout(case_dir, "pt", state)
    memory = {k: v for k, v in model.state_dict().items()
              if k != "lm_head.weight" or "lm_head.weight" in state}
    if case_dir.name != "moe-untied":
        write_layout(case_dir, "memory", cast(memory))
    write_layout(case_dir, "paddle", to_paddle(state, True))
    if case_dir.name in ("moe", "vl"):
        write_layout(case_dir, "paddle-split", to_paddle(state, False))
    if case_dir.name in ("moe", "moe-untied", "paddleocr"):
        (case_dir / "gguf").mkdir()
        write_gguf(case_dir / "gguf/model.gguf", config, gguf_state, case_dir)
    if case_dir.name == "paddleocr":
        write_mmproj(case_dir / "gguf/mmproj.gguf", config, state, LIMITS)
    if case_dir.name == "moe":
        write_adapters(case_dir, state, torch.Generator().manual_seed(seed + 3))
    if case_dir.name in ("moe", "moe-untied"):
        tokens = torch.randint(3, 48, (31,),
                               generator=torch.Generator().manual_seed(seed + 1))
        with torch.no_grad():
            logits = model(tokens[None], use_cache=False).logits[0]
        np.save(case_dir / "logits.npy", logits.numpy())
        (case_dir / "tokens.txt").write_text(" ".join(map(str, tokens.tolist())) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    args = parser.parse_args()
    for seed, (name, build) in enumerate(CASES.items(), 41):
        if not args.cases or name in args.cases:
            make(args.out / name, build(), seed)


if __name__ == "__main__":
    main()
