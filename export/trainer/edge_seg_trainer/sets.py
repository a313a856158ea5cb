"""Sets of labelled photos by name: one layout, one reader, and the forms in which other tools keep theirs.


`seg/NAME/` holds `images/`, `labels/STEM.png` (8 bits, the picture's size) and `classes.tsv` (`value`, `name`, `synonyms`, `role`; role:
thing, stuff, none = known to be none of this set's words, ignore = not labelled). The two COCO sets, whose labels are stored another
way, are brought to the same form.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import layouts
from .data import IGNORE, OTHER, DataError, coco_classes, read_coco, table
from .data import _labelled as labelled_folder
from .labelled_sets import ROLES, LabelledSet, held_places

PANOPTIC, OBJECTS = "coco_panoptic200", "coco_mini159"
MEASURED_ONLY = ("ade20k_dev400", "camvid_clip101")
# What pictures of one place have in common in their names: they are held out together.
PLACES = {"camvid": r"[^_]+", "citysky": r"[^_]+", "rooms": r"replica|.+"}


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
        (root / "seg" / PANOPTIC / "classes.tsv",),
    )  # fmt: skip


def read_set(root: Path, name: str, held_out: frozenset[str] = frozenset()) -> LabelledSet:
    """The set `seg/NAME`. `held_out` names the COCO photos that stay out; elsewhere a tenth does, by place or by name."""
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
        name, words, [photo for photo in photos if photo.path.name not in held], [photo for photo in photos if photo.path.name in held],
        (folder / "classes.tsv",),
    )  # fmt: skip
