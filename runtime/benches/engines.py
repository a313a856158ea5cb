"""Compares the encoders' speed with onnxruntime and rten: the same ONNX files and inputs, the engines in turn.

    cargo build --release --workspace --bins --bench engines      (prints where the bench executable is)
    python -m venv VENV && VENV/bin/pip install numpy onnx onnxruntime
    VENV/bin/python runtime/benches/engines.py --bench EXECUTABLE --exporter target/release/edge-seg-export [--work DIR]

Models get random weights of realistic scale, written by the project's own exporter. Each is measured as f32, as onnxruntime's
quantize_dynamic makes it (`int8 ort`) and as `edge-seg-export bundle --weights int8-dynamic` does (`int8`). rten is built in DIR with cargo,
unless --rten names an executable that was. Every engine is a process of its own; processor time, memory and the clock are read from outside,
alike for all. onnxruntime's threads do not spin, so that none steals from the next engine.

A markdown table goes to stdout; --json FILE keeps the figures.
"""
import argparse
import json
import math
import os
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
PATCH = 16

CLIP = dict(patch_bias=False, pre_norm=True, activation="quick_gelu", norm_eps=1e-5, head={"kind": "maskclip"})
CLIP["global"] = "class"


def clip(width, layers, heads, side, text):
    return {"image": dict(arch="vit", width=width, layers=layers, heads=heads, mlp_width=4 * width, grid=[side // PATCH] * 2, **CLIP), "text": text, "dim": 512}


def clip_text(width, layers, heads):
    return dict(arch="clip", width=width, layers=layers, heads=heads, mlp_width=4 * width, vocab=49408, positions=77, activation="quick_gelu", norm_eps=1e-5, projection=True)


MINI_HEAD = {"kind": "fusion", "taps": ["block8", "block10", "value", "final"], "hidden": 768}
MINI = {
    "image": {
        "arch": "vit", "width": 192, "layers": 12, "heads": 3, "mlp_width": 768, "grid": [28, 28], "patch_bias": True, "pre_norm": False,
        "activation": "gelu", "norm_eps": 1e-6, "head": MINI_HEAD, "global": "mean",
    },
    "text": dict(
        arch="bert", width=384, layers=6, heads=12, mlp_width=1536, vocab=30522, positions=512, activation="gelu", norm_eps=1e-12, projection=False,
    ),
    "dim": 384,
}


def pooled(width, layers, heads, side, pool_heads, dim, text, **more):
    """A tower whose patches go through a pooling attention."""
    head = {"kind": "pooled", "heads": pool_heads, "mlp_width": 4 * width, "projection": dim != width}
    image = dict(arch="vit", width=width, layers=layers, heads=heads, mlp_width=4 * width, grid=[side // PATCH] * 2, patch_bias=True, head=head)
    return {"image": image | {"global": "attention"} | more, "text": text, "dim": dim}


def pe_core(width, layers, heads, side, dim):
    grid = [side // PATCH] * 2
    rotary = {"grid": grid, "offset": 1.0, "columns_first": True, "temperature": 10000.0}
    more = dict(patch_bias=False, pre_norm=True, activation="gelu", norm_eps=1e-5, rotary=rotary)
    return pooled(width, layers, heads, side, 8, dim, clip_text(dim, 1, 8), **more)


def siglip(width, layers, heads, side):
    more = dict(pre_norm=False, activation="gelu_tanh", norm_eps=1e-6, class_token=False)
    return pooled(width, layers, heads, side, heads, width, clip_text(width, 1, heads), **more)


# Name: architecture, which tower, side of the input or number of tokens.
CASES = {
    "mini image, 448": (MINI, "image", 448),
    "mini text, 8 tokens": (MINI, "text", 8),
    "ViT-B/16, 224": (clip(768, 12, 12, 224, clip_text(512, 12, 8)), "image", 224),
    "ViT-8M/16, 224": (clip(256, 10, 4, 224, clip_text(256, 3, 4)), "image", 224),
    "ViT-8M/16, 448": (clip(256, 10, 4, 448, clip_text(256, 3, 4)), "image", 448),
    "PE-Core T/16, 384": (pe_core(192, 12, 3, 384, 512), "image", 384),
    "SigLIP 2 B/16, 224": (siglip(768, 12, 12, 224), "image", 224),
    "CLIP text, 77 tokens": (clip(64, 1, 1, 224, clip_text(512, 12, 8)), "text", 77),
}


def weights(arch, random):
    """Every weight of docs/model-folder.md: matrices keep the scale of what they multiply, norms are near one."""
    found = {}

    def matrix(name, *shape, gain=1.0):
        found[name] = random.normal(0, gain / math.sqrt(math.prod(shape[1:])), shape)

    def vector(name, size, mean=0.0, spread=0.02):
        found[name] = random.normal(mean, spread, size)

    def norm(name, size):
        vector(f"{name}.weight", size, 1.0, 0.2)
        vector(f"{name}.bias", size, 0.0, 0.1)

    def linear(name, out, inputs, gain=1.0):
        matrix(f"{name}.weight", out, inputs, gain=gain)
        vector(f"{name}.bias", out)

    def blocks(tower, t):
        for n in range(t["layers"]):
            block, width = f"{tower}.blocks.{n}", t["width"]
            norm(f"{block}.norm1", width)
            norm(f"{block}.norm2", width)
            linear(f"{block}.attn.qkv", 3 * width, width)
            linear(f"{block}.attn.proj", width, width, 0.5)
            linear(f"{block}.mlp.fc1", t["mlp_width"], width)
            linear(f"{block}.mlp.fc2", width, t["mlp_width"], 0.5)

    image, text, dim = arch["image"], arch["text"], arch["dim"]
    width = image["width"]
    matrix("image.patch.weight", width, 3, PATCH, PATCH)
    if image["patch_bias"]:
        vector("image.patch.bias", width)
    if image.get("class_token", True):
        vector("image.class_token", width, 0, 0.5)
    found["image.positions"] = random.normal(0, 0.3, (1 + math.prod(image["grid"]), width))
    if image["pre_norm"]:
        norm("image.ln_pre", width)
    blocks("image", image)
    norm("image.norm", width)
    if image["head"]["kind"] == "fusion":
        taps, hidden = len(image["head"]["taps"]), image["head"]["hidden"]
        for i in range(taps):
            norm(f"image.head.norms.{i}", width)
        linear("image.head.fc1", hidden, taps * width)
        linear("image.head.fc2", dim, hidden)
    elif image["head"]["kind"] == "pooled":
        pool = "image.head.pool"
        vector(f"{pool}.probe", width, 0, 0.5)
        linear(f"{pool}.attn.qkv", 3 * width, width)
        linear(f"{pool}.attn.proj", width, width)
        norm(f"{pool}.norm", width)
        linear(f"{pool}.mlp.fc1", image["head"]["mlp_width"], width)
        linear(f"{pool}.mlp.fc2", width, image["head"]["mlp_width"], 0.5)
        if image["head"]["projection"]:
            matrix("image.head.projection.weight", dim, width)
    else:
        matrix("image.head.projection.weight", dim, width)
    width = text["width"]
    found["text.word_embeddings"] = random.normal(0, 0.5, (text["vocab"], width))
    found["text.position_embeddings"] = random.normal(0, 0.1, (text["positions"], width))
    if text["arch"] == "bert":
        vector("text.type_embedding", width)
        norm("text.embedding_norm", width)
    blocks("text", text)
    if text["arch"] == "clip":
        norm("text.norm", width)
    if text["projection"]:
        matrix("text.projection.weight", dim, width)
    return {name: values.astype("<f4") for name, values in found.items()}


def write_folder(folder, arch):
    folder.mkdir(parents=True, exist_ok=True)
    tensors = weights(arch, np.random.default_rng(0))
    header, at = {}, 0
    for name, values in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [at, at + values.nbytes]}
        at += values.nbytes
    head = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        for values in tensors.values():
            file.write(values.tobytes())
    side = arch["image"]["grid"][0] * PATCH
    config = {
        "format": 1, "name": "random", "image": {**arch["image"], "patch_px": PATCH}, "text": arch["text"], "embedding_dim": arch["dim"],
        "context": min(77, arch["text"]["positions"]), "pad_token": 0,
        "preprocess": {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "input_px": side, "fit": "grid"},
        "logit_scale": 100.0, "logit_bias": None, "templates": ["{}"], "background": 0.5, "tag_threshold": 0.5,
        "card": {"title": "Random weights", "licence": "Apache-2.0", "training_data": "none", "measured": "nothing", "limits": "its masks are noise"},
    }
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None, "decoder": None, "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "dog": 1}, "unk_token": "[UNK]"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return tensors["image.positions"]


def call(*command):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(str(c) for c in command)}: exit {done.returncode}\n{done.stderr}")


def prepare(name, folder, options):
    """The case's ONNX files by what they are called, the bundle to run each from, and the inputs."""
    arch, tower, size = CASES[name]
    folder.mkdir(parents=True, exist_ok=True)
    positions = write_folder(folder / "model", arch)
    files = {}
    for storage, called in (("f32", "f32"), ("int8-dynamic", "int8")):
        base = folder / f"{storage}.esb"
        call(options.exporter, "bundle", folder / "model", "-o", base, "--weights", storage)
        call(options.exporter, "extract", base, "-o", folder / storage)
        files[called] = folder / storage / f"{tower}.onnx"
    from onnxruntime.quantization import QuantType, quantize_dynamic

    files["int8 ort"] = folder / "ort.onnx"
    quantize_dynamic(files["f32"], files["int8 ort"], op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8)
    bundles = {}
    for called, onnx in files.items():
        bundles[called] = folder / f"{called.replace(' ', '-')}-alone.esb"
        call(options.bench, "pack", folder / "f32.esb", tower, onnx, bundles[called])
    random = np.random.default_rng(1)
    if tower == "image":
        random.normal(0, 1, (3, size, size)).astype("<f4").tofile(folder / "pixels.f32")
        positions.tofile(folder / "positions.f32")
    else:
        random.integers(1000, arch["text"]["vocab"] - 1, size).astype("<i8").tofile(folder / "ids.i64")
    return {called: (files[called], bundles[called]) for called in files}


def commands(name, folder, onnx, bundle, threads, options):
    """How each engine's process is started."""
    arch, tower, size = CASES[name]
    rten = {"RTEN_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads)}
    if tower == "image":
        pixels, positions, width = folder / "pixels.f32", folder / "positions.f32", arch["image"]["width"]
        ours = [options.bench, "image", bundle, pixels, size, threads]
        theirs = ["image", onnx, pixels, size, positions, width]
    else:
        ours = [options.bench, "text", bundle, folder / "ids.i64", threads]
        theirs = ["text", onnx, folder / "ids.i64"]
    found = {"edge-seg": (ours, {}), "onnxruntime": ([sys.executable, __file__, "--worker", threads, *theirs], {"OMP_NUM_THREADS": "1"})}
    if options.rten:
        found["rten"] = ([options.rten, *theirs], rten)
    return found


class Engine:
    """A process that obeys `open`, `load`, `run N`, `save FILE`."""

    def __init__(self, command, environment):
        self.process = subprocess.Popen(
            [str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        self.answer()
        self.baseline = self.memory("VmRSS")

    def answer(self):
        if self.process.stdout.readline().strip() != "ok":
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")

    def memory(self, field):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(field))

    def cpu_ms(self):
        stats = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(stat.read_text().split()[0]) for stat in stats) / 1e6

    def ask(self, line):
        """Milliseconds by the clock and of processor time."""
        cpu, start = self.cpu_ms(), time.perf_counter()
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        self.answer()
        return 1e3 * (time.perf_counter() - start), self.cpu_ms() - cpu

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def measure(name, called, folder, onnx, bundle, threads, options):
    found, engines = {}, {}
    for _ in range(options.loads):
        for engine in engines.values():
            engine.end()
        for which, (command, environment) in commands(name, folder, onnx, bundle, threads, options).items():
            try:
                engine = Engine(command, environment)
                engine.ask("open")
                load, _ = engine.ask("load")
                first, _ = engine.ask("run 1")
            except RuntimeError as error:
                print(f"{name}, {called}: {which} cannot run it: {error}", file=sys.stderr)
                engines.pop(which, None)
                continue
            engines[which] = engine
            figures = found.setdefault(which, {"load_ms": [], "first_ms": [], "wall_ms": [], "cpu_ms": []})
            figures["load_ms"].append(load)
            figures["first_ms"].append(load + first)
    # The kernel counts processor time in ticks of some milliseconds: what is short is repeated.
    once = {which: engine.ask("run 1")[0] for which, engine in engines.items()}
    repeats = {which: max(1, math.ceil(options.least_ms / wall)) for which, wall in once.items()}
    for _ in range(options.rounds):
        for which, engine in engines.items():
            wall, cpu = engine.ask(f"run {repeats[which]}")
            found[which]["wall_ms"].append(wall / repeats[which])
            found[which]["cpu_ms"].append(cpu / repeats[which])
    outputs = {}
    for which, engine in engines.items():
        engine.ask("run 1")
        engine.ask(f"save {folder / 'found.f32'}")
        dim = CASES[name][0]["dim"]
        rows = np.fromfile(folder / "found.f32", "<f4").reshape(-1, dim)
        outputs[which] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        found[which]["memory_mb"] = [engine.memory("VmHWM") - engine.baseline]
        engine.end()
    rows = []
    for which, figures in found.items():
        row = {"model": name, "file": called, "threads": threads, "engine": which}
        row.update({key: statistics.median(values) for key, values in figures.items() if values})
        if which in outputs and "onnxruntime" in outputs:
            row["least_cosine"] = float((outputs[which] * outputs["onnxruntime"]).sum(axis=1).min())
        rows.append(row)
    return rows


def table(rows):
    print("| model | file | threads | engine | cpu ms | wall ms | cpu ratio | wall ratio | load ms | to first result ms | memory MB | least cosine |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    base = {(r["model"], r["file"], r["threads"]): r for r in rows if r["engine"] == "onnxruntime"}
    for r in rows:
        b = base.get((r["model"], r["file"], r["threads"]), r)
        cells = [r["model"], r["file"], str(r["threads"]), r["engine"]]
        cells += [f"{r['cpu_ms']:.1f}", f"{r['wall_ms']:.1f}", f"{r['cpu_ms'] / b['cpu_ms']:.2f}", f"{r['wall_ms'] / b['wall_ms']:.2f}"]
        cells += [f"{r['load_ms']:.0f}", f"{r['first_ms']:.0f}", f"{r['memory_mb']:.0f}", f"{r.get('least_cosine', math.nan):.5f}"]
        print("| " + " | ".join(cells) + " |")


def worker(arguments):
    """onnxruntime, as `engines.rs` runs this project's engine."""
    import onnxruntime

    threads, kind, onnx, *inputs = arguments
    if kind == "image":
        pixels, side, positions, width = inputs
        feed = {
            "pixels": np.fromfile(pixels, "<f4").reshape(1, 3, int(side), int(side)),
            "positions": np.fromfile(positions, "<f4").reshape(1, -1, int(width)),
        }
    else:
        ids = np.fromfile(inputs[0], "<i8")[None]
        feed = {"ids": ids, "mask": np.ones_like(ids)}
    model = session = found = None
    print("ok", flush=True)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "open":
            model = Path(onnx).read_bytes()
        elif command == "load":
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads, options.inter_op_num_threads = int(threads), 1
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            model = None
        elif command == "run":
            for _ in range(int(argument)):
                found = session.run(None, feed)
        elif command == "save":
            found[0].astype("<f4").tofile(argument)
        print("ok", flush=True)


def build_rten(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("Cargo.toml", "worker.rs"):
        (folder / file).write_bytes((HERE / "rten" / file).read_bytes())
    environment = {key: value for key, value in os.environ.items() if key != "CARGO_TARGET_DIR"}
    subprocess.run(["cargo", "build", "--quiet", "--release"], cwd=folder, env=environment, check=True)
    return folder / "target/release/rten-worker"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=Path, required=True, help="the executable of runtime/benches/engines.rs")
    parser.add_argument("--exporter", type=Path, required=True, help="edge-seg-export")
    parser.add_argument("--work", type=Path, default=Path("target/engines"))
    parser.add_argument("--rten", type=Path, help="rten's worker, where it was built before")
    parser.add_argument("--without-rten", action="store_true")
    parser.add_argument("--only", action="append", help="a model to measure, by the start of its name; may be given several times")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--loads", type=int, default=3)
    parser.add_argument("--least-ms", type=float, default=100, help="shorter runs are repeated until they take this long")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not options.without_rten and not options.rten:
        options.rten = build_rten(options.work / "rten")
    rows = []
    for name in CASES:
        if options.only and not any(name.startswith(start) for start in options.only):
            continue
        folder = options.work / "".join(c if c.isalnum() else "-" for c in name)
        for called, (onnx, bundle) in prepare(name, folder, options).items():
            for threads in map(int, options.threads.split(",")):
                if CASES[name][1] == "text" and threads > 1:
                    continue  # texts are many and short: each is encoded on one thread
                rows += measure(name, called, folder, onnx, bundle, threads, options)
                if options.json:
                    options.json.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    table(rows)


if __name__ == "__main__":
    worker(sys.argv[2:]) if sys.argv[1:2] == ["--worker"] else main()
