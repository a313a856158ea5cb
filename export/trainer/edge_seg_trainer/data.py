"""Reads the training data: captioned photos, labelled photos, class lists.

Layouts are those of the data's own README: `pairs/NAME/captions.tsv` (split, file, caption) beside `images/`, and
`seg/NAME/images`, a label folder and `classes.tsv` (COCO) or `classes.txt` (others).
"""

from __future__ import annotations

import csv
import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .samples import Unusable, is_companion, picture

IGNORE = 255
OTHER = 254  # labelled as none of the classes that its annotators looked for

# English words that carry grammar, not things. The runtime splits captions by the same list.
STOP_WORDS = frozenset(
    """a about above across after again against all along also although am among an and another any are around as at
    be because been before behind being below beneath beside between beyond both but by can could did do does
    doing down during each either every few for from further had has have having he her here hers herself him
    himself his how i if in inside into is it its itself just like many may me might more most much must my near
    next no nor not now of off on once one only onto or other our out outside over own past per same she should
    some such than that the their them themselves then there these they this those through to together too toward
    towards two under underneath until up upon us very was we were what when where which while who whom whose why
    will with within without would you your""".split()
)


class DataError(RuntimeError):
    """Training data that is missing or malformed; the message says what was expected and where."""


def data_root(given: str | None) -> Path:
    """The data's folder: the recipe's `data`, or EDGE_SEG_DATA, or ../shared/data."""
    place = Path(given or os.environ.get("EDGE_SEG_DATA") or "../shared/data")
    if not place.is_dir():
        raise DataError(f"no training data at {place}: set `data` in the recipe or the variable EDGE_SEG_DATA")
    return place


