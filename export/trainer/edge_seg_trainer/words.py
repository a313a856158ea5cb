"""Text embeddings for training: tokenises, encodes, remembers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from .config import TowerError
from .towers import TextTower


class WordBank:
    """Unit-norm text embeddings of a tower; cached while the tower is frozen."""

    def __init__(self, tower: TextTower, tokenizer: Path, context: int = 64, pad_token: int = 0, templates: tuple[str, ...] = ("{}",)):
        self.tower = tower
        self.context, self.pad_token, self.templates = context, pad_token, templates
        try:
            self.tokenizer = Tokenizer.from_file(str(tokenizer))
        except Exception as error:  # it raises nothing more special
            raise TowerError(f"{tokenizer}: expected a tokenizer.json, found {error}") from error
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

    def words(self, texts: list[str], in_templates: bool = True, learning: bool = False) -> Tensor:
        """[texts, dim], unit norm: each word in every template, averaged, as the runtime embeds it; captions are never put into templates.

        `learning` embeds afresh, with gradient. Without `in_templates` words are embedded as they are.
        """
        embed = self.encode if learning else self.fixed
        if not in_templates or self.templates == ("{}",):
            return embed(texts)
        flat = [template.replace("{}", text) for text in texts for template in self.templates]
        return F.normalize(embed(flat).unflatten(0, (len(texts), len(self.templates))).mean(1), dim=-1)

    def forget(self) -> None:
        """After the tower has learnt."""
        self._known.clear()


@dataclass
class ClassBank:
    """The words of classes, one row a word; a class scores as its best word does."""

    rows: Tensor  # [words, dim], unit norm
    owner: Tensor  # [words], the class of each

    def __len__(self) -> int:
        return int(self.owner[-1]) + 1

    def best(self, similarity: Tensor) -> Tensor:
        """cos(word, ...) [words, ...] to cos(class, ...) [classes, ...]."""
        owner = self.owner.to(similarity.device).view(-1, *[1] * (similarity.dim() - 1)).expand_as(similarity)
        return similarity.new_full((len(self), *similarity.shape[1:]), -1.0).scatter_reduce(0, owner, similarity, "amax")


def class_bank(bank: WordBank, words: list[list[str]], fresh: bool = False) -> ClassBank:
    """The bank of classes that each have some words. `fresh` passes by the cache, for a tower that is learning."""
    owner = torch.tensor([number for number, some in enumerate(words) for _ in some])
    return ClassBank(bank.words([word for some in words for word in some], learning=fresh), owner)
