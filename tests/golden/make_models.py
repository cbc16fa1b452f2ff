#!/usr/bin/env python3
"""Golden values for whole models, made with Hugging Face transformers on PyTorch.

Not part of building or testing Millet: see README beside this file.

    python3 tests/golden/make_models.py [NAME …]        writes tests/golden/models/NAME (all of them)

Each directory is a tiny random ForSequenceClassification as save_pretrained writes it, with a tokenizer and
golden.safetensors: ids of sequences of uneven length, hidden states, logits, losses and gradients, computed in
double precision and one sequence at a time, so that nothing is padded and only Millet's own rounding counts.
"""
import json
import pathlib
import shutil
import sys

import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from tiny_tokenizers import PIECES, byte_level_bpe, unigram

HERE = pathlib.Path(__file__).parent / "models"
LENGTHS = (1, 2, 20, 7, 13, 3, 16, 5)
POSITIONS = 24
LABELS = ["खेळ", "राजकारण", "आरोग्य", "शिक्षण", "प्रवास"]
ALPHA, TEMPERATURE = 0.9, 2.0


def wordpiece(path):
    (path / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    (path / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "BertTokenizer", "do_lower_case": False, "strip_accents": False,
        "tokenize_chinese_chars": True, "model_max_length": POSITIONS,
    }, indent=1) + "\n", encoding="utf-8")
    return len(PIECES)


def bert(**more):
    return dict(hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=40,
                max_position_embeddings=POSITIONS, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
                initializer_range=0.2) | more


def roberta(**more):
    return bert(max_position_embeddings=POSITIONS + 2, pad_token_id=1, bos_token_id=0, eos_token_id=2,
                type_vocab_size=1) | more


def mobilebert(**more):
    return bert(num_hidden_layers=3, hidden_size=32, intra_bottleneck_size=16, embedding_size=12,
                num_attention_heads=2, intermediate_size=20, initializer_range=0.12) | more


def tensors(base, layers, attention, head):
    """Names of parameters whose gradients are kept: embeddings, two layers, the head."""
    return [f"{base}.embeddings.word_embeddings.weight", f"{base}.embeddings.position_embeddings.weight",
            f"{base}.embeddings.LayerNorm.weight", f"{layers}.0.{attention[0]}.weight",
            f"{layers}.1.{attention[1]}.bias"] + head


# Not a key's bias: softmax does not see it, so its gradient is nought.
BERT = ("attention.self.query", "attention.self.value")
BERT_MORE = ["bert.embeddings.token_type_embeddings.weight", "bert.encoder.layer.2.attention.output.dense.weight",
             "bert.encoder.layer.2.intermediate.dense.bias", "bert.pooler.dense.bias", "classifier.weight"]
ROBERTA_HEAD = ["classifier.dense.weight", "classifier.out_proj.weight", "roberta.encoder.layer.2.output.dense.weight"]
MOBILE = ["mobilebert.embeddings.embedding_transformation.weight", "mobilebert.embeddings.embedding_transformation.bias",
          "mobilebert.encoder.layer.0.bottleneck.input.dense.weight",
          "mobilebert.encoder.layer.1.bottleneck.attention.LayerNorm.weight",
          "mobilebert.encoder.layer.1.ffn.0.intermediate.dense.weight",
          "mobilebert.encoder.layer.1.output.bottleneck.dense.weight",
          "mobilebert.encoder.layer.2.output.LayerNorm.bias",
          "mobilebert.encoder.layer.2.output.bottleneck.LayerNorm.weight", "classifier.weight"]

