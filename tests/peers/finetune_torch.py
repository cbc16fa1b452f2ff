#!/usr/bin/env python3
"""The run of `mstudent` in PyTorch, for comparison: same record streams, same hyper-parameters, same model class.

    python3 tests/peers/finetune_torch.py MODEL TRAIN.tok --dev DEV.tok --test TEST.tok [--epochs 3] [--steps N]

Not part of building or testing Millet: run it in a virtual environment with torch, transformers and safetensors. Batches are cut
by the same token budget from length-sorted pools and padded to their longest text, as a Trainer with group_by_length does.
Prints TSV: what, value.
"""
import argparse
import io
import json
import resource
import tarfile
import time

import numpy as np
import torch
from safetensors.numpy import load
from transformers import AutoModelForSequenceClassification


def read_stream(path):
    """Lists of ids and labels, and the label names of a Millet record stream."""
    ids, labels, names = [], [], None
    with tarfile.open(path) as tar:
        for member in tar:
            data = tar.extractfile(member).read()
            if member.name == "stream.json":
                names = json.loads(data)["labels"]
            elif member.name.endswith(".safetensors"):
                part = load(data)
                offset = part["offsets"]
                ids += [part["ids"][offset[i] : offset[i + 1]] for i in range(len(offset) - 1)]
                labels += part["label"].tolist()
    return ids, labels, names


def read_labelled(path, names):
    """Ids, and labels as the places of their names in `names`."""
    ids, labels, own = read_stream(path)
    return ids, [names.index(own[label]) for label in labels]


def batches(length, budget, rng):
    """As lib/nn/schedule.h: shuffle, sort within pools of about 50 batches, cut by tokens, shuffle the batches."""
    order = rng.permutation(len(length))
    pool = max(1, int(50 * budget / np.mean(length)))
    out = []
    for at in range(0, len(order), pool):
        part = sorted(order[at : at + pool], key=lambda i: length[i])
        batch, tokens = [], 0
        for i in part:
            if batch and tokens + length[i] > budget:
                out.append(batch)
                batch, tokens = [], 0
            batch.append(i)
            tokens += length[i]
        out.append(batch)
    return [out[i] for i in rng.permutation(len(out))]


def pad(ids, batch, pad_id):
    longest = max(len(ids[i]) for i in batch)
    x = np.full((len(batch), longest), pad_id, dtype=np.int64)
    mask = np.zeros_like(x)
    for row, i in enumerate(batch):
        x[row, : len(ids[i])] = ids[i]
        mask[row, : len(ids[i])] = 1
    return torch.from_numpy(x), torch.from_numpy(mask)


@torch.inference_mode()
def accuracy(model, ids, labels, pad_id):
    model.eval()
    right = 0
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    for at in range(0, len(order), 32):
        batch = order[at : at + 32]
        x, mask = pad(ids, batch, pad_id)
        best = model(input_ids=x, attention_mask=mask).logits.argmax(-1).tolist()
        right += sum(b == labels[i] for b, i in zip(best, batch))
    return 100 * right / len(ids)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("train")
    parser.add_argument("--dev")
    parser.add_argument("--test")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-tokens", type=int, default=1024)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--head-lr", type=float, default=1)
    parser.add_argument("--warmup", type=float, default=0.1)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, help="stop after so many steps and print their time (for side-by-side timing)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    ids, labels, names = read_stream(args.train)
    length = [len(x) for x in ids]
    model = AutoModelForSequenceClassification.from_pretrained(
        args.model, num_labels=len(names), dtype=torch.float32, ignore_mismatched_sizes=True)
    pad_id = model.config.pad_token_id or 0
    groups = {}
    for name, p in model.named_parameters():
        head = "pooler" in name or "classifier" in name
        groups.setdefault((head, p.dim() > 1), []).append(p)
    optimizer = torch.optim.AdamW([
        {"params": ps, "lr": args.lr * (args.head_lr if head else 1), "weight_decay": args.weight_decay if matrix else 0}
        for (head, matrix), ps in groups.items()], fused=True)
    plan = [batches(length, args.batch_tokens, rng) for _ in range(args.epochs)]
    total = sum(map(len, plan))
    warm = args.warmup * total
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / max(warm, 1), 1) if s < warm else max(0, (total - s) / (total - warm)))
    step, start, best = 0, time.perf_counter(), (-1, None)
    for epoch, plan_of_epoch in enumerate(plan, 1):
        model.train()
        began, loss_sum, tokens = time.perf_counter(), 0.0, 0
        for batch in plan_of_epoch:
            x, mask = pad(ids, batch, pad_id)
            y = torch.tensor([labels[i] for i in batch])
            loss = model(input_ids=x, attention_mask=mask, labels=y).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            loss_sum += loss.item() * len(batch)
            tokens += sum(length[i] for i in batch)
            step += 1
            if args.steps and step == args.steps:
                seconds = time.perf_counter() - began
                print(f"tokens/s of {step} steps\t{tokens / seconds:.0f}")
                print(f"peak MB\t{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}")
                return
        seconds = time.perf_counter() - began
        print(f"epoch {epoch} seconds\t{seconds:.1f}\nepoch {epoch} loss\t{loss_sum / len(ids):.4f}")
        print(f"epoch {epoch} tokens/s\t{tokens / seconds:.0f}", flush=True)
        if args.dev:
            score = accuracy(model, *read_labelled(args.dev, names), pad_id)
            print(f"epoch {epoch} dev accuracy\t{score:.2f}", flush=True)
            if score > best[0]:
                best = (score, io.BytesIO())
                torch.save(model.state_dict(), best[1])
    if best[1]:
        best[1].seek(0)
        model.load_state_dict(torch.load(best[1]))
    print(f"training seconds\t{time.perf_counter() - start:.1f}")
    if args.test:
        print(f"test accuracy\t{accuracy(model, *read_labelled(args.test, names), pad_id):.2f}")
    print(f"peak MB\t{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}")


if __name__ == "__main__":
    main()
