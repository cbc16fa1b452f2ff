#!/usr/bin/env python3
"""Millet's tokenisers beside Hugging Face tokenizers, one thread each: make bench-tokenizers VENV=DIR.

Both get the same texts: headlines of ../shared/data where they are, else generated ones. Rounds alternate; the table has
medians of processor time (user and system of all threads), so that other work on the machine does not count:

  hugging face   Tokenizer.encode_batch_fast of a list of str that lies in memory, RAYON_NUM_THREADS=1, after a first
                 round that is not counted and fills its word caches
  millet         bench_tokenise --once: tokenizer_encode() of the same lines in memory, its word cache empty at first
                 (cold) and full (warm); warm is what compares with Hugging Face's
  mtok           the whole program, mtok -j 1 of the file: start, vocabulary, reading, tokenising, writing the stream

The ratios are hugging face / millet warm, / cold, and / mtok. Every id is compared, untruncated. Tokenizers: directories
given as arguments; else a WordPiece, a Unigram and a byte-level BPE that tokenizers trains on the texts, and mBERT's of
../shared/data/vocab where it is.
"""
import argparse
import csv
import os
import pathlib
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"
VOCABULARY = 16_000  # pieces of a trained tokenizer
TRAINING = 10_000  # texts it is trained on


def texts_of(n):
    """Headlines, or words made of syllables where there are none; one line each."""
    texts = []
    for name in ("bengali-shc/Bengal_SHC_Train.csv", "mahanews/lpc_train.csv"):
        if (SHARED / name).exists():
            with open(SHARED / name, encoding="utf-8", newline="") as file:
                rows = list(csv.reader(file))
            column = [c.lower() for c in rows[0]].index("text")
            texts += [" ".join(row[column].split()) for row in rows[1:] if len(row) > column]
    if not texts:
        rng = random.Random(1)
        syllables = [chr(a) + chr(b) for a in range(0x0915, 0x0939) for b in range(0x093E, 0x094D)]
        words = ["".join(rng.choice(syllables) for _ in range(rng.randrange(1, 5))) for _ in range(20_000)]
        texts = [" ".join(rng.choice(words) for _ in range(12)) for _ in range(20_000)]
    return [t for t in texts if t][:n]


def trained(room, texts):
    """name: directory."""
    made = {}
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    bert = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    kinds = {
        "wordpiece": (models.WordPiece(unk_token="[UNK]"), normalizers.BertNormalizer(lowercase=False),
                      pre_tokenizers.BertPreTokenizer(), trainers.WordPieceTrainer(
                          vocab_size=VOCABULARY, special_tokens=bert, show_progress=False), "[CLS]", "[SEP]"),
        "unigram": (models.Unigram(), normalizers.NFKC(),
                    pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]),
                    trainers.UnigramTrainer(vocab_size=VOCABULARY, special_tokens=special, unk_token="<unk>",
                                            show_progress=False), "<s>", "</s>"),
        "bpe": (models.BPE(), None, pre_tokenizers.ByteLevel(add_prefix_space=False),
                trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False,
                                    initial_alphabet=pre_tokenizers.ByteLevel.alphabet()), "<s>", "</s>"),
    }
    for name, (model, normalizer, pre, trainer, first, last) in kinds.items():
        tokenizer = Tokenizer(model)
        if normalizer:
            tokenizer.normalizer = normalizer
        tokenizer.pre_tokenizer = pre
        tokenizer.train_from_iterator(texts[:TRAINING], trainer)
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first} $A {last}", special_tokens=[(t, tokenizer.token_to_id(t)) for t in (first, last)])
        made[name] = room / name
        made[name].mkdir()
        tokenizer.save(str(made[name] / "tokenizer.json"))
        (made[name] / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}\n')
    return made


def child_seconds(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, done.stdout


def compare_ids(opt, directory, lines, found):
    ids = subprocess.run([f"{opt.millet}/mtok", "-q", "-m", directory, "--format", "plain", "--max-tokens", "1000000", "--ids",
                          lines], check=True, capture_output=True, text=True).stdout.splitlines()
    if len(ids) != len(found):
        return 0
    return sum(list(map(int, line.split())) == encoding.ids for line, encoding in zip(ids, found))


def bench(opt, directory, texts, lines, room):
    tokenizer = Tokenizer.from_file(str(pathlib.Path(directory) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    equal = compare_ids(opt, directory, lines, tokenizer.encode_batch_fast(texts))
    theirs, cold, warm, whole = [], [], [], []
    for _ in range(opt.rounds):
        start = time.process_time()
        tokenizer.encode_batch_fast(texts)
        theirs.append(time.process_time() - start)
        fields = subprocess.run([opt.bench, "--once", directory, lines], check=True, capture_output=True,
                                text=True).stdout.split()
        cold.append(float(fields[0]))
        warm.append(float(fields[1]))
        whole.append(child_seconds([f"{opt.millet}/mtok", "-q", "-j", "1", "-m", directory, "--format", "plain",
                                    "--max-tokens", "1000000", "-o", room / "out.tok", lines])[0])
    return equal, [statistics.median(x) for x in (theirs, warm, cold, whole)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tokenizer", nargs="*", help="directories with a tokenizer.json; default: trained ones")
    parser.add_argument("--texts", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--millet", default=str(ROOT / "bin"))
    parser.add_argument("--bench", default=str(ROOT / "build" / "release" / "bench" / "bench_tokenise"))
    opt = parser.parse_args()
    ok = True
    with tempfile.TemporaryDirectory() as scratch:
        room = pathlib.Path(scratch)
        texts, lines = texts_of(opt.texts), room / "lines.txt"
        lines.write_text("\n".join(texts) + "\n", encoding="utf-8")
        megabytes = lines.stat().st_size / 1e6
        chosen = {pathlib.Path(d).resolve().name: d for d in opt.tokenizer}
        if not chosen:
            chosen = trained(room, texts)
            if (SHARED / "vocab").exists():
                chosen["mBERT"] = SHARED / "vocab"
        print(f"# {len(texts)} texts, {megabytes:.1f} MB, {opt.rounds} rounds")
        print("tokenizer\tids equal\thugging face MB/s\tmillet warm MB/s\tmillet cold MB/s\tmtok MB/s\tratio warm\tratio cold\tratio mtok")
        for name, directory in chosen.items():
            equal, (theirs, *ours) = bench(opt, directory, texts, lines, room)
            ok = ok and equal == len(texts)
            rates = [f"{megabytes / s:.1f}" for s in (theirs, *ours)] + [f"{theirs / s:.1f}" for s in ours]
            print("\t".join([name, f"{equal} of {len(texts)}", *rates]), flush=True)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
