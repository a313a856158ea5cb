"""What each kind of stage draws and minimises.

A stage's batches depend on (seed, stage, step) alone, so a resumed run sees what an unbroken one would have seen.
"""

from __future__ import annotations

import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from . import ttd
from .data import IGNORE, Labelled, Pair, coco_classes, patch_targets, random_crop, read_coco, read_pairs
from .data import split_words, square, to_pixels
from .features import FeatureCache
from .losses import caption_contrast, dense_loss, pooled, word_contrast
from .recipe import RecipeError, StageRecipe
from .towers import Model
from .words import WordBank


def draws(seed: int, stage: str, step: int) -> np.random.Generator:
    """The random numbers of one step."""
    return np.random.default_rng([seed, zlib.crc32(stage.encode()), step])


def autocast():
    return torch.autocast("cpu", torch.bfloat16)


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

    def caption(self, row: int, rng: np.random.Generator) -> str:
        captions = self.pairs[row].captions
        return captions[int(rng.integers(len(captions)))]


class PairsStage:
    """Contrast of photos with captions and with words."""

    def __init__(self, stage: StageRecipe, model: Model, bank: WordBank, root: Path, work: Path, seed: int, say):
        self.stage, self.model, self.bank, self.seed = stage, model, bank, seed
        self.captioned = Captioned(read_pairs(root, list(stage.pairs)), stage.word_min_count, stage.keep_stop_words)
        self.cache = None
        if stage.learns == "head":
            pairs, side = self.captioned.pairs, stage.side_px
            named = "\n".join(str(pair.path) for pair in pairs)
            self.cache = FeatureCache(work, model.image, len(pairs), named, lambda n: square(pairs[n].path, side), side, say)
        self.scale = nn.Parameter(torch.tensor(stage.contrast_scale))

    def own_parameters(self) -> list[nn.Parameter]:
        return [self.scale]

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        stage = self.stage
        rng = draws(self.seed, stage.name, step)
        rows = shuffled_rows(len(self.captioned.pairs), stage.batch, self.seed, stage.name, step)
        count = (stage.side_px // self.model.image.config.patch_px) ** 2
        chosen = np.sort(rng.choice(count, stage.patches, replace=False)) if 0 < stage.patches < count else None
        with autocast():
            if self.cache is not None:
                patches = self.model.image.head(self.cache.taps(rows, chosen))
            else:
                patches = self.model.image(photo_batch([self.captioned.pairs[row] for row in rows], stage.side_px, rng))
                patches = patches if chosen is None else patches[:, chosen]
        patches = F.normalize(patches.float(), dim=-1)
        captions = self.bank.fixed([self.captioned.caption(row, rng) for row in rows])
        words, present = self.captioned.batch_words(rows, stage.words, rng)
        scores = pooled(patches, torch.cat([captions, self.bank.fixed(words)]), stage.sharpness)
        contrast = caption_contrast(scores[:, : len(rows)], self.scale)
        word = word_contrast(scores[:, len(rows) :], present, self.model.logit_scale, self.model.logit_bias)
        return contrast + stage.word_weight * word, {"contrast": contrast.item(), "word": word.item()}


def photo_batch(pairs: list[Pair], side: int, rng: np.random.Generator) -> Tensor:
    """Whole photos, squashed, mirrored half the time."""
    pixels = to_pixels([square(pair.path, side) for pair in pairs])
    mirrored = torch.from_numpy(rng.random(len(pairs)) < 0.5)
    return torch.where(mirrored[:, None, None, None], pixels.flip(-1), pixels)


class TtdStage:
    """Text-Tag Self-Distillation on captioned photos; both towers learn through adapters."""

    def __init__(self, stage: StageRecipe, model: Model, bank: WordBank, root: Path, work: Path, seed: int, say):
        self.stage, self.model, self.bank, self.seed = stage, model, bank, seed
        self.captioned = Captioned(read_pairs(root, list(stage.pairs)), 1, stage.keep_stop_words)
        # A caption of one word has no other tag to share its picture with.
        self.rows = [n for n, words in enumerate(self.captioned.words) if len(words) >= 2]

    def own_parameters(self) -> list[nn.Parameter]:
        return []

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        stage = self.stage
        rng = draws(self.seed, stage.name, step)
        order = shuffled_rows(len(self.rows), stage.batch, self.seed, stage.name, step)
        rows = [self.rows[n] for n in order]
        captions = [self.captioned.caption(row, rng) for row in rows]
        tags = [split_words(text, stage.keep_stop_words) or self.captioned.words[row] for text, row in zip(captions, rows)]
        distinct = sorted({tag for some in tags for tag in some})  # each word of a batch is encoded once
        place = {tag: n for n, tag in enumerate(distinct)}
        with autocast():
            patches = self.model.image(photo_batch([self.captioned.pairs[row] for row in rows], stage.side_px, rng))
            texts = self.bank.encode(captions + distinct)
        patches = F.normalize(patches.float(), dim=-1)
        caption, words = texts[: len(captions)], texts[len(captions) :]
        longest = max(map(len, tags))
        index = torch.tensor([[place[tag] for tag in some] + [0] * (longest - len(some)) for some in tags])
        real = torch.tensor([[True] * len(some) + [False] * (longest - len(some)) for some in tags])
        with torch.no_grad():
            picture = F.normalize(patches.mean(1), dim=-1)
            scores = ttd.tag_scores(
                stage.selection, patches, picture, caption, words[index], real,
                stage.selection_scale or self.model.logit_scale.item(), stage.normalisation,
            )  # fmt: skip
            selected = ttd.select(scores, real, stage.threshold)
        distill, tag = ttd.losses(
            patches, caption, words[index], real, selected, stage.distance, stage.student,
            self.model.logit_scale.detach(), self.model.logit_bias.detach(),
        )  # fmt: skip
        share = (selected.sum() / real.sum()).item()
        loss = stage.distill_weight * distill + stage.tag_weight * tag
        return loss, {"distill": distill.item(), "tag": tag.item(), "selected": share}


class DenseStage:
    """Labelled photos against class names."""

    def __init__(
        self, stage: StageRecipe, model: Model, bank: WordBank, root: Path, work: Path, seed: int, say, held_out: frozenset[str]
    ):
        self.stage, self.model, self.bank, self.seed = stage, model, bank, seed
        self.classes = coco_classes(root)
        photos = read_coco(root, lambda name: name not in held_out)
        self.photos = [(photo.image(), self._labels(photo)) for photo in photos]
        self.searched = torch.tensor(self.classes.things)
        counts = np.zeros(len(self.classes.names))
        for _, labels in self.photos:
            counts += np.bincount(labels.ravel(), minlength=256)[: len(counts)]
        weight = (np.maximum(counts, counts.sum() * 1e-5) / counts.sum()) ** -stage.balance
        self.class_weight = torch.tensor(weight * counts.sum() / (weight * counts).sum(), dtype=torch.float32)
        self.cache = None
        if stage.learns == "head":
            # The views are drawn once; what a step would draw afresh must stay still to be cached.
            count = len(self.photos) * stage.views
            named = f"{[photo.path.name for photo in photos]} {stage.views} {stage.zoom} {seed}"
            self.cache = FeatureCache(work, model.image, count, named, lambda n: self._view(n)[0], stage.side_px, say)
            self.view_labels = np.stack([self._view(n)[1] for n in range(count)])

    def _labels(self, photo: Labelled) -> np.ndarray:
        labels = photo.labels()
        if self.stage.drop_every:
            dropped = np.arange(0, len(self.classes.names), self.stage.drop_every)
            labels = np.where(np.isin(labels, dropped), IGNORE, labels)
        return labels

    def _view(self, number: int) -> tuple[Image.Image, np.ndarray]:
        rng = draws(self.seed, "view", number)
        return random_crop(*self.photos[number % len(self.photos)], self.stage.side_px, self.stage.zoom, rng)

    def own_parameters(self) -> list[nn.Parameter]:
        return []

    def _fresh(self, step: int, rng: np.random.Generator) -> tuple[Tensor, np.ndarray]:
        """Patch embeddings and labels of newly drawn crops."""
        stage = self.stage
        rows = shuffled_rows(len(self.photos), stage.batch, self.seed, stage.name, step)
        crops = [random_crop(*self.photos[row], stage.side_px, stage.zoom, rng) for row in rows]
        with autocast():
            patches = self.model.image(to_pixels([image for image, _ in crops]))
        return patches, np.stack([labels for _, labels in crops])

    def _cached(self, step: int) -> tuple[Tensor, np.ndarray]:
        """The same of views whose backbone features are stored."""
        rows = shuffled_rows(len(self.view_labels), self.stage.batch, self.seed, self.stage.name, step)
        with autocast():
            return self.model.image.head(self.cache.taps(rows)), self.view_labels[rows]

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        stage = self.stage
        rng = draws(self.seed, stage.name, step)
        patches, labels = self._cached(step) if self.cache else self._fresh(step, rng)
        shares, other, ignored = patch_targets(labels, len(self.classes.names), self.model.image.config.patch_px)
        texts = self.bank.fixed([self._word(words, rng) for words in self.classes.words])
        similarity = F.normalize(patches.float(), dim=-1) @ texts.T
        loss = dense_loss(
            similarity, shares, other, ignored, self.searched,
            self.model.logit_scale, self.model.logit_bias, self.class_weight, stage.yes_no,
        )  # fmt: skip
        with torch.no_grad():
            clear = shares.amax(-1) > 0.5
            right = (similarity.argmax(-1) == shares.argmax(-1))[clear].float().mean().item()
        return loss, {"dense": loss.item(), "right": right}

    @staticmethod
    def _word(words: list[str], rng: np.random.Generator) -> str:
        """The class's own name half the time, else one of its synonyms."""
        return words[0] if rng.random() < 0.5 else words[int(rng.integers(len(words)))]


def make_stage(stage: StageRecipe, model: Model, bank: WordBank, root: Path, work: Path, seed: int, say, held_out: frozenset[str]):
    """The stage of a recipe, ready to draw batches."""
    if stage.kind == "pairs":
        return PairsStage(stage, model, bank, root, work, seed, say)
    if stage.kind == "ttd":
        return TtdStage(stage, model, bank, root, work, seed, say)
    if stage.kind == "dense":
        return DenseStage(stage, model, bank, root, work, seed, say, held_out)
    raise RecipeError(f"stage kind {stage.kind!r}")
