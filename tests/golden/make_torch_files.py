"""Make tests/golden/torch: small files of torch.save() with what they hold, and hostile ones.

    python tests/golden/make_torch_files.py

Needs torch and safetensors. The hostile ones are written byte by byte: nothing here runs them either.
"""

import collections
import io
import pathlib
import struct
import warnings
import zipfile

import torch
from safetensors.torch import load_file, save_file

here = pathlib.Path(__file__).parent / "torch"
here.mkdir(exist_ok=True)

# ---- good files ----

plain = torch.arange(12, dtype=torch.float32).reshape(3, 4)
state = collections.OrderedDict(
    plain=plain,
    row=plain[1],  # a view with an offset into a shared storage
    column=plain[:, 1],  # strided
    turned=plain.t(),  # strided
    cube=torch.arange(24, dtype=torch.int16).reshape(2, 3, 4).permute(2, 0, 1),
    half=plain.half(),
    bf16=plain.bfloat16(),
    double=plain.double(),
    ids=torch.arange(5).expand((1, -1)),
    number=torch.arange(3, dtype=torch.int32),
    byte=torch.arange(3, dtype=torch.uint8),
    char=-torch.arange(3, dtype=torch.int8),
    flag=torch.tensor([True, False]),
    scalar=torch.tensor(2.5),
    empty=torch.zeros(0, 4),
    parameter=torch.nn.Parameter(torch.tensor([1.5, -2.5])),
)
state._metadata = collections.OrderedDict({"": {"version": 1}})


def save(value, name, **options):
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    (here / name).write_bytes(buffer.getvalue())


def rezip(source, target, compression=zipfile.ZIP_STORED, change=None):
    with zipfile.ZipFile(here / source) as old, zipfile.ZipFile(here / target, "w", compression) as new:
        for name in sorted(old.namelist()):
            data = old.read(name)
            new.writestr(zipfile.ZipInfo(name), change(name, data) if change else data, compression)


save_file({k: v.detach().clone().contiguous() for k, v in state.items()}, here / "expected.safetensors")
save(state, "zip.bin")
save(state, "old.bin", _use_new_zipfile_serialization=False)
save(dict(state), "dict.bin")
save({"module." + k: v for k, v in state.items()}, "module.bin")
save({"epoch": 3, "best": 0.5, "state_dict": state, "seen": [1, 2]}, "wrapped.bin")
rezip("zip.bin", "deflated.bin", zipfile.ZIP_DEFLATED)
rezip("zip.bin", "big.bin", change=lambda n, d: b"big" if n.endswith("/byteorder") else d)
rezip("zip.bin", "damaged.bin")
damaged = bytearray((here / "damaged.bin").read_bytes())
at = damaged.index(b"_rebuild_tensor_v2")
damaged[at] ^= 1  # the CRC of data.pkl
(here / "damaged.bin").write_bytes(damaged)

# ---- a model: that of golden/models/bert-sharded, in each layout ----

model = pathlib.Path(__file__).parent / "models" / "bert-sharded"
shards = [load_file(path) for path in sorted(model.glob("*.safetensors")) if path.name != "golden.safetensors"]
whole = {name: value for shard in shards for name, value in shard.items()}
whole["bert.embeddings.position_ids"] = torch.arange(8).expand((1, -1))  # as old transformers saved it
save(whole, "model-zip.bin")
save(whole, "model-old.bin", _use_new_zipfile_serialization=False)
shard_dir = pathlib.Path(__file__).parent / "torch-shards"
shard_dir.mkdir(exist_ok=True)
for i, shard in enumerate(shards):
    save(shard, f"../torch-shards/pytorch_model-{i + 1:05}-of-{len(shards):05}.bin")
index = (model / "model.safetensors.index.json").read_text()
index = index.replace("model-0", "pytorch_model-0").replace(".safetensors", ".bin")
(shard_dir / "pytorch_model.bin.index.json").write_text(index)

