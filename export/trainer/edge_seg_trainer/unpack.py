"""The image tower of a bundle, to train on from it: integers times their scales, under the tower's own names."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .config import HeadConfig, ImageConfig, TowerError
from .towers import ImageTower

MAGIC = b"\x89ESB\r\n\x1a\n"
MANIFEST_AT = 1040
TYPES = {1: np.float32, 3: np.int8, 10: np.float16}  # of ONNX, those that hold weights


def fields(message: memoryview):
    """Number and value of each field of a protobuf message: an integer, or the bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    while at < len(message):
        key = varint()
        kind = key & 7
        if kind == 0:
            yield key >> 3, varint()
            continue
        size = varint() if kind == 2 else {1: 8, 5: 4}.get(kind)
        if size is None or at + size > len(message):
            raise TowerError(f"expected a protobuf message, found field type {kind} at byte {at} of {len(message)}")
        yield key >> 3, message[at : at + size]
        at += size


def weights_of_onnx(model: bytes) -> dict[str, np.ndarray]:
    """The initialisers of an ONNX file that hold weights."""
    found = {}
    for graph in (value for number, value in fields(memoryview(model)) if number == 7):
        for tensor in (value for number, value in fields(graph) if number == 5):
            name, dims, kind, raw = "", [], 0, b""
            for number, value in fields(tensor):
                if number == 1:
                    dims += [value] if isinstance(value, int) else list(value)
                elif number == 2:
                    kind = value
                elif number == 8:
                    name = bytes(value).decode()
                elif number == 9:
                    raw = value
            if kind in TYPES and name.startswith("image."):
                found[name] = np.frombuffer(raw, TYPES[kind]).reshape(dims)
    return found


@dataclass
class Unpacked:
    """What a bundle says of its image tower."""

    config: ImageConfig
    weights: dict[str, Tensor]
    logit_scale: float
    logit_bias: float
    background: float
    tag_threshold: float


def unpack(path: Path) -> Unpacked:
    """Reads a bundle with a fusion head whose taps are the usual ones."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise TowerError(f"{path}: expected a bundle to start from ({error})") from error
    length = int.from_bytes(content[12:16], "little")
    if content[:8] != MAGIC or len(content) < MANIFEST_AT + length:
        raise TowerError(f"{path}: expected a bundle (*.esb), found another file or a part of one")
    manifest = json.loads(content[MANIFEST_AT : MANIFEST_AT + length])
    image = manifest["image"]
    if image.get("head") != "fusion" or manifest["logit_bias"] is None:
        raise TowerError(f"{path}: expected a fusion head and a logit_bias, found {image.get('head')!r} and {manifest['logit_bias']}")
    blobs = {blob["name"]: content[blob["offset"] : blob["offset"] + blob["bytes"]] for blob in manifest["blobs"]}
    for blob in manifest["blobs"]:
        if hashlib.sha256(blobs[blob["name"]]).hexdigest() != blob["sha256"]:
            raise TowerError(
                f"{path}: blob {blob['name']}: expected the SHA-256 {blob['sha256']}, found another: a part of a bundle, or a changed one"
            )
    stored = weights_of_onnx(blobs[image["blob"]])
    plain: dict[str, np.ndarray] = {}
    for name, value in stored.items():
        if name.endswith(".int8"):
            # The scales are those of the columns of a product, and of the output channels of the patches' convolution.
            scale = stored[f"{name.removesuffix('.int8')}.scale"]
            plain[name.removesuffix(".int8")] = value * (scale.reshape(-1, 1, 1, 1) if value.ndim == 4 else scale).astype(np.float32)
        elif not name.endswith(".weight.scale"):
            plain[name] = value.astype(np.float32)
    positions = image["positions"]
    plain["image.positions"] = np.frombuffer(blobs[positions["blob"]], np.float32).reshape(-1, positions["width"])
    weights = {}
    for name, value in plain.items():
        name = name.removeprefix("image.")
        if name == "class_token":
            value = value.reshape(-1)
        elif value.ndim == 2 and name.endswith(".weight"):
            value = value.T
        weights[name] = torch.from_numpy(np.array(value, order="C"))
    layers = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
    width = positions["width"]
    heads = max(1, width // 64)
    for block in range(layers):
        for kind in ("weight", "bias"):
            parts = [weights.pop(f"blocks.{block}.attn.{part}.{kind}") for part in ("query", "key", "value")]
            parts[0] *= (width // heads) ** 0.5  # the graph's query is divided by it already
            weights[f"blocks.{block}.attn.qkv.{kind}"] = torch.cat(parts)
    config = ImageConfig(
        width=width, layers=layers, heads=heads, mlp_width=len(weights["blocks.0.mlp.fc1.bias"]), patch_px=image["patch_px"],
        grid=(positions["rows"], positions["cols"]), embedding_dim=manifest["embedding_dim"],
        head=HeadConfig(hidden=len(weights["head.fc1.bias"])),
    )  # fmt: skip
    return Unpacked(config, weights, manifest["logit_scale"], manifest["logit_bias"], manifest["background"], manifest["tag_threshold"])


def load_unpacked(tower: ImageTower, found: Unpacked, source: str) -> None:
    from .pretrained import _fill

    _fill(tower, found.weights, source)
