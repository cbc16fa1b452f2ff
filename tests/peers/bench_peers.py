#!/usr/bin/env python3
"""Millet beside PyTorch, ONNX Runtime, OpenVINO and CTranslate2: the same models and texts, side by side, on this machine.

    make bench-peers VENV=DIR MODEL="teacher.tar …" TEXTS=texts.csv [SHAPES="2x256 …"] [PEERS="--seconds 1 …"]

VENV: python3 -m venv DIR && DIR/bin/pip install torch transformers tokenizers safetensors onnx onnxruntime openvino nncf
ctranslate2 (what is missing is left out, with the reason in the report). MODEL: fine-tuned classifiers that Millet opens; an
encoder without a classifier gets one at random. SHAPES: LAYERSxWIDTH or bert-base, random weights, with MODEL's tokenizer.

Each engine runs in a process of its own, with the same number of threads, on the same tokens, and is asked in turns, forwards in
one round and backwards in the next. Each chooses first, on half of the texts: the graph (PyTorch's export, or that fused by ONNX
Runtime's optimiser; of pruned models, or with --any-graph, Millet's export, too: no padding of the shape, and the last layer is
computed for the first token only), all threads in one batch or a batch for each thread, and the batch. Texts are sorted by length.
What is counted:

    texts/s     peers: run() of padded batches that lie in memory. Millet: a pass of mscore --time over the records, warm.
                Neither tokenises. torch-given: PyTorch with texts in the given order, batches of 32, what people do.
    p50 ms      one text alone, evenly spread texts; peers with one thread or all, whichever is faster
    MB          peak resident memory of a fresh process that loads the model and classifies all texts in the chosen way
                (peers: Python with it; Millet: mscore --predict, what it maps of the file counted)
    agree       share of texts with the class that PyTorch gives in fp32
    error       rms of the differences of logits from those, in per cent of the spread: the rms of PyTorch's fp32 logits around the
                mean of each label
    command ms  of the first model: from start to answer for one line: python3 -c with what it imports; mtok | mscore --predict

Results are medians; ratio is the median over rounds of Millet's to the best peer's of the same format. OUT/bench-peers.tsv,
.svg, and tuning.tsv, all that was tried.
"""
import argparse
import csv
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import select
import shutil
import statistics
import subprocess
import sys
import time

import numpy as np

import peers_convert
import peers_report
from peers_engine import ENGINES

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = ("torch", "transformers", "tokenizers", "onnx", "onnxruntime", "openvino", "nncf", "ctranslate2")
FEWEST_TEXTS = 256  # of fewer, batches of peers are padded more when sorted, and less in the given order
PROBED = 64  # texts that tell how many a pass can have
FORMATS = ("fp32", "bf16", "int8")
# Largest resident memory of a command, from a process too small to be mistaken for it.
WATCH = "import os,sys\np=os.posix_spawnp(sys.argv[1],sys.argv[1:],os.environ)\n_,s,u=os.wait4(p,0)\n" \
        "sys.stderr.write('\\n%d %d\\n'%(s,u.ru_maxrss))"


def note(*words):
    print(*words, file=sys.stderr, flush=True)


def form_of(engine):
    """The format an engine is compared in."""
    tail = engine.split("-", 1)[1]
    return {"given": "baseline", "compiled": "fp32", "int8+bf16": "int8"}.get(tail, tail)


# ---- models and texts ----

def texts_of(opt):
    with open(opt.texts, encoding="utf-8", newline="") as file:
        if opt.texts.endswith(".csv"):
            rows = [row[opt.text] for row in csv.DictReader(file)]
        else:
            rows = file.read().splitlines()
    return [t for t in (" ".join(row.split()) for row in rows) if t][:opt.n]


def digest(path):
    path = pathlib.Path(path)
    total = hashlib.sha256((HERE / "peers_convert.py").read_bytes())
    for name in PACKAGES:
        total.update(f"{name} {version(name)}\n".encode())
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        total.update(file.read_bytes())
    return total.hexdigest()


def version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def convert(opt, name, source, shape, texts, *more):
    """The room of a model, made unless it is there; None with a note where that failed."""
    room = opt.work / name
    key = digest(source) + (shape or "")
    command = [sys.executable, HERE / "peers_convert.py", source, room, "--millet", opt.millet, "--lines", room / "lines.txt"]
    if (room / "key").exists() and (room / "key").read_text() == key and not opt.fresh:
        subprocess.run([*command, "--ours"], check=True)  # this build may write others than the last one
        return room
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True)
    note(f"{name}: converting for each engine")
    (room / "lines.txt").write_text("\n".join(texts[:512]) + "\n", encoding="utf-8")
    done = subprocess.run([*command, *(["--shape", shape] if shape else []), *more], stdout=subprocess.DEVNULL,
                          stderr=open(room / "convert.log", "w"))
    if done.returncode:
        note(f"{name}: could not be made: see {room}/convert.log")
        return None
    (room / "key").write_text(key)
    return room


