#!/usr/bin/env python3
"""Golden ids for tokenizers of every kind, made with Hugging Face tokenizers; see README beside this file.

    python3 tests/golden/make_tokenizers.py        writes tests/golden/tokenizers

texts.jsonl holds hard texts; NAME/ids has the ids of NAME for line n in line n. long.jsonl holds words of 10 000
characters, NAME/long.ids their ids, for one tokenizer of each kind.
"""
import base64
import io
import json
import os
import pathlib
import random
import shutil
import tempfile
import unicodedata

import sentencepiece
import transformers as hf
from sentencepiece import sentencepiece_model_pb2 as pb
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tiny_tokenizers import substrings, unigram_pieces

HERE = pathlib.Path(__file__).resolve().parent / "tokenizers"

# First and last code point of scripts and blocks; unassigned ones are left out.
SCRIPTS = {
    "devanagari": (0x0900, 0x097F), "bengali": (0x0980, 0x09FF), "gurmukhi": (0x0A00, 0x0A7F),
    "gujarati": (0x0A80, 0x0AFF), "oriya": (0x0B00, 0x0B7F), "tamil": (0x0B80, 0x0BFF), "telugu": (0x0C00, 0x0C7F),
    "kannada": (0x0C80, 0x0CFF), "malayalam": (0x0D00, 0x0D7F), "sinhala": (0x0D80, 0x0DFF),
    "tibetan": (0x0F00, 0x0FFF), "ol chiki": (0x1C50, 0x1C7F), "vedic": (0x1CD0, 0x1CFF),
    "meetei": (0xAAE0, 0xAAFF), "meetei more": (0xABC0, 0xABFF), "devanagari extended": (0xA8E0, 0xA8FF),
    "chakma": (0x11100, 0x1114F), "sharada": (0x11180, 0x111DF), "grantha": (0x11300, 0x1137F),
    "tirhuta": (0x11480, 0x114DF), "modi": (0x11600, 0x1165F), "kaithi": (0x11080, 0x110CF),
    "gondi": (0x11D00, 0x11D5F), "arabic": (0x0600, 0x06FF), "hebrew": (0x0590, 0x05FF), "thai": (0x0E00, 0x0E7F),
    "cyrillic": (0x0400, 0x04FF), "greek": (0x0370, 0x03FF), "latin 1": (0x00A0, 0x00FF), "latin": (0x0100, 0x024F),
    "combining": (0x0300, 0x036F), "punctuation": (0x2000, 0x206F), "letterlike": (0x2100, 0x218F),
    "cjk": (0x4E00, 0x9FFF), "cjk b": (0x20000, 0x200FF), "kana": (0x3040, 0x30FF), "hangul": (0xAC00, 0xD7A3),
    "jamo": (0x1100, 0x11FF), "half and full": (0xFF00, 0xFFEF), "presentation": (0xFB50, 0xFDFF),
    "mathematical": (0x1D400, 0x1D4FF), "emoji": (0x1F300, 0x1F64F), "ascii": (0x20, 0x7E), "control": (0x00, 0x9F),
    "private": (0xE000, 0xE020),
}
HARD = [
    "", " ", "   ", "\t", "\n", "\u00a0", "\u3000 \u2003", "a", " a", "a ", "  a  b  ", "a\tb\nc\r\nd", "a\u00a0b\u2028c\u200ad",
    "महाराष्ट्र राज्यात आज पाऊस पडला", "শিক্ষা ও খেলার খবর", "ਪੰਜਾਬੀ ਖ਼ਬਰਾਂ", "ગુજરાતી સમાચાર", "ଓଡ଼ିଆ ଖବର", "தமிழ் செய்திகள்", "తెలుగు వార్తలు",
    "ಕನ್ನಡ ಸುದ್ದಿ", "മലയാളം വാർത്തകൾ", "සිංහල පුවත්", "ꯃꯩꯇꯩꯂꯣꯟ", "ᱥᱟᱱᱛᱟᱲᱤ", "اردو خبریں ۱۲۳", "ދިވެހި", "རྫོང་ཁ།",
    "र\u094d\u200dय र\u094dय र\u094d\u200cय", "क\u094d\u200dष क\u094d\u200cष", "ক\u09cd\u200dর র\u200d\u09cdয ৎ ত\u09cd\u200d", "ന\u0d4d\u200d \u0d7b",
    "\u0958\u0959\u095a\u095b क\u093cख\u093c ड\u093c\u095c", "\u09dc\u09dd\u09df ড\u09bcঢ\u09bcয\u09bc", "\u0929\u0931\u0934 न\u093cर\u093cळ\u093c",
    "ক\u09c7\u09be কো \u09cb", "க\u0bc6\u0bbe கொ", "क\u0951\u093c क\u093c\u0951", "\u0928\u0901 \u0928\u0902 \u0903",
    "e\u0301 é e\u0323\u0302 ệ \u1ec7", "o\u0308\u0332 ö\u0332", "Z\u0351\u036b\u0343a\u0363\u0309l\u0348\u035bg\u030d\u0300o\u0321", "\u0301\u0302 a",
    "中文字符 and 漢字kanji日本語かな カナ", "\U00020000\U0002a6d6 \U0002f800 \uf900", "한국어 \u1112\u1161\u11ab\u1100\u116e\u11a8", "ภาษาไทยไม่มีช่องว่าง",
    "العَرَبِيَّة ﷺ ﻼ لا", "\u0627\u0654 \u0623 \u0640\u0640", "שָׁלוֹם \ufb2a", "ＦＵＬＬ ｗｉｄｔｈ １２３ ﾊﾝｶｸ ｶﾞ",
    "👨\u200d👩\u200d👧\u200d👦 👩🏽\u200d🚀 🏳\ufe0f\u200d🌈 🇮🇳 1\ufe0f\u20e3 ❤\ufe0f ♥\ufe0e", "👍🏿👍", "a👍b", "😀😀😀",
    "\u0000", "a\u0000b", "\u0000nul\u0001ctl\ufffdrep\u00adshy\ufefffeff", "\u007f\u0080\u0085\u009f x", "\u200b\u200c\u200d\u2060\ufeff", "\ufffe\uffff\U0010ffff",
    "\u202aabc\u202c \u2066x\u2069 \u061c", "\u180e\u1680\u205f", "\ue000 \U000f0000", "\U000e0041\U000e007f",
    "ﬁ ﬀ ㎏ ① ½ Ⅻ ² ™ … ‥ \u2474 \u3231 \u33a1", "İstanbul ISTANBUL ıI ß ẞ ΣΑΣ Σ ΟΔΥΣΣΕΥΣ ς ǅ ŉ ǰ ΐ", "\u212a\u212b\u2126 Å", "\u1e9b\u0323", "Á À Ñ ñ",
    "Don't we'll I've you're he'd I'm it's DON'T 'S ''s", "``quoted'' ''x`` \"y\" ‘z’ “w”", "it is 3.14, 1,000,000 or 5th; $9.99 (50%)!", "१२३ ৪৫৬ ٣٤ 1234567890",
    "http://example.org/a?b=c&d=e#f", "someone@example.org", "test_under-score __init__ a.b.c", "C++ C# .NET <b>x</b> &amp;", "a,b.c;d:e", "...!!!???", "।॥ ॰ ৳₹",
    "[CLS] a [SEP]", "[MASK]", "a[MASK]b", "a [MASK] b", " [MASK]", "[mask] [Mask]", "<s> a </s>", "<mask>", "a<mask>b", "a <mask>  b", "<unk><pad>", "<s><s>",
    "[NEW] x", "a[NEW]b", "new word newword NEW", "xnew newx new", "ünique Ünique", "<|end|> x", "x <|end|>", "  <tag>  y", "a <tag> b<tag>",
    "\u2581", "a\u2581b", "\u2581\u2581 x", "##a", "a ##b", "Ġ x Ġy", "ĠĊ", "<0x41> <0x00>",
    "a" * 99, "a" * 100, "a" * 101, "अ" * 101, "ab" * 150, " " * 50, "x" + " " * 30 + "y", "aaaa bbbb aaab", "the game in the city was won by the home team",
    "\ud800", "a\udc00b", "\ud83d x", "\udc4d\ud83d", "मराठी \ud800 बातमी",
    "\u0915\u094d\u0937\u0924\u094d\u0930\u093f\u092f", "\u0985\u09cd\u09af\u09be", "a\u0338= \u2260", "\u00e9\u0301", "\u0344 \u0387 \u2000", "\u0f71\u0f72\u0f74", "\U0001d15e \U0001d400",
    "\n\n", " \n ", "a\n", "\r", "a\x0bb\x0cc\x1cd\x1fe", "x\u0660\u06f0\u0966y", "\u00b2\u00b3\u00b9\u00bc", "\u2160\u2170\u3007\u4e00",
]


