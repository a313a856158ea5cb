"""Fits scale, bias and thresholds on held-out photos."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from . import evaluate
from .data import coco_classes, patch_targets, read_coco
from .towers import Model
from .words import WordBank, class_bank

# A person types a handful of words, so an absent word is weighed as if there were this many to each present one.
ABSENT_PER_PRESENT = 4.0


def fit_sigmoid(similarity: Tensor, present: Tensor, scale: float, bias: float) -> tuple[float, float]:
    """Logistic regression of present on similarity (both flat), by Newton-like steps of L-BFGS."""
    yes = present.float()
    weight = yes / yes.sum().clamp(min=1) + ABSENT_PER_PRESENT * (1 - yes) / (1 - yes).sum().clamp(min=1)
    values = torch.tensor([scale, bias], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([values], max_iter=200, line_search_fn="strong_wolfe")
    x, y, w = similarity.double(), yes.double(), weight.double()

    def closure():
        optimizer.zero_grad()
        loss = (w * torch.nn.functional.binary_cross_entropy_with_logits(values[0] * x + values[1], y, reduction="none")).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return values[0].item(), values[1].item()


@torch.no_grad()
def held_out_scores(encoder: evaluate.Encoder, bank: WordBank, root: Path, held_out: frozenset[str]):
    """Per panoptic photo: cosines [classes, rows, cols], class shares [patches, classes], ignored shares [patches]."""
    classes = coco_classes(root)
    texts = class_bank(bank, classes.words)
    patch_px = encoder.tower.config.patch_px
    for photo in read_coco(root, held_out.__contains__, objects=False):
        similarity = encoder.similarity(photo, texts)
        rows, cols = similarity.shape[1:]
        labels = Image.fromarray(photo.labels()).resize((cols * patch_px, rows * patch_px), Image.Resampling.NEAREST)
        shares, _, ignored = patch_targets(np.asarray(labels)[None], len(classes.names), patch_px)
        yield similarity, shares[0], ignored[0]


def calibrate(model: Model, bank: WordBank, root: Path, held_out: frozenset[str], short_px: int) -> dict:
    """`logit_scale`, `logit_bias`, `background` and `tag_threshold`; the model itself stays as it is.

    The scale comes from a logistic fit. The bias then puts the best background threshold of the VOC names at 0.5,
    so that a score above a half means "rather this word than nothing". The default threshold is the one with the greatest sum
    of two mIoU: of the VOC names, where what has none of them must stay blank, and of all names that a photo shows, where
    nothing may. Words for scenery score less than words for things, so it lies lower.
    """
    encoder = evaluate.Encoder(model, short_px)
    cosines, shown, best, held = [], [], [], []
    for similarity, shares, ignored in held_out_scores(encoder, bank, root, held_out):
        clear = (shares.amax(-1) > 0.9) & (ignored < 0.1)
        cosines.append(similarity[:, clear.view(similarity.shape[1:])].T.flatten())
        shown.append((shares[clear] > 0.9).flatten())
        best.append(similarity.flatten(1).amax(1))
        held.append(shares.sum(0) >= 1.0)
    scale, bias = fit_sigmoid(torch.cat(cosines), torch.cat(shown), model.logit_scale.item(), model.logit_bias.item())
    present, things = evaluate.tasks(root, held_out, ("present", "voc21"))
    threshold = evaluate.measure(bank, things, encoder, (scale, bias), stride=2)["threshold"]
    bias -= math.log(threshold / (1 - threshold))
    blank, full = (evaluate.by_threshold(bank, task, encoder, (scale, bias), stride=4) for task in (things, evaluate.with_blank(present)))
    background = max(blank, key=lambda threshold: blank[threshold]["miou"] + full[threshold]["miou"])
    scores, truth = torch.sigmoid(scale * torch.stack(best) + bias), torch.stack(held)
    f1 = {}
    for threshold in evaluate.THRESHOLDS:
        chosen = scores >= threshold
        f1[threshold] = (2 * (chosen & truth).sum() / (chosen.sum() + truth.sum()).clamp(min=1)).item()
    return {"logit_scale": scale, "logit_bias": bias, "background": background, "tag_threshold": max(f1, key=f1.get)}
