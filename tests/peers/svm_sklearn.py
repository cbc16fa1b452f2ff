#!/usr/bin/env python3
"""The linear n-gram baseline of scikit-learn on a split, and a model of ours beside it.

    python3 tests/peers/svm_sklearn.py TRAIN TEST [--text text] [--label label] [--against PREDICTIONS]

TRAIN and TEST: CSV files, or TSV by their name. A linear SVM (C = 0.3) on TF-IDF of character 2-5-grams inside words and of 1-2-grams
of words (what white space separates, so that combining vowel signs stay in their word); nothing tuned. PREDICTIONS: the lines of
`mscore --predict` for TEST; then also who alone is right how often, and exact two-sided McNemar. Not part of building or testing
Millet: run it in a virtual environment with scikit-learn. Prints TSV: what, value.
"""
import argparse
import csv
import math

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import make_union
from sklearn.svm import LinearSVC


def read(path, text, label):
    how = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if path.endswith(".tsv") else {}
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, **how))
    return [row[text] for row in rows], [row[label] for row in rows]


def mcnemar(lost, won):
    n, k = lost + won, min(lost, won)
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--text", default="text", help="column of the texts")
    parser.add_argument("--label", default="label", help="column of the labels")
    parser.add_argument("--against", metavar="PREDICTIONS")
    a = parser.parse_args()
    train, wanted = read(a.train, a.text, a.label)
    test, truth = read(a.test, a.text, a.label)
    grams = make_union(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5)),
        TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, 2)),
    )
    svm = LinearSVC(C=0.3, random_state=0).fit(grams.fit_transform(train), wanted)
    found = svm.predict(grams.transform(test))
    print(f"train\t{len(train)}\ntest\t{len(test)}")
    print(f"accuracy\t{accuracy_score(truth, found):.4f}\nmacro_f1\t{f1_score(truth, found, average='macro'):.4f}")
    if a.against:
        with open(a.against, encoding="utf-8") as file:
            ours = [line.split("\t")[0] for line in file]
        if len(ours) != len(test):
            parser.error(f"{a.against} has {len(ours)} lines, {a.test} has {len(test)} rows")
        won = sum(o == t != f for o, f, t in zip(ours, found, truth))
        lost = sum(f == t != o for o, f, t in zip(ours, found, truth))
        print(f"against.accuracy\t{accuracy_score(truth, ours):.4f}\nagainst.lost\t{lost}\nagainst.won\t{won}")
        print(f"against.mcnemar_p\t{mcnemar(lost, won):.4g}")


if __name__ == "__main__":
    main()