def assigned(first, last):
    return [chr(c) for c in range(first, last + 1) if unicodedata.category(chr(c)) != "Cn"]


def random_texts(rng):
    """Every script by itself, and mixtures of all."""
    alphabet = {name: assigned(*span) for name, span in SCRIPTS.items()}
    texts = []
    for name, letters in alphabet.items():
        texts.append("".join(rng.choice(letters) if rng.random() < 0.85 else " " for _ in range(40)))
    joins = ["\u200d", "\u200c", "\ufe0f", "\u093c", "\u0301", " ", "  ", "\n", "'", "\u00a0"]
    for _ in range(60):
        text = ""
        for _ in range(rng.randrange(1, 9)):
            letters = alphabet[rng.choice(list(alphabet))]
            text += "".join(rng.choice(letters) for _ in range(rng.randrange(1, 6))) + (
                rng.choice(joins) if rng.random() < 0.7 else "")
        texts.append(text)
    return texts


def corpus(rng):
    """Words that repeat, so that something can be learnt, in the scripts that people will train on."""
    words = []
    for span in ("devanagari", "bengali", "tamil", "ascii", "cyrillic", "arabic"):
        letters = [c for c in assigned(*SCRIPTS[span]) if unicodedata.category(c)[0] in "LM"]
        syllables = ["".join(rng.choice(letters) for _ in range(rng.randrange(1, 3))) for _ in range(25)]
        words += ["".join(rng.choice(syllables) for _ in range(rng.randrange(1, 4))) for _ in range(40)]
    words += "the a in of and game city home team don't it's 123 2024 I'll news é ñ ß".split() * 3
    lines = [" ".join(rng.choice(words) for _ in range(8)) for _ in range(300)]
    return lines + [h for h in HARD if h.strip() and h.isprintable()] * 2


