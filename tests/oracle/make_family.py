"""Makes small random checkpoints of the ERNIE 4.5 family with the logits transformers
computes: mixtures of experts, vision-language models, PaddleOCR-VL.

usage: make_family.py OUT_DIR [CASE ...]

The committed folders in tests/models/golden are `make_family.py tests/models/golden`.
Every case is a folder in the Hugging Face layout plus
    tokens.txt   the input, whitespace-separated ids, placeholders expanded
    media.txt    what fills the placeholders, in order: "image FILE" or "video FOLDER"
    logits.npy   float32 [n_tokens, vocab], transformers in f32 on the CPU
    layers.npy   float32 [n_layers, n_tokens, hidden], what the decoder's layers give
    vision.npy   float32 [n_layers, n_patches, hidden], what those of the vision tower
                 give, all pictures one after the other, patches by blocks of 2 x 2
    mtp.npy      float32 [n_tokens - 1, vocab], what the block for multi-token prediction
                 says follows token t + 1
    model.txt    where the checkpoint is, for prompts of a model that another case has
Weights are bfloat16 but for the routers, as in the released checkpoints.
Correction biases are not zero, experts of text and pictures differ in width, and a token
is a vision token if its id is that of the image placeholder or above.
Needs: torch transformers safetensors sentencepiece numpy pillow.
"""
import argparse
import io
import json
import pathlib
import re

import numpy as np
import sentencepiece
import torch
import transformers
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file

IMAGE, VIDEO = "<|IMAGE_PLACEHOLDER|>", "<|VIDEO_PLACEHOLDER|>"
MARKS = [IMAGE, "<|IMAGE_START|>", "<|IMAGE_END|>", "<|VIDEO_START|>", "<|VIDEO_END|>",
         VIDEO]
TEXT = ("the eagle turns over the shallow water and the small boat turns with it "
        "while a low wind moves the reeds 0 1 2 3 4 5 6 7 8 9").split()

MOE = {
    # 21B-like: shared experts, tied, one dense layer first
    "moe": dict(seed=21, n_tokens=40, hidden_size=32, intermediate_size=56,
                num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
                head_dim=16, moe_intermediate_size=24, moe_k=2, moe_num_experts=6,
                moe_num_shared_experts=2, moe_layer_start_index=1,
                tie_word_embeddings=True),
    # 300B-like: no shared expert, three dense layers first, untied
    "moe-bare": dict(seed=22, n_tokens=33, hidden_size=40, intermediate_size=72,
                     num_hidden_layers=5, num_attention_heads=4, num_key_value_heads=1,
                     head_dim=16, moe_intermediate_size=20, moe_k=3, moe_num_experts=7,
                     moe_num_shared_experts=0, moe_layer_start_index=3,
                     tie_word_embeddings=False),
    # experts in every second layer, up to the last but one; biases, the logits' too
    "moe-interval": dict(seed=23, n_tokens=30, hidden_size=32, intermediate_size=48,
                         num_hidden_layers=5, num_attention_heads=2,
                         num_key_value_heads=2, head_dim=16, moe_intermediate_size=16,
                         moe_k=1, moe_num_experts=4, moe_num_shared_experts=1,
                         moe_layer_start_index=1, moe_layer_end_index=3,
                         moe_layer_interval=2, use_bias=True,
                         tie_word_embeddings=True),
}
# A model that predicts further tokens, and whose layers matter little beside its
# embedding, so that some guesses are right and some wrong.
MTP = {
    "mtp": dict(seed=24, n_tokens=30, hidden_size=32, intermediate_size=56,
                num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
                head_dim=16, moe_intermediate_size=24, moe_k=2, moe_num_experts=6,
                moe_num_shared_experts=1, moe_layer_start_index=1,
                tie_word_embeddings=False),
}
VL_TEXT = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=3,
               num_attention_heads=2, num_key_value_heads=1, head_dim=32,
               moe_intermediate_size=[24, 8], moe_k=2, moe_num_experts=6,
               moe_num_shared_experts=1, max_position_embeddings=2048,
               pad_token_id=0, bos_token_id=1, eos_token_id=2,
               rope_parameters=dict(rope_type="default", rope_theta=500000.0,
                                    mrope_section=[6, 6, 4]))
