#!/usr/bin/env python3
"""Every kind of model that the tools write, opened in transformers and in ONNX Runtime, as a table. For comparison by
hand only; environment and comparison are those of roundtrip.py.

    /tmp/v/bin/python tests/peers/roundtrip_kinds.py -m teacher.tar --train train.csv --texts lines.txt [KIND …]

MODEL is a fine-tuned classifier with WordPiece or Unigram pieces; the first --rows of the table train and calibrate. Each
kind is made by one command line (KINDS below, $M the model, $T and $D streams with logits and n-grams), quick rather than
good. Where transformers' classes cannot hold the shape, mquant --dense pads it; int8 becomes fp32 first. Rows:

    form        how the model was opened in transformers: as it is, or after which mquant
    logits      largest difference from mteach on the model that was opened (the encoder alone of a hybrid)
    answers     texts with the same label, of so many, as the model itself gives, all its parts and roundings included

Matrices that fisher refits to a handful of texts are badly conditioned, and every engine's rounding shows in their logits:
take --rows 1000 where a difference is to be judged. A refusal is printed as the tool words it. Exit status 1 when logits differ by more than --tolerance or ids differ.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import types

import numpy as np

import roundtrip

TRAIN = "-q --epochs 1 --batch-tokens 2048"
PRUNE = "mprune -q -m $M"
MOVE = PRUNE + " --method movement --epochs 1 --batch-tokens 2048 --start 0 --settle 0.3 --score-lr 0.1"
KD = "--kd alpha=0.9,temperature=2"
KINDS = {
    "fine-tuned": f"mstudent -m $M {TRAIN} $T",
    "movement hybrid": f"{MOVE} --keep 40% {KD} $T",
    "movement filled": f"{MOVE} --keep 40% --variant filled $T",
    "movement struct": f"{MOVE} --keep 40% --variant struct $T",
    "movement unstructured": f"{MOVE} --keep 40% --variant unstructured $T",
    "movement global": f"{MOVE} --keep 40% --mask global $T",
    "movement threshold": f"{MOVE} --mask threshold --lambda 30 $T",
    "fisher": f"{PRUNE} --method fisher --keep 40% $T",
    "fisher, scales": f"{PRUNE} --method fisher --keep 40% --tune scales $T",
    "fisher, one head": f"{PRUNE} --method fisher --keep 12% --tune none $T",
    "second-order": f"{PRUNE} --method second-order --keep 40% $T",
    "importance": f"{PRUNE} --method importance --keep 40% --normalise layer $T",
    "magnitude": f"{PRUNE} --method magnitude --keep 40%",
    "layers top": f"{PRUNE} --method layers --keep 50%",
    "layers bottom": f"{PRUNE} --method layers --keep 50% --which bottom",
    "layers middle": f"{PRUNE} --method layers --keep 50% --which middle",
    "layers alternate": f"{PRUNE} --method layers --keep 50% --which alternate",
    "layers list": f"{PRUNE} --method layers --which 0,2",
    "layers search": f"{PRUNE} --method layers --which search --keep 50% $T",
    "fisher, speed-up": f"{PRUNE} --method fisher --speedup 2x $T",
    "layers, speed-up": f"{PRUNE} --method layers --speedup 1.5x",
    "vocabulary": f"{PRUNE} --vocab-from $T",
    "vocabulary of N": f"{PRUNE} --vocab-from $T --vocab-size 3000",
    "vocabulary, fisher": f"{PRUNE} --method fisher --keep 50% --vocab-from $T $T",
    "half the layers": f"mstudent -m $M --from-layers 2 {TRAIN} {KD} $T",
    "hidden states": f"mstudent -m $M --from-layers 2 --kd hidden=1,relations=1 --teacher $M {TRAIN} $T",
    "narrow": f"mstudent -m $M --heads 2 --ffn 300 {TRAIN} {KD} $T",
    "narrow hidden": f"mstudent -m $M --heads 2 --ffn 300 --hidden 128 {TRAIN} {KD} $T",
    "from scratch": f"mstudent -m $M --shape layers=2,hidden=64 {TRAIN} --lr 1e-3 {KD} $T",
    "recovered": f"{PRUNE} --method fisher --keep 40% --tune none $T | mstudent -m - {TRAIN} {KD} $T",
    "embedding bag": f"mstudent -m $M --shape layers=0,hidden=128 {TRAIN} --lr 1e-3 $T",
    "bag of the teacher": f"mstudent -m $M --from-layers 0 {TRAIN} --lr 1e-3 $T",
    "mean pooling": f"mstudent -m $M --pool mean --new-head {TRAIN} $T",
    "n-gram alone": "mstudent -q -m $M --shape ngram $T",
    "hybrid": "mstudent -q -m $M --epochs 0 --ngram --dev $D $T",
    "pruned hybrid": f"{PRUNE} --method fisher --keep 40% $T | mstudent -q -m - --epochs 0 --ngram --dev $D $T",
    "hybrid int8": "mstudent -q -m $M --epochs 0 --ngram --dev $D $T | mquant -q --to int8",
    "fp16": "mquant -q --to fp16 $M",
    "bf16": "mquant -q --to bf16 $M",
    "int8": "mquant -q --to int8 $M",
    "int8, calibrated": "mquant -q --to int8 --calibrate $T $M",
    "int8 for training": f"mstudent -m $M --quantise int8 {TRAIN} $T | mquant -q --to int8",
    "int8 embeddings": "mquant -q --embeddings int8 $M",
    "int4 embeddings": "mquant -q --embeddings int4 $M",
    "int8, int4 embeddings": "mquant -q --to int8 --embeddings int4 $M",
    "budget": "mquant -q --budget 5 --on $D --samples 64 $M",
    "budget, the rest fp16": "mquant -q --budget 1 --on $D --samples 64 --to fp16 $M",
    "fisher int8": f"{PRUNE} --method fisher --keep 40% $T | mquant -q --to int8",
    "blocks int8": f"{MOVE} --keep 25% $T | mquant -q --to int8",
    "bf16 training": f"mstudent -m $M --precision bf16 {TRAIN} $T",
}


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-m", "--model", required=True, help="directory or tar of a fine-tuned classifier")
    parser.add_argument("--train", required=True, help="table of texts and labels")
    parser.add_argument("--texts", required=True, help="one text a line")
    parser.add_argument("-n", type=int, default=200, help="texts to compare; default 200")
    parser.add_argument("--rows", type=int, default=400, help="rows of the table to train on; default 400")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--millet", default=str(pathlib.Path(__file__).parents[2] / "bin"))
    parser.add_argument("--skip", action="append", default=[], help="a kind to leave out")
    parser.add_argument("kinds", nargs="*")
    return parser.parse_args()


class Refused(Exception):
    pass


def shell(opt, command, **variables):
    """Runs a command line with the tools in PATH; what it says when it fails is raised."""
    env = dict(os.environ, PATH=opt.millet + ":" + os.environ["PATH"], **{k: str(v) for k, v in variables.items()})
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], env=env, capture_output=True, text=True)
    if done.returncode:
        raise Refused(f"[{done.returncode}] " + " / ".join(done.stderr.strip().splitlines()))
    return done.stderr.strip()


def streams(opt, room):
    """$T and $D: the first rows of the table, cut in two, with n-grams and the model's logits."""
    import csv

    with open(opt.train, newline="", encoding="utf-8") as file:
        rows = [row for row, _ in zip(csv.reader(file), range(opt.rows + 1))]
    cut = 1 + opt.rows * 3 // 4
    paths = {}
    for letter, part in (("T", rows[:cut]), ("D", rows[:1] + rows[cut:])):
        with open(room / f"{letter}.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(part)
        paths[letter] = room / f"{letter}.taught"
        shell(opt, "mtok -q -m $M --ngrams $IN | mteach -q -m $M -o $OUT", M=opt.model, IN=file.name, OUT=paths[letter])
    return paths


def same_weights(a, b, room):
    """Whether two models have the same config.json and the same tensors; the order of tensors in the file may differ."""
    import safetensors
    import torch

    models = []
    for path in (a, b):
        directory = room / "same"
        shutil.rmtree(directory, ignore_errors=True)
        roundtrip.unpack(path, directory)
        tensors = {}
        with safetensors.safe_open(directory / "model.safetensors", framework="pt") as file:
            for name in file.keys():
                tensors[name] = file.get_tensor(name)
        models.append(((directory / "config.json").read_bytes(), tensors))
    (config, first), (other, second) = models
    return (config == other and first.keys() == second.keys()
            and all(first[k].dtype == second[k].dtype and torch.equal(first[k], second[k]) for k in first))


def openings(opt, path, room, to):
    """Makes a model for --dense or --to onnx; tells how it was made and what was said of it."""
    out = room / "opened.tar"
    last = "mquant -q --dense" if to == "dense" else "mquant -q --to onnx"
    tries = [(last, f"{last} -o $OUT $IN"), ("mquant -q --to fp32 | " + last, f"mquant -q --to fp32 $IN | {last} -o $OUT")]
    said = []
    for how, command in tries:
        try:
            shell(opt, command, IN=path, OUT=out)
            plain = to == "dense" and same_weights(path, out, room)
            return out, "as it is" if plain else how.replace("mquant -q ", "")
        except Refused as refusal:
            said.append(str(refusal))
    raise Refused(said[0] if said[0] == said[1] or len(said) == 1 else "; then ".join(said))


def ours(opt, path, room, texts, ngrams):
    """Ids and logits of mteach."""
    import safetensors.numpy as st
    import tarfile

    lines, taught = room / "texts.txt", room / "texts.taught"
    lines.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    shell(opt, f"mtok -q -m $M {ngrams} --format plain $IN | mteach -q -m $M -o $OUT", M=path, IN=lines, OUT=taught)
    ids, logits = [], []
    with tarfile.open(taught) as archive:
        for member in archive:
            if member.name.endswith(".safetensors"):
                part = st.load(archive.extractfile(member).read())
                ids += [part["ids"][a:b].tolist() for a, b in zip(part["offsets"][:-1], part["offsets"][1:])]
                logits.append(part["logits"])
    return ids, np.concatenate(logits)


def compare(opt, path, room, texts, whole, to):
    """One half of a row: how it was opened, the difference of logits, the answers that are the same."""
    try:
        made, how = openings(opt, path, room, to)
    except Refused as refusal:
        return str(refusal), "-", "-", None
    directory = room / "opened"
    shutil.rmtree(directory, ignore_errors=True)
    roundtrip.unpack(made, directory)
    settings = types.SimpleNamespace(batch=16, max_tokens=512)
    if to == "dense":
        ids, beside = ours(opt, made, room, texts, "")
        their_ids, theirs = roundtrip.transformers_logits(settings, directory, texts)
        if ids != their_ids:
            return "ids differ", "-", "-", False
    else:
        # Millet reads no ONNX: the yardstick is what the same weights in fp32 give without an n-gram part.
        shell(opt, "mquant -q --to fp32 $IN | mquant -q --dense -o $OUT || mquant -q --to fp32 -o $OUT $IN",
              IN=path, OUT=room / "beside.tar")
        _, beside = ours(opt, room / "beside.tar", room, texts, "")
        theirs = roundtrip.onnx_logits(settings, directory, texts)
    worst = float(np.abs(theirs - beside).max())
    same = int((theirs.argmax(1) == whole.argmax(1)).sum())
    good = worst <= opt.tolerance * max(1.0, float(np.abs(beside).max()) / 10)
    return how, f"{worst:.1e}", f"{same} of {len(texts)}", good


def main():
    opt = options()
    opt.model = os.path.abspath(opt.model)
    with open(opt.texts, encoding="utf-8") as file:
        texts = [line.rstrip("\n") for line in file][: opt.n]
    ok = True
    print("kind\ttransformers: form\tlogits\tanswers\tONNX Runtime: form\tlogits\tanswers", flush=True)
    with tempfile.TemporaryDirectory() as name:
        room = pathlib.Path(name)
        given = streams(opt, room)
        for kind in opt.kinds or [kind for kind in KINDS if kind not in opt.skip]:
            model = room / "model.tar"
            try:
                shell(opt, KINDS[kind] + " > $OUT", M=opt.model, OUT=model, **given)
                _, whole = ours(opt, model, room, texts, "--ngrams" if "gram" in kind or "hybrid" in kind else "")
            except Refused as refusal:
                print(f"{kind}\tNOT MADE: {refusal}", flush=True)
                ok = False
                continue
            row = [kind]
            for to in ("dense", "onnx"):
                *fields, good = compare(opt, model, room, texts, whole, to)
                row += fields
                ok = ok and good is not False
            print("\t".join(row), flush=True)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
