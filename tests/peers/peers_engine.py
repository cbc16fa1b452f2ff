#!/usr/bin/env python3
"""One engine in a process of its own, which classifies when bench_peers.py asks: one JSON object a line in, one out.

    peers_engine.py ENGINE ROOM THREADS

ROOM holds the model as peers_convert.py made it and texts.ids, the tokens. What is asked ("do"):

    tune      the best variant, way of using the threads, and batch: found by trying on every second text; without any_graph
              Millet's export is a variant only where there is no other
    open      take these; one pass that is not counted
    pass      classify all texts once; seconds. Batches are padded and lie in memory before, so that is not counted
    open one  be ready for one text alone
    one       texts that are evenly spread, each alone; p50 in ms
    logits    classify and write logits.npy
    memory    VmHWM of this process, MB

A way is (streams, threads of each): all threads in one batch, or as many batches side by side, each by one thread; they take the
next batch from one queue, the longest texts first.
"""
import json
import os
import pathlib
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

FIRST_BATCH = 16  # from which the search for the best goes down and up
BATCHES = (4, 8, 16, 32, 64, 128)
GIVEN_BATCH = 32  # of the baseline: texts in the order they come
TRIED_ALONE = 12  # texts that choose the way for one alone


class Engine:
    """What an engine has to say: variants(), open(), prepare() of a padded batch, run()."""

    fixed = None  # (streams, threads, batch) where nothing is chosen
    streams_too = True
    batches = BATCHES

    def __init__(self, room, form, threads):
        self.room, self.form, self.threads = room, form, threads

    def variants(self):
        return ["-"]

    def prepare(self, ids, mask):
        return ids, mask

    def enter(self, threads):
        """In each thread that is going to call run()."""


class Torch(Engine):
    def __init__(self, room, form, threads):
        super().__init__(room, form, threads)
        import torch
        import transformers

        transformers.logging.set_verbosity_error()
        self.torch = torch
        self.model = transformers.AutoModelForSequenceClassification.from_pretrained(
            room / "hf", dtype=torch.float32).eval()
        if form == "int8":
            import warnings

            warnings.simplefilter("ignore")
            self.model = torch.ao.quantization.quantize_dynamic(self.model, {torch.nn.Linear}, dtype=torch.qint8)
        if form == "compiled":
            self.streams_too, self.batches = False, (16, 32)
            self.model = torch.compile(self.model, dynamic=True)
        if form == "given":
            self.fixed = (1, threads, GIVEN_BATCH)

    def variants(self):
        return ["autocast", "bf16 weights"] if self.form == "bf16" else ["-"]

    def open(self, variant, streams, threads):
        self.torch.set_num_threads(threads)
        self.autocast = variant == "autocast"
        if self.form == "bf16":
            self.model = self.model.to(self.torch.float32 if self.autocast else self.torch.bfloat16)

    def enter(self, threads):
        self.torch.set_num_threads(threads)

    def prepare(self, ids, mask):
        # No mask where nothing is padded: attention has a shorter way then.
        return self.torch.from_numpy(ids), None if mask.all() else self.torch.from_numpy(mask)

    def run(self, batch):
        torch = self.torch
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.autocast):
            return self.model(input_ids=batch[0], attention_mask=batch[1]).logits.float().numpy()


