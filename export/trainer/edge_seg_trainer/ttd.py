"""Text-Tag Self-Distillation (Jo et al., ECCV 2024, arXiv 2404.00384): scores, selection, targets, losses.

Pure functions over unit-norm embeddings. Shapes: `patches` [batch, patches, dim], `tags` [batch, tags, dim] with
`real` [batch, tags] true where a tag is no padding, `caption` and `picture` [batch, dim]. Where the paper leaves a
choice open the function takes it as an argument, and the recipe names it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SELECTIONS = ("pixel", "image", "text", "image-text", "words")
NORMALISATIONS = ("softmax", "cosine", "min-max")
DISTANCES = ("mse", "l1", "bce")
STUDENTS = ("min-max", "sigmoid")


def _over_tags(similarity: Tensor, real: Tensor, scale: float, normalisation: str) -> Tensor:
    """Brings cosines [batch, ..., tags] into scores; padding gets 0."""
    shown = real.view(real.shape[0], *[1] * (similarity.dim() - 2), real.shape[1])
    if normalisation == "softmax":
        return (scale * similarity).masked_fill(~shown, float("-inf")).softmax(-1).masked_fill(~shown, 0.0)
    if normalisation == "cosine":
        return similarity.masked_fill(~shown, 0.0)
    if normalisation == "min-max":
        low = similarity.masked_fill(~shown, float("inf")).amin(-1, keepdim=True)
        high = similarity.masked_fill(~shown, float("-inf")).amax(-1, keepdim=True)
        return ((similarity - low) / (high - low).clamp(min=1e-6)).masked_fill(~shown, 0.0)
    raise ValueError(f"normalisation {normalisation!r}: expected one of {', '.join(NORMALISATIONS)}")


def image_scores(picture: Tensor, tags: Tensor, real: Tensor, scale: float, normalisation: str = "softmax") -> Tensor:
    """Eq. 1: competition of the tags for the picture's global embedding, [batch, tags]."""
    return _over_tags(torch.einsum("bd,bkd->bk", picture, tags), real, scale, normalisation)


def pixel_scores(patches: Tensor, tags: Tensor, real: Tensor, scale: float, normalisation: str = "softmax") -> Tensor:
    """Eq. 2: each tag's best patch, after the tags competed for every patch, [batch, tags]."""
    return _over_tags(torch.einsum("bpd,bkd->bpk", patches, tags), real, scale, normalisation).amax(1)


def text_scores(caption: Tensor, tags: Tensor, real: Tensor, scale: float, normalisation: str = "softmax") -> Tensor:
    """Eq. 7: competition of the tags for the caption, [batch, tags]."""
    return _over_tags(torch.einsum("bd,bkd->bk", caption, tags), real, scale, normalisation)


def tag_scores(
    kind: str,
    patches: Tensor,
    picture: Tensor,
    caption: Tensor,
    tags: Tensor,
    real: Tensor,
    scale: float,
    normalisation: str = "softmax",
) -> Tensor:
    """Scores of a selection kind, [batch, tags]; `words` takes every word of the caption."""
    if kind == "pixel":
        return pixel_scores(patches, tags, real, scale, normalisation)
    if kind == "image":
        return image_scores(picture, tags, real, scale, normalisation)
    if kind == "text":
        return text_scores(caption, tags, real, scale, normalisation)
    if kind == "image-text":
        both = (image_scores(picture, tags, real, scale, normalisation), text_scores(caption, tags, real, scale, normalisation))
        return (both[0] + both[1]) / 2
    if kind == "words":
        return real.to(patches.dtype)
    raise ValueError(f"selection {kind!r}: expected one of {', '.join(SELECTIONS)}")


def select(scores: Tensor, real: Tensor, threshold: float) -> Tensor:
    """Which tags are held to be in the picture, [batch, tags] bool; the best one always is."""
    best = F.one_hot(scores.masked_fill(~real, float("-inf")).argmax(-1), scores.shape[-1]).bool()
    return ((scores >= threshold) | best) & real


def min_max(maps: Tensor) -> Tensor:
    """Each map over its patches into 0..1; maps [batch, patches, ...]."""
    low, high = maps.amin(1, keepdim=True), maps.amax(1, keepdim=True)
    return (maps - low) / (high - low).clamp(min=1e-6)


def targets(tag_maps: Tensor, selected: Tensor) -> tuple[Tensor, Tensor]:
    """M [batch, patches, tags] and its union U [batch, patches], without gradient.

    M_i is the min-max normalised heat map of a selected tag and zero for the others; U is the maximum over i.
    """
    with torch.no_grad():
        maps = min_max(tag_maps) * selected.unsqueeze(1).to(tag_maps.dtype)
        return maps, maps.amax(-1)


def student(maps: Tensor, kind: str, scale: Tensor | float, bias: Tensor | float) -> Tensor:
    """Brings the learner's heat maps [batch, patches, ...] into 0..1, with gradient."""
    if kind == "min-max":
        return min_max(maps)
    if kind == "sigmoid":
        return torch.sigmoid(scale * maps + bias)
    raise ValueError(f"student {kind!r}: expected one of {', '.join(STUDENTS)}")


def distance(found: Tensor, wanted: Tensor, kind: str) -> Tensor:
    """Elementwise distance of two maps in 0..1."""
    if kind == "mse":
        return (found - wanted).square()
    if kind == "l1":
        return (found - wanted).abs()
    if kind == "bce":
        return F.binary_cross_entropy(found.clamp(1e-6, 1 - 1e-6), wanted, reduction="none")
    raise ValueError(f"distance {kind!r}: expected one of {', '.join(DISTANCES)}")


def losses(
    patches: Tensor,
    caption: Tensor,
    tags: Tensor,
    real: Tensor,
    selected: Tensor,
    distance_kind: str = "mse",
    student_kind: str = "min-max",
    scale: Tensor | float = 20.0,
    bias: Tensor | float = -6.0,
) -> tuple[Tensor, Tensor]:
    """L_distill (Eq. 4) and L_tag (Eq. 5), each the mean over the batch."""
    caption_map = torch.einsum("bpd,bd->bp", patches, caption)
    tag_maps = torch.einsum("bpd,bkd->bpk", patches, tags)
    wanted, union = targets(tag_maps, selected)
    distill = distance(student(caption_map, student_kind, scale, bias), union, distance_kind).mean()
    each = distance(student(tag_maps, student_kind, scale, bias), wanted, distance_kind).mean(1)
    weight = real.to(each.dtype)
    tag = ((each * weight).sum(1) / weight.sum(1).clamp(min=1)).mean()
    return distill, tag
