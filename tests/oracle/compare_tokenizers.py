#!/usr/bin/env python3
"""Compares erne's tokenizers with sentencepiece, tokenizers and, if given, llama.cpp.

  compare_tokenizers.py TOK_DUMP TOKENIZER_DIR [-n N] [--gguf FILE
                        [--llama-tokenize PROGRAM]]
  compare_tokenizers.py TOK_DUMP TOKENIZER_DIR --gguf FILE --golden OUT_DIR

TOK_DUMP is the build's tests/support/tok_dump; TOKENIZER_DIR has tokenizer.model, its
tokenizer.json and added_tokens.json. The second form writes the committed golden samples
and the small vocabularies that they need. Exit status 1 on any difference. Needs
sentencepiece, protobuf, tokenizers, jinja2 and gguf."""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile

import sentencepiece
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from chat_templates import CHATS, NAMES, TEMPLATES
from tokenizer_strings import golden_strings, invalid, is_new, strings


class Check:
    def __init__(self, tok_dump):
        self.tok_dump, self.failed = tok_dump, 0

    def run(self, files, texts, mode):
        """[(ids, decoded bytes)] from erne."""
        lines = "".join(f"{mode} {t.hex()}\n" for t in texts)
        done = subprocess.run(
            [self.tok_dump, *files], input=lines, capture_output=True, text=True
        )
        if done.returncode:
            sys.exit(f"{files}: {done.stderr}")
        out = []
        for line in done.stdout.splitlines():
            ids, _, text = line.partition("|")
            out.append((list(map(int, ids.split())), bytes.fromhex(text)))
        assert len(out) == len(texts)
        return out

    def compare(self, name, files, texts, mode, oracle, decode=None, skip=None):
        """texts: bytes. skip(text): differences that are not ours."""
        bad = skipped = 0
        for text, (ids, back) in zip(texts, self.run(files, texts, mode)):
            want = oracle(text)
            wrong = ids != want or (decode and back != decode(want))
            if wrong and skip and skip(text):
                skipped += 1
            elif wrong:
                bad += 1
                if bad <= 5:
                    print(
                        f"  {text!r}\n    erne   {ids} {back!r}\n    oracle {want}",
                        decode(want) if decode else "",
                    )
        note = (
            f", {skipped} with characters newer than the system's Unicode"
            if skipped
            else ""
        )
        print(f"{name}: {len(texts)} strings, {bad} differ{note}")
        self.failed += bad


# ------------------------------------------------------------------- vocabularies