# name: (model_type, config, tokenizer, gradients)
MODELS = {
    "bert": ("bert", bert(hidden_size=32, num_attention_heads=4, intermediate_size=48), wordpiece,
             tensors("bert", "bert.encoder.layer", BERT, BERT_MORE)),
    "bert-multi-label": ("bert", bert(problem_type="multi_label_classification"), wordpiece,
                         tensors("bert", "bert.encoder.layer", BERT, BERT_MORE)),
    "distilbert": ("distilbert", dict(
        dim=24, n_layers=3, n_heads=3, hidden_dim=40, max_position_embeddings=POSITIONS, dropout=0.0,
        attention_dropout=0.0, seq_classif_dropout=0.0, initializer_range=0.2), wordpiece,
        tensors("distilbert", "distilbert.transformer.layer", ("attention.q_lin", "attention.v_lin"), [
            "distilbert.transformer.layer.0.attention.k_lin.weight",
            "distilbert.transformer.layer.1.sa_layer_norm.weight", "distilbert.transformer.layer.2.ffn.lin1.weight",
            "distilbert.transformer.layer.2.output_layer_norm.bias", "pre_classifier.weight", "classifier.bias"])),
    "roberta": ("roberta", roberta(), byte_level_bpe,
                tensors("roberta", "roberta.encoder.layer", BERT, ROBERTA_HEAD)),
    "xlm-roberta": ("xlm-roberta", roberta(), lambda path: unigram(path, "XLMRobertaTokenizer", POSITIONS),
                    tensors("roberta", "roberta.encoder.layer", BERT, ROBERTA_HEAD)),
    "camembert": ("camembert", roberta(num_hidden_layers=2),
                  lambda path: unigram(path, "CamembertTokenizer", POSITIONS),
                  tensors("roberta", "roberta.encoder.layer", BERT, ROBERTA_HEAD[:2])),
    "albert": ("albert", bert(embedding_size=12, classifier_dropout_prob=0.0, inner_group_num=1, num_hidden_groups=1),
               lambda path: unigram(path, "AlbertTokenizer", POSITIONS), [
        "albert.embeddings.word_embeddings.weight", "albert.embeddings.position_embeddings.weight",
        "albert.embeddings.token_type_embeddings.weight", "albert.embeddings.LayerNorm.weight",
        "albert.encoder.embedding_hidden_mapping_in.weight", "albert.encoder.embedding_hidden_mapping_in.bias"] + [
        f"albert.encoder.albert_layer_groups.0.albert_layers.0.{rest}" for rest in (
            "attention.query.weight", "attention.dense.bias", "ffn.weight", "ffn_output.bias",
            "full_layer_layer_norm.weight", "attention.LayerNorm.bias")] + ["albert.pooler.weight", "classifier.weight"]),
    "electra": ("electra", bert(embedding_size=16), wordpiece,
                tensors("electra", "electra.encoder.layer", BERT, [
                    "electra.embeddings_project.weight", "electra.embeddings_project.bias", "classifier.dense.weight",
                    "classifier.out_proj.bias"])),
    "electra-same-width": ("electra", bert(embedding_size=24, num_hidden_layers=2), wordpiece,
                           tensors("electra", "electra.encoder.layer", BERT, ["classifier.dense.bias"])),
    "mobilebert": ("mobilebert", mobilebert(num_feedforward_networks=3), wordpiece, tensors(
        "mobilebert", "mobilebert.encoder.layer", BERT, MOBILE + ["mobilebert.pooler.dense.weight"])),
    # as google/mobilebert-uncased: no activation and no pooler's matrix before the classifier
    "mobilebert-no-pooler": ("mobilebert", mobilebert(num_feedforward_networks=2, classifier_activation=False),
                             wordpiece, tensors("mobilebert", "mobilebert.encoder.layer", BERT, MOBILE)),
}
# Other ways to write down one and the same small BERT.
SMALL = bert(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=20)
SMALL_GRADIENTS = tensors("bert", "bert.encoder.layer", BERT, BERT_MORE[:1] + BERT_MORE[3:])
SPELLINGS = ("bert-no-prefix", "bert-gamma-beta", "bert-sharded", "bert-bare")


def layers_of(base):
    if hasattr(base, "transformer"):
        return list(base.transformer.layer)
    if hasattr(base.encoder, "albert_layer_groups"):
        return [layer for group in base.encoder.albert_layer_groups for layer in group.albert_layers]
    return list(base.encoder.layer)


class Watch:
    """The input of the first layer and the output of each, [T, H], of every sequence in turn."""

    def __init__(self, base):
        self.runs = []
        layers = layers_of(base)
        self.handles = [layer.register_forward_hook(self.see) for layer in layers]

    def see(self, layer, inputs, output):
        if not self.runs[-1]:
            self.runs[-1].append(inputs[0].detach()[0])
        self.runs[-1].append((output[0] if isinstance(output, tuple) else output).detach().reshape(
            self.runs[-1][0].shape))


def make_sequences(config, vocab):
    """Random ids; where positions depend on the padding id, one sequence has it in the middle, as text can."""
    sequences = [torch.randint(5, vocab, (n,)).tolist() for n in LENGTHS]
    if config.pad_token_id == 1:
        sequences[2][9] = sequences[2][10] = 1
    return sequences


