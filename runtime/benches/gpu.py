"""Holds the GPU's way against its goals, in one command: against the processor's numbers, onnxruntime's CUDA provider and PyTorch.

    cargo build --release --workspace --bins --bench engines --features edge-seg/cuda      (prints where the bench executable is)
    python -m venv VENV && VENV/bin/pip install torch numpy onnx onnxruntime-gpu safetensors
    VENV/bin/python runtime/benches/gpu.py --bench EXECUTABLE --exporter target/release/edge-seg-export [--work DIR]

For mini and ViT-B/16, 1, 8 and 32 pictures, f32 and f16: the least cosine of a patch and the share of equal labels against the processor;
latency, pictures a second, GPU memory, time to the first result. The engines take turns, each a process of its own; PyTorch runs the
trainer's tower in 16 bits, compiled with CUDA graphs. `--device cpu` tries all of it without a GPU: the same graph computed by the
processor, and the peers there; its figures say nothing.

A markdown table and PASS or FAIL for each goal go to stdout; --json FILE keeps the figures. Exit code 1 if a goal is missed.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from engines import CASES, PATCH, Engine, call, write_folder

TRAINER = Path(__file__).parents[2] / "export/trainer"
COSINE = {"f32": 0.9999, "f16": 0.999}
SAME_LABELS, LATENCY, THROUGHPUT = 0.995, 1.2, 0.8
WORDS = 8


def smooth_pictures(count, side, random):
    """Pictures with shapes in them, normalised: noise alone would give every patch the same embedding. [count, 3, side, side]"""
    coarse = random.normal(0, 1, (count, 3, 8, 8))
    fine = random.normal(0, 0.3, (count, 3, side, side))
    return (upsample(coarse, side, side) + fine).astype("<f4")


def upsample(planes, height, width):
    """Bilinear, half-pixel centres, clamped borders. [..., rows, cols] to [..., height, width]"""

    def taps(source, output):
        at = np.clip((np.arange(output) + 0.5) * source / output - 0.5, 0, source - 1)
        low = at.astype(int)
        return low, np.minimum(low + 1, source - 1), at - low

    low, high, weight = taps(planes.shape[-2], height)
    rows = planes[..., low, :] * (1 - weight)[:, None] + planes[..., high, :] * weight[:, None]
    low, high, weight = taps(planes.shape[-1], width)
    return rows[..., low] * (1 - weight) + rows[..., high] * weight


def labels(patches, side):
    """Which of some random words wins where, on the input's pixels. patches [count, patches, dim], unit-norm rows"""
    words = np.random.default_rng(7).normal(0, 1, (WORDS, patches.shape[-1]))
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    # Around the patches' mean, or one word would win everywhere.
    scores = (patches - patches.mean(axis=(0, 1))) @ words.T
    grid = side // PATCH
    return upsample(scores.transpose(0, 2, 1).reshape(len(patches), WORDS, grid, grid), side, side).argmax(axis=1)


def prepare(name, folder, options):
    arch, _, side = CASES[name]
    folder.mkdir(parents=True, exist_ok=True)
    positions = write_folder(folder / "model", arch)
    call(options.exporter, "bundle", folder / "model", "-o", folder / "f32.esb", "--weights", "f32")
    call(options.exporter, "extract", folder / "f32.esb", "-o", folder / "f32")
    positions.tofile(folder / "positions.f32")
    pixels = smooth_pictures(max(options.pictures), side, np.random.default_rng(1))
    for pictures in options.pictures:
        pixels[:pictures].tofile(folder / f"pixels-{pictures}.f32")
    for n, one in enumerate(pixels):
        one.tofile(folder / f"one-{n}.f32")


def reference(name, folder, options):
    """The processor's own layers on each picture. [pictures, patches, dim]"""
    arch, _, side = CASES[name]
    found = []
    for n in range(max(options.pictures)):
        engine = Engine([options.bench, "image", folder / "f32.esb", folder / f"one-{n}.f32", side, options.threads], {})
        for line in ("open", "load", "run 1", f"save {folder / 'found.f32'}"):
            engine.ask(line)
        engine.end()
        found.append(np.fromfile(folder / "found.f32", "<f4").reshape(-1, arch["dim"]))
    return np.stack(found)


def commands(name, folder, pictures, width, options):
    arch, _, side = CASES[name]
    ours = [options.bench, "graph", folder / "f32.esb", folder / f"pixels-{pictures}.f32", side, pictures, "gpu" if options.device == "cuda" else "cpu", width]
    theirs = [sys.executable, __file__, "--worker"]
    about = [options.device, width, folder, pictures, side, arch["image"]["width"]]
    environment = {"XDG_CACHE_HOME": str(folder / "cache")}
    return {"edge-seg": (ours, environment), "onnxruntime": ([*theirs, "onnxruntime", *about], {}), "torch": ([*theirs, "torch", *about], {})}


