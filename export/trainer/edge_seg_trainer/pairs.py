"""Captioned photos that can be drawn one by one: folders with captions.tsv, and COCO's captions JSON.

A set is named `NAME` (the folder `pairs/NAME` of the data), or `coco:ANNOTATIONS.json:IMAGES` (COCO's captions and their pictures).
Tar shards, which can only be read in order, are `shards.py`'s.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .data import DataError, split_words, table

SHARDS = "shards:"
COCO = "coco:"


@dataclass(frozen=True)
class Pair:
    """A photo and all its captions."""

    path: Path
    captions: tuple[str, ...]

    def caption(self, rng: np.random.Generator) -> str:
        """One of them."""
        return self.captions[int(rng.integers(len(self.captions)))]


def read_pairs(root: Path, names: list[str], split: str = "train") -> list[Pair]:
    """The photos of every set, in the order of their tables. `split` chooses among the rows of a captions.tsv."""
    pairs = []
    for name in names:
        if name.startswith(COCO):
            pairs += read_coco_captions(root, name)
            continue
        folder = root / "pairs" / name
        captions: dict[str, list[str]] = {}
        for row in table(folder / "captions.tsv", ("split", "file", "caption")):
            if row["split"] == split:
                captions.setdefault(row["file"], []).append(row["caption"].strip())
        if not captions:
            raise DataError(f"{folder / 'captions.tsv'}: no row of split {split!r}")
        for file, texts in captions.items():
            path = folder / "images" / file
            if not path.is_file():
                raise DataError(f"{path} is missing: named by {folder / 'captions.tsv'}")
            pairs.append(Pair(path, tuple(texts)))
    return pairs


def read_coco_captions(root: Path, name: str) -> list[Pair]:
    """`coco:ANNOTATIONS.json:IMAGES`, both relative to the data's folder or absolute."""
    parts = name.removeprefix(COCO).split(":")
    if len(parts) != 2:
        raise DataError(f"{name}: expected coco:ANNOTATIONS.json:IMAGES")
    table, images = root / parts[0], root / parts[1]
    try:
        content = json.loads(table.read_text())
        files = {image["id"]: image["file_name"] for image in content["images"]}
        captions: dict[str, list[str]] = {}
        for row in content["annotations"]:
            captions.setdefault(files[row["image_id"]], []).append(row["caption"].strip())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{table}: expected COCO captions with `images` and `annotations`, found {error!r}") from error
    absent = [file for file in captions if not (images / file).is_file()]
    if absent:
        raise DataError(f"{images}: lacks {len(absent)} of the pictures that {table} names, {absent[0]} first")
    return [Pair(images / file, tuple(texts)) for file, texts in captions.items()]


def draws(seed: int, stage: str, step: int) -> np.random.Generator:
    """The random numbers of one step."""
    return np.random.default_rng([seed, zlib.crc32(stage.encode()), step])


def shuffled_rows(count: int, batch: int, seed: int, stage: str, step: int) -> list[int]:
    """The step's rows: every row once an epoch, in an order of that epoch's own."""
    rows = []
    for position in range(step * batch, (step + 1) * batch):
        epoch, place = divmod(position, count)
        rows.append(int(_order(count, seed, stage, epoch)[place]))
    return rows


_orders: dict[tuple, np.ndarray] = {}


def _order(count: int, seed: int, stage: str, epoch: int) -> np.ndarray:
    key = (count, seed, stage, epoch)
    if key not in _orders:
        _orders.clear()
        _orders[key] = draws(seed, stage + ".order", epoch).permutation(count)
    return _orders[key]


class Captioned:
    """Captioned photos with the words that their captions hold."""

    def __init__(self, pairs: list[Pair], min_count: int, keep_stop_words: bool = False):
        self.pairs = pairs
        found = [{word for text in pair.captions for word in split_words(text, keep_stop_words)} for pair in pairs]
        counts = Counter(word for words in found for word in words)
        self.words = [sorted(word for word in words if counts[word] >= min_count) for words in found]

    def batch_words(self, rows: list[int], most: int, rng: np.random.Generator) -> tuple[list[str], Tensor]:
        """Distinct words of the rows' captions, `most` at the most, and who holds which: [rows, words] bool."""
        every = sorted({word for row in rows for word in self.words[row]})
        if len(every) > most:
            every = [every[n] for n in sorted(rng.choice(len(every), most, replace=False))]
        place = {word: n for n, word in enumerate(every)}
        present = torch.zeros(len(rows), len(every), dtype=torch.bool)
        for n, row in enumerate(rows):
            present[n, [place[word] for word in self.words[row] if word in place]] = True
        return every, present