class OnnxRuntime(Engine):
    def variants(self):
        end = "-int8.onnx" if self.form == "int8" else ".onnx"
        return [n for n in ("fused", "export", "millet") if (self.room / "onnx" / (n + end)).exists()]

    def open(self, variant, streams, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        name = variant + ("-int8.onnx" if self.form == "int8" else ".onnx")
        self.session = onnxruntime.InferenceSession(str(self.room / "onnx" / name), options,
                                                    providers=["CPUExecutionProvider"])

    def prepare(self, ids, mask):
        return {"input_ids": ids, "attention_mask": mask}

    def run(self, batch):
        return self.session.run(["logits"], batch)[0]


class OpenVino(Engine):
    def variants(self):
        end = "-int8.xml" if "int8" in self.form else ".xml"
        return [n for n in ("export", "millet") if (self.room / "openvino" / (n + end)).exists()]

    def open(self, variant, streams, threads):
        import threading

        import openvino

        end = "-int8.xml" if "int8" in self.form else ".xml"
        self.model = openvino.Core().compile_model(str(self.room / "openvino" / (variant + end)), "CPU", {
            "INFERENCE_PRECISION_HINT": "bf16" if "bf16" in self.form else "f32",
            "NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": self.threads if streams > 1 else threads})
        self.local = threading.local()

    def enter(self, threads):
        self.local.request = self.model.create_infer_request()

    prepare = OnnxRuntime.prepare

    def run(self, batch):
        return self.local.request.infer(batch, share_inputs=True)[0].copy()


class CTranslate2(Engine):
    def __init__(self, room, form, threads):
        super().__init__(room, form, threads)
        from safetensors.numpy import load_file

        weights = load_file(room / "hf" / "model.safetensors")
        self.weight, self.bias = (np.array(weights[f"classifier.{w}"]) for w in ("weight", "bias"))

    def open(self, variant, streams, threads):
        import ctranslate2

        self.ct2 = ctranslate2
        self.encoder = ctranslate2.Encoder(
            str(self.room / "ctranslate2" / {"fp32": "float32", "int8": "int8"}[self.form]), device="cpu",
            compute_type={"fp32": "float32", "int8": "int8_float32"}[self.form],
            inter_threads=streams, intra_threads=threads)

    def prepare(self, ids, mask):
        view = self.ct2.StorageView.from_array
        return view(ids.astype(np.int32)), view(mask.sum(axis=1).astype(np.int32))

    def run(self, batch):
        return np.asarray(self.encoder.forward_batch(*batch).pooler_output) @ self.weight.T + self.bias


ENGINES = {  # name: class, form
    "torch-given": (Torch, "given"), "torch-fp32": (Torch, "fp32"), "torch-compiled": (Torch, "compiled"),
    "torch-bf16": (Torch, "bf16"), "torch-int8": (Torch, "int8"),
    "onnxruntime-fp32": (OnnxRuntime, "fp32"), "onnxruntime-int8": (OnnxRuntime, "int8"),
    "openvino-fp32": (OpenVino, "fp32"), "openvino-bf16": (OpenVino, "bf16"), "openvino-int8": (OpenVino, "int8"),
    "openvino-int8+bf16": (OpenVino, "int8+bf16"),
    "ctranslate2-fp32": (CTranslate2, "fp32"), "ctranslate2-int8": (CTranslate2, "int8"),
}


class Worker:
    def __init__(self, name, room, threads):
        kind, form = ENGINES[name]
        self.room, self.threads = room, threads
        self.engine = kind(room, form, threads)
        self.ids = [np.array(line.split(), np.int64) for line in open(room / "texts.ids", encoding="ascii")]
        self.pad = json.loads((room / "hf" / "config.json").read_text()).get("pad_token_id") or 0
        self.pool = self.opened = None

    def take(self, variant, streams, threads):
        if self.opened == (variant, streams, threads):
            return
        self.engine.open(variant, streams, threads)
        if self.pool:
            self.pool.shutdown()
        self.streams = streams
        self.pool = None
        if streams > 1:
            self.pool = ThreadPoolExecutor(streams, initializer=self.engine.enter, initargs=(threads,))
        else:
            self.engine.enter(threads)
        self.opened = (variant, streams, threads)

    def cut(self, texts, batch):
        """[(texts of the batch, its tensors)], the longest first, or in the order given."""
        if not self.engine.fixed:
            texts = sorted(texts, key=lambda i: -len(self.ids[i]))
        out = []
        for at in range(0, len(texts), batch):
            part = texts[at:at + batch]
            ids = np.full((len(part), max(len(self.ids[i]) for i in part)), self.pad, np.int64)
            mask = np.zeros_like(ids)
            for row, i in enumerate(part):
                ids[row, :len(self.ids[i])] = self.ids[i]
                mask[row, :len(self.ids[i])] = 1
            out.append((part, self.engine.prepare(ids, mask)))
        return out

    def run(self, batches):
        if not self.pool:
            return [self.engine.run(b) for _, b in batches]
        return list(self.pool.map(self.engine.run, [b for _, b in batches]))

    def seconds(self, batches):
        begin = time.perf_counter()
        self.run(batches)
        return time.perf_counter() - begin

    def rate(self, texts, choice, tried):
        variant, streams, threads, batch = choice
        self.take(variant, streams, threads)
        batches = self.cut(texts, batch)
        self.run(batches)
        rate = len(texts) / self.seconds(batches)
        tried.append([*choice, round(rate, 2)])
        return rate

    def tune(self, ask):
        texts, tried = list(range(0, len(self.ids), 2)), []
        variants = self.engine.variants()
        if len(variants) > 1 and not ask["any_graph"]:
            variants = [v for v in variants if v != "millet"]
        if not variants:
            raise RuntimeError("the model could not be converted")
        if self.engine.fixed:
            streams, threads, batch = self.engine.fixed
            return {"choice": [variants[0], streams, threads, batch], "one": [variants[0], 1, threads], "tried": []}
        ways = [(1, self.threads)]
        if self.threads > 1 and self.engine.streams_too:
            ways.append((self.threads, 1))
        found = {(v, s, t, FIRST_BATCH): self.rate(texts, (v, s, t, FIRST_BATCH), tried) for v in variants for s, t in ways}
        best = max(found, key=found.get)
        for side in (reversed([b for b in self.engine.batches if b < FIRST_BATCH]),
                     [b for b in self.engine.batches if b > FIRST_BATCH]):
            for batch in side:  # on while it gets better
                choice = (*best[:3], batch)
                found[choice] = self.rate(texts, choice, tried)
                if found[choice] < max(found.values()):
                    break
        one = {}
        for variant in variants:
            for threads in {1, self.threads}:
                self.take(variant, 1, threads)
                one[variant, 1, threads] = self.alone(TRIED_ALONE)
        return {"choice": max(found, key=found.get), "one": min(one, key=one.get), "tried": tried}

    def open(self, ask):
        variant, streams, threads, batch = ask["choice"]
        self.take(variant, streams, threads)
        self.batches = self.cut(list(range(len(self.ids))), batch)
        self.choice = (variant, streams, threads)
        self.run(self.batches)

    def alone(self, n):
        n = min(n, len(self.ids))
        batches = self.cut([int(len(self.ids) * (i + 0.5) / n) for i in range(n)], 1)
        self.run(batches[:: max(1, n // 10)])
        return statistics.median(self.seconds([b]) for b in batches)

    def memory(self, _):
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))

    def logits(self, _):
        out = [None] * len(self.ids)
        for (part, _), rows in zip(self.batches, self.run(self.batches)):
            for i, row in zip(part, rows):
                out[i] = row
        np.save(self.room / "logits.npy", np.stack(out))

    def answer(self, ask):
        do = ask["do"]
        if do == "pass":
            self.take(*self.choice)
            return self.seconds(self.batches)
        if do == "one":
            self.take(*ask["one"])
            return 1e3 * self.alone(ask["n"])
        return {"tune": self.tune, "open": self.open, "memory": self.memory, "logits": self.logits}[do](ask)


def main():
    # What libraries print on standard output must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = None
    for line in sys.stdin:
        try:
            worker = worker or Worker(sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]))
            said = {"ok": worker.answer(json.loads(line))}
        except Exception as error:  # told to the caller, who leaves the engine out with this reason
            said = {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
        answers.write(json.dumps(said) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