def train(path, corpus, **options):
    """A small sentencepiece model with other options than ERNIE's."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus),
        model_writer=model,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
        **dict(dict(vocab_size=700), **options),
    )
    with open(path, "wb") as f:
        f.write(model.getvalue())
    return path


def edit_model(src, dst, edit):
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    with open(src, "rb") as f:
        model.ParseFromString(f.read())
    edit(model)
    with open(dst, "wb") as f:
        f.write(model.SerializeToString())
    return dst


def mark_unused(model):
    """Every seventh piece becomes unused: exercises re-segmentation."""
    for piece in list(model.pieces)[300::7]:
        if len(piece.piece) > 1:
            piece.type = 5


def forget_paths(model):
    """Where the model was trained does not belong into the committed file."""
    model.normalizer_spec.ClearField("normalization_rule_tsv")


def gguf_tokenizer(path, n_merges=None):
    """The byte-level vocabulary of a GGUF file with pre-tokeniser "smollm"."""
    import gguf

    fields = gguf.GGUFReader(path).fields
    get = lambda key: fields["tokenizer.ggml." + key].contents()
    assert get("pre") == "smollm"
    tokens, merges, types = get("tokens"), get("merges"), get("token_type")
    if n_merges:
        merges = merges[:n_merges]
        made = {m.replace(" ", "") for m in merges}
        kept = [
            i for i, t in enumerate(tokens) if types[i] == 3 or len(t) == 1 or t in made
        ]
        tokens, types = [tokens[i] for i in kept], [types[i] for i in kept]
    tok = tokenizers.Tokenizer(
        models.BPE(
            vocab={t: i for i, t in enumerate(tokens)},
            merges=[tuple(m.split(" ")) for m in merges],
        )
    )
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([t for t, k in zip(tokens, types) if k == 3])
    return tok


def variants(tok):
    """The same byte-level vocabulary behind other pre-tokenisers and normalisers."""
    from tokenizers import Regex, normalizers

    llama3 = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
        r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    qwen2 = llama3.replace("{1,3}", "")
    split = lambda regex: pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(regex), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    for name, regex, nfc, ignore in [
        ("llama-bpe", llama3, False, True),
        ("qwen2 with NFC", qwen2, True, False),
    ]:
        data = json.loads(tok.to_str())
        data["model"]["ignore_merges"] = ignore
        one = tokenizers.Tokenizer.from_str(json.dumps(data))
        one.pre_tokenizer = split(regex)
        if nfc:
            one.normalizer = normalizers.NFC()
        yield name, one


def pipelines(corpus):
    """Small vocabularies behind steps whose details the larger ones do not need."""
    from tokenizers import Regex, trainers

    def trained(model, step, **options):
        tok = tokenizers.Tokenizer(model)
        tok.pre_tokenizer = step
        trainer = trainers.BpeTrainer(
            vocab_size=330, show_progress=False, special_tokens=["<unk>"], **options
        )
        tok.train_from_iterator(corpus, trainer)
        return tok

    yield "metaspace", trained(
        models.BPE(unk_token="<unk>", fuse_unk=False),
        pre_tokenizers.Metaspace(prepend_scheme="always", split=False),
        max_token_length=8,
    )
    yield "removed", trained(
        models.BPE(),
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(r"\p{L}+|\s+"), "removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        ),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    for name, fuse in ("unknown", False), ("fused", True):  # bytes of the corpus only
        yield name, trained(
            models.BPE(unk_token="<unk>", fuse_unk=fuse),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        )


def llama_tokenize(program, model, texts):
    """Ids by the program llama-tokenize, special tokens parsed."""
    env = dict(os.environ, LD_LIBRARY_PATH=os.path.dirname(program))
    for text in texts:
        out = subprocess.run(
            [program, "-m", model, "--stdin", "--ids", "--no-bos", "--log-disable"],
            input=text,
            capture_output=True,
            env=env,
            check=True,
        )
        yield json.loads(out.stdout.decode().strip().splitlines()[-1])


# ---------------------------------------------------------------------- comparing


def spm_checks(check, files, texts, n):
    sp = sentencepiece.SentencePieceProcessor(model_file=files["model"])
    encoded = [t.encode() for t in texts]
    check.compare("tokenizer.model, plain", [files["model"]], encoded, "p", sp.encode)
    check.compare(
        "tokenizer.model, invalid UTF-8",
        [files["model"]],
        invalid(n // 10),
        "p",
        sp.encode,
    )
    hf = tokenizers.Tokenizer.from_file(files["json"])
    ids = lambda t: hf.encode(t.decode(), add_special_tokens=False).ids
    back = lambda i: hf.decode(i, skip_special_tokens=False).encode()
    check.compare("tokenizer.json, special", [files["json"]], encoded, "s", ids, back)
    check.compare(
        "tokenizer.model and added tokens, special", files["all"], encoded, "s", ids
    )


def trained_checks(check, folder, corpus, texts):
    encoded = [t.encode() for t in texts]
    user = ["<user>", "ab", "abc", "@@", "▁▁▁"] + [str(d) for d in range(10)]
    cases = {
        "dummy prefix": dict(
            add_dummy_prefix=True,
            remove_extra_whitespaces=False,
            normalization_rule_name="identity",
        ),
        "nmt_nfkc, trimmed": dict(),
        "nfkc_cf, no prefix": dict(
            add_dummy_prefix=False, normalization_rule_name="nfkc_cf"
        ),
        "user symbols": dict(
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            normalization_rule_name="identity",
            user_defined_symbols=user,
        ),
        "user symbols, nmt_nfkc": dict(user_defined_symbols=user),
    }
    for i, (name, options) in enumerate(cases.items()):
        path = train(os.path.join(folder, f"{i}.model"), corpus, **options)
        sp = sentencepiece.SentencePieceProcessor(model_file=path)
        check.compare(
            f"trained, {name}",
            [path],
            encoded,
            "p",
            sp.encode,
            lambda ids, sp=sp: sp.decode(ids).encode(),
        )
    path = edit_model(
        os.path.join(folder, "0.model"),
        os.path.join(folder, "unused.model"),
        mark_unused,
    )
    sp = sentencepiece.SentencePieceProcessor(model_file=path)
    check.compare("trained, unused pieces", [path], encoded, "p", sp.encode)


def pipeline_checks(check, folder, corpus, texts):
    for name, tok in pipelines(corpus):
        file = os.path.join(folder, name + ".json")
        tok.save(file)
        ids = lambda t, tok=tok: tok.encode(t.decode(), add_special_tokens=False).ids
        encoded = [t.encode() for t in texts]
        skip = lambda t: is_new(t.decode())
        check.compare(f"pipeline, {name}", [file], encoded, "s", ids, skip=skip)


def bpe_checks(check, folder, path, texts, llama):
    encoded = [t.encode() for t in texts]
    full = gguf_tokenizer(path)
    for name, tok in [("smollm", full), *variants(full)]:
        file = os.path.join(folder, name.split()[0] + ".json")
        tok.save(file)
        ids = lambda t, tok=tok: tok.encode(t.decode(), add_special_tokens=False).ids
        check.compare(
            f"byte-level, {name}",
            [file],
            encoded,
            "s",
            ids,
            lambda i, tok=tok: tok.decode(i, skip_special_tokens=False).encode(),
            skip=lambda t: is_new(t.decode()),
        )
    ids = lambda t: full.encode(t.decode(), add_special_tokens=False).ids
    check.compare(
        "byte-level, GGUF", [path], encoded, "s", ids, skip=lambda t: is_new(t.decode())
    )
    if llama:
        some = [t for t in encoded[:400] if t and b"\0" not in t]
        answers = dict(zip(some, llama_tokenize(llama, path, some)))
        check.compare(
            "byte-level, llama.cpp",
            [path],
            some,
            "s",
            answers.get,
            skip=lambda t: is_new(t.decode()),
        )


# ------------------------------------------------------------------------- golden


def chat_golden(tok):
    """Each template, and what jinja2 makes of it as transformers sets it up. ids: None
    where a message names special tokens, which erne does not recognise there."""
    import jinja2

    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    out = []
    for name, template, layout in TEMPLATES:
        chats = []
        for chat in CHATS if layout else []:
            messages = [{"role": r, "content": c} for r, c in chat]
            for generation in True, False:
                text = env.from_string(template).render(
                    messages=messages, add_generation_prompt=generation, **NAMES
                )
                plain = not any("<" in c for _, c in chat)
                ids = tok.encode(text, add_special_tokens=False).ids if plain else None
                chats.append(
                    dict(messages=messages, generation=generation, text=text, ids=ids)
                )
        out.append(dict(name=name, template=template, layout=layout, chats=chats))
    return out


def write_golden(path, rows):
    with open(path, "w") as f:
        f.write(
            "# made by tests/oracle/compare_tokenizers.py: mode, text in hex, ids\n"
        )
        for mode, text, ids in rows:
            f.write(f"{mode} {text.hex() or '-'} {' '.join(map(str, ids))}\n")


def small_spm_json(path, n_tokens=900):
    """The first tokens of a tokenizer.json and its single characters, renumbered."""
    with open(path) as f:
        data = json.load(f)
    vocab, merges = data["model"]["vocab"], data["model"]["merges"]
    kept = [
        t
        for t, i in sorted(vocab.items(), key=lambda x: x[1])
        if i < n_tokens or len(t) == 1
    ]
    kept += [t["content"] for t in data["added_tokens"] if t["content"] not in kept]
    ids = {t: i for i, t in enumerate(kept)}
    data["model"]["vocab"] = {t: i for t, i in ids.items() if t in vocab}
    data["model"]["merges"] = [
        m for m in merges if all(x in ids for x in (*m, "".join(m)))
    ]
    data["added_tokens"] = [dict(t, id=ids[t["content"]]) for t in data["added_tokens"]]
    return tokenizers.Tokenizer.from_str(json.dumps(data))


# A charsmap of a few bytes; those of the named rules have 200 KB.
RULES = {
    "A": "a",
    "\ufb01": "fi",
    "e\u0301": "\u00e9",
    "\u3000": " ",
    "\t": " ",
    "\u200b": "",
    "\uff41": "a",
    "\uff41\uff42": "xyz",
    "\u00bd": "1/2",
}


def golden(files, gguf_path, out, folder, corpus):
    texts = [t for t in golden_strings(340) if not is_new(t)]
    at = lambda name: os.path.join(out, name)
    shutil.copyfile(files["model"], at("spm_ernie.model"))
    rules = os.path.join(folder, "rules.tsv")
    with open(rules, "w") as f:
        for src, dst in RULES.items():
            f.write(
                "\t".join(" ".join(f"{ord(c):X}" for c in x) for x in (src, dst)) + "\n"
            )
    train(
        at("spm_rules.model"),
        corpus,
        vocab_size=400,
        normalization_rule_tsv=rules,
        user_defined_symbols=["<user>", "@@"],
        split_digits=True,
    )
    edit_model(at("spm_rules.model"), at("spm_rules.model"), forget_paths)
    for name in "spm_ernie", "spm_rules":
        sp = sentencepiece.SentencePieceProcessor(model_file=at(name + ".model"))
        odd = [
            "A\ufb01e\u0301 \t x\u3000",
            "\u200b",
            "\u200b x",
            "\uff41\uff42\uff41",
            "@@A<user>A ",
        ]
        write_golden(
            at(name + ".txt"),
            [("p", t.encode(), sp.encode(t)) for t in texts + odd]
            + [("p", t, sp.encode(t)) for t in invalid(30)],
        )
    for name, tok in [
        ("spm_json", small_spm_json(files["json"])),
        ("bpe_json", gguf_tokenizer(gguf_path, 1200)),
        *pipelines(corpus),
    ]:
        with open(at(name + ".json"), "w") as f:
            json.dump(
                json.loads(tok.to_str()), f, ensure_ascii=False, separators=(",", ":")
            )
        write_golden(
            at(name + ".txt"),
            [
                ("s", t.encode(), tok.encode(t, add_special_tokens=False).ids)
                for t in texts
            ],
        )
    with open(at("chat.json"), "w") as f:
        json.dump(
            chat_golden(tokenizers.Tokenizer.from_file(files["json"])), f, indent=0
        )


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    p.add_argument("tok_dump")
    p.add_argument("tokenizer_dir")
    p.add_argument("--gguf")
    p.add_argument("--llama-tokenize", help="llama.cpp's program of that name")
    p.add_argument("--golden", metavar="OUT_DIR")
    p.add_argument("-n", type=int, default=12000)
    a = p.parse_args()
    at = lambda name: os.path.join(a.tokenizer_dir, name)
    files = {
        "model": at("tokenizer.model"),
        "json": at("tokenizer.json"),
        "all": [
            at(f)
            for f in ("tokenizer.model", "added_tokens.json", "tokenizer_config.json")
        ],
    }
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "../data/northanger.txt"), encoding="utf-8") as f:
        corpus = [line.strip() for line in f if line.strip()]
    with tempfile.TemporaryDirectory() as folder:
        if a.golden:
            golden(files, a.gguf, a.golden, folder, corpus)
            return 0
        check, texts = Check(a.tok_dump), strings(a.n)
        spm_checks(check, files, texts, a.n)
        trained_checks(check, folder, corpus, texts)
        pipeline_checks(check, folder, corpus, texts)
        if a.gguf:
            bpe_checks(check, folder, a.gguf, texts, a.llama_tokenize)
    return check.failed > 0


if __name__ == "__main__":
    sys.exit(main())
