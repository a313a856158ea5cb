"""Checks a bundle's encoders, as `edge-seg-export extract` writes them, against golden tensors with onnxruntime.

usage: check_onnx.py FOLDER GOLDEN.safetensors [TOLERANCE]

The golden file holds `HxW.pixels`, `HxW.positions`, `HxW.patches`, `HxW.global` for each picture size and `text.ids`,
`text.mask`, `text.text`. Exit codes: 0 all agree, 1 some differ, 2 the files do not fit together.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from safetensors.numpy import load_file


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def main(folder, golden, tolerance="1e-4"):
    golden = load_file(golden)
    sizes = sorted({key.split(".")[0] for key in golden if key.endswith(".pixels")})
    if not sizes or "text.ids" not in golden:
        print(f"expected pixels and text.ids, found {sorted(golden)}", file=sys.stderr)
        return 2
    image, text = session(Path(folder) / "image.onnx"), session(Path(folder) / "text.onnx")
    worst = 0.0
    checks = []
    for size in sizes:
        patches, whole = image.run(
            ["patches", "global"], {"pixels": golden[f"{size}.pixels"], "positions": golden[f"{size}.positions"]}
        )
        checks += [(f"{size}.patches", patches), (f"{size}.global", whole)]
    (embedded,) = text.run(["text"], {"ids": golden["text.ids"], "mask": golden["text.mask"]})
    checks.append(("text.text", embedded))
    for name, found in checks:
        expected = golden[name]
        if found.shape != expected.shape:
            print(f"{name}: expected shape {expected.shape}, found {found.shape}", file=sys.stderr)
            return 2
        # Embeddings are only used as directions, so what counts is the difference of the unit vectors.
        unit = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (expected, found)]
        error, absolute = float(np.abs(unit[0] - unit[1]).max()), float(np.abs(expected - found).max())
        worst = max(worst, error)
        print(f"{name}\tunit {error:.2e}\tabsolute {absolute:.2e}")
    return 0 if worst <= float(tolerance) else 1


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))