def gpu_memory_mb(pid):
    """What the driver says a process holds; none on the processor."""
    try:
        query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
        said = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    held = [line.split(",") for line in said.splitlines() if line.strip()]
    return next((float(memory) for owner, memory in held if int(owner) == pid), None)


def measure(name, folder, pictures, width, options):
    figures, engines, outputs = {}, {}, {}
    for which, (command, environment) in commands(name, folder, pictures, width, options).items():
        if which in options.without:
            continue
        try:
            engine = Engine(command, environment)
            engine.ask("open")
            load, _ = engine.ask("load")
            first, _ = engine.ask("run 1")
            for _ in range(options.warm):
                engine.ask("run 1")
        except (RuntimeError, StopIteration) as error:
            print(f"{name}, {pictures} pictures, {width}: {which} cannot run it: {error}", file=sys.stderr)
            continue
        engines[which] = engine
        figures[which] = {"first_ms": load + first, "wall_ms": []}
    for _ in range(options.rounds):
        for which, engine in engines.items():
            figures[which]["wall_ms"].append(engine.ask("run 1")[0])
    dim = CASES[name][0]["dim"]
    for which, engine in engines.items():
        engine.ask(f"save {folder / 'found.f32'}")
        rows = np.fromfile(folder / "found.f32", "<f4").reshape(pictures, -1, dim)
        outputs[which] = rows / np.linalg.norm(rows, axis=2, keepdims=True)
        figures[which]["memory_mb"] = gpu_memory_mb(engine.process.pid) if options.device == "cuda" else engine.memory("VmHWM")
        engine.end()
    return figures, outputs


def judge(name, pictures, width, figures, outputs, expected, side):
    """A row for each engine, and the goals of this case with what was found."""
    rows, goals = [], []
    expected = expected[:pictures]
    for which, found in outputs.items():
        row = {"model": name, "pictures": pictures, "width": width, "engine": which, "wall_ms": statistics.median(figures[which]["wall_ms"])}
        row.update(pictures_a_second=1e3 * pictures / row["wall_ms"], first_ms=figures[which]["first_ms"], memory_mb=figures[which]["memory_mb"])
        row["least_cosine"] = float((found * expected).sum(axis=2).min())
        row["same_labels"] = float((labels(found, side) == labels(expected, side)).mean())
        rows.append(row)
    case = f"{name}, {pictures} pictures, {width}"
    by_engine = {row["engine"]: row for row in rows}
    ours = by_engine.get("edge-seg")
    if not ours:
        return rows, [(f"{case}: it runs", False, "it does not")]
    goals.append((f"{case}: patch cosine ≥ {COSINE[width]}", ours["least_cosine"] >= COSINE[width], f"{ours['least_cosine']:.6f}"))
    goals.append((f"{case}: same labels ≥ {SAME_LABELS}", ours["same_labels"] >= SAME_LABELS, f"{ours['same_labels']:.4f}"))
    peers = [row["wall_ms"] for row in rows if row["engine"] != "edge-seg"]
    if peers:
        ratio = ours["wall_ms"] / min(peers)
        if pictures == 1:
            goals.append((f"{case}: latency ≤ {LATENCY} × the better peer's", ratio <= LATENCY, f"{ratio:.2f}"))
        if pictures == 32:
            goals.append((f"{case}: throughput ≥ {THROUGHPUT} × the better peer's", 1 / ratio >= THROUGHPUT, f"{1 / ratio:.2f}"))
    return rows, goals