# ---- hostile files ----


def text(s):
    return b"X" + struct.pack("<I", len(s)) + s.encode()


def number(n):
    if -(2**31) <= n < 2**31:
        return b"J" + struct.pack("<i", n)
    return b"\x8a\x08" + struct.pack("<q", n)


def numbers(*items):
    return b"(" + b"".join(number(i) for i in items) + b"t"


def storage(elements=4, key="0", kind="FloatStorage"):
    return b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + number(elements) + b"tQ"


def tensor(size=(4,), stride=(1,), offset=0, elements=4, key="0", of=None):
    where = of if of is not None else storage(elements, key)
    arguments = where + number(offset) + numbers(*size) + numbers(*stride) + b"\x89" + b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def pickled(body):
    return b"\x80\x02" + body + b"."


def dictionary(*items):
    return pickled(b"}(" + b"".join(text(k) + v for k, v in items) + b"u")


def archive(name, data_pkl, extra=(), compression=zipfile.ZIP_STORED, data=bytes(16)):
    with zipfile.ZipFile(here / ("hostile-" + name + ".bin"), "w") as out:
        for member, content in [("m/data.pkl", data_pkl), ("m/data/0", data), *extra]:
            out.writestr(zipfile.ZipInfo(member), content, compression)


system = b"cposix\nsystem\n" + b"(" + text("touch pwned") + b"tR"
archive("system", pickled(system))
archive("system-as-value", dictionary(("a", tensor()), ("b", system)))
archive("eval", pickled(b"c__builtin__\neval\n(" + text("1/0") + b"tR"))
archive("stack-global", pickled(text("posix") + text("system") + b"\x93(" + text("true") + b"tR"))
archive("protocol-4", b"\x80\x04\x95\x10\0\0\0\0\0\0\0N.")
archive("inst", pickled(b"(" + text("true") + b"ios\nsystem\n"))
archive("newobj", pickled(b"ccollections\nOrderedDict\n)\x81"))
archive("extension", pickled(b"\x82\x01"))
archive("reduce-text", pickled(text("eval") + b"(" + text("1/0") + b"tR"))
archive("reduce-reduced", pickled(b"ccollections\nOrderedDict\n)R)R"))
archive("build-dict", pickled(b"}}b"))
archive("long-global", pickled(b"c" + b"a" * 4000 + b"\nb\n"))
archive("marks", pickled(b"(" * 5000))
archive("stack", pickled(b"]" * 100000), compression=zipfile.ZIP_DEFLATED)
archive("tuples", pickled(b")" + b"\x85" * 5000))
archive("self", pickled(b"}q\0" + text("state_dict") + b"h\0s"))
archive("self-tuple", pickled(b"]q\0(h\0tah\0"))
archive("text", pickled(b"X\xff\xff\xff\xff"))
archive("long", pickled(b"\x8a\xff"))
archive("long4", pickled(b"\x8b\xff\xff\xff\x7f"))
archive("memo-index", pickled(b"Nr\xff\xff\xff\xff"))
archive("memo-empty", pickled(b"h\x05"))
archive("underflow", pickled(b"s"))
archive("mark-underflow", pickled(text("a") + tensor() + b"(\x86t"))
archive("no-stop", b"\x80\x02}")
archive("empty", b"")
archive("left-over", pickled(b"}}"))
archive("laughs", pickled(b"]q\0(" + b"h\0" * 200 + b"eq\1" + b"(h\1h\1h\1e"))
archive("storage-large", dictionary(("a", tensor(elements=5, size=(5,)))))
archive("storage-missing", dictionary(("a", tensor(key="1"))))
archive("storage-path", dictionary(("a", tensor(key="../data/0"))))
archive("storage-global", dictionary(("a", tensor(of=storage(kind="UntypedStorage")))))
archive("storage-none", dictionary(("a", tensor(of=b"N"))))
archive("storage-negative", dictionary(("a", tensor(elements=-4))))
archive("offset-negative", dictionary(("a", tensor(offset=-1))))
archive("offset-large", dictionary(("a", tensor(offset=1))))
archive("offset-overflow", dictionary(("a", tensor(offset=2**63 - 1))))
archive("stride-negative", dictionary(("a", tensor(stride=(-1,), offset=3))))
archive("stride-overflow", dictionary(("a", tensor(size=(2, 2), stride=(2**62, 2**62)))))
archive("stride-zero", dictionary(("a", tensor(size=(2**40,), stride=(0,)))))
archive("size-negative", dictionary(("a", tensor(size=(-4,)))))
archive("size-overflow", dictionary(("a", tensor(size=(2**62, 4), stride=(4, 1)))))
archive("size-long", dictionary(("a", tensor(size=(1,) * 40, stride=(1,) * 40))))
archive("size-unlike-stride", dictionary(("a", tensor(size=(2, 2)))))
archive("rebuild-nothing", dictionary(("a", b"ctorch._utils\n_rebuild_tensor_v2\n)R")))
archive("parameter-nothing", dictionary(("a", b"ctorch._utils\n_rebuild_parameter\n)R")))
archive("call-storage", dictionary(("a", b"ctorch\nFloatStorage\n)R")))
archive("not-tensor", dictionary(("a", text("b"))))
archive("name-number", pickled(b"}" + number(3) + tensor() + b"s"))
archive("name-zero", dictionary(("a\0b", tensor())))
archive("name-twice", dictionary(("a", tensor()), ("a", tensor())))
archive("list", pickled(b"]" + tensor() + b"a"))
many = b"}" + text("a") + b"q\0" + tensor() + b"q\1s" + (b"(" + b"h\0h\1" * 1024 + b"u") * 64
good = dictionary(("a", tensor()))
square = tensor(size=(64, 64), stride=(1, 64), elements=4096)
archive("copies", dictionary(*((f"t{i}", square) for i in range(40))), compression=zipfile.ZIP_DEFLATED, data=bytes(16384))
archive("many-tensors", pickled(many), compression=zipfile.ZIP_DEFLATED)
archive("two-pickles", good, [("n/data.pkl", good)])
archive("script", good, [("m/constants.pkl", b"")])
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    archive("member-twice", good, [("m/data/0", bytes(16))])
archive("bomb-pickle", b"\0" * (80 << 20), compression=zipfile.ZIP_DEFLATED)
# A member that unpacks to 16 MiB while the directory says 16 bytes.
archive("bomb-storage", good, compression=zipfile.ZIP_DEFLATED, data=bytes(16 << 20))
path = here / "hostile-bomb-storage.bin"
path.write_bytes(path.read_bytes().replace(struct.pack("<I", 16 << 20), struct.pack("<I", 16)))
# One that says so: 8 MiB of zeros in 8 kB.
zeros = tensor(size=(2 << 20,), elements=2 << 20)
archive("bomb-honest", dictionary(("a", zeros)), compression=zipfile.ZIP_DEFLATED, data=bytes(8 << 20))
with zipfile.ZipFile(here / "hostile-no-pickle.bin", "w") as out:
    out.writestr("m/version", "3")
whole = (here / "zip.bin").read_bytes()
(here / "hostile-cut.bin").write_bytes(whole[: len(whole) // 2])
(here / "hostile-lfs.bin").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 950000000\n")
(here / "hostile-html.bin").write_bytes(b"<!doctype html>\n")
(here / "hostile-plain-pickle.bin").write_bytes(good)
old = (here / "old.bin").read_bytes()
(here / "hostile-old-cut.bin").write_bytes(old[:-9])
(here / "hostile-old-big.bin").write_bytes(old.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89"))
(here / "hostile-old-system.bin").write_bytes(old[: old.index(b"ccollections")] + system + b".")
