"""Tokenizers for the tiny models of make_models.py, trained on a few words, written as transformers writes them."""
import json
import pathlib

import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

PIECES = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] म हा रा ष्ट्र ##ा ##ि ##ी ##ु ##े ##ं ##् ##र ##त ##न ##क मुंबई पुणे बातमी क्रीडा "
    "आरोग्य , . - a b c d e ##a ##b ##c ##d ##e 0 1 2 3 ##0 ##1 ##2 ##3 । ! ? : ( )"
).split()
TEXTS = [
    "महाराष्ट्र राज्यात आज पाऊस पडला", "मुंबई आणि पुणे येथे क्रीडा स्पर्धा", "आरोग्य विभागाची बातमी", "শিক্ষা ও খেলার খবর",
    "the game in the city was won", "election news of the day 123", "पुणे येथे शिक्षण परिषद", "प्रवास आणि खेळ",
]


def unigram(path: pathlib.Path, class_name: str, length: int) -> int:
    special = {
        "XLMRobertaTokenizer": ["<s>", "<pad>", "</s>", "<unk>"],
        "CamembertTokenizer": ["<s>", "<pad>", "</s>", "<unk>"],
        "AlbertTokenizer": ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"],
    }[class_name]
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(TEXTS * 3, trainers.UnigramTrainer(
        vocab_size=100, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False))
    pieces = [(p, s) for p, s in json.loads(trained.to_str())["model"]["vocab"] if p not in special]
    vocab = [(s, 0.0) for s in special] + pieces
    if class_name != "AlbertTokenizer":
        vocab.append(("<mask>", 0.0))
    tokenizer = getattr(hf, class_name)(vocab=vocab, model_max_length=length)
    tokenizer.save_pretrained(path)
    return len(tokenizer)


def byte_level_bpe(path: pathlib.Path, length: int = 24) -> int:
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trained.train_from_iterator(TEXTS * 3, trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    model = json.loads(trained.to_str())["model"]
    vocab = dict(model["vocab"])
    vocab["<mask>"] = len(vocab)
    tokenizer = hf.RobertaTokenizer(vocab=vocab, merges=[tuple(m) for m in model["merges"]], model_max_length=length)
    tokenizer.save_pretrained(path)
    return len(tokenizer)
