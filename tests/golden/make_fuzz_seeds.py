#!/usr/bin/env python3
"""Seeds for the fuzz targets, cut down from the golden files; see README beside this file.

    python3 tests/golden/make_fuzz_seeds.py        writes tests/fuzz/seed
"""
import json
import pathlib
import zipfile

import torch
from safetensors.torch import save_file
from sentencepiece import sentencepiece_model_pb2 as pb

from make_tokenizers import numbered

HERE = pathlib.Path(__file__).resolve().parent
SEEDS = HERE.parent / "fuzz" / "seed"
KEPT = 40  # pieces of a vocabulary


def write(target, name, content):
    path = SEEDS / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def cut_tokenizer(whole):
    """The same tokenizer with a small vocabulary."""
    model = whole["model"]
    named = {t["content"] for t in whole["added_tokens"]}
    if isinstance(model["vocab"], list):
        model["vocab"] = [p for i, p in enumerate(model["vocab"]) if i < KEPT or p[0] in named or p[0].startswith("<0x4")]
        ids = {p[0]: i for i, p in enumerate(model["vocab"])}
    else:
        merges = [m.split(" ") if isinstance(m, str) else m for m in model.get("merges", [])][:12]
        wanted = named | {part for m in merges for part in (*m, "".join(m))} | set(list(model["vocab"])[:KEPT])
        ids = {p: i for i, p in enumerate(p for p in model["vocab"] if p in wanted)}
        model["vocab"] = ids
        if "merges" in model:
            model["merges"] = [" ".join(m) if isinstance(model["merges"][0], str) else m for m in merges]
    numbered(ids, *whole["added_tokens"])
    post = whole["post_processor"]
    for token in post.get("special_tokens", {}).values():
        token["ids"] = [ids[token["id"]]]
    for end in ("sep", "cls"):
        if end in post:
            post[end][1] = ids[post[end][0]]
    return whole


def tokenizers():
    for path in sorted((HERE / "tokenizers").glob("*/tokenizer.json")):
        whole = cut_tokenizer(json.loads(path.read_text(encoding="utf-8")))
        write("tokenizer", f"{path.parent.name}.json", json.dumps(whole, ensure_ascii=False))
    write("json", "tokenizer.json", json.dumps(whole))
    for path in sorted((HERE / "tokenizers").glob("*/*.model")):
        model = pb.ModelProto()
        model.ParseFromString(path.read_bytes())
        del model.pieces[KEPT:]
        write("sentencepiece", f"{path.parent.name}.model", model.SerializeToString())
        write("charsmap", path.parent.name, model.normalizer_spec.precompiled_charsmap)


def tensors():
    path = SEEDS / "safetensors" / "types"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"a": torch.arange(6.0).reshape(2, 3), "ids": torch.arange(3), "half": torch.ones(2).half(),
               "none": torch.zeros(0), "b": torch.ones(1, 1, 2).bfloat16()}, path, metadata={"format": "pt"})


def pickles():
    """The pickle inside a file of torch.save(); whole files are in tests/golden/torch."""
    with zipfile.ZipFile(HERE / "torch" / "zip.bin") as file:
        name = next(n for n in file.namelist() if n.endswith("data.pkl"))
        write("torch", "state-dict.pkl", file.read(name))


def texts():
    write("json", "values", '{"a": [1, -2.5e3, true, false, null, "\\u0915\\ud83d\\udc4d\\n\\"x\\""], "b": {"c": []}}')
    for i, text in enumerate((
            "text,label\none,a\n\"two, \"\"quoted\"\"\nlines\",b\r\n", "text,label\none,a\ntext,label\n\"x\",\n",
            "text\tlabel\none\ta\n", '{"text": "one", "label": "a"}\n{"label": 2, "text": "\\u0915\\ud800"}\n',
            "one\n\ntwo\r\n", "__label__a one\n__label__b __label__c two\n", "one,two\na,b\n",
            '{"a": "x", "b": true}\n{"a": "y"}\n')):
        write("table", f"{i}", bytes([i]) + text.encode())
    write("table", "bom", b"\x01\xef\xbb\xbftext,label\n\xff\xfe,a\n")


if __name__ == "__main__":
    tokenizers()
    tensors()
    pickles()
    texts()
