#!/usr/bin/env python3
"""Writes the seeds of tests/fuzz/corpus/erne from docs/FORMAT.md alone.

Hashes are left 0: the fuzz target puts in those that fit. Needs no packages.
Usage: tests/oracle/make_fuzz_erne.py tests/fuzz/corpus/erne
"""
import pathlib
import struct
import sys

MANIFEST = b"""erne_manifest: 1
architecture: llama
model: {layers: 1, hidden_size: 8, heads: 2, kv_heads: 1, head_dim: 4, ffn_size: 8,
  vocab_size: 10, context: 16, rms_eps: 1e-5, rope_theta: 10000, tied_embeddings: true,
  bias: false}
"""
CODECS = {"f32": (0, 32), "bf16": (1, 16), "f16": (2, 16), "w8": (3, 8), "w4": (4, 4),
          "w2": (5, 2)}


def up(x, align):
    return (x + align - 1) // align * align


def planes(codec, tile64, asym, group, n, k):
    """Bytes of a stored matrix."""
    bits = CODECS[codec][1]
    if not tile64:
        return n * k * bits // 8
    n_pad, k_pad = up(n, 64), up(k, max(64, group))
    total = n_pad * k_pad * bits // 8
    for _ in range((bits <= 8) + asym):
        total = up(total, 256) + n_pad * (k_pad // group if group else 1) * 2
    return total


def golden_section(tokens, n_rows, n_vocab=10):
    logits = [(i * 37 % 11) - 5.0 for i in range(n_rows * n_vocab)]
    return struct.pack(f"<4I48x{len(tokens)}i{len(logits)}f", 1, len(tokens), n_rows,
                       n_vocab, *tokens, *logits)


def erne_file(tensors, golden=b"", tokenizer=b"tokenizer", reports=None):
    """reports: by name, the error and the tokens of a tensor."""
    reports = reports or {}
    tokenizer_at = up(256 + len(MANIFEST), 64)
    table_at = up(tokenizer_at + len(tokenizer), 128)
    data_at = end = up(table_at + 128 * len(tensors), 4096)
    table = b""
    for name, codec, tile64, asym, group, n, k in tensors:
        n_bytes = planes(codec, tile64, asym, group, n, k)
        offset = up(end, 4096 if n_bytes >= 65536 else 256)
        end = offset + n_bytes
        table += struct.pack("<64sBBBBHHqqQQQfIQ", name.encode(), CODECS[codec][0],
                             tile64, asym, name in reports, group, 0, n, k, offset,
                             n_bytes, 0, *reports.get(name, (0.0, 0)), 0)
    data_end = golden_at = up(end, 64)
    end = up(golden_at + len(golden), 64)
    sections = ((256, len(MANIFEST)), (tokenizer_at, len(tokenizer)),
                (table_at, len(table)), (data_at, data_end - data_at))
    if golden:
        sections += ((golden_at, len(golden)),)
    head = struct.pack("<8sIIQQ", b"\x89ERNE\r\n\x1a", 1, len(tensors), end + 32, 0)
    for number, (offset, n_bytes) in enumerate(sections, 1):
        head += struct.pack("<IIQQQ", number, 0, offset, n_bytes, 0)
    out = bytearray(end + 32)
    tail = struct.pack("<8sQQQ", b"ERNE-END", end + 32, 0, 0)
    for at, part in ((0, head), (256, MANIFEST), (tokenizer_at, tokenizer),
                     (table_at, table), (golden_at, golden), (end, tail)):
        out[at:at + len(part)] = part
    return bytes(out)


SEEDS = {
    "empty": [],
    "vectors": [("norm", "f32", 0, 0, 0, 1, 5), ("bias", "bf16", 0, 0, 0, 1, 3)],
    "w4": [("a", "w4", 1, 0, 32, 3, 33)],
    "w2": [("a", "w2", 1, 1, 128, 2, 7), ("b", "f32", 0, 0, 0, 2, 2)],
    "w8": [("a", "w8", 1, 1, 0, 1, 64)],
}

if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for seed, tensors in SEEDS.items():
        (folder / seed).write_bytes(erne_file(tensors))
    (folder / "golden").write_bytes(erne_file(SEEDS["vectors"][:1],
                                              golden_section([3, 9], 2)))
    (folder / "report").write_bytes(erne_file(SEEDS["w2"], reports={"a": (0.0625, 17)}))
