#!/usr/bin/env python3
"""Training steps of PyTorch, for comparison with tests/bench/bench_training.c: the same three models (random weights, a
vocabulary trimmed to 16 000, 12 labels), the same batches of random ids without padding, dropout 0.1, cross-entropy,
gradients clipped to norm 1, AdamW. Prints TSV: shape, precision, optimizer, ms.

usage: train_step_torch.py [--threads N] [--rounds N] [--steps N] [--all] [SHAPE …]

PyTorch at its best: fused AdamW, scaled_dot_product_attention, no attention mask (the batch has no padding), denormals
flushed, fp32 and bf16 autocast. --all: the default AdamW (foreach), too. Configurations take turns; medians of single
steps.
"""
import argparse
import statistics
import time

import torch
from transformers import BertConfig, BertForSequenceClassification

VOCAB, LABELS, WARM = 16_000, 12, 2
SHAPES = {  # name: layers, width, heads, neurons, records, tokens
    "BERT-base 16x20": (12, 768, 12, 3072, 16, 20),
    "6x384 64x20": (6, 384, 12, 1536, 64, 20),
    "2x256 64x20": (2, 256, 4, 1024, 64, 20),
}


class Training:
    def __init__(self, shape, precision, optimizer):
        layers, width, heads, neurons, self.records, self.tokens = SHAPES[shape]
        torch.manual_seed(1)
        config = BertConfig(
            vocab_size=VOCAB, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
            intermediate_size=neurons, num_labels=LABELS, attn_implementation="sdpa",
        )
        self.model = BertForSequenceClassification(config).train()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=1e-4, weight_decay=0.01, **({"fused": True} if optimizer == "fused" else {})
        )
        self.bf16 = precision == "bf16"
        self.random = torch.Generator().manual_seed(1)

    def step(self):
        ids = torch.randint(0, VOCAB, (self.records, self.tokens), generator=self.random)
        labels = torch.arange(self.records) % LABELS
        begin = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bf16):
            logits = self.model(input_ids=ids).logits
            loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=3, help="of each configuration in a round")
    parser.add_argument("--all", action="store_true", help="the default optimizer, too")
    parser.add_argument("shape", nargs="*", choices=[[], *SHAPES])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    print("shape\tprecision\toptimizer\tms", flush=True)
    for shape in options.shape or SHAPES:
        made = {
            (precision, optimizer): Training(shape, precision, optimizer)
            for precision in ("fp32", "bf16")
            for optimizer in (("fused", "default") if options.all else ("fused",))
        }
        for training in made.values():
            for _ in range(WARM):
                training.step()
        taken = {key: [] for key in made}
        for _ in range(options.rounds):
            for key, training in made.items():
                taken[key] += [training.step() for _ in range(options.steps)]
        for (precision, optimizer), seconds in taken.items():
            print(f"{shape}\t{precision}\t{optimizer}\t{1e3 * statistics.median(seconds):.2f}", flush=True)


if __name__ == "__main__":
    main()
