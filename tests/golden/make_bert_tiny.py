#!/usr/bin/env python3
"""Golden values for the whole model, made with Hugging Face transformers on PyTorch.

Not part of building or testing Millet: run it by hand, in a virtual environment with torch, transformers and
safetensors, when the values are to be made anew:  python3 tests/golden/make_bert_tiny.py tests/golden/bert-tiny

Writes a random BertForSequenceClassification (save_pretrained) and golden.json: token ids of sequences of uneven
length, hidden states, logits, losses and gradients, computed one sequence at a time, so that nothing is padded.
"""
import json
import pathlib
import sys

import torch
from transformers import BertConfig, BertForSequenceClassification

PIECES = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] म हा रा ष्ट्र ##ा ##ि ##ी ##ु ##े ##ं ##् ##र ##त ##न ##क मुंबई पुणे बातमी क्रीडा "
    "आरोग्य , . - a b c d e ##a ##b ##c ##d ##e 0 1 2 3 ##0 ##1 ##2 ##3 । ! ? : ( )"
).split()
LENGTHS = (1, 2, 20, 7, 13, 3, 16, 5)
GRADIENTS = (
    "bert.embeddings.word_embeddings.weight",
    "bert.embeddings.LayerNorm.weight",
    "bert.encoder.layer.0.attention.self.query.weight",
    "bert.encoder.layer.1.attention.self.key.bias",
    "bert.encoder.layer.2.attention.output.dense.weight",
    "bert.encoder.layer.2.intermediate.dense.bias",
    "bert.pooler.dense.bias",
    "classifier.weight",
)


def flat(tensor):
    return [float(f"{x:.7g}") for x in tensor.detach().reshape(-1).tolist()]


def main(directory):
    torch.manual_seed(7)
    labels = ["खेळ", "राजकारण", "आरोग्य", "शिक्षण", "प्रवास"]
    config = BertConfig(
        vocab_size=len(PIECES), hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=24, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        initializer_range=0.2, id2label=dict(enumerate(labels)), label2id={l: i for i, l in enumerate(labels)},
    )
    model = BertForSequenceClassification(config).eval()
    with torch.no_grad():  # save no zeros: a wrong bias or norm must show
        for p in model.parameters():
            if p.dim() == 1:
                p.add_(torch.randn_like(p) * 0.1)

    path = pathlib.Path(directory)
    model.save_pretrained(path)
    (path / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    (path / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "BertTokenizer", "do_lower_case": False, "strip_accents": False,
        "tokenize_chinese_chars": True, "model_max_length": 24,
    }, indent=1) + "\n", encoding="utf-8")

    sequences = [torch.randint(5, len(PIECES), (n,)).tolist() for n in LENGTHS]
    targets = [i % len(labels) for i in range(len(sequences))]
    teacher = torch.randn(len(sequences), len(labels)) * 2
    logits, inner, last = [], [], []
    for ids in sequences:
        out = model(torch.tensor([ids]), output_hidden_states=True)
        logits.append(out.logits[0])
        inner.append(out.hidden_states[1][0])
        last.append(out.hidden_states[3][0, 0])
    logits = torch.stack(logits)

    cross_entropy = torch.nn.functional.cross_entropy(logits, torch.tensor(targets))
    temperature, alpha = 2.0, 0.9
    kl = torch.nn.functional.kl_div(
        torch.log_softmax(logits / temperature, -1), torch.softmax(teacher / temperature, -1), reduction="batchmean")
    distillation = alpha * temperature**2 * kl + (1 - alpha) * cross_entropy

    golden = {
        "ids": sequences, "labels": targets, "teacher_logits": flat(teacher),
        "hidden_after_layer_0": flat(torch.cat(inner)), "hidden_first_token_last_layer": flat(torch.stack(last)),
        "logits": flat(logits), "cross_entropy": cross_entropy.item(),
        "alpha": alpha, "temperature": temperature, "distillation": distillation.item(),
    }
    for key, loss in (("cross_entropy_gradients", cross_entropy), ("distillation_gradients", distillation)):
        model.zero_grad()
        loss.backward(retain_graph=True)
        named = dict(model.named_parameters())
        golden[key] = {name: flat(named[name].grad) for name in GRADIENTS}
    (path / "golden.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