VL_VISION = dict(depth=2, hidden_size=32, intermediate_size=72, num_heads=2,
                 patch_size=14)
# What a prompt is made of: a number of text tokens, ("image", w, h), or
# ("video", frames, w, h).
VL = {
    "vl": dict(seed=31, parts=[5, ("image", 60, 40), 4, ("image", 30, 90),
                               ("image", 56, 56), 6]),
    "vl-text": dict(seed=32, parts=[40]),
    "vl-video": dict(seed=33, parts=[4, ("video", 6, 90, 70), 5]),
    "vl-mixed": dict(seed=34, parts=[3, ("image", 70, 50), 3, ("video", 3, 56, 84), 2,
                                     ("image", 20, 20)]),
}
OCR = {
    "ocr": dict(seed=41, parts=[5, ("image", 90, 60), 6]),
    "ocr-two": dict(seed=42, parts=[("image", 40, 130), ("image", 75, 75), 9]),
}


def fill(model, seed):
    """Random weights of unit gain, in bfloat16 as they will be stored; biases of the
    routing that change what is chosen."""
    gen = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            x = torch.randn(p.shape, generator=gen)
            if "e_score_correction_bias" in name:
                x = 0.1 * x
            elif ("norm" in name or ".ln" in name) and name.endswith("weight"):
                x = 1 + 0.1 * x
            elif name.endswith("bias"):
                x = 0.1 * x
            else:
                x = x / p.shape[-1] ** 0.5
            p.copy_(x if in_f32(name) else x.bfloat16().float())
    return model.eval()


def in_f32(name):
    """Whether a tensor is float32 in a bfloat16 checkpoint."""
    return name.endswith((".gate.weight", ".gate.weight_1", "e_score_correction_bias"))


