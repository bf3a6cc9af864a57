#!/usr/bin/env python3
"""Writes the seeds of the tokenizer fuzz targets: make_fuzz_tokenizer.py CORPUS_DIR

Sections are written from docs/FORMAT.md alone; the models are cut down from
tests/models/tokenizer/spm_rules.model. Needs sentencepiece."""

import json
import os
import struct
import sys

from sentencepiece import sentencepiece_model_pb2

from chat_templates import ERNIE, LLAMA3, QWEN

HERE = os.path.dirname(os.path.abspath(__file__))
RULES_MODEL = os.path.join(HERE, "../models/tokenizer/spm_rules.model")
CHAT_MEDIA = os.path.join(HERE, "../models/tokenizer/chat_media.json")
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)

SPM_JSON = {
    "added_tokens": [
        {"id": 0, "content": "<unk>", "special": True},
        {"id": 6, "content": "<s>", "special": True},
    ],
    "normalizer": {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    },
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
    },
    "model": {
        "type": "BPE",
        "unk_token": "<unk>",
        "byte_fallback": True,
        "vocab": {"<unk>": 0, "a": 1, "b": 2, "ab": 3, "▁": 4, "▁a": 5},
        "merges": [["a", "b"], ["▁", "a"]],
    },
}
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\s+(?!\S)|\s+"
BPE_JSON = {
    "added_tokens": [
        {"id": 4, "content": "<s>", "special": True, "rstrip": True},
        {"id": 5, "content": "  "},
    ],
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Isolated"},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        ],
    },
    "model": {
        "type": "BPE",
        "ignore_merges": True,
        "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3},
        "merges": ["a b"],
    },
}
REMOVED = dict(
    BPE_JSON,
    pre_tokenizer={
        "type": "Sequence",
        "pretokenizers": [
            {
                "type": "Split",
                "pattern": {"Regex": r"(?i:[sdmt]|ll|ve|re)|[^\s\P{Lu}]{1,3}"},
                "behavior": "Removed",
                "invert": True,
            },
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        ],
    },
)
METASPACE = {
    "added_tokens": [{"id": 0, "content": "<unk>", "special": True}],
    "pre_tokenizer": {"type": "Metaspace", "prepend_scheme": "always", "split": False},
    "model": dict(SPM_JSON["model"], byte_fallback=False, fuse_unk=False),
}
ADDED = {"<|a|>": 3, "word": 5}
CONFIG = {
    "bos_token": "a",
    "eos_token": {"content": "b"},
    "additional_special_tokens": ["ab"],
    "add_bos_token": True,
    "added_tokens_decoder": {"3": {"content": "<x>", "special": True, "lstrip": True}},
}


def small_model(model, keep, **normalizer):
    """The pieces that keep() wants, the model type, and other normaliser options."""
    small = sentencepiece_model_pb2.ModelProto()
    small.trainer_spec.model_type = model.trainer_spec.model_type
    small.normalizer_spec.CopyFrom(model.normalizer_spec)
    small.normalizer_spec.ClearField("normalization_rule_tsv")
    for key, value in normalizer.items():
        setattr(small.normalizer_spec, key, value)
    for piece in filter(keep, model.pieces):
        small.pieces.add().CopyFrom(piece)
    return small.SerializeToString()


def section(kind, flags, tokens, merges=(), patterns=(), charsmap=b"", **special):
    """tokens: (text, score, type, flags); docs/FORMAT.md, "Tokenizer"."""
    texts = [t[0].encode() for t in tokens]
    patterns = [p.encode() for p in patterns]
    counts = len(tokens), len(merges), len(patterns)
    ids = [special.get(name, -1) for name in ("bos", "eos", "unk")]
    sizes = sum(map(len, texts)), sum(map(len, patterns)), len(charsmap)
    out = struct.pack("<6I3i3I16x", 1, kind, flags, *counts, *ids, *sizes)
    end = 0
    for text, (_, score, token_type, token_flags) in zip(texts, tokens):
        end += len(text)
        out += struct.pack("<IfBBxx", end, score, token_type, token_flags)
    for left, right in merges:
        out += struct.pack("<II", left, right)
    end = 0
    for pattern in patterns:
        end += len(pattern)
        out += struct.pack("<I", end)
    return out + charsmap + b"".join(patterns) + b"".join(texts)


def sections(charsmap):
    """(name, section, a text to encode)"""
    base = [("<unk>", 0, UNKNOWN, 0), ("a", -3, NORMAL, 0), ("b", -5, NORMAL, 0)]
    space = ("▁", -4, NORMAL, 0)
    spm = base + [space, ("▁a", -1, NORMAL, 0), ("ab", -2, UNUSED, 0)]
    spm += [("<s>", 0, CONTROL, 0), ("@@", 0, USER, 0)]
    yield "spm", section(1, 2, spm, unk=0, bos=6), "a ab<s>@@ x"
    rules = section(1, 6, base + [space], charsmap=charsmap, unk=0)
    yield "spm_rules", rules, "  A ﬁ  b e\u0301\u200b "
    pair = [("ab", 0, NORMAL, 0)]
    yield "spm_merges", section(1, 0, base + pair, [(1, 2)], unk=0), "abxab"
    tokens = base[1:] + pair + [("Ġ", 0, NORMAL, 0), ("Ġa", 0, NORMAL, 0)]
    tokens += [("<s>", 0, CONTROL, 3)]
    patterns = [r"\p{N}", r"'s| ?\p{L}+|\s+(?!\S)|\s+"]
    bpe = section(2, 9, tokens, [(0, 1), (3, 0)], patterns)
    yield "bpe", bpe, "ab a <s> 12e\u0323\u0301's"


def main(corpus):
    def write(target, name, data):
        os.makedirs(os.path.join(corpus, target), exist_ok=True)
        with open(os.path.join(corpus, target, name), "wb") as f:
            f.write(data)

    model = sentencepiece_model_pb2.ModelProto()
    with open(RULES_MODEL, "rb") as f:
        model.ParseFromString(f.read())
    letters = "a", "b", "ab", "▁", "▁a"
    short = lambda p: p.type < BYTE and len(p.piece) <= 2 or p.type in (UNKNOWN, USER)
    with_bytes = lambda p: p.type != NORMAL or p.piece in letters
    plain = dict(precompiled_charsmap=b"", add_dummy_prefix=False)
    write("tokenizer_model", "rules", small_model(model, short))
    write("tokenizer_model", "bytes", small_model(model, with_bytes, **plain))
    for name, data in (
        ("spm", SPM_JSON),
        ("bpe", BPE_JSON),
        ("removed", REMOVED),
        ("metaspace", METASPACE),
        ("added", ADDED),
        ("config", CONFIG),
    ):
        write("tokenizer_json", name, json.dumps(data, ensure_ascii=False).encode())
    for name, text in ("ernie", ERNIE), ("qwen", QWEN), ("llama3", LLAMA3):
        write("tokenizer_json", name + "_jinja", text.encode())
    with open(CHAT_MEDIA) as f:
        for name, case in zip(("vl", "vl_other", "vl_plain"), json.load(f)):
            write("tokenizer_json", name + "_jinja", case["template"].encode())
    for name, data, text in sections(model.normalizer_spec.precompiled_charsmap):
        text = text.encode()
        write("tokenizer_section", name, bytes([len(text)]) + data + text)


if __name__ == "__main__":
    main(*sys.argv[1:])
