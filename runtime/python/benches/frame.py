"""What a frame of 1280×720 costs: a call from Python beside Rust's, and beside the same job by onnxruntime, OpenCV and numpy.

    cargo build --release --workspace --bench frame                 (prints where the bench executable is)
    edge-seg-export extract runtime/models/mini.esb -o mini/
    pip install ./runtime/python onnxruntime opencv-python-headless
    python runtime/python/benches/frame.py --bench EXECUTABLE --onnx mini/ [--threads N] [--rounds N]

The three take turns, call by call, so that what else the machine does meets all of them; medians of the calls and of their differences.
Each of the three has as many threads, and all look for the same words at the same size. Rust is told of twice: the call with a frame that is
there, and with making the frame of bytes that somebody else holds, as Python's call must. The other way resizes by OpenCV, normalises by
numpy, runs the bundle's own image.onnx, scores by a matrix product, draws each word's scores to the frame's size by OpenCV and takes the
largest by numpy: what its users write. Embeddings of words are made once, as programs do.
"""

import argparse
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import edge_seg

WORDS = "person, car, road, tree, building, sky, grass, sign"
SIZE, PATCH = 448, 16
PICTURE = Path(__file__).parents[3] / "examples" / "pictures" / "astronaut.jpg"


def positions(folder: Path, rows: int, columns: int) -> NDArray[np.float32]:
    """The stored position embeddings, resampled once for the frame's grid."""
    layout = json.loads((folder / "manifest.json").read_text())["image"]["positions"]
    stored = np.fromfile(folder / layout["blob"], np.float32).reshape(-1, layout["width"])
    grid = stored[1:].reshape(layout["rows"], layout["cols"], layout["width"])
    # OpenCV's cubic is torch's: a = -0.75, half-pixel centres.
    planes = [cv2.resize(np.ascontiguousarray(grid[..., at]), (columns, rows), interpolation=cv2.INTER_CUBIC) for at in range(layout["width"])]
    return np.concatenate([stored[:1], np.stack(planes, axis=-1).reshape(rows * columns, -1)])


def by_onnxruntime(folder: Path, threads: int, embeddings: NDArray[np.float32]) -> Callable[[NDArray[np.uint8]], NDArray[np.int64]]:
    onnxruntime: Any = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    # As runtime/benches/engines.py: threads that spin would steal from the next call.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(folder / "image.onnx", options, providers=["CPUExecutionProvider"])
    manifest = json.loads((folder / "manifest.json").read_text())
    mean, std = (np.array(manifest["image"][name], np.float32) for name in ("mean", "std"))
    background = np.log(manifest["background"] / (1 - manifest["background"]))
    known: dict[tuple[int, int], NDArray[np.float32]] = {}
    cv2.setNumThreads(threads)

    def segment(frame: NDArray[np.uint8]) -> NDArray[np.int64]:
        height, width = frame.shape[:2]
        scale = SIZE / min(height, width)
        rows, columns = round(height * scale / PATCH), round(width * scale / PATCH)
        if (rows, columns) not in known:
            known[rows, columns] = positions(folder, rows, columns)
        small = cv2.resize(frame, (columns * PATCH, rows * PATCH), interpolation=cv2.INTER_AREA)
        pixels = np.ascontiguousarray(((small.astype(np.float32) / 255 - mean) / std).transpose(2, 0, 1))
        (patches,) = session.run(["patches"], {"pixels": pixels[None], "positions": known[rows, columns][None]})
        unit = patches.reshape(rows * columns, -1)
        unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
        logits = manifest["logit_scale"] * (unit @ embeddings.T) + manifest["logit_bias"]
        planes = [cv2.resize(np.ascontiguousarray(plane).reshape(rows, columns), (width, height), interpolation=cv2.INTER_LINEAR) for plane in logits.T]
        labels: NDArray[np.int64] = np.argmax(np.stack([np.full((height, width), background, np.float32), *planes]), axis=0)
        return labels

    return segment


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", required=True, help="the executable of runtime/benches/frame.rs")
    parser.add_argument("--onnx", type=Path, required=True, help="the folder that `edge-seg-export extract` wrote")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=40)
    args = parser.parse_args()

    frame = cv2.resize(edge_seg.read_picture(PICTURE), (1280, 720), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    model = edge_seg.Model(size=SIZE, threads=args.threads)
    words = model.words(WORDS)
    other = by_onnxruntime(args.onnx, args.threads, words.embeddings)
    rust = subprocess.Popen([args.bench, str(SIZE), str(args.threads), WORDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert rust.stdin is not None and rust.stdout is not None
    rust.stdin.write(frame.tobytes())

    def timed(call: Callable[[], Any]) -> float:
        start = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - start)

    made: list[float] = []

    def by_rust() -> float:
        assert rust.stdin is not None and rust.stdout is not None
        rust.stdin.write(b"\n")
        rust.stdin.flush()
        call, frame_of = (int(number) / 1e6 for number in rust.stdout.readline().split())
        made.append(frame_of)
        return call

    ways: dict[str, Callable[[], float]] = {
        "Rust": by_rust,
        "Python": lambda: timed(lambda: model.segment(frame, words)),
        "onnxruntime, OpenCV, numpy": lambda: timed(lambda: other(frame)),
    }
    found = model.segment(frame, words)
    agree = float((found.labels == other(frame)).mean())
    seen: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    before = os.getloadavg()[0]
    for turn in range(args.rounds + 3):
        # Each comes after each other one as often.
        for name in names[turn % 3 :] + names[: turn % 3]:
            took = ways[name]()
            if turn >= 3:
                seen[name].append(took)
    rust.stdin.close()
    for name, times in seen.items():
        print(f"{name:<28} {statistics.median(times):8.2f} ms, fastest {min(times):8.2f}")
    extra = statistics.median(python - rust for python, rust in zip(seen["Python"], seen["Rust"]))
    same = statistics.median(python - rust - frame_of for python, rust, frame_of in zip(seen["Python"], seen["Rust"], made[3:]))
    ratio = statistics.median(python / other for python, other in zip(seen["Python"], seen["onnxruntime, OpenCV, numpy"]))
    print(f"Python takes {same:+.2f} ms beside Rust of the same bytes, {extra:+.2f} ms beside Rust with its frame ready")
    print(f"and {ratio:.2f} of the other way's time; labels agree on {agree:.1%} of the pixels")
    print(f"{args.threads} threads, {args.rounds} rounds, load {before:.1f} at the start and {os.getloadavg()[0]:.1f} at the end, {model.kernels}")


if __name__ == "__main__":
    main()
