"""Text embeddings for training: tokenises, encodes, remembers."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from .towers import TextTower


class WordBank:
    """Unit-norm text embeddings of a tower; cached while the tower is frozen."""

    def __init__(self, tower: TextTower, tokenizer: Path, context: int = 64, pad_token: int = 0, templates: tuple[str, ...] = ("{}",)):
        self.tower = tower
        self.context, self.pad_token, self.templates = context, pad_token, templates
        self.tokenizer = Tokenizer.from_file(str(tokenizer))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(context)
        self._known: dict[str, Tensor] = {}

    def tokens(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """ids and mask, [texts, longest]."""
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [self.pad_token] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        return ids, mask

    def encode(self, texts: list[str]) -> Tensor:
        """[texts, dim], unit norm, with gradient."""
        device = self.tower.word_embeddings.device
        return F.normalize(self.tower(*(part.to(device) for part in self.tokens(texts))).float(), dim=-1)

    @torch.no_grad()
    def fixed(self, texts: list[str]) -> Tensor:
        """The same from the cache, without gradient."""
        fresh = sorted({text for text in texts if text not in self._known}, key=len)
        for start in range(0, len(fresh), 256):
            part = fresh[start : start + 256]
            for text, row in zip(part, self.encode(part)):
                self._known[text] = row.clone()
        return torch.stack([self._known[text] for text in texts])

    def forget(self) -> None:
        """After the tower has learnt."""
        self._known.clear()


def class_bank(bank: WordBank, words: list[list[str]], fresh: bool = False) -> Tensor:
    """One unit-norm embedding a class: the mean of its words' embeddings, each in every template, [classes, dim].

    `fresh` passes by the cache, for a tower that is learning.
    """
    embed = bank.encode if fresh else bank.fixed
    sentences = [[template.replace("{}", name) for name in names for template in bank.templates] for names in words]
    return torch.stack([F.normalize(embed(some).mean(0), dim=0) for some in sentences])
