"""Leaves out the pairs whose caption fits its picture least: a pre-pass that scores every pair once and remembers it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from PIL import Image

from . import checkpoint, parallel
from .data import DataError, square
from .provenance import of_files
from .samples import Unusable
from .shards import ShardReader, expand
from .towers import bytes_of

if TYPE_CHECKING:
    from .stages import Context, TtdStage

BATCH = 64


def _samples(stage: TtdStage, around: Context) -> Iterator[tuple[list, list[Image.Image], list[list[str]]]]:
    """This rank's keys, pictures and captions, batch by batch."""
    side = stage.stage.side_px
    for source in stage.shards:
        reader = ShardReader(source.patterns, around.seed, parallel.rank(), parallel.world(), 0, root=around.root)
        keys, images, texts = [], [], []
        for raw in reader.epoch(0):
            try:
                image = raw.decode(side)
            except Unusable:
                continue
            keys.append([raw.key])
            images.append(image.resize((side, side), Image.Resampling.BICUBIC))
            texts.append([raw.captions[0]])
            if len(keys) == BATCH:
                yield keys, images, texts
                keys, images, texts = [], [], []
        if keys:
            yield keys, images, texts
    pairs = [pair for source in stage.photos for pair in source.captioned.pairs]
    mine = pairs[parallel.rank() :: parallel.world()]
    for start in range(0, len(mine), BATCH):
        keys, images, texts = [], [], []
        for pair in mine[start : start + BATCH]:
            try:
                images.append(square(pair.path, side))
            except DataError:
                continue
            keys.append([(str(pair.path), text) for text in pair.captions])
            texts.append(list(pair.captions))
        if keys:
            yield keys, images, texts


def _listed(stage: TtdStage, around: Context) -> Iterator[tuple[str, Path]]:
    """What the scores are of: photos with their captions, and shards."""
    for source in stage.photos:
        yield from (("\0".join((str(pair.path), *pair.captions)), pair.path) for pair in source.captioned.pairs)
    for source in stage.shards:
        yield from ((str(path), path) for pattern in source.patterns for path in expand(pattern, around.root))


@torch.no_grad()
def _score(stage: TtdStage, around: Context) -> list:
    """[key, cosine of the picture's own embedding with the caption] of this rank's pairs."""
    found = []
    for number, (keys, images, texts) in enumerate(_samples(stage, around)):
        with around.autocast():
            _, whole = around.model.image.encode(stage.pixels(bytes_of(images)))
            flat = [text for some in texts for text in some]
            embedded = around.bank.encode(flat)
        owner = torch.tensor([n for n, some in enumerate(texts) for _ in some], device=embedded.device)
        cosines = (F.normalize(whole.float(), dim=-1)[owner] * embedded).sum(-1)
        found += zip([key for some in keys for key in some], cosines.tolist(), strict=True)
        if number % 20 == 0:
            around.say(f"pruning: {len(found)} pairs scored")
    return found


def kept(stage: TtdStage, around: Context) -> set:
    """The keys of the pairs that stay: `prune` is the share that goes.

    Keys are (path, caption), or PATH/KEY of a shard's sample. The scores are kept in the work folder, under the digest of weights and data.
    """
    recipe = stage.stage
    digest = hashlib.sha256(repr((recipe.pairs, recipe.side_px)).encode())
    for name, value in sorted(around.model.state_dict().items()):
        digest.update(name.encode() + value.detach().float().cpu().contiguous().numpy().tobytes())
    digest.update(of_files(_listed(stage, around), False)["digest"].encode())
    place = Path(around.work) / f"similarity-{digest.hexdigest()[:16]}-{parallel.world()}"
    mine = place.with_name(f"{place.name}.{parallel.rank()}.json")
    if not mine.is_file():
        was = around.model.training
        around.model.eval()
        scores = _score(stage, around)
        around.model.train(was)
        mine.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.write_text(mine, json.dumps(scores))
    parallel.barrier()
    every = []
    for rank in range(parallel.world()):
        every += json.loads(place.with_name(f"{place.name}.{rank}.json").read_text())
    if not every:
        raise DataError(f"stage {recipe.name}: no pair to score")
    every.sort(key=lambda row: row[1])
    gone = int(len(every) * recipe.prune)
    around.say(f"pruning: {gone} of {len(every)} pairs left out, those below a cosine of {every[min(gone, len(every) - 1)][1]:.4f}")
    return {tuple(key) if isinstance(key, list) else key for key, _ in every[gone:]}
