"""Measures a model on labelled photos: mIoU and pixel accuracy."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .data import IGNORE, OTHER, DataError, Labelled, coco_classes, grid_size, read_coco
from .data import _labelled as labelled_folder
from .sets import OBJECTS, PANOPTIC, read_set
from .towers import Model, frozen_dtype
from .words import ClassBank, WordBank, class_bank


THRESHOLDS = tuple(n / 20 for n in range(1, 20)) + (0.97, 0.98, 0.99)
UNSEEN_SETS = ("camvid", "ade150")
HELD_OUT = ("idx133", "present", "voc21")  # of COCO's held-out photos


class Encoder:
    """Patch embeddings of photos, each encoded once whatever the number of word lists it is compared with."""

    def __init__(self, model: Model, short_px: int, number: torch.dtype | None = None):
        self.tower = copy.deepcopy(model.image).to(number or frozen_dtype(model.device)).eval()
        self.pre, self.short_px, self.device = model.preprocess, short_px, model.device
        self._known: dict[Path, tuple[Tensor, int, int]] = {}

    @torch.no_grad()
    def patches(self, photo: Labelled) -> tuple[Tensor, int, int]:
        """Unit-norm patch embeddings [patches, dim] on the grid that fits the picture, its rows and columns."""
        if photo.path not in self._known:
            image, patch_px = photo.image(), self.tower.config.patch_px
            width, height = grid_size(*image.size, self.short_px, patch_px, self.pre.fit)
            pixels = self.pre.pixels([image.resize((width, height), self.pre.resampling())]).to(self.device)
            patches = F.normalize(self.tower(pixels.to(self.tower.patch.weight.dtype)).float()[0], dim=-1).cpu()
            self._known[photo.path] = (
                patches if self.tower.patch.weight.dtype == torch.float32 else patches.half(),
                height // patch_px,
                width // patch_px,
            )
        patches, rows, cols = self._known[photo.path]
        return patches.float(), rows, cols

    def similarity(self, photo: Labelled, bank: ClassBank) -> Tensor:
        """cos(patch, class), that of the class's best word: [classes, rows, cols]."""
        patches, rows, cols = self.patches(photo)
        return bank.best((patches @ bank.rows.cpu().T).T).reshape(len(bank), rows, cols)


@dataclass
class Tally:
    """Counts of (true, found) class pairs."""

    counts: np.ndarray  # [classes, classes]

    @classmethod
    def empty(cls, classes: int) -> Tally:
        return cls(np.zeros((classes, classes), np.int64))

    def add(self, truth: np.ndarray, found: np.ndarray) -> None:
        known = truth < len(self.counts)
        joined = truth[known].astype(np.int64) * len(self.counts) + found[known]
        self.counts += np.bincount(joined, minlength=self.counts.size).reshape(self.counts.shape)

    def summary(self) -> dict[str, float]:
        """Percent. mIoU is over the classes that the labels hold; `miou_union` counts a class that is only found too."""
        right = np.diag(self.counts).astype(float)
        truth, found = self.counts.sum(1), self.counts.sum(0)
        iou = right / np.maximum(truth + found - right, 1)
        return {
            "miou": 100 * float(iou[truth > 0].mean()),
            "miou_union": 100 * float(iou[(truth + found) > 0].mean()),
            "accuracy": 100 * float(right.sum() / max(truth.sum(), 1)),
        }


@dataclass
class Task:
    """A measure: photos, words a class, label table, and whether scores under a threshold are class 0."""

    name: str
    photos: list[Labelled]
    words: list[list[str]]
    present_only: bool = False
    background: bool = False


def _remap(photo: Labelled, table: np.ndarray) -> Labelled:
    return replace(photo, table=table[photo.table])


def _there(path: Path, names: Iterable[str]) -> Path:
    """The set's table of classes, or an error that says which measures need it."""
    if not path.is_file():
        raise DataError(
            f"{path} is missing: {', '.join(names)}: expected the labelled photos of seg/{path.parent.name} in the data's folder; put the set "
            "there, leave its measures out of `final_report`, or name sets of your own by `measure`"
        )
    return path


def tasks(root: Path, held_out: frozenset[str], only: tuple[str, ...] = ()) -> list[Task]:
    """The measures of a report. COCO ones are on the held-out photos alone."""
    of_coco = [name for name in HELD_OUT if not only or name in only]
    made = _coco_tasks(root, held_out, of_coco) if of_coco else []
    for name, folder, shift in (("camvid", "camvid_clip101", 0), ("ade150", "ade20k_dev400", 1)):
        if only and name not in only:
            continue
        place = root / "seg" / folder
        rows = [line.split("\t") for line in _there(place / "classes.txt", [name]).read_text().splitlines() if line.strip()]
        names = [[row[1]] for row in rows if "ignore" not in row[1] and "VOID" not in row[1]]
        table = np.full(256, IGNORE, np.uint8)
        table[shift : shift + len(names)] = np.arange(len(names))
        made.append(Task(name, labelled_folder(place, "labels", table, lambda _: True), names))
    return made


