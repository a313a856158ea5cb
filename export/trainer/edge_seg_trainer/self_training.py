"""Captioned photos that a teacher labels, each among what its own captions name: self-training beside labelled photos."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from .data import IGNORE, Classes, DataError, open_rgb, random_view
from .pairs import read_pairs
from .samples import Skipped
from .towers import ImageTower, frozen_dtype


def phrases(caption: str, longest: int) -> set[str]:
    """All runs of up to `longest` words, lower case; where the last ends in `s`, also without it."""
    words = re.findall(r"[\w'-]+", caption.lower())
    found = set()
    for size in range(1, longest + 1):
        for start in range(len(words) - size + 1):
            phrase = " ".join(words[start : start + size])
            found |= {phrase, phrase.removesuffix("s")}
    return found


def named_classes(captions: tuple[str, ...], classes: Classes) -> np.ndarray:
    """Which classes the captions name by any of their words, [classes] bool."""
    longest = max(len(word.split()) for words in classes.words for word in words)
    told = set().union(*(phrases(caption, longest) for caption in captions))
    return np.array([any(word.lower() in told for word in words) for words in classes.words])


def rare_first(named: np.ndarray, power: float) -> np.ndarray:
    """How often each photo is drawn, [photos], sum 1: as its rarest class is named, to the minus `power`. named [photos, classes] bool."""
    often = np.maximum(named.sum(0), 1.0) ** -power
    weight = np.where(named, often, 0.0).max(1)
    weight[weight == 0] = float(len(named)) ** -power
    return weight / weight.sum()


def teacher_shares(similarity: Tensor, named: Tensor, things: Tensor, scale: float, prior: float, confidence: float) -> Tensor:
    """The teacher's labels, [batch, patches, classes]: a softmax over the classes where its best share is at least `confidence`, else zero.

    similarity [batch, patches, classes]; `named` [batch, classes] and `things` [classes] bool. A thing that no caption names is held to
    be absent; stuff is often left untold, so it only has to win by `prior` nats.
    """
    unsaid = torch.where(things, float("inf"), prior).expand(named.shape).masked_fill(named, 0.0)
    shares = (scale * similarity - unsaid[:, None]).softmax(-1)
    return shares * (shares.amax(-1, keepdim=True) >= confidence)


def cut_rectangles(rng: np.random.Generator, count: int, grid: int, share: float) -> Tensor:
    """Which patches come from the next crop of the batch, [count, grid, grid] bool: a rectangle in `share` of the crops, of at most
    half the picture (CutMix, Yun et al., ICCV 2019)."""
    cut = torch.zeros(count, grid, grid, dtype=torch.bool)
    for n in range(count):
        chosen, area, aspect, top, left = rng.random(5)
        if chosen < share:
            height = min(grid, max(1, round(grid * np.sqrt((0.1 + 0.4 * area) * 2 ** (2 * aspect - 1)))))
            width = min(grid, max(1, round(grid * np.sqrt((0.1 + 0.4 * area) / 2 ** (2 * aspect - 1)))))
            top, left = int(top * (grid - height + 1)), int(left * (grid - width + 1))
            cut[n, top : top + height, left : left + width] = True
    return cut


def pasted(values: Tensor, cut: Tensor) -> Tensor:
    """values [count, ...] with those of the next row where `cut` (broadcastable to it) says so."""
    return torch.where(cut, values.roll(-1, 0), values)


class Taught:
    """The photos of captioned sets, and the tower that labels them."""

    def __init__(self, root: Path, names: list[str], classes: Classes, tower: ImageTower, rare: float, say=None, listed: Skipped | None = None):
        self.pairs = read_pairs(root, names, say=say, counted=listed)
        self.skipped = Skipped()
        self.named = np.stack([named_classes(pair.captions, classes) for pair in self.pairs])
        self.shares = rare_first(self.named, rare)
        self.tower = copy.deepcopy(tower).to(frozen_dtype(tower.patch.weight.device)).eval().requires_grad_(False)

    def rows(self, count: int, rng: np.random.Generator) -> list[int]:
        """The photos of a step."""
        return rng.choice(len(self.shares), count, replace=False, p=self.shares).tolist()

    def view(self, row: int, side: int, zoom: tuple[float, float], rng: np.random.Generator) -> tuple[Image.Image, np.ndarray, int]:
        """A crop as `random_view` makes it, where it is outside of the photo, and the row: the next one where this cannot be read."""
        for further in range(len(self.pairs)):
            place = (row + further) % len(self.pairs)
            try:
                image = open_rgb(self.pairs[place].path)
            except DataError as error:
                self.skipped[str(error.__cause__ or error)] += 1
                continue
            return *random_view(image, np.zeros((image.height, image.width), np.uint8), side, zoom, rng), place
        raise DataError(f"none of the {len(self.pairs)} captioned photos can be read: {self.skipped.told()}")

    @torch.no_grad()
    def follow(self, tower: ImageTower, learned: list[nn.Parameter], average: list[Tensor]) -> None:
        """Makes the teacher the running average of what learns."""
        place = {id(parameter): n for n, parameter in enumerate(learned)}
        for own, parameter in zip(self.tower.parameters(), tower.parameters()):
            if id(parameter) in place:
                own.copy_(average[place[id(parameter)]])

    @torch.no_grad()
    def similarity(self, pixels: Tensor, texts: Tensor) -> Tensor:
        """What the teacher sees: cos(patch, class), [batch, patches, classes]."""
        return F.normalize(self.tower(pixels.to(self.tower.patch.weight.dtype)).float(), dim=-1) @ texts.T


def seen(outside: np.ndarray, patch_px: int) -> Tensor:
    """Share of each patch that lies in the photo, [batch, patches], from views' labels [batch, side, side]."""
    batch, side, _ = outside.shape
    grid = side // patch_px
    inside = (outside != IGNORE).reshape(batch, grid, patch_px, grid, patch_px).mean((2, 4), dtype=np.float32)
    return torch.from_numpy(inside.reshape(batch, grid * grid))
