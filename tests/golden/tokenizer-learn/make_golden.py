#!/usr/bin/env python3
"""A text to learn a Unigram vocabulary from, and the ids that Hugging Face gives with what mtok learnt.

Not part of building or testing Millet: run it by hand, in a virtual environment with transformers, when the values are to
be made anew, with mtok in PATH:  python3 make_golden.py     (here: transformers 5.23, tokenizers 0.23.3)

Writes text.txt (made-up words, one text a line); learns 400 pieces from it; opens the result with AutoTokenizer, which
must have the same pieces and special tokens and give back the text; writes hard.txt and the ids of both files' lines.
"""
import io
import json
import pathlib
import random
import subprocess
import tarfile
import tempfile
import unicodedata

from transformers import AutoTokenizer

HERE = pathlib.Path(__file__).parent
SYLLABLES = (
    "का मा री त्र लो ने ब शि ग्रा ठी ल र सं पु णे हा क्ष ज्ञा ड़ ढ़ि র্য ক্ষ বাং লা ড় য় ত্‍ ন্‌ க்ஷ ழ் மொ ಕ್ಷ ക്‍ ൽ ස් අ ab str ing é 日 本 3 १ ২ ."
).split()
HARD = [
    "", " ", "a", "  a  b ", "tab\tno-break\u00a0ideographic\u3000line\u2028end", "<mask>", "a <mask> b", "<s></s><pad><unk>", "▁", "a▁b ▁▁",
    "क़ क़ ড় ড়", "र्‍य र्‌य", "ｆｕｌｌ ① ﬁ ²", "unseen: ωΩ Ж 한국어 \U0001f468\u200d\U0001f469", "e\u0301 é", "\u0000 \u0001 \u00ad \ufeff",
    "का" * 400, "." * 60,
]


def texts():
    rng = random.Random(8)
    words = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 5))) for _ in range(700)]
    weights = [1 / (i + 1) for i in range(len(words))]
    return [" ".join(rng.choices(words, weights, k=rng.randint(3, 12))) for _ in range(260)]


def write_lines(name, lines):
    with open(HERE / name, "w", encoding="utf-8", newline="\n") as out:
        out.writelines(line + "\n" for line in lines)


def main():
    lines = texts()
    write_lines("text.txt", lines)
    with open(HERE / "hard.jsonl", "w", encoding="ascii") as out:
        out.writelines(json.dumps({"text": text}) + "\n" for text in HARD)
    learnt = subprocess.run(
        ["mtok", "-q", "--learn", "400", "--algorithm", "unigram", "--format", "plain", HERE / "text.txt"], check=True, capture_output=True
    ).stdout
    with tempfile.TemporaryDirectory() as directory:
        with tarfile.open(fileobj=io.BytesIO(learnt)) as tar:
            tar.extractall(directory, filter="data")
        tokenizer = AutoTokenizer.from_pretrained(directory)
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    assert len(tokenizer) == 400 and tokenizer.convert_tokens_to_ids(specials) == [0, 1, 2, 3, 4]
    assert [tokenizer.cls_token, tokenizer.pad_token, tokenizer.sep_token, tokenizer.unk_token, tokenizer.mask_token] == specials
    for text in lines:
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == unicodedata.normalize("NFKC", text)
    with open(HERE / "ids", "w", encoding="ascii") as out:
        out.writelines(" ".join(map(str, tokenizer(text)["input_ids"])) + "\n" for text in lines + HARD)


main()
