"""Writes what onnxruntime makes of the shipped bundle's weights in floats, for `export_parity.rs`.

usage: make_shipped_golden.py FOLDER GOLDEN.safetensors, with FOLDER from `edge-seg-export bundle MODEL --weights int8 -o stored.esb` and
`edge-seg-export extract stored.esb`: the integers that the shipped bundle (`--weights int8-dynamic --text-weights int8`) computes with

The committed file was made with onnxruntime 1.31.1, torch for the position embeddings. Make it again when the bundle changes.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from safetensors.numpy import save_file


def positions_for(manifest, stored, rows, cols):
    layout = manifest["image"]["positions"]
    table = torch.from_numpy(stored.reshape(-1, layout["width"]).copy())
    grid = table[1:].T.reshape(1, layout["width"], layout["rows"], layout["cols"])
    grid = torch.nn.functional.interpolate(grid, size=(rows, cols), mode="bicubic", align_corners=False)
    return torch.cat([table[:1], grid.reshape(layout["width"], -1).T])[None].numpy()


def main(folder, golden):
    folder = Path(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    stored = np.fromfile(folder / manifest["image"]["positions"]["blob"], "<f4")
    # Beyond the basic optimizations onnxruntime quantizes the activations in front of int8 weights, which the file does not ask for.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    image, text = (onnxruntime.InferenceSession(str(folder / f"{name}.onnx"), options) for name in ("image", "text"))
    rng = np.random.default_rng(0)
    tensors = {}
    for height, width in ((48, 80), (64, 64)):
        pixels = rng.standard_normal((1, 3, height, width), dtype=np.float32)
        positions = positions_for(manifest, stored, height // 16, width // 16)
        patches, whole = image.run(["patches", "global"], {"pixels": pixels, "positions": positions})
        name = f"{height}x{width}"
        tensors |= {f"{name}.pixels": pixels, f"{name}.patches": patches, f"{name}.global": whole}
    ids = np.array([[101, 3899, 102], [101, 5568, 102]], dtype=np.int64)
    mask = np.ones_like(ids)
    (embedded,) = text.run(["text"], {"ids": ids, "mask": mask})
    save_file(tensors | {"text.ids": ids, "text.mask": mask, "text.text": embedded}, golden)


if __name__ == "__main__":
    main(*sys.argv[1:])