def write_tokenizer(folder, vocab, marks):
    """SentencePiece BPE; control pieces for the marks. Returns their ids by name."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(TEXT[i:] + TEXT[:i]) for i in range(len(TEXT))]),
        model_writer=out, model_type="bpe", vocab_size=vocab - len(marks),
        normalization_rule_name="identity", add_dummy_prefix=False,
        remove_extra_whitespaces=False, character_coverage=1.0,
        hard_vocab_limit=False, minloglevel=2)
    (folder / "tokenizer.model").write_bytes(out.getvalue())
    n = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue()).vocab_size()
    if n > vocab - len(marks):
        raise SystemExit(f"{folder}: {n} pieces and {len(marks)} marks")
    ids = {mark: vocab - len(marks) + i for i, mark in enumerate(marks)}
    if marks:
        (folder / "added_tokens.json").write_text(json.dumps(ids, indent=1) + "\n")
    return ids


def picture(width, height, rng):
    image = Image.new("RGB", (width, height),
                      tuple(int(c) for c in rng.integers(0, 256, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = sorted(rng.integers(0, width, 2)), sorted(rng.integers(0, height, 2))
        draw.ellipse([int(x[0]), int(y[0]), int(x[1]), int(y[1])],
                     fill=tuple(int(c) for c in rng.integers(0, 256, 3)))
    return image


class Prompt:
    """Token ids, pixels and grids of the parts of a case."""

    def __init__(self, folder, case, ids, processor, vocab):
        self.folder, self.ids, self.processor = folder, ids, processor
        self.rng = np.random.default_rng(case["seed"])
        self.tokens, self.media = [], []
        self.pixels = {"image": [], "video": []}
        self.grids = {"image": [], "video": []}
        for part in case["parts"]:
            if isinstance(part, int):
                self.tokens += self.rng.integers(3, vocab - len(ids), part).tolist()
            elif part[0] == "image":
                self.add_image(*part[1:])
            else:
                self.add_video(*part[1:])
        (folder / "media.txt").write_text("".join(f"{m}\n" for m in self.media))

    def add(self, kind, grid, n_tokens):
        mark = kind.upper()
        self.tokens += [self.ids[f"<|{mark}_START|>"]]
        self.tokens += [self.ids[IMAGE if kind == "image" else VIDEO]] * n_tokens
        self.tokens += [self.ids[f"<|{mark}_END|>"]]
        self.grids[kind].append(grid)

    def add_image(self, width, height):
        image = picture(width, height, self.rng)
        name = f"img{len(self.media)}.png"
        image.save(self.folder / name)
        self.media.append(f"image {name}")
        out = self.processor(images=[image], return_tensors="pt")
        grid = out["image_grid_thw"][0]
        self.pixels["image"].append(out["pixel_values"])
        self.add("image", grid, int(grid.prod()) // 4)

    def add_video(self, n_frames, width, height):
        name = f"video{len(self.media)}"
        (self.folder / name).mkdir(exist_ok=True)
        frames = [picture(width, height, self.rng) for _ in range(n_frames)]
        for i, frame in enumerate(frames):
            frame.save(self.folder / name / f"{i:03d}.png")
        self.media.append(f"video {name}")
        frames += frames[-1:] * (n_frames % 2)  # an odd last frame stands twice
        out = self.processor(images=frames, return_tensors="pt")
        grid = out["image_grid_thw"][0].clone()
        grid[0] = len(frames)
        self.pixels["video"].append(out["pixel_values"])
        self.add("video", grid, int(grid.prod()) // 8)

    def inputs(self):
        ids = torch.tensor(self.tokens)[None]
        video = self.ids.get(VIDEO, -1)
        kinds = (ids == self.ids[IMAGE]).int() + 2 * (ids == video).int()
        out = dict(input_ids=ids, mm_token_type_ids=kinds)
        if self.grids["image"]:
            out.update(pixel_values=torch.cat(self.pixels["image"]),
                       image_grid_thw=torch.stack(self.grids["image"]))
        if self.grids["video"]:
            out.update(pixel_values_videos=torch.cat(self.pixels["video"]),
                       video_grid_thw=torch.stack(self.grids["video"]))
        return out


def save_model(folder, model):
    """The checkpoint in the layout of the released ones."""
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    path = folder / "model.safetensors"
    tensors = {name: t if in_f32(name) else t.bfloat16()
               for name, t in load_file(path).items()}
    save_file(tensors, path, metadata=dict(format="pt"))
    path.chmod(0o644)
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"float32"', '"bfloat16"') + "\n")


def by_blocks(rows, grids):
    """Patches [layers, n, width] of pictures: from rows to blocks of 2 x 2."""
    order, first = [], 0
    for _, gh, gw in grids.tolist():
        order += [first + (y + i) * gw + x + j for y in range(0, gh, 2)
                  for x in range(0, gw, 2) for i in (0, 1) for j in (0, 1)]
        first += gh * gw
    return rows[:, order]


def run(model, inputs):
    """Logits [n, vocab]; what the decoder's layers give, and those of the tower."""
    outputs = {"layers": {}, "vision": {}}

    def keep(kind, number):
        def hook(_, __, out):
            out = out[0] if isinstance(out, tuple) else out
            outputs[kind].setdefault(number, out.detach().float().squeeze(0))
        return hook

    hooks = []
    for name, module in model.named_modules():
        match = re.search(r"(encoder|tower|model)\.(?:layers|blocks)\.(\d+)$", name)
        if match:
            kind = "layers" if match[1] == "model" else "vision"
            hooks.append(module.register_forward_hook(keep(kind, int(match[2]))))
    with torch.no_grad():
        logits = model(use_cache=False, **inputs).logits[0].float()
    for hook in hooks:
        hook.remove()
    stack = {kind: np.stack([rows[i].numpy() for i in sorted(rows)]) if rows else None
             for kind, rows in outputs.items()}
    return logits, stack["layers"], stack["vision"]


