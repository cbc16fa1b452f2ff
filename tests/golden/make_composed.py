#!/usr/bin/env python3
"""Tokenizers put together at random from every part that Millet reads, with the ids that Hugging Face gives; see README.

    python3 tests/golden/make_composed.py        writes tests/golden/tokenizers/composed-*

The texts are texts.jsonl of make_tokenizers.py, which runs first. The same seed makes the same files.
"""
import json
import pathlib
import random
import shutil

from tokenizers import AddedToken, Regex, Tokenizer, models
from tokenizers import normalizers as N
from tokenizers import pre_tokenizers as P

HERE = pathlib.Path(__file__).resolve().parent / "tokenizers"
SPECIALS = ["<x>", "[MASK]", "<s>", "</s>", " sp", "Foo", "été", "<x y>", "▁t", "<x><x>", "NEW", "[NEW]"]
BEHAVIOURS = ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]
COUNT = 24


def normalizer(rng):
    flag = lambda: rng.random() < 0.5
    parts = [
        lambda: N.BertNormalizer(clean_text=flag(), handle_chinese_chars=flag(),
                                 strip_accents=rng.choice([None, True, False]), lowercase=flag()),
        N.NFC, N.NFD, N.NFKC, N.NFKD, N.Lowercase, N.StripAccents, N.Nmt,
        lambda: N.Strip(flag(), flag()),
        lambda: N.Replace(rng.choice(["``", "''", "क", " ", "ab"]), rng.choice(['"', "", "b", "▁"])),
        lambda: N.Replace(Regex(" {2,}"), rng.choice([" ", "▁"])),
        lambda: N.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "),
        lambda: N.Replace(Regex(r"\s+"), " "),
        lambda: N.Prepend(rng.choice(["▁", "x"])),
    ]
    kind = rng.random()
    if kind < 0.1:
        return None
    if kind < 0.4:
        return rng.choice(parts)()
    return N.Sequence([rng.choice(parts)() for _ in range(rng.randrange(2, 4))])


def pre_tokenizer(rng):
    flag = lambda: rng.random() < 0.5
    parts = [
        P.BertPreTokenizer, P.Whitespace, P.WhitespaceSplit,
        lambda: P.Metaspace("▁", rng.choice(["always", "first", "never"]), rng.random() < 0.8),
        lambda: P.ByteLevel(add_prefix_space=flag(), use_regex=rng.random() < 0.8),
        lambda: P.Punctuation(rng.choice(BEHAVIOURS)),
        lambda: P.Digits(flag()),
        lambda: P.Split(rng.choice([" ", "a", "▁", "क"]), rng.choice(BEHAVIOURS), flag()),
        lambda: P.CharDelimiterSplit(" "),
    ]
    kind = rng.random()
    if kind < 0.05:
        return None
    if kind < 0.55:
        return rng.choice(parts[:5])()
    return P.Sequence([rng.choice(parts)() for _ in range(rng.randrange(2, 4))])


def words(tokenizer, texts):
    found = []
    for text in texts:
        if tokenizer.normalizer:
            text = tokenizer.normalizer.normalize_str(text)
        pieces = tokenizer.pre_tokenizer.pre_tokenize_str(text) if tokenizer.pre_tokenizer else [(text, 0)]
        found += [word for word, _ in pieces if 0 < len(word) < 40]
    return found


def pieces(rng, found, count):
    """Beginnings and middles of words, so that many words can be matched in several ways."""
    chosen = dict.fromkeys(rng.sample(sorted({c for word in found for c in word}), k=60))
    while len(chosen) < count:
        word = rng.choice(found)
        at = rng.randrange(len(word))
        chosen[word[at:at + rng.randrange(1, 6)]] = None
    return list(chosen)


def wordpiece(rng, found):
    texts = pieces(rng, found, 200)
    vocabulary = ["[UNK]"] + texts + ["##" + text for text in texts]
    return models.WordPiece({text: i for i, text in enumerate(dict.fromkeys(vocabulary))}, unk_token="[UNK]",
                            max_input_chars_per_word=rng.choice([20, 100]))


def unigram(rng, found):
    texts = [text for text in pieces(rng, found, 400) if text != "<unk>"]
    # Few different scores: many segmentations have the same sum.
    scored = [("<unk>", 0.0)] + [(text, -rng.choice([2.5, float(rng.randrange(1, 9)), rng.random() * 12])) for text in texts]
    fallback = rng.random() < 0.4
    if fallback:
        scored += [(f"<0x{byte:02X}>", -9.0) for byte in range(256) if rng.random() < 0.999]
    return models.Unigram(scored, unk_id=0, byte_fallback=fallback)


def bpe(rng, found):
    """Merges of two pieces whose join is a piece, in random order."""
    texts = pieces(rng, found, 400)
    letters = {c for text in texts for c in text}
    vocabulary = {text: i for i, text in enumerate(dict.fromkeys(["<unk>"] + sorted(letters) + texts))}
    merges = [(text[:at], text[at:]) for text in texts for at in range(1, len(text))
              if text[:at] in vocabulary and text[at:] in vocabulary]
    rng.shuffle(merges)
    return models.BPE(vocabulary, merges, unk_token=rng.choice([None, "<unk>"]), fuse_unk=rng.random() < 0.5,
                      ignore_merges=rng.random() < 0.3)


def main():
    rng = random.Random(4)
    texts = [json.loads(line)["text"] for line in open(HERE / "texts.jsonl", encoding="utf-8")]
    texts = [text.encode("utf-8", "surrogatepass").decode("utf-8", "replace") if text.isascii() else
             "".join("\ufffd" if 0xD800 <= ord(c) < 0xE000 else c for c in text) for text in texts]
    for number in range(COUNT):
        tokenizer = Tokenizer(models.BPE())
        chosen = normalizer(rng), pre_tokenizer(rng)
        if chosen[0] is not None:
            tokenizer.normalizer = chosen[0]
        if chosen[1] is not None:
            tokenizer.pre_tokenizer = chosen[1]
        tokenizer.model = [wordpiece, unigram, bpe][number % 3](rng, words(tokenizer, texts))
        for text in rng.sample(SPECIALS, rng.randrange(0, 6)):
            flags = {name: rng.random() < 0.3 for name in ("single_word", "lstrip", "rstrip")}
            tokenizer.add_tokens([AddedToken(text, normalized=rng.random() < 0.5, special=rng.random() < 0.5, **flags)])
        folder = HERE / f"composed-{number + 1:02d}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}\n')
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        lines = [" ".join(map(str, tokenizer.encode(text).ids)) for text in texts]
        (folder / "ids").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