def repaired(text):
    """A lone surrogate is no character: mtok reads U+FFFD there."""
    return "".join("\ufffd" if 0xD800 <= ord(c) <= 0xDFFF else c for c in text)


def added(id, content, special=False, single_word=False, lstrip=False, rstrip=False, normalized=None):
    return {"id": id, "content": content, "single_word": single_word, "lstrip": lstrip, "rstrip": rstrip,
            "normalized": not special if normalized is None else normalized, "special": special}


def numbered(vocab, *tokens):
    """The ids that adding these tokens gives: the vocabulary's own, else the next free one."""
    n = len(vocab)
    for token in tokens:
        token["id"] = vocab.get(token["content"], n)
        n += token["content"] not in vocab
    return list(tokens)


def template(first, last, vocab):
    def piece(token):
        return {"SpecialToken": {"id": token, "type_id": 0}}
    return {"type": "TemplateProcessing", "single": [piece(first), {"Sequence": {"id": "A", "type_id": 0}}, piece(last)],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {t: {"id": t, "ids": [vocab[t]], "tokens": [t]} for t in (first, last)}}


def whole(model, normalizer, pre, post, decoder, tokens):
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens, "normalizer": normalizer,
            "pre_tokenizer": pre, "post_processor": post, "decoder": decoder, "model": model}


