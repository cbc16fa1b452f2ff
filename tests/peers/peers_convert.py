#!/usr/bin/env python3
"""One model in the form that each engine of bench_peers.py wants it, as that engine's own tools make it.

    peers_convert.py MODEL ROOM --lines texts.txt [--shape 2x256] [--millet bin]

MODEL: a fine-tuned classifier that Millet opens; an encoder gets a classifier at random. With --shape all weights are random and
MODEL gives tokenizer and labels. ROOM gets

    ours-fp32.tar -bf16 -int8   mquant --to fp32, bf16, int8 (--compensate on --lines)
    hf/                         mquant --dense of fp32: what transformers opens (heads and neurons that pruning took are zeros)
    onnx/export.onnx            torch.onnx.export of hf/, and fused by onnxruntime.transformers.optimizer (attention, skip layer
    onnx/fused.onnx             norm, bias and GELU, embeddings)
    onnx/millet.onnx            mquant --to onnx: pruned shapes without padding, last layer for the first token only
    onnx/*-int8.onnx            onnxruntime.quantization.quantize_dynamic: weights int8 by channel
    openvino/*.xml              openvino.convert_model of both graphs; -int8: nncf.quantize, model type transformer, on --lines;
                                of Millet's graph where the other is padded
    ctranslate2/fp32 int8       ctranslate2.converters.TransformersConverter of hf/

and status.json: what was made, or why not. Run by bench_peers.py, which gives peers their choice among these.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import time

LABELS = 10  # of a classifier at random
STEPS = {}
NEEDED = ("source", "millet", "transformers")  # without which nothing can be compared


def step(name):
    def keep(function):
        STEPS[name] = function
        return function
    return keep


def quant(opt, form, model, out):
    subprocess.run([f"{opt.millet}/mquant", "-q", *form, "-o", out, model], check=True, capture_output=True, text=True)
    return out


def unpack(tar, to):
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir()
    with tarfile.open(tar) as archive:
        archive.extractall(to, filter="data")


def padded(room):
    """Whether mquant --dense had to add heads or neurons."""
    history = room / "hf" / "millet.json"
    return history.exists() and json.loads(history.read_text()).get("dense", {}).get("zeros", 0) > 0


def random_model(opt, transformers):
    """A classifier with random weights, or with a random classifier on the encoder given."""
    if opt.shape:
        layers, width = (12, 768) if opt.shape == "bert-base" else map(int, opt.shape.split("x"))
        given = json.loads((opt.room / "given" / "config.json").read_text())
        config = transformers.BertConfig(
            vocab_size=given["vocab_size"], hidden_size=width, num_hidden_layers=layers, num_attention_heads=width // 64,
            intermediate_size=4 * width, pad_token_id=given.get("pad_token_id") or 0, num_labels=LABELS,
            initializer_range=0.02 * (768 / width) ** 0.5)
        return transformers.BertForSequenceClassification(config)
    return transformers.AutoModelForSequenceClassification.from_pretrained(opt.model, num_labels=LABELS)


@step("source")
def source(opt):
    """opt.model becomes a classifier."""
    if opt.shape:
        unpack(quant(opt, ["--to", "fp32"], opt.model, opt.room / "given.tar"), opt.room / "given")
        (opt.room / "given.tar").unlink()
        given = opt.room / "given"
    else:
        given = pathlib.Path(opt.model)
        config = given / "config.json"
        if not config.exists() or "Classification" in str(json.loads(config.read_text()).get("architectures")):
            return
    import torch
    import transformers

    torch.manual_seed(1)
    model = random_model(opt, transformers).eval()
    model.config.position_embedding_type = "absolute"  # CTranslate2 asks for it
    opt.model = opt.room / "source"
    model.save_pretrained(opt.model)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json", "millet_vocabulary.json"):
        if (given / name).exists():
            shutil.copy(given / name, opt.model / name)


@step("millet")
def millet(opt):
    for form in ("fp32", "bf16"):
        quant(opt, ["--to", form], opt.model, opt.room / f"ours-{form}.tar")
    stream = opt.room / "lines.tok"
    subprocess.run([f"{opt.millet}/mtok", "-q", "-m", opt.model, "--format", "plain", "--max-tokens", "128", "-o", stream, opt.lines],
                   check=True, capture_output=True, text=True)
    quant(opt, ["--to", "int8", "--compensate", stream], opt.model, opt.room / "ours-int8.tar")


@step("transformers")
def transformers_directory(opt):
    tar = quant(opt, ["--dense"], opt.room / "ours-fp32.tar", opt.room / "dense.tar")
    unpack(tar, opt.room / "hf")
    tar.unlink()


@step("onnx of millet")
def onnx_of_millet(opt):
    tar = quant(opt, ["--to", "onnx"], opt.room / "ours-fp32.tar", opt.room / "onnx.tar")
    unpack(tar, opt.room / "unpacked")
    (opt.room / "unpacked" / "model.onnx").rename(opt.room / "onnx" / "millet.onnx")
    shutil.rmtree(opt.room / "unpacked")
    tar.unlink()


@step("onnx of torch")
def onnx_of_torch(opt):
    import torch
    import transformers

    class Logits(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        opt.room / "hf", dtype=torch.float32, attn_implementation="eager").eval()
    ids = torch.tensor([[0, 5, 6, 7, 2, 1, 1], [0, 5, 6, 7, 8, 9, 2]])
    mask = torch.tensor([[1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1, 1]])
    axes = {0: "batch", 1: "length"}
    with torch.inference_mode():
        torch.onnx.export(Logits(model), (ids, mask), str(opt.room / "onnx" / "export.onnx"), dynamo=False,
                          input_names=["input_ids", "attention_mask"], output_names=["logits"], opset_version=17,
                          dynamic_axes={"input_ids": axes, "attention_mask": axes, "logits": {0: "batch"}})


@step("onnx fused")
def onnx_fused(opt):
    from onnxruntime.transformers import optimizer

    config = json.loads((opt.room / "hf" / "config.json").read_text())
    model = optimizer.optimize_model(str(opt.room / "onnx" / "export.onnx"), model_type="bert",
                                     num_heads=config["num_attention_heads"], hidden_size=config["hidden_size"])
    counts = model.get_fused_operator_statistics()
    if counts.get("Attention", 0) + counts.get("MultiHeadAttention", 0) < config["num_hidden_layers"]:
        raise RuntimeError(f"the optimizer of ONNX Runtime did not find every attention: {counts}")
    model.save_model_to_file(str(opt.room / "onnx" / "fused.onnx"))
    return {k: v for k, v in counts.items() if v}


@step("onnx int8")
def onnx_int8(opt):
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    made = []
    for name in ("fused", "export", "millet"):
        source = opt.room / "onnx" / f"{name}.onnx"
        if source.exists() and not (name == "export" and "fused" in made):
            # Shapes and types behind ONNX Runtime's own operators are not inferred: all are floats.
            quantize_dynamic(str(source), str(opt.room / "onnx" / f"{name}-int8.onnx"), per_channel=True,
                             weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})
            made.append(name)
    return made


@step("openvino")
def openvino_fp32(opt):
    import openvino

    made = []
    for name in ("export", "millet"):
        source = opt.room / "onnx" / f"{name}.onnx"
        if source.exists():
            openvino.save_model(openvino.convert_model(str(source)), str(opt.room / "openvino" / f"{name}.xml"),
                                compress_to_fp16=False)
            made.append(name)
    return made


@step("openvino int8")
def openvino_int8(opt):
    import nncf
    import numpy as np
    import openvino

    said = subprocess.run([f"{opt.millet}/mtok", "-q", "-m", opt.room / "ours-fp32.tar", "--format", "plain", "--ids",
                           "--max-tokens", "128", opt.lines], check=True, capture_output=True, text=True).stdout
    ids = [[int(i) for i in line.split()] for line in said.splitlines()]
    feeds = [{"input_ids": np.array([x], np.int64), "attention_mask": np.ones((1, len(x)), np.int64)} for x in ids]
    name = "millet" if padded(opt.room) else "export"
    model = nncf.quantize(openvino.Core().read_model(str(opt.room / "openvino" / f"{name}.xml")), nncf.Dataset(feeds),
                          model_type=nncf.ModelType.TRANSFORMER, subset_size=len(feeds))
    openvino.save_model(model, str(opt.room / "openvino" / f"{name}-int8.xml"))
    return name


@step("ctranslate2")
def ctranslate2(opt):
    import ctranslate2 as ct2

    for form in ("float32", "int8"):
        ct2.converters.TransformersConverter(str(opt.room / "hf")).convert(
            str(opt.room / "ctranslate2" / form), quantization=form, force=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("room", type=pathlib.Path)
    parser.add_argument("--millet", default=str(pathlib.Path(__file__).parents[2] / "bin"))
    parser.add_argument("--lines", required=True, help="texts that int8 weights and scales are fitted to, one a line")
    parser.add_argument("--shape", help="LAYERSxWIDTH or bert-base: random weights")
    parser.add_argument("--plain", action="store_true", help="for Millet and transformers alone")
    parser.add_argument("--ours", action="store_true", help="Millet's forms again, in a ROOM that has all others")
    opt = parser.parse_args()
    if opt.ours:
        opt.model = opt.room / "source" if (opt.room / "source").exists() else opt.model
        millet(opt)
        return 0
    for name in ("onnx", "openvino", "ctranslate2"):
        (opt.room / name).mkdir(parents=True, exist_ok=True)
    status = {}
    for name, function in STEPS.items():
        begin = time.perf_counter()
        try:
            status[name] = {"made": function(opt) or True}
        except Exception as error:  # a peer that is not installed, or cannot hold the model, is left out with its reason
            said = getattr(error, "stderr", None) or str(error)
            status[name] = {"failed": f"{type(error).__name__}: {said}".strip().splitlines()[0][:300]}
        status[name]["seconds"] = round(time.perf_counter() - begin, 1)
        print(name, status[name], file=sys.stderr, flush=True)
        if name in NEEDED and "failed" in status[name]:
            return 1
        if opt.plain and name == "transformers":
            break
    (opt.room / "status.json").write_text(json.dumps(status, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    sys.exit(main())