def golden_values(model, vocab, gradients):
    model = model.double().eval()
    base = getattr(model, model.base_model_prefix, model)
    watch = Watch(base)
    sequences = make_sequences(model.config, vocab)
    logits = []
    for ids in sequences:
        watch.runs.append([])
        out = model(torch.tensor([ids]))
        logits.append(out.logits[0] if hasattr(out, "logits") else None)
    lengths = torch.tensor([len(s) for s in sequences])
    golden = {
        "ids": torch.tensor([i for s in sequences for i in s], dtype=torch.int32),
        "offsets": torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]),
        "hidden.embeddings": torch.cat([run[0] for run in watch.runs]),
        "hidden.0": torch.cat([run[1] for run in watch.runs]),
        "hidden.1": torch.cat([run[2] for run in watch.runs]),
        "first": torch.stack([run[-1][0] for run in watch.runs]),
        "mean": torch.stack([run[-1].mean(0) for run in watch.runs]),
    }
    if logits[0] is None:
        return golden
    golden["logits"] = logits = torch.stack(logits)
    if model.config.problem_type == "multi_label_classification":
        golden["targets"] = (torch.rand(logits.shape) < 0.4).double()
        losses = {"multi_label": torch.nn.functional.binary_cross_entropy_with_logits(logits, golden["targets"])}
    else:
        labels = torch.arange(len(sequences)) % logits.shape[1]
        golden["labels"] = labels.int()
        golden["teacher_logits"] = teacher = (torch.randn(logits.shape) * 2).float().double()
        losses = {"cross_entropy": torch.nn.functional.cross_entropy(logits, labels)}
        if model.config.model_type == "bert":
            golden["alpha"], golden["temperature"] = torch.tensor([ALPHA]), torch.tensor([TEMPERATURE])
            kl = torch.nn.functional.kl_div(torch.log_softmax(logits / TEMPERATURE, -1),
                                            torch.softmax(teacher / TEMPERATURE, -1), reduction="batchmean")
            losses["distillation"] = ALPHA * TEMPERATURE**2 * kl + (1 - ALPHA) * losses["cross_entropy"]
    named = dict(model.named_parameters())
    for key, loss in losses.items():
        golden[f"loss.{key}"] = loss.detach().reshape(1)
        model.zero_grad()
        loss.backward(retain_graph=True)
        for name in gradients:
            golden[f"gradient.{key}.{name}"] = named[name].grad.clone()
    return golden


def save_golden(path, golden):
    save_file({k: (v.detach().float() if v.is_floating_point() else v).contiguous() for k, v in golden.items()},
              path / "golden.safetensors")


def disturb(model):
    """Save no zeros and no ones: a wrong bias or norm must show."""
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 1:
                p.add_(torch.randn_like(p) * 0.1)


def fresh(name):
    path = HERE / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def make(name):
    model_type, settings, tokenizer, gradients = MODELS[name]
    path = fresh(name)
    vocab = tokenizer(path)
    labels = LABELS if name == "bert" else LABELS[:3]
    config = hf.AutoConfig.for_model(model_type, vocab_size=vocab, id2label=dict(enumerate(labels)),
                                     label2id={l: i for i, l in enumerate(labels)}, **settings)
    torch.manual_seed(7)
    model = hf.AutoModelForSequenceClassification.from_config(config)
    disturb(model)
    model.save_pretrained(path)
    save_golden(path, golden_values(model, vocab, gradients))


def respell(path, rename):
    """Rewrite a saved model under the names of older writers, with the buffer that they kept."""
    file = path / "model.safetensors"
    state = {rename(k): v for k, v in load_file(file).items()}
    state[rename("bert.embeddings.position_ids")] = torch.arange(POSITIONS).expand(1, -1).contiguous()
    save_file(state, file, metadata={"format": "pt"})


def make_spelling(name):
    path = fresh(name)
    vocab = wordpiece(path)
    config = hf.BertConfig(vocab_size=vocab, id2label=dict(enumerate(LABELS[:3])),
                           label2id={l: i for i, l in enumerate(LABELS[:3])}, **SMALL)
    torch.manual_seed(7)
    model = hf.BertForSequenceClassification(config)
    disturb(model)
    if name == "bert-bare":
        bare = hf.BertModel(config, add_pooling_layer=False)
        bare.load_state_dict(model.bert.state_dict(), strict=False)
        bare.config.architectures = ["BertModel"]
        bare.save_pretrained(path)
        save_golden(path, golden_values(bare, vocab, []))
        return
    model.save_pretrained(path, **({"max_shard_size": "8KB"} if name == "bert-sharded" else {}))
    if name == "bert-no-prefix":
        respell(path, lambda k: k.removeprefix("bert."))
    if name == "bert-gamma-beta":
        respell(path, lambda k: k.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"))
    save_golden(path, golden_values(model, vocab, SMALL_GRADIENTS))


def main(names):
    for name in names or [*MODELS, *SPELLINGS]:
        (make_spelling if name in SPELLINGS else make)(name)
        size = sum(f.stat().st_size for f in (HERE / name).iterdir())
        print(f"{name}: {size // 1000} kB")
        if size > 200_000:
            sys.exit(f"{name} is larger than 200 kB")


if __name__ == "__main__":
    main(sys.argv[1:])
