"""Tokenizers for the tiny models of make_models.py, of a few words, as transformers writes them."""
import collections
import json
import math
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


def substrings(words, least=2, longest=6):
    """Parts of words and how often they occur, the most frequent first. Stands for training, which in tokenizers is not
    the same from run to run: what is made anew shall be what it was."""
    count = collections.Counter()
    for word in words:
        for i in range(len(word)):
            for j in range(i + 1, min(len(word), i + longest) + 1):
                count[word[i:j]] += 1
    letters = {c for word in words for c in word}
    kept = [(text, n) for text, n in count.items() if n >= least or text in letters]
    return sorted(kept, key=lambda x: (-x[1] * len(x[0]), x[0]))


def unigram_pieces(lines, n, special):
    """[(piece, score)] with every letter among them."""
    words = ["▁" + word for line in lines for word in line.split()]
    found = [(text, k) for text, k in substrings(words) if text not in special]
    kept = [x for x in found if len(x[0]) == 1]
    kept += [x for x in found if len(x[0]) > 1][:max(0, n - len(kept))]
    total = sum(k for _, k in kept)
    return [(text, round(math.log(k / total), 6)) for text, k in kept]


def unigram(path: pathlib.Path, class_name: str, length: int) -> int:
    special = {
        "XLMRobertaTokenizer": ["<s>", "<pad>", "</s>", "<unk>"],
        "CamembertTokenizer": ["<s>", "<pad>", "</s>", "<unk>"],
        "AlbertTokenizer": ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"],
    }[class_name]
    vocab = [(s, 0.0) for s in special] + unigram_pieces(TEXTS, 100, special)
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