def sequence(key, *parts):
    return {"type": "Sequence", key: list(parts)}


def normalizers_of(*parts):
    return parts[0] if len(parts) == 1 else sequence("normalizers", *parts)


def bert_normalizer(**more):
    return {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
            "lowercase": True} | more


def wordpiece_kinds(lines):
    words = [word for line in lines for word in line.split()]
    words += [unicodedata.normalize("NFD", word.lower()) for word in words]
    pieces = [text for text, _ in substrings(words) if len(text) == 1]
    pieces += [text for text, _ in substrings(words) if len(text) > 1][:500]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + sorted(pieces) + sorted("##" + p for p in pieces)
    vocab = {p: i for i, p in enumerate(dict.fromkeys(pieces))}
    special = [added(vocab[t], t, special=True) for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")]
    model = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
             "max_input_chars_per_word": 100, "vocab": vocab}
    decoder = {"type": "WordPiece", "prefix": "##", "cleanup": True}
    post = template("[CLS]", "[SEP]", vocab)
    bert = {"type": "BertPreTokenizer"}
    old_post = {"type": "BertProcessing", "sep": ["[SEP]", vocab["[SEP]"]], "cls": ["[CLS]", vocab["[CLS]"]]}
    more = special + numbered(
        vocab, added(None, "[NEW]"), added(None, "new", single_word=True), added(None, "Ünique"),
        added(None, "<tag>", lstrip=True, rstrip=True, normalized=False),
        added(None, "<|end|>", special=True, rstrip=True))
    return {
        "wordpiece-cased": whole(model, bert_normalizer(lowercase=False), bert, post, decoder, special),
        "wordpiece-uncased": whole(model, bert_normalizer(), bert, old_post, decoder, special),
        "wordpiece-raw": whole(model, bert_normalizer(lowercase=False, clean_text=False, handle_chinese_chars=False),
                               bert, post, decoder, special),
        "wordpiece-added": whole(model, bert_normalizer(), bert, post, decoder, more),
        "wordpiece-short-words": whole(model | {"max_input_chars_per_word": 12}, bert_normalizer(strip_accents=True),
                                       bert, post, decoder, special),
        "wordpiece-nfkc": whole(model, normalizers_of({"type": "NFKC"}, {"type": "Lowercase"}, {"type": "NFD"},
                                                      {"type": "StripAccents"}), {"type": "WhitespaceSplit"},
                                post, decoder, special),
        "wordpiece-no-normalizer": whole(model, None, bert, post, decoder, special),
    }


def sentencepiece_models(lines):
    """.model files by SentencePiece, with a small charsmap: what nmt_nfkc would do to a few characters."""
    rules = {"\u00a0": " ", "\u3000": " ", "\u200b": " ", "\u00ad": "", "\ufb01": "fi", "\u2460": "1", "\u00bd": "1\u20442",
             "e\u0301": "\u00e9", "\uff21": "A", "\uff26": "F", "\u1100\u1161": "\uac00", "\u0915\u093c": "\u0958x", "\t": " ", "\n": " ",
             "\u2026": "...", "\u212b": "\u00c5", "\ufdfa": "\u0635\u0644\u0649 \u0627\u0644\u0644\u0647", "\u0344": "\u0308\u0301"}
    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch) / "rules.tsv"
        path.write_text("".join(
            " ".join(f"{ord(c):X}" for c in k) + "\t" + " ".join(f"{ord(c):X}" for c in v) + "\n"
            for k, v in rules.items()), encoding="utf-8")
        here = os.getcwd()
        os.chdir(scratch)  # the model keeps the path it was given
        out = {}
        for name, more in (("bpe-ids", {}), ("albert-ids", dict(
                pad_id=0, unk_id=1, bos_id=-1, eos_id=-1, pad_piece="<pad>", unk_piece="<unk>",
                user_defined_symbols="[CLS],[SEP],[MASK]"))):
            model = io.BytesIO()
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(line.replace("\n", " ").replace("\0", "") for line in lines), model_writer=model,
                vocab_size=700, model_type="unigram", normalization_rule_tsv="rules.tsv", character_coverage=0.995,
                minloglevel=2, num_threads=1, hard_vocab_limit=False, **more)
            out[name] = model.getvalue()
        os.chdir(here)
        return out