def save(folder, model, tokens, inputs, home):
    """home: the case that has the checkpoint."""
    if home == folder.name:
        save_model(folder, model)
    else:
        (folder / "model.txt").write_text(f"../{home}\n")
        for name in "tokenizer.model", "added_tokens.json", "preprocessor_config.json":
            (folder / name).unlink(missing_ok=True)
    logits, layers, vision = run(model, inputs)
    np.save(folder / "layers.npy", layers)
    if "image_grid_thw" in inputs:
        if home == "ocr":
            vision = by_blocks(vision, inputs["image_grid_thw"])
        np.save(folder / "vision.npy", vision)
    np.savetxt(folder / "tokens.txt", np.array(tokens)[None], fmt="%d")
    np.save(folder / "logits.npy", logits.numpy())
    span = float(logits.max() - logits.min())
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    print(f"{folder.name:13} {list(logits.shape)} logit range {span:.2f}, {size} bytes")


def make_moe(folder, case, vocab=48):
    case = dict(case)
    seed, n_tokens = case.pop("seed"), case.pop("n_tokens")
    config = transformers.Ernie4_5_MoeConfig(vocab_size=vocab,
                                             max_position_embeddings=2048, **case)
    model = fill(transformers.Ernie4_5_MoeForCausalLM(config), seed)
    write_tokenizer(folder, vocab, [])
    tokens = np.random.default_rng(seed).integers(3, vocab, n_tokens)
    save(folder, model, tokens, dict(input_ids=torch.tensor(tokens)[None]), folder.name)


class Predictor(torch.nn.Module):
    """ERNIE's block for multi-token prediction, of transformers' parts; `model.mtp_*`."""

    def __init__(self, config):
        super().__init__()
        moe = transformers.models.ernie4_5_moe.modeling_ernie4_5_moe
        width, eps = config.hidden_size, config.rms_norm_eps
        self.mtp_emb_norm = torch.nn.ModuleList([moe.Ernie4_5_MoeRMSNorm(width, eps)])
        self.mtp_hidden_norm = torch.nn.ModuleList([moe.Ernie4_5_MoeRMSNorm(width, eps)])
        self.mtp_linear_proj = torch.nn.ModuleList(
            [torch.nn.Linear(2 * width, width, bias=False)])
        self.mtp_block = torch.nn.ModuleList([moe.Ernie4_5_MoeDecoderLayer(config, 0)])

    def logits(self, model, ids, hidden):
        """From tokens [T] and last hidden states [T, width]: [T - 1, vocab]."""
        x = torch.cat([self.mtp_emb_norm[0](model.model.embed_tokens(ids[1:])),
                       self.mtp_hidden_norm[0](hidden[:-1])], -1)
        x = self.mtp_linear_proj[0](x)[None]
        places = torch.arange(x.shape[1])[None]
        causal = torch.full((x.shape[1],) * 2, float("-inf")).triu(1)[None, None]
        x = self.mtp_block[0](x, position_embeddings=model.model.rotary_emb(x, places),
                              attention_mask=causal, position_ids=places)
        x = x[0] if isinstance(x, tuple) else x
        return model.lm_head(model.model.norm(x))[0]


def make_mtp(folder, case, vocab=48):
    make_moe(folder, case, vocab)
    case = dict(case)
    seed = case.pop("seed")
    model = transformers.Ernie4_5_MoeForCausalLM.from_pretrained(
        folder, dtype=torch.float32)
    predictor = fill(Predictor(model.config), seed + 1)
    with torch.no_grad():
        for name, p in [*model.named_parameters(), *predictor.named_parameters()]:
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                p.mul_(0.25)
            if name.endswith("embed_tokens.weight"):
                p.mul_(8)
        weight = predictor.mtp_linear_proj[0].weight
        weight.copy_((0.1 * weight + torch.eye(*weight.shape)).bfloat16().float())
    tokens = np.loadtxt(folder / "tokens.txt", dtype=np.int64)
    save(folder, model, tokens, dict(input_ids=torch.tensor(tokens)[None]), folder.name)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors.update({f"model.{name}": p.bfloat16().contiguous()
                    for name, p in predictor.state_dict().items()})
    save_file(tensors, path, metadata=dict(format="pt"))
    path.chmod(0o644)
    hidden = torch.tensor(np.load(folder / "layers.npy")[-1])
    with torch.no_grad():
        guesses = predictor.logits(model, torch.tensor(tokens), hidden)
    np.save(folder / "mtp.npy", guesses.numpy())