def tokenise(opt, room, texts, name):
    """The stream and the ids of these texts. Labels are only there because a report wants some."""
    labels = list(json.loads((room / "hf" / "config.json").read_text())["id2label"].values())
    with open(room / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("label", "text"), *((labels[i % len(labels)], t) for i, t in enumerate(texts))])
    mtok = [f"{opt.millet}/mtok", "-q", "-m", room / "ours-fp32.tar", "--max-tokens", str(opt.max_tokens), "--text", "text"]
    subprocess.run([*mtok, "--label", "label", "-o", room / f"{name}.tok", room / f"{name}.csv"], check=True)
    ids = subprocess.run([*mtok, "--ids", room / f"{name}.csv"], check=True, capture_output=True, text=True).stdout
    (room / f"{name}.ids").write_text(ids)
    return [line.split() for line in ids.splitlines()]


def ids_equal(opt, room, texts, ids):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(room / "hf" / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(opt.max_tokens)
    return sum(e.ids == [int(i) for i in x] for e, x in zip(tokenizer.encode_batch(texts), ids))


# ---- engines ----

class Peer:
    def __init__(self, opt, name, room):
        self.opt, self.name, self.room, self.form = opt, name, room, form_of(name)
        self.process = None

    def start(self):
        self.stop()
        environment = dict(os.environ, TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS=str(self.opt.threads),
                           TORCHINDUCTOR_CACHE_DIR=str(self.opt.work / "inductor"), CUDA_VISIBLE_DEVICES="")
        self.process = subprocess.Popen(
            [sys.executable, HERE / "peers_engine.py", self.name, self.room, str(self.opt.threads)], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(self.room / f"{self.name}.log", "w"), env=environment)

    def stop(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()
            self.process = None

    def ask(self, do, **more):
        self.process.stdin.write(json.dumps({"do": do, **more}) + "\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], self.opt.patience)[0]:
            self.process.kill()
            raise RuntimeError(f"gave no answer within {self.opt.patience:g} s (--patience)")
        line = self.process.stdout.readline()
        said = json.loads(line) if line else {"failed": f"died: see {self.room}/{self.name}.log"}
        if "failed" in said:
            raise RuntimeError(said["failed"])
        return said["ok"]

    def tune(self):
        self.start()
        self.tuned = self.ask("tune", any_graph=self.opt.any_graph or peers_convert.padded(self.room))
        self.how = "{0}, {1} x {2} threads, batch {3}".format(*self.tuned["choice"])

    def prepare(self):
        self.start()
        self.ask("open", choice=self.tuned["choice"])
        self.memory = self.ask("memory")
        self.ask("logits")
        self.logits = np.load(self.room / "logits.npy")

    def throughput(self):
        return self.n / self.ask("pass")

    def alone(self):
        return self.ask("one", one=self.tuned["one"], n=self.opt.singles)


class Ours:
    def __init__(self, opt, form, room):
        self.opt, self.name, self.form = opt, f"millet-{form}", form
        self.model, self.stream = room / f"ours-{form}.tar", room / "texts.tok"
        self.room, self.how = room, "-"

    def tune(self):
        pass

    def stop(self):
        pass

    def command(self, tool, *arguments):
        return [f"{self.opt.millet}/{tool}", "-q", "-j", str(self.opt.threads), "-m", self.model, *arguments]

    def report(self):
        out = subprocess.run(self.command("mscore", "--time", "--rounds", "1", "--seconds", "0", "--json", self.stream),
                             check=True, capture_output=True, text=True).stdout
        return json.loads(out)

    def prepare(self):
        import tarfile

        from safetensors.numpy import load

        subprocess.run(self.command("mteach", "-o", self.room / "taught", self.stream), check=True)
        with tarfile.open(self.room / "taught") as tar:
            self.logits = np.concatenate([load(tar.extractfile(m).read())["logits"] for m in tar
                                          if m.name.endswith(".safetensors")])
        predict = list(map(str, self.command("mscore", "--predict", self.stream)))
        said = subprocess.run([sys.executable, "-I", "-S", "-c", WATCH, *predict], check=True, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True).stderr.split()
        if said[-2] != "0":
            raise RuntimeError(f"mscore --predict failed: {' '.join(said)}")
        self.memory = int(said[-1]) / 1024
        self.flops = self.report()["model"]["flops_per_text"]

    def throughput(self):
        return self.report()["model"]["texts_per_s"]

    def alone(self):
        return self.report()["model"]["latency_ms"]["p50"]


def probe(opt, room, texts):
    """How many texts a pass can have: Millet's fp32 rate times --seconds."""
    some = [texts[i * len(texts) // PROBED] for i in range(min(PROBED, len(texts)))]
    tokenise(opt, room, some, "probe")
    ours = Ours(opt, "fp32", room)
    ours.stream = room / "probe.tok"
    return max(FEWEST_TEXTS, int(ours.throughput() * opt.seconds))


def ready(opt, engines, left_out):
    """Those of the engines that chose and opened the model."""
    fine = []
    for engine in engines:
        begin = time.perf_counter()
        try:
            engine.tune()
            engine.prepare()
            fine.append(engine)
            note(f"  {engine.name}: {engine.how} ({time.perf_counter() - begin:.0f} s)")
        except Exception as error:  # a peer that cannot is left out, with its reason in the report
            engine.stop()
            left_out.append((engine.room.name, engine.name, why(engine, str(error))))
            note(f"  {engine.name} left out: {left_out[-1][2]}")
            if isinstance(engine, Ours):
                raise
    return fine


def why(engine, said):
    """The first conversion that failed for this engine, or what it said itself."""
    status = json.loads((engine.room / "status.json").read_text())
    wanted = {"onnxruntime": "onnx", "openvino": "openvino", "ctranslate2": "ctranslate2"}.get(engine.name.split("-")[0])
    for name, state in status.items():
        if wanted and name.startswith(wanted) and "failed" in state:
            return f"{name}: {state['failed']}"
    return said


def rounds(opt, engines, what, keep):
    for r in range(opt.rounds):
        for engine in engines if r % 2 == 0 else engines[::-1]:
            time.sleep(0.05)  # threads of the one before have gone to sleep
            getattr(engine, keep).append(getattr(engine, what)())
        note(f"  {what}, round {r + 1} of {opt.rounds}")


def bench(opt, name, room, texts, left_out):
    n = min(len(texts), probe(opt, room, texts))
    texts = [texts[i * len(texts) // n] for i in range(n)]
    ids = tokenise(opt, room, texts, "texts")
    equal = ids_equal(opt, room, texts, ids)
    note(f"{name}: {n} texts, {np.mean([len(x) for x in ids]):.1f} tokens on average, ids equal in {equal}")
    wanted = [e for e in ENGINES if e.split("-")[0] in opt.engines and form_of(e) in ("baseline", *opt.formats)]
    wanted = [e for e in wanted if e not in opt.without]
    engines = [Ours(opt, f, room) for f in opt.formats] + [Peer(opt, e, room) for e in wanted]
    try:
        fine = ready(opt, engines, left_out)
        for engine in fine:
            engine.n, engine.rates, engine.p50 = n, [], []
        rounds(opt, fine, "throughput", "rates")
        rounds(opt, [e for e in fine if e.form != "baseline"], "alone", "p50")
    finally:
        for engine in engines:
            engine.stop()
    return {"model": name, "texts": n, "tokens": float(np.mean([len(x) for x in ids])), "ids_equal": equal, "engines": fine}


# ---- the whole command ----

PYTHON = {
    "transformers": """
import sys,torch
from transformers import AutoTokenizer,AutoModelForSequenceClassification as A
t=AutoTokenizer.from_pretrained(sys.argv[1]+"/hf");m=A.from_pretrained(sys.argv[1]+"/hf").eval()
with torch.inference_mode(): l=m(**t(sys.stdin.readline().strip(),return_tensors="pt")).logits
print(m.config.id2label[int(l.argmax())])""",
    "onnxruntime": """
import sys,numpy as np,onnxruntime as o
from tokenizers import Tokenizer
t=Tokenizer.from_file(sys.argv[1]+"/hf/tokenizer.json");s=o.InferenceSession(sys.argv[1]+"/onnx/"+sys.argv[2])
i=np.array([t.encode(sys.stdin.readline().strip()).ids]);print(s.run(None,{"input_ids":i,"attention_mask":np.ones_like(i)})[0].argmax())""",
    "openvino": """
import sys,numpy as np,openvino as o
from tokenizers import Tokenizer
t=Tokenizer.from_file(sys.argv[1]+"/hf/tokenizer.json");m=o.compile_model(sys.argv[1]+"/openvino/"+sys.argv[2],"CPU")
i=np.array([t.encode(sys.stdin.readline().strip()).ids]);print(m({"input_ids":i,"attention_mask":np.ones_like(i)})[0].argmax())""",
    "ctranslate2": """
import sys,numpy as np,ctranslate2 as c,json,struct
from tokenizers import Tokenizer
t=Tokenizer.from_file(sys.argv[1]+"/hf/tokenizer.json");e=c.Encoder(sys.argv[1]+"/ctranslate2/int8")
p=np.array(e.forward_batch([t.encode(sys.stdin.readline().strip()).ids]).pooler_output);f=sys.argv[1]+"/hf/model.safetensors"
n=struct.unpack("<Q",open(f,"rb").read(8))[0];h=json.loads(open(f,"rb").read(8+n)[8:])
def w(k): a,b=h[k]["data_offsets"];return np.fromfile(f,np.float32,(b-a)//4,offset=8+n+a).reshape(h[k]["shape"])
print((p@w("classifier.weight").T+w("classifier.bias")).argmax())""",
}


def commands(opt, room):
    """name: argv of one that answers one line."""
    made = {"millet": ["sh", "-c", f'{opt.millet}/mtok -q -j 1 -m "$0" | {opt.millet}/mscore -q -m "$0" --predict',
                       room / "ours-int8.tar"]}
    graph = {"onnxruntime": ("onnx", ["fused-int8.onnx", "export-int8.onnx", "millet-int8.onnx"]),
             "openvino": ("openvino", ["export-int8.xml", "millet-int8.xml", "export.xml", "millet.xml"])}
    for name, text in PYTHON.items():
        folder, files = graph.get(name, ("", [""]))
        there = [f for f in files if (room / folder / f).exists()]
        if there and (name == "transformers" or name in opt.engines):
            made[name] = [sys.executable, "-c", text, room, there[0]]
    return made


def whole_command(opt, room, line):
    """name: median milliseconds; those that fail are left out."""
    made, took = commands(opt, room), {}
    for _ in range(opt.rounds):
        for name in list(made):
            begin = time.perf_counter()
            done = subprocess.run(made[name], input=line + "\n", capture_output=True, text=True,
                                  env=dict(os.environ, CUDA_VISIBLE_DEVICES=""))
            if done.returncode or not done.stdout.strip():
                note(f"  {name}, whole command: {(done.stderr.strip() or 'no answer').splitlines()[-1]}")
                del made[name]
                took.pop(name, None)
                continue
            took.setdefault(name, []).append(1e3 * (time.perf_counter() - begin))
    return {name: statistics.median(t) for name, t in took.items()}


# ---- all of it ----

def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="+", help="fine-tuned classifiers")
    parser.add_argument("--texts", required=True, help="CSV file with a header, or one text a line")
    parser.add_argument("--text", default="text", help="column of the texts")
    parser.add_argument("-n", type=int, default=1000, help="texts at most, the first of the file")
    parser.add_argument("--shape", nargs="*", default=[], help="LAYERSxWIDTH or bert-base: random weights")
    parser.add_argument("--seconds", type=float, default=1,
                        help=f"of a pass of Millet in fp32, which tells how many texts; {FEWEST_TEXTS} at least")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--singles", type=int, default=60, help="texts classified alone in a round")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--engines", default="torch,onnxruntime,openvino,ctranslate2")
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--without", default="", help="engines to leave out, as they stand in the table")
    parser.add_argument("--millet", default=str(ROOT / "bin"))
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build" / "peers", help="converted models, kept")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build" / "peers")
    parser.add_argument("--patience", type=float, default=600, help="seconds an engine may take to choose, to compile, or for a pass")
    parser.add_argument("--any-graph", action="store_true", help="peers may run Millet's export of an unpruned model, too")
    parser.add_argument("--fresh", action="store_true", help="convert models again")
    opt = parser.parse_args()
    opt.engines, opt.formats, opt.without = opt.engines.split(","), opt.formats.split(","), opt.without.split(",")
    return opt


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), platform.machine())


def machine(opt):
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    return [f"{processor()}, {opt.threads} threads, {platform.system()} {platform.release()}, load before: "
            f"{os.getloadavg()[0]:.2f}, {time.strftime('%Y-%m-%d')}",
            "Millet " + (ROOT / "VERSION").read_text().strip() + f" ({commit}), Python {platform.python_version()}, "
            + ", ".join(f"{p} {version(p)}" for p in PACKAGES),
            "command: " + " ".join(sys.argv)]


def main():
    opt = options()
    opt.work.mkdir(parents=True, exist_ok=True)
    texts, about, begin = texts_of(opt), machine(opt), time.time()
    todo = [(pathlib.Path(m).name.removesuffix(".tar"), m, None) for m in opt.model]
    todo += [(s, opt.model[0], s) for s in opt.shape]
    results, left_out = [], []
    for name, source, shape in todo:
        room = convert(opt, name, source, shape, texts)
        if not room:
            left_out.append((name, "all", "could not be converted"))
            continue
        results.append(bench(opt, name, room, texts, left_out))
        if len(results) == 1:
            results[-1]["command"] = whole_command(opt, room, texts[0])
        about_now = [*about, f"took {time.time() - begin:.0f} s, load after: {os.getloadavg()[0]:.2f}"]
        peers_report.write(opt.out, about_now, results, left_out)
    if not results:
        return 1
    print((opt.out / "bench-peers.tsv").read_text(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
