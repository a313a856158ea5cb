"""Contrast of pictures with captions and words, and the loss on labelled patches.

Every score pools over patches after comparing each with the text, so what is learnt is where, not only whether.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def pooled(patches: Tensor, texts: Tensor, sharpness: float) -> Tensor:
    """Soft maximum over patches of cos(patch, text): [batch, patches, dim], [texts, dim] to [batch, texts].

    log-mean-exp: `sharpness` 0 would be the mean, infinity the maximum.
    """
    similarity = torch.einsum("bpd,kd->bpk", patches, texts)
    return (torch.logsumexp(sharpness * similarity, 1) - math.log(similarity.shape[1])) / sharpness


def caption_contrast(scores: Tensor, scale: Tensor) -> Tensor:
    """Symmetric InfoNCE of pooled scores [batch, batch]; row n belongs to column n."""
    own = torch.arange(len(scores))
    return (F.cross_entropy(scale * scores, own) + F.cross_entropy(scale * scores.T, own)) / 2


def word_contrast(scores: Tensor, present: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Pooled scores [batch, words] against which words a picture's captions hold (bool, the same shape).

    Each word picks its pictures and each picture its words (softmax with several right answers), and the
    sigmoid of each pair learns to be a yes or a no, which is what lets an absent word score low.
    """
    logits = scale * scores
    share = present.to(scores.dtype)
    by_word = -(logits.log_softmax(0) * share).sum(0) / share.sum(0).clamp(min=1)
    by_picture = -(logits.log_softmax(1) * share).sum(1) / share.sum(1).clamp(min=1)
    pairs = F.binary_cross_entropy_with_logits(logits + bias, share, reduction="none")
    yes = (pairs * share).sum() / share.sum().clamp(min=1)
    no = (pairs * (1 - share)).sum() / (1 - share).sum().clamp(min=1)
    used = present.any(0)
    return by_word[used].mean() + by_picture[present.any(1)].mean() + yes + no


def dense_loss(
    similarity: Tensor,
    shares: Tensor,
    other: Tensor,
    ignored: Tensor,
    searched: Tensor,
    scale: Tensor,
    bias: Tensor,
    class_weight: Tensor,
    yes_no: float,
    none: Tensor | None = None,
) -> Tensor:
    """Patches against class names.

    similarity, shares [batch, patches, classes]; other, ignored [batch, patches] (see data.patch_targets);
    `searched` [classes] bool: the classes whose absence `other` proves; `class_weight` [classes].
    Softmax over the classes where a patch has a label, plus `yes_no` times the sigmoid of every class. `none` is the logit
    of one more class, the one of `other` patches, where only searched ones compete.
    """
    logits = scale * similarity
    weighted = shares * class_weight
    if none is None:
        choice = -(weighted * logits.log_softmax(-1)).sum() / weighted.sum().clamp(min=1)
    else:
        every = torch.cat([logits, none.expand_as(logits[..., :1])], -1)
        blank = torch.logsumexp(every[..., F.pad(searched, (0, 1), value=True)], -1) - none
        told = -(weighted * every.log_softmax(-1)[..., :-1]).sum() + (other * blank).sum()
        choice = told / (weighted.sum() + other.sum()).clamp(min=1)
    known = (1 - ignored).unsqueeze(-1) - other.unsqueeze(-1) * (~searched).to(other.dtype)
    pairs = F.binary_cross_entropy_with_logits(logits + bias, shares / known.clamp(min=1e-4).clamp(min=shares), reduction="none")
    sigmoid = (pairs * known).sum() / (1 - ignored).sum().clamp(min=1)
    return choice + yes_no * sigmoid