def make_vl(folder, case, vocab=64):
    ids = write_tokenizer(folder, vocab, MARKS)
    config = transformers.Ernie4_5_VLMoeConfig(
        text_config=dict(VL_TEXT, vocab_size=vocab, tie_word_embeddings=True),
        vision_config=VL_VISION, tie_word_embeddings=True,
        image_token_id=ids[IMAGE], video_token_id=ids[VIDEO],
        image_start_token_id=ids["<|IMAGE_START|>"],
        image_end_token_id=ids["<|IMAGE_END|>"],
        video_start_token_id=ids["<|VIDEO_START|>"],
        video_end_token_id=ids["<|VIDEO_END|>"])
    model = fill(transformers.Ernie4_5_VLMoeForConditionalGeneration(config), 31)
    pil = transformers.models.ernie4_5_vl_moe.image_processing_pil_ernie4_5_vl_moe
    processor = pil.Ernie4_5_VLMoeImageProcessorPil()
    prompt = Prompt(folder, case, ids, processor, vocab)
    inputs = prompt.inputs()
    inputs["moe_mm_token_type_ids"] = (inputs["input_ids"] >= ids[IMAGE]).int()
    save(folder, model, prompt.tokens, inputs, "vl")


def make_ocr(folder, case, vocab=64):
    ids = write_tokenizer(folder, vocab, MARKS[:3])
    config = transformers.PaddleOCRVLConfig(
        text_config=dict(vocab_size=vocab, hidden_size=64, intermediate_size=96,
                         num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, head_dim=32, pad_token_id=0,
                         bos_token_id=1, eos_token_id=2, tie_word_embeddings=False,
                         max_position_embeddings=2048,
                         rope_parameters=dict(rope_type="default", rope_theta=500000.0,
                                              mrope_section=[4, 6, 6])),
        vision_config=dict(hidden_size=48, intermediate_size=100, num_hidden_layers=2,
                           num_attention_heads=2, image_size=70, patch_size=14),
        image_token_id=ids[IMAGE], vision_start_token_id=ids["<|IMAGE_START|>"],
        vision_end_token_id=ids["<|IMAGE_END|>"], tie_word_embeddings=False)
    model = fill(transformers.PaddleOCRVLForConditionalGeneration(config), 41)
    settings = dict(min_pixels=3136, max_pixels=25088, image_mean=[0.5] * 3,
                    image_std=[0.5] * 3)
    pil = transformers.models.paddleocr_vl.image_processing_pil_paddleocr_vl
    prompt = Prompt(folder, case, ids, pil.PaddleOCRVLImageProcessorPil(**settings),
                    vocab)
    (folder / "preprocessor_config.json").write_text(json.dumps(
        dict(settings, patch_size=14, merge_size=2, temporal_patch_size=1,
             image_processor_type="PaddleOCRVLImageProcessor"), indent=1) + "\n")
    save(folder, model, prompt.tokens, prompt.inputs(), "ocr")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("case", nargs="*", help="default: all")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for make, cases in (make_moe, MOE), (make_mtp, MTP), (make_vl, VL), (make_ocr, OCR):
        for name, case in cases.items():
            if not args.case or name in args.case:
                folder = args.out / name
                folder.mkdir(parents=True, exist_ok=True)
                make(folder, case)


if __name__ == "__main__":
    main()
