#!/usr/bin/env python3
"""Training steps of Millet beside PyTorch's, in turns, on this machine: make bench-peers-training VENV=DIR MODEL= TEXTS=.

Batches of --shape LAYERSxWIDTH:RECORDS (bert-base:16, 6x384:64, 2x256:64), every record of exactly 20 tokens, so nothing is padded.
All start from the same random weights; cross-entropy, dropout 0.1, gradients clipped to norm 1, AdamW. What takes turns:

    millet          mstudent: records/s of its steps as --log tells them, without loading and writing
    torch fused     forward, backward, clip, AdamW(fused=True): the vocabulary of MODEL, the same as Millet's
    torch default   AdamW as it comes, and a vocabulary of at least 119547 pieces (mBERT's), whose dense gradient it costs

fp32, and bf16: mstudent --precision bf16, PyTorch torch.autocast. Loss: mean of the steps of the last round; the batches are other
draws of the same records, so they agree roughly. Prints TSV: medians of records/s over rounds and the ratio of each round's.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np

import bench_peers

TOKENS = 20
DEFAULT_VOCABULARY = 119547
STEPS = {"bert-base": 6, "6x384": 20, "2x256": 60}
KINDS = ("fused", "default")


class Trainer:
    """PyTorch's side, in a process of its own: `steps` steps whenever a line comes in."""

    def __init__(self, room, kind, form, records, threads):
        import torch
        import transformers

        torch.set_num_threads(threads)
        torch.manual_seed(1)
        transformers.logging.set_verbosity_error()
        self.torch, self.form, self.records = torch, form, records
        self.model = transformers.AutoModelForSequenceClassification.from_pretrained(room / "hf", dtype=torch.float32)
        if kind == "default":
            self.model.resize_token_embeddings(max(DEFAULT_VOCABULARY, self.model.config.vocab_size))
        self.model.train()
        decay = [p for p in self.model.parameters() if p.dim() > 1]
        rest = [p for p in self.model.parameters() if p.dim() <= 1]
        groups = [{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0}]
        self.optimizer = torch.optim.AdamW(groups, lr=5e-5, **({"fused": True} if kind == "fused" else {}))
        ids = np.array([line.split() for line in open(room / "training.ids", encoding="ascii")], np.int64)
        self.ids = torch.from_numpy(ids)
        self.labels = torch.arange(len(ids)) % self.model.config.num_labels
        self.rng = np.random.default_rng(1)

    def step(self):
        torch = self.torch
        at = torch.from_numpy(self.rng.choice(len(self.ids), self.records, replace=False))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.form == "bf16"):
            loss = self.model(input_ids=self.ids[at], labels=self.labels[at]).loss
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()

    def run(self, steps):
        self.step()  # wakes threads and caches
        begin = time.perf_counter()
        losses = [self.step() for _ in range(steps)]
        return self.records * steps / (time.perf_counter() - begin), statistics.mean(losses)


def serve(room, kind, form, records, threads, steps):
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    trainer = Trainer(pathlib.Path(room), kind, form, int(records), int(threads))
    for _ in sys.stdin:
        answers.write(json.dumps(trainer.run(int(steps))) + "\n")
        answers.flush()


class Torch:
    def __init__(self, opt, room, kind, form, records, steps):
        self.name, self.numbers = f"torch {kind}", []
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", room, kind, form, str(records), str(opt.threads), str(steps)], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=dict(os.environ, CUDA_VISIBLE_DEVICES=""))

    def run(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


class Millet:
    name = "millet"

    def __init__(self, opt, room, form, records, steps):
        self.numbers, self.room, self.records = [], room, records
        log, n = room / "training.log", records * (steps + 1)
        self.log = log
        self.command = [f"{opt.millet}/mstudent", "-q", "-j", str(opt.threads), "-m", room / "ours-fp32.tar", "--epochs", "1",
                        "--batch-tokens", str(records * TOKENS), "--dropout", "0.1", "--lr", "5e-5", "--warmup", "0", "--precision", form,
                        "--log", log, "--log-every", "1", "-o", room / "trained.tar", room / f"training-{n}.tok"]

    def run(self):
        subprocess.run(self.command, check=True)
        steps = [s for s in map(json.loads, self.log.read_text().splitlines()) if "tokens_per_s" in s][1:]
        seconds = sum(self.records * TOKENS / s["tokens_per_s"] for s in steps)
        return self.records * len(steps) / seconds, statistics.mean(s["loss"] for s in steps)

    def stop(self):
        pass


def streams(opt, room, texts, records, steps):
    """training.ids and training-N.tok: N records of exactly TOKENS tokens."""
    n = records * (steps + 1)
    opt.max_tokens = TOKENS
    lengths = [len(x) for x in bench_peers.tokenise(opt, room, texts, "training")]
    long = [t for t, k in zip(texts, lengths) if k == TOKENS]
    if not long:
        sys.exit(f"no text has {TOKENS} tokens")
    chosen = [long[i % len(long)] for i in range(n)]
    bench_peers.tokenise(opt, room, chosen, f"training-{n}")
    (room / "training.ids").write_text((room / f"training-{n}.ids").read_text())


def bench(opt, room, shape, records, form):
    steps = max(2, int(STEPS.get(shape, 20) * opt.steps))
    sides = [Millet(opt, room, form, records, steps)] + [Torch(opt, room, k, form, records, steps) for k in KINDS]
    try:
        for r in range(opt.rounds + 1):  # the first is not counted
            for side in sides if r % 2 == 0 else sides[::-1]:
                time.sleep(0.05)
                said = side.run()
                if r:
                    side.numbers.append(said)
    finally:
        for side in sides:
            side.stop()
    rates = {side.name: [n[0] for n in side.numbers] for side in sides}
    for side in sides:
        ratio = statistics.median(a / b for a, b in zip(rates["millet"], rates[side.name]))
        print(f"{shape} {records}x{TOKENS}", form, side.name, f"{statistics.median(rates[side.name]):.1f}", f"{ratio:.2f}",
              f"{side.numbers[-1][1]:.3f}", sep="\t", flush=True)


def main():
    if sys.argv[1:2] == ["--serve"]:
        return serve(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="gives tokenizer and vocabulary")
    parser.add_argument("--texts", required=True)
    parser.add_argument("--text", default="text")
    parser.add_argument("-n", type=int, default=3000)
    parser.add_argument("--shape", nargs="*", default=["bert-base:16", "6x384:64", "2x256:64"])
    parser.add_argument("--formats", default="fp32,bf16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=float, default=1, help="times the usual number of steps in a round")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--millet", default=str(bench_peers.ROOT / "bin"))
    parser.add_argument("--work", type=pathlib.Path, default=bench_peers.ROOT / "build" / "peers")
    opt = parser.parse_args()
    opt.work.mkdir(parents=True, exist_ok=True)
    opt.fresh = False
    texts = bench_peers.texts_of(opt)
    for line in bench_peers.machine(opt):
        print("#", line)
    print("shape", "format", "engine", "records/s", "millet's ratio to it", "loss", sep="\t")
    for what in opt.shape:
        shape, records = what.split(":")
        room = bench_peers.convert(opt, f"train-{shape}", opt.model, shape, texts, "--plain")
        if room:
            streams(opt, room, texts, int(records), max(2, int(STEPS.get(shape, 20) * opt.steps)))
            for form in opt.formats.split(","):
                bench(opt, room, shape, int(records), form)
    return 0


if __name__ == "__main__":
    sys.exit(main())
