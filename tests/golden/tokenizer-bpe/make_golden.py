#!/usr/bin/env python3
"""Two tiny byte-level BPE tokenizers and the ids that Hugging Face gives with them.

Not part of building or testing Millet: run it by hand, in a virtual environment with tokenizers and transformers,
when the values are to be made anew:  python3 make_golden.py     (here: tokenizers 0.23.3, transformers 5.23)

roberta/     tokenizer.json as RoBERTa has it: ByteLevel, RobertaProcessing, <mask> takes spaces on its left
roberta-files/  the same as vocab.json + merges.txt + tokenizer_config.json, as older models have it
modernbert/  tokenizer.json as ModernBERT has it: NFC, ByteLevel, TemplateProcessing, runs of spaces as added tokens
"""
import json
import pathlib
import random

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

HERE = pathlib.Path(__file__).parent
SIZE = 440

EXTRA = [
    "", " ", "  ", "\n", " \n ", "\t\t", "a", " a", "a ", "  a  b   c    d     e      f", "I'm you're we've he'd she'll it's",
    "'S 'LL 's's''s", "line one\nline two\n\n\nline three\r\nfour", "tab\tand\u00a0no-break\u3000wide\u2028line\u0085next",
    "<mask>", "a <mask> b", "a  <mask>  b", "a<mask>b", "<s>a</s>", "</s></s>", "<pad><unk>", "< s >", "<mask", "\n<mask>\n",
    "[MASK]", "a [MASK] b", "[CLS]x[SEP]", "[mask]", "|||IP_ADDRESS|||", "a|||IP_ADDRESS|||b", "||||IP_ADDRESS||||",
    "\u0000", "a\u0000b", "\u0001\u001f\u007f\u0080\u009f\u00ad\ufeff", "\ufffd\uffff\U0010ffff", "e\u0301 \u00e9 A\u030a \u212b",
    "\u0915\u093c \u0958", "\u0930\u094d\u200d\u092f \u0930\u094d\u200c\u092f", "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "3.14159 1,000 \u0967\u0968\u0969 \u00bd \u2167 x\u00b2", "naïve café Straße ŒUVRE", "日本語テキスト、漢字。한국어",
    "العربية ١٢٣", "a" * 300, "ab" * 350, "\u0915\u093f" * 400, " " * 40 + "x", "x" + "\n" * 20 + " y", "!?" * 60,
]


def texts():
    with open(HERE.parent / "tokenizer" / "texts.jsonl", encoding="utf-8") as lines:
        own = [json.loads(line)["text"] for line in lines]
    rng = random.Random(4)
    alphabet = list(" \n\t'strevlmd<>[]|aA19,.\u00a0\u0915\u093e\u094d\u200d\u0301\u65e5\U0001f600") + ["<mask>", "[MASK]", "  "]
    mixed = ["".join(rng.choice(alphabet) for _ in range(rng.randint(1, 40))) for _ in range(80)]
    return own, EXTRA + [t for t in own if len(t) < 2000] + mixed


def special(text, **how):
    return AddedToken(text, special=True, normalized=False, **how)


def train(tokenizer, specials, corpus):
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE, show_progress=False, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(corpus, trainer)


def save(tokenizer, directory, config):
    directory.mkdir(exist_ok=True)
    with open(directory / "tokenizer.json", "w", encoding="utf-8") as out:
        json.dump(json.loads(tokenizer.to_str()), out, ensure_ascii=False, separators=(",", ":"))
        out.write("\n")
    write_config(directory, config)


def write_config(directory, config):
    with open(directory / "tokenizer_config.json", "w", encoding="utf-8") as out:
        json.dump(config, out, indent=1)
        out.write("\n")


def roberta(corpus):
    tokenizer = Tokenizer(models.BPE(dropout=None, unk_token=None, continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True)
    tokenizer.decoder = decoders.ByteLevel()
    train(tokenizer, [special("<s>"), special("<pad>"), special("</s>"), special("<unk>"), special("<mask>", lstrip=True)], corpus)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    config = {
        "tokenizer_class": "RobertaTokenizer", "model_max_length": 512, "add_prefix_space": False, "bos_token": "<s>",
        "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>",
    }
    save(tokenizer, HERE / "roberta", config)
    files = HERE / "roberta-files"
    files.mkdir(exist_ok=True)
    model = json.loads(tokenizer.to_str())["model"]
    with open(files / "vocab.json", "w", encoding="utf-8") as out:
        json.dump(model["vocab"], out, ensure_ascii=False, separators=(",", ":"))
    with open(files / "merges.txt", "w", encoding="utf-8") as out:
        out.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in model["merges"]))
    added = {t["id"]: {k: v for k, v in t.items() if k != "id"} for t in json.loads(tokenizer.to_str())["added_tokens"]}
    write_config(files, {"added_tokens_decoder": added, **config})


def modernbert(corpus):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    specials = [special(t) for t in ("[UNK]", "[CLS]", "[SEP]", "[PAD]")] + [special("[MASK]", lstrip=True)]
    train(tokenizer, specials, corpus)
    runs = [AddedToken(" " * n, normalized=True, special=False) for n in range(8, 1, -1)]
    tokenizer.add_tokens([AddedToken("|||IP_ADDRESS|||", normalized=True, special=False)] + runs)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 8192, "cls_token": "[CLS]", "sep_token": "[SEP]",
        "pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]", "model_input_names": ["input_ids", "attention_mask"],
    }
    save(tokenizer, HERE / "modernbert", config)


def main():
    own, hard = texts()
    corpus = [t for t in own if len(t) < 2000] * 2
    roberta(corpus)
    modernbert(corpus)
    with open(HERE / "texts.jsonl", "w", encoding="ascii") as out:
        out.writelines(json.dumps({"text": text}) + "\n" for text in hard)
    for name in ("roberta", "roberta-files", "modernbert"):
        tokenizer = AutoTokenizer.from_pretrained(HERE / name)
        with open(HERE / f"{name}.ids", "w", encoding="ascii") as out:
            out.writelines(" ".join(map(str, tokenizer(text, truncation=False)["input_ids"])) + "\n" for text in hard)


main()