def charsmap_field(model_bytes):
    model = pb.ModelProto()
    model.ParseFromString(model_bytes)
    return base64.b64encode(model.normalizer_spec.precompiled_charsmap).decode()


def unigram_kinds(lines, charsmap):
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [[t, 0.0] for t in special] + [list(p) for p in unigram_pieces(lines, 900, special + ["<mask>"])] + [["<mask>", 0.0]]
    vocab = {p: i for i, (p, _) in enumerate(pieces)}
    model = {"type": "Unigram", "unk_id": vocab["<unk>"], "vocab": pieces, "byte_fallback": False}
    special = [added(vocab[t], t, special=True) for t in ("<s>", "<pad>", "</s>", "<unk>")]
    mask = added(vocab["<mask>"], "<mask>", special=True, lstrip=True)
    post = template("<s>", "</s>", vocab)
    precompiled = {"type": "Precompiled", "precompiled_charsmap": charsmap}
    albert = [{"type": "Replace", "pattern": {"String": "``"}, "content": '"'},
              {"type": "Replace", "pattern": {"String": "''"}, "content": '"'}, {"type": "NFKD"},
              {"type": "StripAccents"}, {"type": "Lowercase"}, precompiled]
    spaces = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}

    def metaspace(scheme="always", split=True):
        return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}
    old = {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}
    white = {"type": "WhitespaceSplit"}
    bytes_ = [[f"<0x{b:02X}>", -20.0 - b / 100] for b in range(256)]

    def build(normalizer, pre, model=model, tokens=special + [mask], post=post):
        return whole(model, normalizer, pre, post, metaspace() if pre is None else old if pre == old else metaspace(), tokens)
    return {
        "unigram-xlmr": build(precompiled, sequence("pretokenizers", white, metaspace())),
        "unigram-e5": build(normalizers_of(precompiled, spaces), old),
        "unigram-albert": build(normalizers_of(*albert), sequence("pretokenizers", white, metaspace())),
        "unigram-first": build(None, metaspace("first")),
        "unigram-never": build(normalizers_of({"type": "Strip", "strip_left": True, "strip_right": True}, {"type": "NFC"}),
                               metaspace("never")),
        "unigram-no-split": build({"type": "NFKC"}, metaspace("always", split=False)),
        "unigram-bytes": build(normalizers_of({"type": "Prepend", "prepend": "▁"}, {
            "type": "Replace", "pattern": {"String": " "}, "content": "▁"}), None,
            model=model | {"byte_fallback": True, "vocab": pieces + bytes_}),
        "unigram-added": build({"type": "Lowercase"}, sequence("pretokenizers", white, metaspace("first")), tokens=special + numbered(
            vocab, mask, added(None, "[NEW]"), added(None, "new", single_word=True),
            added(None, "<tag>", lstrip=True, rstrip=True, normalized=False), added(None, "Ünique"),
            added(None, "<|end|>", special=True, rstrip=True))),
    }


