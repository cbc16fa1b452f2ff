#!/usr/bin/env python3
"""What people run today against the pipeline: padded PyTorch on the dense teacher, `mtok | mscore --predict` on a student.

    python3 tests/peers/classify_torch.py TEACHER STUDENT TEXTS.csv [--text text] [--batch 32] [--rounds 5]

TEACHER: a directory that transformers opens; STUDENT: a Millet model; TEXTS: a CSV file with a header. Not part of building or
testing Millet: run it in a virtual environment with torch and transformers, the tools in PATH. Both turn the same texts, in their
given order, into labels. PyTorch: fast tokenizer, batches of 32 padded to their longest text, fp32, inference mode; loading is not
counted. Millet: the whole pipe, start-up and loading counted. The two take turns; medians. Prints TSV: what, value.
"""
import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer


@torch.inference_mode()
def classify(tokenizer, model, texts, batch, max_tokens):
    labels = []
    for at in range(0, len(texts), batch):
        x = tokenizer(texts[at : at + batch], padding=True, truncation=True, max_length=max_tokens, return_tensors="pt")
        labels += model(**x).logits.argmax(-1).tolist()
    return [model.config.id2label[i] for i in labels]


def pipeline(student, path, max_tokens, threads):
    command = f'mtok -m "$1" -j {threads} --max-tokens {max_tokens} "$2" | mscore -j {threads} -m "$1" --predict'
    out = subprocess.run(["sh", "-c", command, "sh", student, path], stdout=subprocess.PIPE, check=True)
    return [line.split("\t")[0] for line in out.stdout.decode().splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher")
    parser.add_argument("student")
    parser.add_argument("texts")
    parser.add_argument("--text", default="text", help="column of the texts")
    parser.add_argument("--label", default="labels", help="column of the labels")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    tokenizer = AutoTokenizer.from_pretrained(a.teacher)
    model = AutoModelForSequenceClassification.from_pretrained(a.teacher).eval()
    with open(a.texts, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    texts, wanted = [row[a.text] for row in rows], [row[a.label] for row in rows]
    seconds, labels = {"torch": [], "millet": []}, {}
    with tempfile.TemporaryDirectory() as work:
        one = os.path.join(work, "texts.csv")
        with open(one, "w", newline="", encoding="utf-8") as file:
            out = csv.writer(file)
            out.writerow(["text"])
            out.writerows([text] for text in texts)
        for _ in range(a.rounds):
            begin = time.perf_counter()
            labels["torch"] = classify(tokenizer, model, texts, a.batch, a.max_tokens)
            middle = time.perf_counter()
            labels["millet"] = pipeline(a.student, one, a.max_tokens, a.threads)
            seconds["torch"].append(middle - begin)
            seconds["millet"].append(time.perf_counter() - middle)
    if len(labels["millet"]) != len(texts):
        sys.exit(f"the pipeline gave {len(labels['millet'])} labels for {len(texts)} texts")
    print(f"texts\t{len(texts)}\nthreads\t{a.threads}")
    for name, times in seconds.items():
        right = sum(x == y for x, y in zip(labels[name], wanted)) / len(wanted)
        print(f"{name} texts/s\t{len(texts) / statistics.median(times):.1f}\n{name} accuracy\t{right:.4f}")
    print(f"ratio\t{statistics.median(t / m for t, m in zip(seconds['torch'], seconds['millet'])):.1f}")


if __name__ == "__main__":
    main()