def table(rows):
    print("| model | pictures | width | engine | wall ms | pictures/s | ratio | to first result ms | memory MB | least cosine | same labels |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        peers = [r["wall_ms"] for r in rows if (r["model"], r["pictures"], r["width"]) == (row["model"], row["pictures"], row["width"])]
        cells = [row["model"], str(row["pictures"]), row["width"], row["engine"], f"{row['wall_ms']:.2f}", f"{row['pictures_a_second']:.1f}"]
        cells += [f"{row['wall_ms'] / min(peers):.2f}", f"{row['first_ms']:.0f}", "-" if row["memory_mb"] is None else f"{row['memory_mb']:.0f}"]
        cells += [f"{row['least_cosine']:.6f}", f"{row['same_labels']:.4f}"]
        print("| " + " | ".join(cells) + " |")


def worker(engine, device, width, folder, pictures, side, tokens_wide):
    """A peer that obeys `open`, `load`, `run N`, `save FILE` as this project's does. Its copies to and from the device are timed as well."""
    folder, pictures, side = Path(folder), int(pictures), int(side)
    pixels = np.fromfile(folder / f"pixels-{pictures}.f32", "<f4").reshape(pictures, 3, side, side)
    load = {"onnxruntime": load_onnxruntime, "torch": load_torch}[engine]
    run = found = None
    print("ok", flush=True)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "load":
            run = load(device, width, folder, pictures, side, int(tokens_wide))
        elif command == "run":
            for _ in range(int(argument)):
                found = run(pixels)
        elif command == "save":
            found.astype("<f4").tofile(argument)
        print("ok", flush=True)


def load_onnxruntime(device, width, folder, pictures, side, tokens_wide):
    """The project's ONNX file, widened as the project's own engine widens it."""
    import onnx
    import onnxruntime
    from onnx import numpy_helper

    model = onnx.load(folder / "f32/image.onnx")
    if pictures > 1:
        widen(model.graph, pictures, numpy_helper)
    if width == "f16" and device == "cuda":
        from onnxruntime.transformers.float16 import convert_float_to_float16

        model = convert_float_to_float16(model, keep_io_types=True, op_block_list=["LayerNormalization", "Softmax"])
    provider = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1 if device == "cpu" else 0
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[provider])
    if session.get_providers()[0] != provider:
        raise SystemExit(f"onnxruntime has no {provider}")
    positions = np.fromfile(folder / "positions.f32", "<f4").reshape(1, -1, tokens_wide)
    return lambda pixels: session.run(None, {"pixels": pixels, "positions": positions})[0]


def widen(graph, pictures, numpy_helper):
    """As `encoder/cuda.rs` lets a graph for one picture take several."""
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    joined = {name for node in graph.node if node.op_type == "Concat" for name in node.input}
    for constant in graph.initializer:
        values = numpy_helper.to_array(constant)
        if constant.name in shapes and values.flat[0] == 1:
            values = values.copy()
            values[0] = 0
        elif constant.name in joined and values.dtype == np.float32 and values.shape[:1] == (1,):
            values = np.repeat(values, pictures, axis=0)
        else:
            continue
        constant.CopyFrom(numpy_helper.from_array(values, constant.name))
    graph.input[0].type.tensor_type.shape.dim[0].dim_value = pictures
    for output in graph.output:
        output.type.tensor_type.shape.dim[0].dim_value = pictures


def load_torch(device, width, folder, pictures, side, tokens_wide):
    """The trainer's image tower, on a GPU in 16 bits and compiled with CUDA graphs."""
    sys.path.insert(0, str(TRAINER))
    import torch
    from edge_seg_trainer.folder import read_folder

    model, _ = read_folder(folder / "model")
    tower = model.image.eval().requires_grad_(False)
    if device == "cpu":
        torch.set_num_threads(1)
        return lambda pixels: tower.encode(torch.from_numpy(pixels))[0].numpy()
    kind = torch.float16 if width == "f16" else torch.float32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    tower = tower.to("cuda", kind)
    encode = torch.compile(tower.encode, mode="reduce-overhead")

    def run(pixels):
        with torch.inference_mode():
            return encode(torch.from_numpy(pixels).to("cuda", kind))[0].float().cpu().numpy()

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=Path, required=True, help="the executable of runtime/benches/engines.rs")
    parser.add_argument("--exporter", type=Path, required=True, help="edge-seg-export")
    parser.add_argument("--work", type=Path, default=Path("target/gpu"))
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--model", action="append", help="a model of engines.py by the start of its name [default: mini image, ViT-B/16]")
    parser.add_argument("--pictures", default="1,8,32")
    parser.add_argument("--widths", default="f32,f16")
    parser.add_argument("--without", action="append", default=[], choices=["onnxruntime", "torch"], help="a peer to leave out")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--warm", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the processor's reference")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.bench, options.exporter = options.bench.resolve(), options.exporter.resolve()
    options.pictures = [int(n) for n in options.pictures.split(",")]
    options.work = options.work.resolve()
    starts = options.model or ["mini image", "ViT-B/16"]
    rows, goals = [], []
    for name in (name for name in CASES if any(name.startswith(start) for start in starts)):
        folder = options.work / "".join(c if c.isalnum() else "-" for c in name)
        prepare(name, folder, options)
        expected = reference(name, folder, options)
        for pictures in options.pictures:
            for width in options.widths.split(","):
                figures, outputs = measure(name, folder, pictures, width, options)
                found = judge(name, pictures, width, figures, outputs, expected, CASES[name][2])
                rows += found[0]
                goals += found[1]
                if options.json:
                    options.json.write_text("".join(json.dumps(row) + "\n" for row in rows))
    table(rows)
    print()
    for goal, met, found in goals:
        print(f"{'PASS' if met else 'FAIL'} {goal}: {found}")
    if not goals:
        raise SystemExit("no model of that name")
    raise SystemExit(0 if all(met for _, met, _ in goals) else 1)


if __name__ == "__main__":
    worker(*sys.argv[2:]) if sys.argv[1:2] == ["--worker"] else main()
