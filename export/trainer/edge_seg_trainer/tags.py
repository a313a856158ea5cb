"""Which of a caption's words does the picture show? Scores, measures, and truth from labelled photos that have captions.

Truth is known for a word that is one of a labelled class's words: it is shown where the labels hold that class. A word of a class that the
labels do not tell of (COCO's instance labels say nothing about sky) is left out; every other word (`red`, `standing`) counts as not shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import ttd
from .data import DataError, Labelled, coco_classes, grid_size, open_rgb, read_coco, split_words, table
from .pairs import Pair
from .towers import Model
from .words import WordBank

KINDS = ("image", "text", "pixel", "words")
THRESHOLDS = tuple(n / 20 for n in range(1, 20))


@dataclass
class Told:
    """A caption that a labelled photo has: its words, whether each is shown, and the classes that it tells of."""

    caption: str
    words: list[str]
    shown: list[bool]
    classes: list[int]


@dataclass
class Photo:
    labelled: Labelled
    told: list[Told]


def truths(root: Path) -> list[Photo]:
    """The photos of seg/coco_mini159 with their captions."""
    classes = coco_classes(root)
    of_word: dict[str, set[int]] = {}
    for index, (name, words) in enumerate(zip(classes.names, classes.words)):
        for word in (name, *words):
            of_word.setdefault(word.lower(), set()).add(index)
    captions: dict[str, list[str]] = {}
    for row in table(root / "seg" / "coco_mini159" / "captions.tsv", ("split", "file", "caption")):
        captions.setdefault(row["file"], []).append(row["caption"])
    photos = []
    for labelled in read_coco(root, captions.__contains__, panoptic=False):
        held = set(np.unique(labelled.labels()).tolist())
        told = []
        for caption in captions[labelled.path.name]:
            words, shown, meant = [], [], set()
            for word in split_words(caption):
                of = of_word.get(word, set())
                if of and not any(classes.things[index] for index in of):
                    continue
                words.append(word)
                shown.append(bool(of & held))
                meant |= of & held
            if words:
                told.append(Told(caption, words, shown, sorted(meant)))
        photos.append(Photo(labelled, told))
    return photos


@torch.no_grad()
def embed(model: Model, path: Path, short_px: int) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Unit-norm patches [1, patches, dim], the picture's own embedding [1, dim], the grid."""
    image, side = open_rgb(path), model.image.config.patch_px
    width, height = grid_size(*image.size, short_px, side, model.preprocess.fit)
    pixels = model.preprocess.pixels([image.resize((width, height), model.preprocess.resampling())]).to(model.device)
    patches, whole = model.image.encode(pixels)
    return F.normalize(patches.float(), dim=-1), F.normalize(whole.float(), dim=-1), (height // side, width // side)


@torch.no_grad()
def scores(model: Model, bank: WordBank, patches: Tensor, whole: Tensor, caption: str, words: list[str]) -> dict[str, np.ndarray]:
    """Each kind's score of each word."""
    tags = bank.words(words)[None]
    real = torch.ones(1, len(words), dtype=torch.bool, device=tags.device)
    text = bank.fixed([caption])
    scale = model.logit_scale.item()
    found = {kind: ttd.tag_scores(kind, patches, whole, text, tags, real, scale)[0].cpu().numpy() for kind in KINDS}
    if model.calibrated:
        # As the runtime: there each word stands for itself.
        found["pixel"] = torch.sigmoid(scale * (patches @ tags.transpose(1, 2)).amax(1)[0] + model.logit_bias.item()).cpu().numpy()
    return found


def selection(shown: np.ndarray, score: np.ndarray, threshold: float = 0.5) -> dict[str, float]:
    """Precision, recall, F1, accuracy at the threshold and average precision over all ranks, percent."""
    chosen = score >= threshold
    right = (chosen & shown).sum()
    precision, recall = right / max(chosen.sum(), 1), right / max(shown.sum(), 1)
    order = np.argsort(-score, kind="stable")
    ranked = shown[order]
    # Words of one score rank together.
    last = np.append(np.diff(score[order]) != 0, True)
    seen, hit = np.arange(1, len(ranked) + 1)[last], np.cumsum(ranked)[last]
    steps = np.diff(hit, prepend=0)
    values = {
        "precision": precision,
        "recall": recall,
        "f1": 2 * right / max(chosen.sum() + shown.sum(), 1),
        "accuracy": (chosen == shown).mean(),
        "ap": (steps * hit / seen).sum() / max(shown.sum(), 1),
    }
    return {name: 100 * float(value) for name, value in values.items()}


@dataclass
class Tally:
    """What a model does with the words of labelled photos' captions."""

    shown: list[bool] = field(default_factory=list)
    by_kind: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    ious: list[np.ndarray] = field(default_factory=list)  # one a caption that tells of something: IoU at each threshold

    def summary(self) -> dict:
        shown = np.array(self.shown)
        found = {kind: selection(shown, np.array(values)) for kind, values in self.by_kind.items()}
        mean = np.mean(self.ious, axis=0) if self.ious else np.zeros(len(THRESHOLDS))
        return {
            "selection": found,
            "caption_iou": 100 * float(mean.max()),
            "caption_threshold": THRESHOLDS[int(mean.argmax())],
            "words": len(shown),
            "shown": int(shown.sum()),
            "captions": len(self.ious),
        }


@torch.no_grad()
def measure(model: Model, bank: WordBank, photos: list[Photo], short_px: int) -> dict:
    """Tag selection and CaptionIoU.

    A caption's mask is the union of the min-max normalised maps of the words that the pixel score selects, from a threshold on; the best of
    19 thresholds is reported, one for all captions.
    """
    was = model.training
    model.eval()
    tally = Tally()
    for photo in photos:
        patches, whole, grid = embed(model, photo.labelled.path, short_px)
        truth = photo.labelled.labels()[2::4, 2::4]
        for told in photo.told:
            found = scores(model, bank, patches, whole, told.caption, told.words)
            tally.shown += told.shown
            for kind, values in found.items():
                tally.by_kind[kind] += values.tolist()
            if told.classes:
                maps = ttd.min_max(patches @ bank.words(told.words).T)  # [1, patches, words]
                pixel = torch.from_numpy(found["pixel"])[None]
                chosen = ttd.select(pixel, torch.ones_like(pixel, dtype=torch.bool), 0.5).to(maps.device)
                union = (maps * chosen[:, None]).amax(-1).view(1, 1, *grid)
                union = F.interpolate(union, size=truth.shape, mode="bilinear", align_corners=False)[0, 0].cpu().numpy()
                known, wanted = truth != 255, np.isin(truth, told.classes)
                cut = [union >= threshold for threshold in THRESHOLDS]
                tally.ious.append(np.array([(mask & wanted & known).sum() / max(((mask | wanted) & known).sum(), 1) for mask in cut]))
    model.train(was)
    return tally.summary()


@dataclass
class Competition:
    """How a caption's words share the softmax of the picture's own embedding."""

    top: list[float] = field(default_factory=list)  # share of the first word
    words: list[int] = field(default_factory=list)
    effective: list[float] = field(default_factory=list)  # exp of the entropy: as many words as share alike
    unreadable: int = 0  # photos that were passed over

    def summary(self) -> dict[str, float]:
        top, words, effective = np.array(self.top), np.array(self.words), np.array(self.effective)
        return {
            "captions": len(top),
            "top_share": 100 * float(top.mean()),
            "even_share": 100 * float((1 / words).mean()),
            "over_half": 100 * float((top > 0.5).mean()),
            "effective_words": float(effective.mean()),
            "words": float(words.mean()),
        }


@torch.no_grad()
def competition(model: Model, bank: WordBank, pairs: list[Pair], short_px: int, kind: str = "image", scale: float = 0.0) -> Competition:
    """Of every photo's first caption that has two words and more."""
    was = model.training
    model.eval()
    found = Competition()
    for pair in pairs:
        text, words = next(((text, words) for text in pair.captions if len(words := split_words(text)) >= 2), ("", []))
        if not words:
            continue
        try:
            patches, whole, _ = embed(model, pair.path, short_px)
        except DataError:
            found.unreadable += 1
            continue
        tags = bank.words(words)[None]
        real = torch.ones(1, len(words), dtype=torch.bool, device=tags.device)
        share = ttd.tag_scores(kind, patches, whole, bank.fixed([text]), tags, real, scale or model.logit_scale.item())[0]
        found.top.append(share.max().item())
        found.words.append(len(words))
        found.effective.append(torch.exp(-(share * share.clamp(min=1e-12).log()).sum()).item())
    model.train(was)
    return found
