#!/usr/bin/env python3
"""Every architecture through Millet and back, as a table. For comparison by hand only, in an environment as tests/golden/README has it.

    /tmp/golden/bin/python tests/peers/roundtrip_models.py [NAME …]      (after make tools build/release/unit/test_golden_models)

Each golden model (tests/golden/models) is trained for an epoch by mstudent on a small generated set and written; then
AutoModelForSequenceClassification and AutoTokenizer must open it with no weight missing, unexpected or of another shape,
give the same ids, and the logits that mteach gives; so must ONNX Runtime with what mquant --to onnx writes. Differences of hidden states, logits and gradients from transformers
before training come from the unit test. Prints TSV; exit status 1 when something is above the tolerance.
"""
import csv
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import types

import numpy as np

import roundtrip

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ROOT / "tests" / "golden" / "models"
WORDS = "महाराष्ट्र मुंबई पुणे क्रीडा आरोग्य बातमी खेळ प्रवास শিক্ষা খবর the game news of day, 123 a.b [MASK] <mask> ab cde".split()
TRAINED, COMPARED, TOLERANCE = 200, 100, 1e-4


def golden_differences():
    """What test_golden_models measured on the cpu device: {name: (hidden, logits, gradients)}."""
    program = ROOT / "build" / "release" / "unit" / "test_golden_models"
    if not program.exists():
        sys.exit("build first: make tools build/release/unit/test_golden_models")
    run = subprocess.run([program], cwd=ROOT, capture_output=True, text=True, check=True)
    rows = [line[2:].split("\t") for line in run.stdout.splitlines() if line.startswith("# ")]
    return {row[0]: [field.split()[1] for field in row[2:]] for row in rows if len(row) == 5 and row[1] == "cpu"}


def write_table(path, labels, multi, rng):
    with open(path, "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["text", "label"])
        for _ in range(TRAINED):
            label = "|".join(rng.sample(labels, rng.randrange(1, len(labels)))) if multi else rng.choice(labels)
            out.writerow([text_of(rng), label])


def text_of(rng):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 12)))


def train(opt, name, room, rng):
    config = json.loads((MODELS / name / "config.json").read_text(encoding="utf-8"))
    labels = [config["id2label"][str(i)] for i in range(len(config["id2label"]))] if "id2label" in config else None
    multi = config.get("problem_type") == "multi_label_classification"
    write_table(room / "train.csv", labels or ["a", "b", "c"], multi, rng)
    subprocess.run([f"{opt.millet}/mtok", "-q", "-m", MODELS / name, *(["--multi-label"] if multi else []),
                    "-o", room / "train.tok", room / "train.csv"], check=True)
    subprocess.run([f"{opt.millet}/mstudent", "-q", "-m", MODELS / name, "--epochs", "1", "--lr", "1e-3", "-j", "1",
                    *(["--new-head"] if name.endswith("bare") else []), "-o", room / "out.tar", room / "train.tok"],
                   check=True)
    return room / "out.tar"


def round_trip(name, rng):
    opt = types.SimpleNamespace(millet=str(ROOT / "bin"), max_tokens=24, batch=16, model=None)
    with tempfile.TemporaryDirectory() as scratch:
        room = pathlib.Path(scratch)
        opt.model = train(opt, name, room, rng)
        texts = [text_of(rng) for _ in range(COMPARED)]
        ids, ours = roundtrip.millet(opt, room, texts)
        their_ids, theirs = roundtrip.transformers_logits(opt, roundtrip.unpack(opt.model, room / "out"), texts)
        subprocess.run([f"{opt.millet}/mquant", "-q", "--to", "onnx", "-o", room / "onnx.tar", opt.model], check=True)
        onnx = roundtrip.onnx_logits(opt, roundtrip.unpack(room / "onnx.tar", room / "onnx"), texts)
    equal = sum(a == b for a, b in zip(ids, their_ids))
    return equal, float(np.abs(ours - theirs).max()), float(np.abs(ours - onnx).max())


def main(names):
    rng = random.Random(4)
    before, ok = golden_differences(), True
    print("model\thidden states\tlogits\tgradients (relative)\tround trip: ids equal\ttransformers: logits\tONNX Runtime: logits")
    for name in names or sorted(path.name for path in MODELS.iterdir() if path.is_dir()):
        equal, *differences = round_trip(name, rng)
        ok = ok and equal == COMPARED and max(differences) <= TOLERANCE
        hidden, *rest = before[name]
        if name.endswith("bare"):  # no head, so no logits before training
            rest = ["-", "-"]
        print("\t".join([name, hidden, *rest, f"{equal} of {COMPARED}", *[f"{d:.1e}" for d in differences]]), flush=True)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