def bpe_kinds(lines):
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    model = json.loads(trained.to_str())["model"]
    model["vocab"]["<mask>"] = len(model["vocab"])
    vocab = model["vocab"]
    plain = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
             "vocab": vocab, "merges": model["merges"]}
    roberta = plain | {"continuing_subword_prefix": "", "end_of_word_suffix": "", "unk_token": "<unk>",
                       "merges": [" ".join(m) if isinstance(m, list) else m for m in model["merges"]]}
    special = [added(vocab[t], t, special=True) for t in ("<s>", "<pad>", "</s>", "<unk>")]
    mask = added(vocab["<mask>"], "<mask>", special=True, lstrip=True)

    def level(prefix, regex=True):
        return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}

    def processing(prefix):
        return {"type": "RobertaProcessing", "sep": ["</s>", vocab["</s>"]], "cls": ["<s>", vocab["<s>"]],
                "trim_offsets": True, "add_prefix_space": prefix}
    modern = special + numbered(
        vocab, added(None, "<mask>", special=True, lstrip=True), added(None, "  "), added(None, "    "),
        added(None, "<|end|>", special=True), added(None, "[NEW]"), added(None, "<tag>", rstrip=True, normalized=False))
    without = {t: i for i, t in enumerate(t for t in vocab if t not in ("<s>", "</s>"))}
    without = whole(plain | {"vocab": without, "ignore_merges": True}, None, level(False), level(True), level(True), [])
    return {
        "bpe-roberta": whole(roberta, None, level(False), processing(False), level(True), special + [mask]),
        "bpe-prefix-space": whole(roberta, None, level(True), processing(True), level(True), special + [mask]),
        "bpe-modern": whole(plain, {"type": "NFC"}, level(False), template("<s>", "</s>", vocab), level(True), modern),
        "bpe-no-regex": whole(plain, None, level(False, regex=False), template("<s>", "</s>", vocab), level(True), special),
        "bpe-bare": without,
    }


DECODED = ("wordpiece-added", "unigram-added", "unigram-bytes", "bpe-roberta")  # one of each decoder


def write_ids(path, encode, texts):
    path.write_text("".join(" ".join(map(str, encode(t))) + "\n" for t in texts), encoding="utf-8")


def write_decoded(path, tokenizer, texts):
    decoded = (tokenizer.decode(tokenizer.encode(t).ids, skip_special_tokens=True) for t in texts)
    (path / "decoded.jsonl").write_text(
        "".join(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in decoded), encoding="utf-8")


def main():
    rng = random.Random(20)
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir(parents=True)
    texts = HARD + random_texts(rng)
    lines = [repaired(line) for line in corpus(rng)]
    long = ["क" * 10000, "ab" * 5000, "".join(chr(rng.randrange(0x905, 0x940)) for _ in range(10000)), "é\u0301" * 5000]
    for name, some in (("texts", texts), ("long", long)):
        (HERE / f"{name}.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in some), encoding="utf-8")
    texts, long = [repaired(t) for t in texts], [repaired(t) for t in long]
    spm = sentencepiece_models(lines)
    kinds = wordpiece_kinds(lines) | unigram_kinds(lines, charsmap_field(spm["bpe-ids"])) | bpe_kinds(lines)
    for name, content in kinds.items():
        path = HERE / name
        path.mkdir()
        (path / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        (path / "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}) + "\n", encoding="utf-8")
        tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
        write_ids(path / "ids", lambda t: tokenizer.encode(t).ids, texts)
        if name in ("wordpiece-cased", "unigram-xlmr", "bpe-roberta"):
            write_ids(path / "long.ids", lambda t: tokenizer.encode(t).ids, long)
        if name in DECODED:
            write_decoded(path, tokenizer, texts)
    for name, file, content, class_name in (
            ("model-file-xlmr", "sentencepiece.bpe.model", spm["bpe-ids"], "XLMRobertaTokenizer"),
            ("model-file-camembert", "sentencepiece.bpe.model", spm["bpe-ids"], "CamembertTokenizer"),
            ("model-file-albert", "spiece.model", spm["albert-ids"], "AlbertTokenizer")):
        path = HERE / name
        path.mkdir()
        (path / file).write_bytes(content)
        (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": class_name}) + "\n", encoding="utf-8")
        tokenizer = getattr(hf, class_name).from_pretrained(path)
        write_ids(path / "ids", lambda t: tokenizer(t)["input_ids"], texts)
    for path in sorted(HERE.iterdir()):
        if path.is_dir():
            print(f"{path.name}: {sum(f.stat().st_size for f in path.iterdir()) // 1000} kB")


if __name__ == "__main__":
    main()
