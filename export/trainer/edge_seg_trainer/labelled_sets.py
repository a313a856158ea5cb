"""Sets of labelled photos, each with words of its own: one layout, one reader, and which photos stay out of training.

`seg/NAME/` holds `images/`, `labels/STEM.png` (8 bits, the picture's size) and `classes.tsv` (`value`, `name`, `synonyms`, `role`; role:
thing, stuff, none = known to be none of this set's words, ignore = not labelled). The two COCO sets, whose labels are stored another
way, are brought to the same form.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .data import IGNORE, OTHER, DataError, Labelled, coco_classes, read_coco, table
from .data import _labelled as labelled_folder

ROLES = ("thing", "stuff", "none", "ignore")
PANOPTIC, OBJECTS = "coco_panoptic200", "coco_mini159"
MEASURED_ONLY = ("ade20k_dev400", "camvid_clip101")
# What pictures of one place have in common in their names: they are held out together.
PLACES = {"camvid": r"[^_]+", "citysky": r"[^_]+", "rooms": r"replica|.+"}


@dataclass(frozen=True)
class LabelledSet:
    """Photos against the words of their set. Labels are indices into `words`, `OTHER` or `IGNORE`."""

    name: str
    words: list[list[str]]  # a class's own name first, then its synonyms
    train: list[Labelled]
    held: list[Labelled]
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


def read_classes(path: Path) -> tuple[list[list[str]], np.ndarray]:
    """The words of each class, and the table from stored value to class index, `OTHER` or `IGNORE`."""
    words: list[list[str]] = []
    values = np.full(256, IGNORE, np.uint8)
    seen: set[int] = set()
    for line, row in enumerate(table(path, ("value", "name", "synonyms", "role")), 2):
        where = f"{path}, line {line}"
        if not row["value"].isdigit() or int(row["value"]) > 255:
            raise DataError(f"{where}: value: expected a whole number from 0 to 255, found {row['value']!r}")
        value, role, name = int(row["value"]), row["role"], (row["name"] or "").strip()
        if value in seen:
            raise DataError(f"{where}: value {value} stands there twice")
        seen.add(value)
        if role not in ROLES:
            raise DataError(f"{where}: role: expected one of {', '.join(ROLES)}, found {role!r}")
        if role == "none":
            values[value] = OTHER
        elif role in ("thing", "stuff"):
            if not name:
                raise DataError(f"{where}: a {role} without a name")
            values[value] = len(words)
            words.append(list(dict.fromkeys([name, *filter(None, map(str.strip, (row["synonyms"] or "").split(",")))])))
    if not words:
        raise DataError(f"{path}: no row of role thing or stuff: nothing to learn there")
    return words, values


def _coco(root: Path, name: str, held_out: frozenset[str]) -> LabelledSet:
    classes = coco_classes(root)
    words = [[own, *(word for word in words if word != own)] for own, words in zip(classes.names, classes.words)]
    every = read_coco(root, lambda _: True, panoptic=name == PANOPTIC, objects=name == OBJECTS)
    return LabelledSet(
        name, words if name == PANOPTIC else [some for some, thing in zip(words, classes.things) if thing],
        [photo for photo in every if photo.path.name not in held_out], [photo for photo in every if photo.path.name in held_out],
    )  # fmt: skip


def read_set(root: Path, name: str, held_out: frozenset[str] = frozenset()) -> LabelledSet:
    """The set `seg/NAME`. `held_out` names the COCO photos that stay out; elsewhere a tenth does, by place or by name."""
    from . import layouts

    layouts.check_form(name, root / "seg")
    if layouts.is_form(name):
        return layouts.read(root, name)
    if name in MEASURED_ONLY:
        raise DataError(f"{name} is for measuring: expected a set that may be trained on")
    if name in (PANOPTIC, OBJECTS):
        return _coco(root, name, held_out)
    folder = root / "seg" / name
    words, values = read_classes(folder / "classes.tsv")
    photos = labelled_folder(folder, "labels", values, lambda _: True)
    held = held_places([photo.path.name for photo in photos], PLACES.get(name, ".+"))
    return LabelledSet(
        name, words, [photo for photo in photos if photo.path.name not in held], [photo for photo in photos if photo.path.name in held]
    )  # fmt: skip