def table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    if not path.is_file():
        raise DataError(f"{path} is missing: expected a table with the columns {', '.join(columns)}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE, restval="")
            absent = [name for name in columns if name not in (reader.fieldnames or [])]
            if absent:
                raise DataError(f"{path}: expected the columns {', '.join(columns)}, found {reader.fieldnames}")
            return list(reader)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected a table in UTF-8, found another byte at {error.start}") from error


def split_words(caption: str, keep_stop_words: bool = False) -> list[str]:
    """The caption's distinct words in order: lower case, runs of letters, digits and inner `-` and `'`."""
    words = (word.strip("-'") for word in re.split(r"[^\w'-]|_", caption.lower()))
    return [word for word in dict.fromkeys(words) if word and (keep_stop_words or word not in STOP_WORDS)]


@dataclass(frozen=True)
class Classes:
    """Class names by index, each with the words that may stand for it."""

    names: list[str]
    words: list[list[str]]
    coco_to_index: dict[int, int] = field(default_factory=dict)
    object_to_index: dict[int, int] = field(default_factory=dict)
    index_to_voc: list[int] = field(default_factory=list)
    things: list[bool] = field(default_factory=list)


def plain_name(name: str) -> str:
    """`floor-wood` is stored the way a data set files it; `wood floor` is what a person types."""
    stem = name.removesuffix("-merged").removesuffix("-other").removesuffix("-stuff")
    head, _, tail = stem.partition("-")
    return f"{tail} {head}" if tail else head


def coco_classes(root: Path) -> Classes:
    """The 133 panoptic COCO classes, with the ways to VOC's 21 and the 80 objects."""
    rows = table(
        root / "seg" / "coco_panoptic200" / "classes.tsv",
        ("coco_id", "name", "isthing", "idx133", "object81", "voc21", "synonyms_fcclip"),
    )
    rows.sort(key=lambda row: int(row["idx133"]))
    words = [list(dict.fromkeys(filter(None, map(str.strip, row["synonyms_fcclip"].split(","))))) for row in rows]
    return Classes(
        names=[plain_name(row["name"]) for row in rows],
        words=[found or [plain_name(row["name"])] for found, row in zip(words, rows)],
        coco_to_index={int(row["coco_id"]): n for n, row in enumerate(rows)},
        object_to_index={int(row["object81"]): n for n, row in enumerate(rows) if row["isthing"] == "1"},
        index_to_voc=[int(row["voc21"]) for row in rows],
        things=[row["isthing"] == "1" for row in rows],
    )


@dataclass(frozen=True)
class Labelled:
    """A photo and its label picture: class index per pixel, `OTHER` or `IGNORE`."""

    path: Path
    label: Path
    table: np.ndarray  # [256] u8, stored value to class index

    def image(self) -> Image.Image:
        return open_rgb(self.path)

    def labels(self) -> np.ndarray:
        """[height, width] u8."""
        return self.table[label_values(self.label)]


def open_rgb(path: Path, side: int = 0) -> Image.Image:
    """The picture upright as RGB; with `side` a JPEG may be decoded smaller, not below that."""
    try:
        return picture(path, side)
    except Unusable as reason:
        raise DataError(f"{path}: {reason}") from reason


def label_values(path: Path, mode: str = "") -> np.ndarray:
    """What a label picture holds: the numbers of its pixels, of a palette too, [height, width] u8; or with `mode` its colours."""
    try:
        with Image.open(path) as stored:
            kind, values = stored.mode, np.asarray(stored.convert(mode) if mode else stored)
    except Exception as error:  # decoders raise whatever their input makes them
        raise DataError(f"{path}: not a readable picture ({type(error).__name__})") from error
    if mode:
        return values
    if values.ndim != 2 or values.min(initial=0) < 0 or values.max(initial=0) > 255:
        raise DataError(f"{path}: expected label numbers from 0 to 255 in one channel or a palette, found mode {kind} up to {values.max()}")
    return values.astype(np.uint8)


def holds_colours(path: Path) -> bool:
    """Whether a picture has channels of colours, by its head alone."""
    try:
        with Image.open(path) as stored:
            return stored.mode in ("RGB", "RGBA")
    except Exception as error:  # decoders raise whatever their input makes them
        raise DataError(f"{path}: not a readable picture ({type(error).__name__})") from error


def stored_size(path: Path, upright: bool = False) -> tuple[int, int]:
    """Width and height of a picture, by its head alone; `upright` as EXIF turns it."""
    try:
        with Image.open(path) as stored:
            turned = upright and stored.getexif().get(0x0112, 1) >= 5
            return stored.size[::-1] if turned else stored.size
    except Exception as error:  # decoders raise whatever their input makes them
        raise DataError(f"{path}: not a readable picture ({type(error).__name__})") from error


def _labelled(folder: Path, labels: str, table: np.ndarray, keep) -> list[Labelled]:
    images = [path for path in sorted((folder / "images").glob("*.*")) if not is_companion(path.name)]
    if not images:
        raise DataError(f"{folder / 'images'}: no pictures there")
    found = []
    for path in images:
        if keep(path.name):
            label = folder / labels / f"{path.stem}.png"
            if not label.is_file():
                raise DataError(f"{label} is missing: expected the labels of {path.name}")
            found.append(Labelled(path, label, table))
    return found


def read_coco(root: Path, keep, panoptic: bool = True, objects: bool = True) -> list[Labelled]:
    """The labelled COCO photos whose file name `keep` accepts, on the 133 classes."""
    classes = coco_classes(root)
    semantic = np.full(256, IGNORE, np.uint8)
    for coco, index in classes.coco_to_index.items():
        semantic[coco] = index
    instance = np.full(256, IGNORE, np.uint8)
    instance[0] = OTHER
    for number, index in classes.object_to_index.items():
        instance[number] = index
    found = []
    if panoptic:
        found += _labelled(root / "seg" / "coco_panoptic200", "semantic", semantic, keep)
    if objects:
        found += _labelled(root / "seg" / "coco_mini159", "object81", instance, keep)
    return found


def read_held_out(path: Path) -> frozenset[str]:
    """File names, one a line, `#` starts a comment."""
    if not path.is_file():
        raise DataError(f"{path} is missing: expected the list of held-out photos, one file name a line")
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected file names in UTF-8, found another byte at {error.start}") from error
    lines = (line.split("#")[0].strip() for line in content.splitlines())
    return frozenset(filter(None, lines))


def grid_size(width: int, height: int, short_px: int, patch_px: int, fit: str) -> tuple[int, int]:
    """What a model that was trained on pictures of that fit takes a picture as, multiples of the patch: `grid`, nearest to the picture's
    aspect, with a short side of `short_px`; `squash`, a square of that side."""
    if fit not in ("grid", "squash"):
        raise DataError(f"fit {fit!r}: expected grid or squash; edge-seg-export eval measures the others")
    if fit == "squash":
        width = height = short_px
    scale = short_px / min(width, height)
    return tuple(max(1, math.floor(side * scale / patch_px + 0.5)) * patch_px for side in (width, height))


def square(path: Path, side: int) -> Image.Image:
    """The whole picture squashed to a square, as the largest caption set is stored."""
    image = open_rgb(path, side)
    return image if image.size == (side, side) else image.resize((side, side), Image.Resampling.BICUBIC)


def squashed(image: Image.Image, side: int) -> Tensor:
    """The whole picture squashed to a square, [3, side, side] u8, as Pillow's bicubic does it in three times the time."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    if image.size == (side, side):
        return pixels
    return F.interpolate(pixels[None], (side, side), mode="bicubic", align_corners=False, antialias=True)[0]


def random_view(
    image: Image.Image, labels: np.ndarray, side: int, zoom: tuple[float, float], rng: np.random.Generator
) -> tuple[Image.Image, np.ndarray]:
    """A random square window at a random zoom, mirrored half the time.

    `zoom` scales the picture's short side relative to `side`. What lies outside the picture is IGNORE on black.
    """
    scale = float(np.exp(rng.uniform(*np.log(zoom)))) * side / min(image.size)
    stretch = float(np.exp(rng.uniform(-0.12, 0.12)))
    window_w, window_h = side / (scale * stretch), side / (scale / stretch)
    left = rng.uniform(min(0.0, image.width - window_w), max(0.0, image.width - window_w))
    top = rng.uniform(min(0.0, image.height - window_h), max(0.0, image.height - window_h))
    box = (left, top, left + window_w, top + window_h)
    if rng.random() < 0.5:
        box = (box[2], box[1], box[0], box[3])
    # Transform, not resize: the window may reach over the edge. Shrinking first keeps it from aliasing.
    shrink = max(1, int(1 / scale))
    small = image.reduce(shrink) if shrink > 1 else image
    corners = tuple(value / shrink for value in box)
    view = small.transform((side, side), Image.Transform.EXTENT, corners, Image.Resampling.BICUBIC)
    marked = Image.fromarray(IGNORE - labels)  # EXTENT fills with 0
    found = np.asarray(marked.transform((side, side), Image.Transform.EXTENT, box, Image.Resampling.NEAREST))
    return view, IGNORE - found


def recoloured(view: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Brightness, white balance, saturation and contrast shifted a little: one affine map of a pixel's colour."""
    gain = rng.uniform(0.7, 1.3) * rng.uniform(0.9, 1.1, size=3)
    saturation, contrast = rng.uniform(0.6, 1.4), rng.uniform(0.7, 1.3)
    grey = float(np.asarray(view).mean())
    mix = (1 - saturation) / 3 + saturation * np.eye(3)
    matrix = np.column_stack([gain[:, None] * contrast * mix, gain * (1 - contrast) * grey])
    return view.convert("RGB", tuple(matrix.ravel()))


def random_crop(
    image: Image.Image, labels: np.ndarray, side: int, zoom: tuple[float, float], rng: np.random.Generator
) -> tuple[Image.Image, np.ndarray]:
    """`random_view`, recoloured."""
    view, found = random_view(image, labels, side, zoom, rng)
    return recoloured(view, rng), found


def patch_targets(labels: np.ndarray, classes: int, patch_px: int) -> tuple[Tensor, Tensor, Tensor]:
    """Shares of each patch's pixels, from [batch, height, width] u8.

    Returns class shares [batch, patches, classes], the share labelled `OTHER` [batch, patches] and the share that
    is `IGNORE` [batch, patches]; together they sum to one.
    """
    batch, height, width = labels.shape
    rows, cols = height // patch_px, width // patch_px
    blocks = labels.reshape(batch, rows, patch_px, cols, patch_px).transpose(0, 1, 3, 2, 4)
    blocks = torch.from_numpy(np.ascontiguousarray(blocks)).view(batch, rows * cols, -1).long()
    counts = torch.zeros(batch, rows * cols, 256).scatter_add_(2, blocks, torch.ones_like(blocks, dtype=torch.float32))
    counts /= patch_px * patch_px
    return counts[..., :classes], counts[..., OTHER], counts[..., IGNORE]
