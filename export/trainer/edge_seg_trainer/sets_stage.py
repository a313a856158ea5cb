"""Labelled photos of many sets at once, each pixel against the words that its own set can answer for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .data import DataError, patch_targets, random_crop
from .labelled_sets import TAXONOMIES, LabelledSet
from .lexicon import warn
from .licences import licensed
from .pairs import draws
from .questions import Asker, Question, read_umbrellas, taxonomy
from .recipe import StageRecipe
from .schema import RecipeError
from .sets import read_set
from .stages import Context, Part, Stage
from .towers import bytes_of

TEACHERS, SCENERY = "teachers:", "scenery:"
LVIS = "lvis_1203_with_prompt_eng"
SYNONYMS = ("coco_panoptic_with_prompt_eng", "ade20k_150_with_prompt_eng", LVIS, "pascal_ctx_59_with_prompt_eng")
VOCABULARIES = (LVIS, "ade20k_847_with_prompt_eng", "pascal_ctx_459_with_prompt_eng")


def taxonomies(root: Path) -> tuple[list[list[str]], list[str]]:
    """Lists of synonyms, and a large vocabulary of names; nothing where the data has none."""
    folder = root / TAXONOMIES
    if not folder.is_dir():
        return [], []
    lists = [line for name in SYNONYMS for line in taxonomy(folder / f"{name}.txt")]
    names = dict.fromkeys(line[0] for name in VOCABULARIES for line in taxonomy(folder / f"{name}.txt"))
    return lists, list(names)


def pixel_loss(
    similarity: Tensor,
    shares: Tensor,
    other: Tensor,
    question: Question,
    weight: Tensor,
    scale: Tensor,
    bias: Tensor,
    none: Tensor,
    yes_no: float,
) -> tuple[Tensor, Tensor]:
    """One photo's patches against its question: the sum of the losses, and of the weights that they count with.

    similarity [patches, k]: cos(patch, word); shares [patches, classes] and other [patches] as of `patch_targets`; `weight` [classes].
    Where a class is labelled, a softmax of the words that compete there and of `none`, a cosine, picks the one that has to win;
    plus `yes_no` times the sigmoid of every word of which something is told there.
    """
    k = similarity.shape[1]
    every = torch.cat([similarity, none.expand(len(similarity), 1)], 1) * scale
    parts = torch.cat([shares * weight, other[:, None]], 1)  # [patches, classes + 1]
    choice = similarity.new_zeros(())
    for row in (parts.sum(0) > 0).nonzero()[:, 0].tolist():
        if row + 1 == parts.shape[1] and not question.competes[row, :k].any():
            continue
        winner = int(question.wins[row])
        competes = question.competes[row].clone()
        competes[winner] = True
        loss = every[:, competes].logsumexp(1) - every[:, winner]
        choice = choice + (parts[:, row] * loss).sum()
    told_parts = torch.cat([shares, other[:, None]], 1)
    known, right = told_parts @ question.told, told_parts @ (question.told * question.yes)
    pairs = F.binary_cross_entropy_with_logits(scale * similarity + bias, right / known.clamp(min=1e-4).clamp(min=right), reduction="none")
    return choice + yes_no * (pairs * known).sum(), parts.sum()


@dataclass
class Source:
    """A set, its questions, and how often it is drawn."""

    photos: LabelledSet
    asker: Asker
    weight: Tensor  # [classes], one on the mean labelled patch
    until: np.ndarray | None  # [photos]: running sum of how often each is drawn; none: all alike


def drawn_by_rarity(present: np.ndarray, rarity: float) -> np.ndarray:
    """How often each photo is drawn, sum 1: as its rarest class is shown, to the minus `rarity`. present [photos, classes] bool."""
    shown = present.sum(0).clip(min=1) / len(present)
    often = np.where(present, shown**-rarity, 1.0).max(1, initial=1.0)
    return often / often.sum()


class SetsStage(Stage):
    """Crops of many sets in each step."""

    def __init__(self, stage: StageRecipe, around: Context):
        super().__init__(stage, around)
        if stage.learns == "head":
            raise RecipeError(f"stage {stage.name}: kind 'sets' draws its crops afresh: expected learns = 'all' or 'lora'")
        lists, vocabulary = taxonomies(around.root)
        umbrellas = read_umbrellas(around.recipes / stage.umbrellas) if stage.umbrellas else []
        read, shares = [], []
        for entry in stage.sets:
            name, _, share = entry.partition("=")
            shares.append(float(share))
            photos = self._read(name)
            warn(name, photos.names, around.say)
            if not photos.train:
                raise DataError(f"{name}: no photo to train on: all {len(photos.held)} are held out")
            train = licensed(around.root / "seg" / name, photos.train, around.licences)
            read.append(replace(photos, train=self.few(train)))
        names = tuple(dict.fromkeys(name for photos in read for name in photos.names))
        self.sources = [self._source(photos, Asker(photos, umbrellas, vocabulary, lists, self.words, neighbours=names)) for photos in read]
        self.shares = np.array(shares) / sum(shares)
        self.none = nn.Parameter((-self.model.logit_bias / self.model.logit_scale).detach().clone())

    def _read(self, name: str) -> LabelledSet:
        around = self.around
        if name.startswith(TEACHERS):
            from .teachers import taught_set

            return taught_set(around.root, around.work, name.removeprefix(TEACHERS), around.seed, around.say)
        if name.startswith(SCENERY):
            from .teachers import scenery_set

            return scenery_set(around.root, around.work, name.removeprefix(SCENERY), around.held_out, around.say, around.photos_at_most)
        return read_set(around.root, name, around.held_out)

    def _source(self, photos: LabelledSet, asker: Asker) -> Source:
        stage, classes = self.stage, len(photos.words)
        found = np.array([np.bincount(photo.labels().ravel(), minlength=256)[:classes] for photo in photos.train])  # [photos, classes]
        often = drawn_by_rarity(found > 0, stage.rarity)
        counts = (found * often[:, None] * len(found)).sum(0)
        frequency = np.maximum(counts, counts.sum() * 1e-4) / counts.sum()
        weight = frequency**-stage.balance
        weight *= 1 / (weight * frequency).sum()
        self.around.say(f"{photos.name}: {len(photos.train)} photos, {classes} classes, {len(photos.held)} held out")
        return Source(photos, asker, torch.tensor(weight, dtype=torch.float32), np.cumsum(often) if stage.rarity else None)

    def own_parameters(self) -> list[nn.Parameter]:
        return [self.none]

    def load(self, part: Part) -> dict:
        stage = self.stage
        rng = draws(self.around.seed, stage.name, part.step)
        own = part.of(stage.batch)
        # Systematic draws: each batch holds the sets as nearly in their shares as its size allows.
        places = (np.arange(stage.batch) + rng.random()) / stage.batch
        chosen = np.searchsorted(np.cumsum(self.shares), places, side="right").clip(max=len(self.shares) - 1)
        views, questions, sources, targets = [], [], [], []
        for number, seeded in list(zip(chosen, rng.spawn(stage.batch)))[own]:
            source = self.sources[number]
            if source.until is None:
                row = int(seeded.integers(len(source.photos.train)))
            else:
                row = min(int(np.searchsorted(source.until, seeded.random(), side="right")), len(source.photos.train) - 1)
            photo = source.photos.train[row]
            view, labels = random_crop(photo.image(), photo.labels(), stage.side_px, stage.zoom, seeded)
            views.append(view)
            present = np.bincount(labels.ravel(), minlength=256)[: len(source.photos.words)] > 0
            shares, other, _ = patch_targets(labels[None], len(source.photos.words), self.model.image.config.patch_px)
            targets.append((shares[0], other[0]))
            questions.append(source.asker.draw(present, seeded))
            sources.append(int(number))
        return {"pictures": bytes_of(views), "targets": targets, "questions": questions, "sources": sources}

    def loss(self, batch: dict) -> tuple[Tensor, dict[str, float]]:
        stage, device, model = self.stage, self.model.device, self.model
        with self.around.autocast():
            patches = model.image(self.pixels(batch["pictures"]))
        patches = F.normalize(patches.float(), dim=-1)
        total, weights, right = patches.new_zeros(()), 0.0, []
        for own, targets, question, number in zip(patches, batch["targets"], batch["questions"], batch["sources"]):
            source = self.sources[number]
            shares, other = (part.to(device) for part in targets)
            similarity = own @ self.words(question.words).T
            loss, weight = pixel_loss(
                similarity, shares, other, question, source.weight.to(device), model.logit_scale, model.logit_bias, self.none, stage.yes_no
            )
            total, weights = total + loss, weights + weight.item()
            with torch.no_grad():
                clear = shares.amax(-1) > 0.5
                if clear.any():
                    winner = question.wins[shares.argmax(-1)][clear]
                    found = torch.cat([similarity, self.none.expand(len(similarity), 1)], 1).argmax(-1)[clear]
                    right.append((found == winner).float().mean().item())
        loss = total / max(weights, 1.0)
        return loss, {"right": sum(right) / max(len(right), 1), "none": self.none.item(), "scale": model.logit_scale.item()}
