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
    present: list[np.ndarray]


class SetsStage(Stage):
    """Crops of many sets in each step."""

    def __init__(self, stage: StageRecipe, around: Context):
        super().__init__(stage, around)
        if stage.learns == "head":
            raise RecipeError(f"stage {stage.name}: kind 'sets' draws its crops afresh: expected learns = 'all' or 'lora'")
        lists, vocabulary = taxonomies(around.root)
        umbrellas = read_umbrellas(around.recipes / stage.umbrellas) if stage.umbrellas else []
        self.sources: list[Source] = []
        shares = []
        for entry in stage.sets:
            name, _, share = entry.partition("=")
            shares.append(float(share))
            if name.startswith(TEACHERS):
                from .teachers import taught_set

                photos = taught_set(around.root, around.work, name.removeprefix(TEACHERS), around.seed, around.say)
            elif name.startswith(SCENERY):
                from .teachers import scenery_set

                most = around.photos_at_most
                photos = scenery_set(around.root, around.work, name.removeprefix(SCENERY), around.held_out, around.say, most)
            else:
                photos = read_set(around.root, name, around.held_out)
            if not photos.train:
                raise DataError(f"{name}: no photo to train on: all {len(photos.held)} are held out")
            train = licensed(around.root / "seg" / name, photos.train, around.licences)
            photos = replace(photos, train=self.few(train))
            asker = Asker(photos, umbrellas, vocabulary, lists, self.words)
            counts = np.zeros(len(photos.words))
            present = []
            for photo in photos.train:
                found = np.bincount(photo.labels().ravel(), minlength=256)
                counts += found[: len(counts)]
                present.append(found[: len(counts)] > 0)
            frequency = np.maximum(counts, counts.sum() * 1e-4) / counts.sum()
            weight = frequency**-stage.balance
            weight *= 1 / (weight * frequency).sum()
            self.sources.append(Source(photos, asker, torch.tensor(weight, dtype=torch.float32), present))
            around.say(f"{name}: {len(photos.train)} photos, {len(photos.words)} classes, {len(photos.held)} held out")
        self.shares = np.array(shares) / sum(shares)
        self.none = nn.Parameter((-self.model.logit_bias / self.model.logit_scale).detach().clone())

    def own_parameters(self) -> list[nn.Parameter]:
        return [self.none]

    def load(self, part: Part) -> dict:
        stage = self.stage
        rng = draws(self.around.seed, stage.name, part.step)
        own = part.of(stage.batch)
        # Systematic draws: each batch holds the sets as nearly in their shares as its size allows.
        places = (np.arange(stage.batch) + rng.random()) / stage.batch
        chosen = np.searchsorted(np.cumsum(self.shares), places, side="right").clip(max=len(self.shares) - 1)
        views, questions, sources = [], [], []
        for number, seeded in list(zip(chosen, rng.spawn(stage.batch)))[own]:
            source = self.sources[number]
            row = int(seeded.integers(len(source.photos.train)))
            photo = source.photos.train[row]
            views.append(random_crop(photo.image(), photo.labels(), stage.side_px, stage.zoom, seeded))
            labels = views[-1][1]
            present = np.bincount(labels.ravel(), minlength=256)[: len(source.photos.words)] > 0
            questions.append(source.asker.draw(present, seeded))
            sources.append(int(number))
        return {
            "pictures": bytes_of([image for image, _ in views]), "labels": [labels for _, labels in views], "questions": questions, "sources": sources,
        }  # fmt: skip

    def loss(self, batch: dict) -> tuple[Tensor, dict[str, float]]:
        stage, device, model = self.stage, self.model.device, self.model
        with self.around.autocast():
            patches = model.image(self.pixels(batch["pictures"]))
        patches = F.normalize(patches.float(), dim=-1)
        total, weights, right = patches.new_zeros(()), 0.0, []
        for own, labels, question, number in zip(patches, batch["labels"], batch["questions"], batch["sources"]):
            source = self.sources[number]
            shares, other, _ = (
                part[0].to(device) for part in patch_targets(labels[None], len(source.photos.words), model.image.config.patch_px)
            )
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
