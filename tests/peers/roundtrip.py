#!/usr/bin/env python3
"""Logits of one model three ways: Millet, transformers, ONNX Runtime. For comparison by hand only:
nothing in the product, its build or its tests needs Python.

The model is written back as Millet writes it (--dense pads a pruned shape for transformers, --to onnx
keeps it), both results are opened as their users open them (AutoTokenizer, AutoModelForSequence-
Classification, InferenceSession), fed with the texts in padded batches, and compared with what mteach
says of the same texts. The share of texts whose token ids are equal is told, too.

    python3 -m venv /tmp/v && /tmp/v/bin/pip install torch transformers onnx onnxruntime safetensors
    /tmp/v/bin/python tests/peers/roundtrip.py -m student.tar --texts lines.txt

Exit status 1 when a difference is above the tolerance.
"""
import argparse
import pathlib
import subprocess
import sys
import tarfile
import tempfile

import numpy as np


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-m", "--model", required=True, help="directory or tar of a Millet model")
    parser.add_argument("--texts", required=True, help="one text a line")
    parser.add_argument("-n", type=int, default=200, help="texts to compare; default 200")
    parser.add_argument("--batch", type=int, default=16, help="texts in a padded batch; default 16")
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--millet", default=str(pathlib.Path(__file__).parents[2] / "bin"))
    return parser.parse_args()


def unpack(tar, to):
    to.mkdir()
    with tarfile.open(tar) as archive:
        archive.extractall(to, filter="data")
    return to


def millet(opt, room, texts):
    """Ids and logits of mtok and mteach, from the record stream they write."""
    import safetensors.numpy as st

    lines = room / "texts.txt"
    lines.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    tok = [f"{opt.millet}/mtok", "-q", "-m", opt.model, "--format", "plain"]
    tok += ["--max-tokens", str(opt.max_tokens), "-o", room / "texts.tok", lines]
    subprocess.run(tok, check=True)
    teach = [f"{opt.millet}/mteach", "-q", "-m", opt.model, "-o", room / "taught", room / "texts.tok"]
    subprocess.run(teach, check=True)
    ids, logits = [], []
    with tarfile.open(room / "taught") as archive:
        for member in archive:
            if not member.name.endswith(".safetensors"):
                continue
            part = st.load(archive.extractfile(member).read())
            edges = part["offsets"]
            ids += [part["ids"][a:b].tolist() for a, b in zip(edges[:-1], edges[1:])]
            logits.append(part["logits"])
    return ids, np.concatenate(logits)


def batches(opt, tokenizer, texts, **how):
    for first in range(0, len(texts), opt.batch):
        yield tokenizer(texts[first : first + opt.batch], truncation=True, padding=True,
                        max_length=opt.max_tokens, **how)


def transformers_logits(opt, directory, texts):
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model, info = transformers.AutoModelForSequenceClassification.from_pretrained(
        directory, output_loading_info=True, dtype=torch.float32)
    wrong = [key for keys in info.values() for key in keys]
    if wrong:
        sys.exit(f"transformers does not open it as it is: {info}")
    model.eval()
    with torch.no_grad():
        parts = [model(**b).logits.numpy() for b in batches(opt, tokenizer, texts, return_tensors="pt")]
    ids = [tokenizer(t, truncation=True, max_length=opt.max_tokens)["input_ids"] for t in texts]
    return ids, np.concatenate(parts)


def onnx_logits(opt, directory, texts):
    import onnx
    import onnxruntime
    import transformers

    path = str(directory / "model.onnx")
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    parts = []
    for b in batches(opt, tokenizer, texts, return_tensors="np"):
        feed = {i.name: b[i.name].astype(np.int64) for i in session.get_inputs()}
        parts.append(session.run(["logits"], feed)[0])
    return np.concatenate(parts)


def main():
    opt = options()
    with open(opt.texts, encoding="utf-8") as file:
        texts = [line.rstrip("\n") for line in file][: opt.n]
    with tempfile.TemporaryDirectory() as name:
        room = pathlib.Path(name)
        for form in (["--dense"], ["--to", "onnx"]):
            out = room / (form[-1].strip("-") + ".tar")
            subprocess.run([f"{opt.millet}/mquant", *form, "-o", out, opt.model], check=True)
        ids, ours = millet(opt, room, texts)
        their_ids, theirs = transformers_logits(opt, unpack(room / "dense.tar", room / "d"), texts)
        onnx = onnx_logits(opt, unpack(room / "onnx.tar", room / "o"), texts)
    equal = sum(a == b for a, b in zip(ids, their_ids))
    print(f"{len(texts)} texts, {max(map(len, ids))} tokens in the longest; ids equal: {equal}")
    worst = 0.0
    for what, a, b in (("Millet, transformers", ours, theirs), ("Millet, ONNX Runtime", ours, onnx),
                       ("transformers, ONNX Runtime", theirs, onnx)):
        difference = float(np.abs(a - b).max())
        worst = max(worst, difference) if difference == difference else float("inf")
        print(f"{what}: logits differ by at most {difference:.3g}")
    print(f"largest logit: {np.abs(ours).max():.3g}")
    ok = equal == len(texts) == len(their_ids) and worst <= opt.tolerance
    print("agree" if ok else f"DO NOT AGREE within {opt.tolerance:g}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
