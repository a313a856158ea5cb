"""Caches what a frozen backbone gives the head, so that training the head alone costs seconds a step."""

from __future__ import annotations

import copy
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .data import DataError
from .towers import ImageTower, Preprocess, frozen_dtype


def backbone_digest(tower: ImageTower) -> str:
    """Names the backbone's weights: a cache made from others must not be read."""
    state = hashlib.sha256()
    for name, value in sorted(tower.state_dict().items()):
        if not name.startswith("head."):
            state.update(name.encode())
            state.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    state.update(repr(tower.config.head.taps).encode())
    return state.hexdigest()[:16]


def pictures_named(paths: Iterable[Path]) -> str:
    """Tells pictures apart by path and size: another one under an old name has features of its own."""
    return "\n".join(f"{path} {path.stat().st_size}" for path in paths)


def _room_for(path: Path, size: int) -> None:
    """Gives a file its size. A page of a mapped file that finds no room would end the process without a word."""
    with path.open("rb+") as handle:
        try:
            os.posix_fallocate(handle.fileno(), 0, size)
        except OSError as error:
            raise DataError(f"{path}: expected room for {size / 1e9:.1f} GB of features, found less: {error.strerror}") from error


class FeatureCache:
    """Head inputs of a list of pictures: [pictures, taps, patches, width] bfloat16, in a memory-mapped file.

    `named` tells the pictures apart from others of the same count; `picture(n)` makes the n-th, all of one size.
    """

    def __init__(
        self,
        folder: Path,
        tower: ImageTower,
        pre: Preprocess,
        count: int,
        named: str,
        picture: Callable[[int], Image.Image],
        side: int,
        say=print,
    ):
        names = hashlib.sha256(named.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self.path = Path(folder) / f"features-{side}-{names}-{backbone_digest(tower)}.bin"
        patches = (side // tower.config.patch_px) ** 2
        self.shape = (count, len(tower.config.head.taps), patches, tower.config.width)
        self.bytes_each, self.seconds_each = 2 * int(np.prod(self.shape[1:])), 0.0
        began = time.monotonic()
        of_broken = self.path.with_suffix(".broken.json")
        if not self.path.is_file():
            # One of several processes makes it, the others wait.
            fresh = self.path.with_suffix(".new")
            fresh.parent.mkdir(parents=True, exist_ok=True)
            with fresh.open("ab") as held:
                with suppress(OSError):  # a file system without locks
                    fcntl.flock(held, fcntl.LOCK_EX)
                if not self.path.is_file():
                    try:
                        # First what is broken: a cache without that list would be taken for a whole one.
                        of_broken.write_text(json.dumps(self._fill(fresh, tower, pre, picture, say)))
                        os.rename(fresh, self.path)
                    except BaseException:
                        held.truncate(0)
                        raise
            self.seconds_each = (time.monotonic() - began) / max(1, count)
        # Pictures that could not be read; their features are zeros.
        self.broken = frozenset(json.loads(of_broken.read_text()) if of_broken.is_file() else ())
        self.stored = np.memmap(self.path, np.uint16, "r", shape=self.shape)

    @torch.no_grad()
    def _fill(self, fresh: Path, tower: ImageTower, pre: Preprocess, picture: Callable[[int], Image.Image], say) -> list[int]:
        # Weights and stream in bfloat16 where that is fast: what is stored is no finer, and it takes 60 % of autocast's time.
        device = tower.patch.weight.device
        small = copy.deepcopy(tower).to(frozen_dtype(device)).eval()
        _room_for(fresh, 2 * int(np.prod(self.shape)))
        stored = np.memmap(fresh, np.uint16, "r+", shape=self.shape)
        count, batch = self.shape[0], max(1, 8192 // self.shape[2])
        broken: list[int] = []
        for number, start in enumerate(range(0, count, batch)):
            part = range(start, min(start + batch, count))
            images = {}
            for n in part:
                try:
                    images[n] = picture(n)
                except DataError as error:
                    say(f"left out: {error}")
                    broken.append(n)
            if images:
                taps = small.taps(pre.pixels(list(images.values())).to(device, small.patch.weight.dtype))
                stored[list(images)] = torch.stack(taps, 1).bfloat16().cpu().view(torch.uint16).numpy()
            if number % 20 == 0:
                say(f"features {part.stop}/{count}")
        stored.flush()
        return broken

    def taps(self, rows: list[int], patches: np.ndarray | None = None) -> list[Tensor]:
        """The taps of some pictures, at all patches or the given ones: one f32 [rows, patches, width] a tap."""
        chosen = np.stack([self.stored[row] if patches is None else self.stored[row][:, patches] for row in rows])
        return list(torch.from_numpy(chosen).view(torch.bfloat16).float().unbind(1))