def _coco_tasks(root: Path, held_out: frozenset[str], names: list[str]) -> list[Task]:
    for folder in (PANOPTIC, OBJECTS):
        _there(root / "seg" / folder / "classes.tsv", names)
    classes = coco_classes(root)
    to_voc = np.full(256, IGNORE, np.uint8)
    to_voc[: len(classes.names)] = classes.index_to_voc
    to_voc[OTHER] = 0
    voc_words: list[list[str]] = [[] for _ in range(max(classes.index_to_voc))]
    for index, voc in enumerate(classes.index_to_voc):
        if voc:
            voc_words[voc - 1] += classes.words[index]
    panoptic = read_coco(root, held_out.__contains__, objects=False)
    every = read_coco(root, held_out.__contains__)
    every_task = [
        Task("idx133", panoptic, classes.words),
        Task("present", panoptic, classes.words, present_only=True),
        Task("voc21", [_remap(photo, to_voc) for photo in every], voc_words, background=True),
    ]
    return [task for task in every_task if task.name in names]


def own_tasks(root: Path, names: tuple[str, ...], trained: set[str], held_out: frozenset[str]) -> list[Task]:
    """A measure for each of the sets: of their held-out photos where a stage trains on the set, else of all."""
    made = []
    for name in names:
        found = read_set(root, name, held_out)
        photos = found.held if name in trained or name in (PANOPTIC, OBJECTS) else found.train + found.held
        if not photos:
            raise DataError(f"measure: {name}: no photo stays out of training; expected a split for it, or ten photos and more")
        background = any((photo.table == OTHER).any() for photo in photos)
        table = np.full(256, IGNORE, np.uint8)
        table[: len(found.words)] = np.arange(len(found.words)) + background
        if background:
            table[OTHER] = 0
        made.append(Task(name, [_remap(photo, table) for photo in photos], found.words, background=background))
    return made


def with_blank(task: Task) -> Task:
    """The task with a threshold, where a pixel that no word's score reaches is wrong."""
    shifted = np.where(np.arange(256) < len(task.words), np.arange(256) + 1, IGNORE).astype(np.uint8)
    return replace(task, photos=[_remap(photo, shifted) for photo in task.photos], background=True)


def measure(bank: WordBank, task: Task, encoder: Encoder, logit: tuple[float, float | None], stride: int = 1) -> dict:
    """One task's figures; with a background, those of the best threshold and which it was."""
    found = by_threshold(bank, task, encoder, logit, stride)
    best = max(found, key=lambda threshold: found[threshold]["miou"])
    return found[best] | ({"threshold": best} if task.background else {})


def levels(similarity: Tensor, logit: tuple[float, float | None]) -> tuple[Tensor, Tensor | None]:
    """The runtime's rule of scores: logits [classes, rows, cols], and the logarithm of the softmax's denominator [rows, cols].

    With a bias each class stands for itself, and its score is the sigmoid of its logit; without one, scores are a softmax over the classes.
    """
    scale, bias = logit
    logits = scale * similarity + (bias or 0.0)
    return logits, logits.logsumexp(0) if bias is None else None


@torch.no_grad()
def by_threshold(
    bank: WordBank,
    task: Task,
    encoder: Encoder,
    logit: tuple[float, float | None],
    stride: int = 1,
    thresholds: tuple[float, ...] = THRESHOLDS,
) -> dict[float, dict]:
    """One task's figures at each threshold; without a background there is none but 0.

    `logit` is the scale and bias that make a cosine a logit, or the scale alone. `stride` compares every n-th pixel of every n-th line:
    near enough for a check between steps.
    """
    words = class_bank(bank, task.words)
    thresholds = thresholds if task.background else (0.0,)
    tallies = [Tally.empty(len(words) + task.background) for _ in thresholds]
    for photo in task.photos:
        every = photo.labels()
        truth = every[stride // 2 :: stride, stride // 2 :: stride]
        found = encoder.similarity(photo, words)
        offered = torch.arange(len(words))
        if task.present_only:
            held = np.unique(every[(every >= task.background) & (every < len(words) + task.background)]).astype(np.int64) - task.background
            offered = torch.from_numpy(held)
            found = found[offered]
        if not len(offered):
            continue
        logits, total = levels(found, logit)
        planes = logits if total is None else torch.cat([logits, total[None]])
        planes = F.interpolate(planes[None], size=every.shape, mode="bilinear", align_corners=False)[
            0, :, stride // 2 :: stride, stride // 2 :: stride
        ]
        best, label = planes[: len(offered)].max(0)
        label = offered[label]
        if total is not None:
            best = best - planes[-1]
        for tally, threshold in zip(tallies, thresholds):
            if task.background:
                passes = best > (math.log(threshold) if total is not None else math.log(threshold / (1 - threshold)))
                tally.add(truth, torch.where(passes, label + 1, 0).numpy())
            else:
                tally.add(truth, label.numpy())
    return {threshold: tally.summary() for threshold, tally in zip(thresholds, tallies)}


def report(model: Model, bank: WordBank, wanted: list[Task], short_px: int, stride: int = 1, thin: int = 1) -> dict[str, dict]:
    """All figures by task name; `thin` takes every n-th photo of the sets outside COCO."""
    wanted = [replace(task, photos=task.photos[::thin]) if task.name in UNSEEN_SETS else task for task in wanted]
    encoder = Encoder(model, short_px)
    return {task.name: measure(bank, task, encoder, logit_of(model), stride) for task in wanted}


def logit_of(model: Model) -> tuple[float, float | None]:
    """What makes a cosine of this model a logit."""
    return model.logit_scale.item(), model.logit_bias.item() if model.calibrated else None


def one_line(figures: dict[str, dict]) -> str:
    """`idx133 12.7/51 ...`: mIoU / pixel accuracy in percent."""
    return "  ".join(f"{name} {row['miou']:.1f}/{row['accuracy']:.0f}" for name, row in figures.items())
