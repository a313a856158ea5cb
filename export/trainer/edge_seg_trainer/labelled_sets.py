"""Labelled photos, each set with words of its own, and which photos stay out of training."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from .data import DataError, Labelled

ROLES = ("thing", "stuff", "none", "ignore")
TAXONOMIES = Path("taxonomies/fcclip_apache2")  # lists of synonyms, below the data's folder


@dataclass(frozen=True)
class LabelledSet:
    """Photos against the words of their set. Labels are indices into `words`, `OTHER` or `IGNORE`."""

    name: str
    words: list[list[str]]  # a class's own name first, then its synonyms
    train: list[Labelled]
    held: list[Labelled]
    tables: tuple[Path, ...] = ()  # the files that its words are of
    open: frozenset[str] = frozenset()  # names of the classes that `OTHER` may show nevertheless

    @property
    def names(self) -> list[str]:
        return [words[0] for words in self.words]


def held_places(names: list[str], pattern: str = ".+", share: float = 0.1) -> set[str]:
    """The file names that stay out: whole places in the order of their hash, until a `share` of the files is reached."""
    places: dict[str, list[str]] = {}
    for name in names:
        found = re.match(pattern, Path(name).stem)
        if not found:
            raise DataError(f"{name}: expected a file name that {pattern!r} matches")
        places.setdefault(found[0], []).append(name)
    held: set[str] = set()
    for place in sorted(places, key=lambda place: zlib.crc32(place.encode())):
        if len(held) >= share * len(names):
            break
        held.update(places[place])
    return held
