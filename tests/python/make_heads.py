"""Writes what the trainer's towers make of one small CLIP with each training-free head, for `export_heads.rs`.

usage: PYTHONPATH=export/trainer make_heads.py tests/data/tiny-clip tests/data/heads.safetensors

The committed file was made with torch 2.15.0.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from edge_seg_trainer.folder import read_folder
from edge_seg_trainer.towers import HeadConfig

HEADS = {
    "maskclip": {"kind": "maskclip"},
    "reduced": {"kind": "attention", "similarity": "query-key", "neighbour": 0.0, "residual": False, "mlp": False},
    "whole": {"kind": "attention", "similarity": "query-key", "neighbour": 0.0, "residual": True, "mlp": True},
    "query": {"kind": "attention", "similarity": "query-query", "neighbour": 0.0, "residual": False, "mlp": False},
    "key": {"kind": "attention", "similarity": "key-key", "neighbour": 0.0, "residual": True, "mlp": False},
    "neighbour": {"kind": "attention", "similarity": "key-key", "neighbour": 1.5, "residual": False, "mlp": False},
}


@torch.no_grad()
def main(folder, target):
    generator = torch.Generator().manual_seed(11)
    pictures = {f"{h}x{w}": torch.randn(1, 3, h, w, generator=generator) for h, w in ((32, 32), (24, 40))}
    tensors = {f"{size}.pixels": pixels for size, pixels in pictures.items()}
    for name, head in HEADS.items():
        model, _ = read_folder(Path(folder), HeadConfig.from_folder(head))
        model.eval()
        for size, pixels in pictures.items():
            patches, whole = model.image.encode(pixels)
            tensors |= {f"{name}.{size}.patches": patches.contiguous(), f"{name}.{size}.global": whole.contiguous()}
    save_file(tensors, target, metadata={"heads": json.dumps(HEADS)})


if __name__ == "__main__":
    main(*sys.argv[1:])
