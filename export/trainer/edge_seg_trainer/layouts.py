"""Labelled photos in the layouts of published data sets and of annotation tools, each as a `LabelledSet`.

A set's name says its form: `folder:DIR` (photos and label pictures with `classes.tsv` or `classes.txt`, as MMSegmentation's, or a VOC folder with
`labelmap.txt`, as CVAT's "Segmentation mask" and `edge-seg-export label` write), `coco:ANNOTATIONS.json:IMAGES` (COCO's instances: run lengths or
polygons), or `PRESET:DIR`, a release of one of the data sets in `export/presets`. Paths are taken from the data's folder.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from .data import IGNORE, OTHER, DataError, Labelled, holds_colours, label_values, stored_size
from .labelled_sets import ROLES, LabelledSet, held_places
from .samples import PICTURES, files_below, spellings
from .schema import near

PRESETS = Path(__file__).parents[2] / "presets"
FOLDER, COCO = "folder:", "coco:"
MOST_CLASSES = OTHER  # what a label's byte tells apart
BACKGROUND, VOID = "background", (224, 224, 192)  # of VOC


@dataclass(frozen=True)
class Part:
    """Where a layout keeps photos and labels: folders below its root that may hold `{split}`, and how the names end."""

    images: str
    labels: str
    image_end: str = ""  # empty: any picture's
    label_end: str = ".png"
    listed: str = ""  # the file that lists a split's names
    splits: tuple[tuple[str, ...], tuple[str, ...]] = (("train", "training"), ("val", "validation"))
    values: str = "train"  # the preset's column


COMMON = (
    Part("{split}/image", "{split}/mask"),
    Part("images/{split}", "annotations/{split}"),
    Part("images/{split}", "labels/{split}"),
    Part("img_dir/{split}", "ann_dir/{split}"),
    Part("images", "labels"),
    Part("images", "annotations"),
)
VOC = Part("JPEGImages", "SegmentationClass", ".jpg", listed="ImageSets/Segmentation/{split}.txt")
CONTEXT = Part("JPEGImages", "SegmentationClassContext", ".jpg", listed="ImageSets/SegmentationContext/{split}.txt")
COCO_SPLITS = (("train2017",), ("val2017",))
CITY = "leftImg8bit/{split}", "gtFine/{split}", "_leftImg8bit.png"
MAPS = tuple(
    Part(images, "stuffthingmaps/{split}", ".jpg", splits=COCO_SPLITS, values="stuffthingmaps") for images in ("{split}", "images/{split}")
)
# Places below DIR where a release may begin, and how it is laid out from there.
RELEASES: dict[str, tuple[tuple[str, ...], tuple[Part, ...]]] = {
    "voc21": (("", "VOC2012", "VOCdevkit/VOC2012"), (VOC,)),
    "voc20": (("", "VOC2012", "VOCdevkit/VOC2012"), (VOC,)),
    "context60": (("", "VOC2010", "VOCdevkit/VOC2010"), (CONTEXT,)),
    "context59": (("", "VOC2010", "VOCdevkit/VOC2010"), (CONTEXT,)),
    "coco-object": (
        ("", "coco", "coco_stuff164k"),
        (Part("images/{split}", "annotations/{split}", ".jpg", "_instanceTrainIds.png", splits=COCO_SPLITS), *MAPS),
    ),
    "coco-stuff": (
        ("", "coco", "coco_stuff164k"),
        (Part("images/{split}", "annotations/{split}", ".jpg", "_labelTrainIds.png", splits=COCO_SPLITS), *MAPS),
    ),
    "coco-panoptic133": (
        ("", "coco"),
        tuple(
            Part(images, labels, ".jpg", splits=COCO_SPLITS, values="category")
            for images, labels in (
                ("{split}", "panoptic_{split}"),
                ("{split}", "annotations/panoptic_{split}"),
                ("images/{split}", "annotations/panoptic_{split}"),
            )
        ),
    ),
    "cityscapes": (
        ("", "cityscapes"),
        (Part(*CITY, "_gtFine_labelIds.png", values="labelids"), Part(*CITY, "_gtFine_labelTrainIds.png")),
    ),
    "ade20k": (("", "ADEChallengeData2016"), (Part("images/{split}", "annotations/{split}", ".jpg", splits=(("training",), ("validation",))),)),
    "camvid": (
        ("", "CamVid"),
        (
            Part("701_StillsRaw_full", "LabeledApproved_full", ".png", "_L.png", values="colour"),
            Part("{split}", "{split}annot", ".png", splits=(("train",), ("val", "test"))),
        ),
    ),
}  # fmt: skip
FORMS = (FOLDER, COCO, *(f"{name}:" for name in RELEASES))
Split = tuple[str, list[tuple[Path, Path]]]  # its name, and photos with their labels
IDENTITY = np.arange(256, dtype=np.uint8)
ORIENTATION = 0x0112  # EXIF's tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Coded(Labelled):
    """Labels that are no plain bytes: `read` gives class indices, `OTHER` and `IGNORE` as `table` then maps them, [height, width] u8."""

    read: Callable[[], np.ndarray]

    def labels(self) -> np.ndarray:
        return self.table[self.read()]


@dataclass
class Names:
    """The classes of a set, as they are met: the words of each, and what values of its labels mean."""

    words: list[list[str]] = field(default_factory=list)
    index: dict[int, int] = field(default_factory=dict)
    rest: int = IGNORE  # what every other value means

    def add(self, value: int | None, name: str, role: str, synonyms: str, where: str) -> None:
        meant = {"none": OTHER, "ignore": IGNORE}.get(role)
        if meant is None:
            if not name:
                raise DataError(f"{where}: a {role} without a name")
            known = [words[0] for words in self.words]
            if name not in known:
                self.words.append([name])
                known.append(name)
                if len(known) > MOST_CLASSES:
                    raise DataError(f"{where}: expected at most {MOST_CLASSES} classes, found more")
            meant = known.index(name)
            more = [word.strip() for word in synonyms.split(",") if word.strip()]
            self.words[meant] = list(dict.fromkeys([*self.words[meant], *more]))
        if value is None:
            self.rest = meant
        elif self.index.setdefault(value, meant) != meant:
            raise DataError(f"{where}: value {value} stands there twice")

    def bytes(self) -> np.ndarray:
        """[256] u8, stored value to class index."""
        return np.array([self.index.get(value, self.rest) for value in range(256)], np.uint8)

    def of_codes(self, codes: np.ndarray) -> np.ndarray:
        """Class indices of numbers that a byte does not hold."""
        found, place = np.unique(codes, return_inverse=True)
        return np.array([self.index.get(int(code), self.rest) for code in found], np.uint8)[place.reshape(codes.shape)]

    def identity(self) -> np.ndarray:
        """The table of labels that are class indices already; `OTHER` is none of them where nothing can be it."""
        told = OTHER in (*self.index.values(), self.rest)
        return IDENTITY if told else np.where(IDENTITY == OTHER, IGNORE, IDENTITY)


def is_form(name: str) -> bool:
    return name.startswith(FORMS)


def check_form(name: str, place: Path) -> None:
    """A name with a colon that is no form is an error that says the near one."""
    if ":" in name and not is_form(name):
        given = name.partition(":")[0] + ":"
        raise DataError(f"{name}: no form {given!r}{near(given, list(FORMS))}; or the name of a folder below {place}")


def read(root: Path, name: str) -> LabelledSet:
    """The set of a name with a form. What is published for training is trained on, the rest held out; where there is no such split a tenth is."""
    form, _, rest = name.partition(":")
    if f"{form}:" == COCO:
        parts = rest.split(":")
        if len(parts) != 2:
            raise DataError(f"{name}: expected coco:ANNOTATIONS.json:IMAGES")
        words, photos = read_coco_json(root / parts[0], root / parts[1])
        return replace(_dealt(name, words, photos, None), tables=(root / parts[0],))
    place, _, images = rest.partition(":")
    place = root / place
    if not place.is_dir():
        raise DataError(f"{name}: expected a folder {place}, found none")
    if f"{form}:" == FOLDER:
        tables = tuple(path for one in ("labelmap.txt", "classes.tsv", "classes.txt") if (path := place / one).is_file())
        return replace(_folder(name, place, root / images if images else None), tables=tables[:1])
    if images:
        raise DataError(f"{name}: expected {form}:DIR")
    return replace(_release(name, form, place), tables=(PRESETS / f"{form}.tsv",))


def _dealt(name: str, words: list[list[str]], train: list[Labelled], held: list[Labelled] | None) -> LabelledSet:
    """`held` of nothing: a tenth of the photos, by the hash of their names."""
    if held is None:
        names = [photo.path.name for photo in train]
        out = held_places(names) if len(names) > 1 else set()
        held = [photo for photo in train if photo.path.name in out]
        train = [photo for photo in train if photo.path.name not in out]
    if not train + held:
        raise DataError(f"{name}: no labelled photo there")
    return LabelledSet(name, words, train, held)


# Released data sets


def preset_names(preset: str, column: str) -> Names:
    """The classes of `export/presets/PRESET.tsv` for labels whose values are those of a column."""
    path = PRESETS / f"{preset}.tsv"
    if not path.is_file():
        raise DataError(f"{path} is missing: expected the tables of data sets beside the trainer, as this project's tree has them")
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line.strip() and not line.startswith("#")]
    header, rows = rows[0], rows[1:]
    at, names, last = header.index(column), Names(), len(header) - 2
    for row in rows:
        value, name, synonyms = row[at], row[last].strip(), row[last + 1] if len(row) > last + 1 else ""
        role = {"ignore": "ignore", BACKGROUND: "none"}.get(name, "thing")
        if not value:
            continue
        number = None if value == "*" else int(value, 16 if column == "colour" else 10)
        names.add(number, name, role, synonyms, str(path))
    if column == "colour":
        return names
    names.index.setdefault(255, IGNORE)
    return names


def _release(name: str, preset: str, place: Path) -> LabelledSet:
    roots, layouts = RELEASES[preset]
    for below in roots:
        for layout in (*layouts, *COMMON):
            if found := _splits(place / below, layout):
                return _read(name, place / below, layout, found, preset_names(preset, layout.values))
    tried = dict.fromkeys(f"{layout.images}/*{layout.image_end} with {layout.labels}/*{layout.label_end}" for layout in (*layouts, *COMMON))
    raise DataError(f"{name}: expected one of the layouts {'; '.join(tried)}; found none of them in {place}")


def _read(name: str, root: Path, layout: Part, found: list[Split], names: Names) -> LabelledSet:
    made = [[_photo(root, layout, split, *pair, names) for pair in pairs] for split, pairs in found]
    if len(made) == 1:
        return _dealt(name, names.words, made[0], None)
    # Where there is no split to measure by, a tenth is held out; where there is none to train on, nothing is trained on.
    return _dealt(name, names.words, made[0], made[1] if made[1] or not made[0] else None)


def _splits(root: Path, layout: Part) -> list[Split]:
    """The splits for training and for measuring, or all at once where the layout has none; nothing where there is another layout."""
    named = "{split}" in layout.images + layout.labels + layout.listed
    found = []
    for names in layout.splits if named else (("",),):
        of_split: Split = ("", [])
        for split in names:
            images, labels = (root / part.replace("{split}", split) for part in (layout.images, layout.labels))
            listed = root / layout.listed.replace("{split}", split) if layout.listed else None
            if images.is_dir() and labels.is_dir() and (listed is None or listed.is_file()):
                of_split = split, _pairs(layout, images, labels, listed)
                break
        found.append(of_split)
    return found if any(pairs for _, pairs in found) else []


def _pairs(layout: Part, images: Path, labels: Path, listed: Path | None) -> list[tuple[Path, Path]]:
    """Each label picture's photo and itself, by their names without the endings."""
    photos, found = _named(images, layout.image_end), _named(labels, layout.label_end)
    if listed:
        wanted = list(filter(None, map(str.strip, listed.read_text(encoding="utf-8").splitlines())))
        if lost := [one for one in wanted if one not in found]:
            raise DataError(f"{listed}: names {lost[0]}, of which {labels} has no label picture")
        found = {one: found[one] for one in wanted}
    if layout.image_end and found and not set(photos) & set(found):
        photos = _named(images, "")
    return [(_photo_named(photos, one, images, path[0]), path[0]) for one, path in found.items()]


def _named(folder: Path, end: str) -> dict[str, list[Path]]:
    """The pictures below a folder by their paths from there without the ending: `end`, or any of a picture."""
    found: dict[str, list[Path]] = {}
    for path in files_below(folder):
        name = path.relative_to(folder).as_posix()
        if end and name.lower().endswith(end.lower()) and path.name != end:
            found.setdefault(name[: -len(end)], []).append(path)
        elif not end and path.suffix.lower() in PICTURES:
            found.setdefault(name.removesuffix(path.suffix), []).append(path)
    return found


def _photo_named(photos: dict[str, list[Path]], name: str, images: Path, label: Path) -> Path:
    """The photo of a label: of the same path, or where there is none the one of that name in any folder."""
    found = next((photos[one] for one in spellings(name) if one in photos), None)
    if found is None:
        base = spellings(name.rpartition("/")[2])
        found = [path for one, paths in photos.items() if one.rpartition("/")[2] in base for path in paths]
    if len(found) != 1:
        told = f"found {found[0]} and {found[1]}" if found else f"found no {name} with one of {', '.join(PICTURES)}"
        raise DataError(f"{images}: expected one photo for the labels {label}, {told}")
    return found[0]


def _photo(root: Path, layout: Part, split: str, path: Path, label: Path, names: Names) -> Labelled:
    _same_size(path, label, stored_size(label))
    if layout.values == "colour":
        return Coded(path, label, names.identity(), lambda: names.of_codes(_packed(label)))
    if layout.values == "category":
        segments = _segments(root, split)
        if label.name not in segments:
            raise DataError(f"{label}: expected its segments in the panoptic JSON file of {split}, found none")
        return Coded(path, label, names.identity(), lambda: names.of_codes(_categories(label, segments[label.name])))
    return Labelled(path, label, names.bytes())


def turn_of(photo: Path) -> Image.Transpose | None:
    """What turns a photo's stored pixels upright."""
    try:
        with Image.open(photo) as stored:
            return TURNS.get(stored.getexif().get(ORIENTATION, 1))
    except Exception as error:  # decoders raise whatever their input makes them
        raise DataError(f"{photo}: not a readable picture ({type(error).__name__})") from error


def _same_size(path: Path, label: Path, size: tuple[int, int], stored: bool = False) -> None:
    """Labels of a photo's size, upright or as it is `stored`."""
    photo = stored_size(path, upright=not stored)
    if photo != size:
        why = ""
        if size == photo[::-1] and turn_of(path) is not None:
            why = "; these are its stored pixels, before its EXIF orientation is applied: take --label-pixels stored"
            why = "; these are its upright pixels: leave --label-pixels stored away" if stored else why
        raise DataError(f"{label}: expected the photo's size, {photo[0]}×{photo[1]}, found {size[0]}×{size[1]}{why}")


def _upright(path: Path, read: Callable[[], np.ndarray], stored: bool) -> Callable[[], np.ndarray]:
    """Labels as the photo is seen, of `stored` pixels too."""
    turn = turn_of(path) if stored else None
    return read if turn is None else lambda: np.asarray(Image.fromarray(read()).transpose(turn))


def _packed(label: Path) -> np.ndarray:
    """Each pixel's colour as one number, red first."""
    pixels = label_values(label, "RGB").astype(np.uint32)
    return pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]


_panoptic: dict[Path, dict[str, dict[int, int]]] = {}


def _segments(root: Path, split: str) -> dict[str, dict[int, int]]:
    """Segment to category by label picture, of a panoptic JSON file."""
    path = root / "annotations" / f"panoptic_{split}.json"
    if path not in _panoptic:
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))["annotations"]
            _panoptic[path] = {row["file_name"]: {one["id"]: one["category_id"] for one in row["segments_info"]} for row in rows}
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"{path}: expected COCO's panoptic annotations, found {error!r}") from error
    return _panoptic[path]


def _categories(label: Path, segments: dict[int, int]) -> np.ndarray:
    packed = _packed(label)
    # COCO writes red last.
    numbers = (packed & 255) << 16 | packed & 0xFF00 | packed >> 16
    found, place = np.unique(numbers, return_inverse=True)
    return np.array([segments.get(int(one), 0) for one in found], np.int64)[place.reshape(numbers.shape)]


# Own folders


def class_names(place: Path, in_colours: bool) -> Names:
    """The classes of a folder whose labels hold numbers or colours.

    `classes.tsv` has `value` or `id`, or `colour` (`r,g,b` or `#rrggbb`), `name`, and where there are such `synonyms` and `role`; `classes.txt`
    one name a line from value 0 on.
    """
    names = Names()
    if (place / "classes.tsv").is_file():
        path = place / "classes.tsv"
        try:
            with path.open(encoding="utf-8-sig", newline="") as handle:
                rows = [row for row in csv.reader(handle, delimiter="\t", quoting=csv.QUOTE_NONE) if row and any(row)]
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path}: expected a table in UTF-8, found {error}") from error
        header = rows[0] if rows else []
        columns = ("colour", "color") if in_colours else ("value", "id", "train")
        value = next((header.index(one) for one in columns if one in header), None)
        if value is None or "name" not in header:
            raise DataError(
                f"{path}: expected the columns {columns[0]} and name, and where there are such synonyms and role, found {header}"
                + ("; the labels hold colours" if in_colours else "")
            )
        for line, row in enumerate(rows[1:], 2):
            where = f"{path}, row {line}"
            cell = dict(zip(header, [*(one.strip() for one in row), *[""] * (len(header) - len(row))]))
            number, role = cell[header[value]], cell.get("role") or _role(cell["name"])
            if in_colours:
                number = _colour(number, where)
            elif not number.isdigit() or int(number) > 255:
                raise DataError(f"{where}: value: expected a whole number from 0 to 255, found {number!r}")
            if role not in ROLES:
                raise DataError(f"{where}: role: expected one of {', '.join(ROLES)}, found {role!r}")
            names.add(int(number), cell["name"], role, cell.get("synonyms", ""), where)
    else:
        path = place / "classes.txt"
        if not path.is_file():
            raise DataError(
                f"{place}: expected classes.tsv (value, name, synonyms, role) or classes.txt (a name a line, from value 0 on), found neither"
            )
        for value, name in enumerate(path.read_text(encoding="utf-8-sig").splitlines()):
            if name.strip():
                names.add(value, name.strip(), _role(name.strip()), "", f"{path}, line {value + 1}")
    if not names.words:
        raise DataError(f"{path}: no class: expected at least one name that is not {BACKGROUND} and not ignored")
    if not in_colours:
        names.index.setdefault(255, IGNORE)
    return names


def _colour(text: str, where: str) -> int:
    """A colour as one number, red first."""
    parts = [text[at : at + 2] for at in (1, 3, 5)] if re.fullmatch("#[0-9a-fA-F]{6}", text) else text.split(",")
    base = 16 if text.startswith("#") else 10
    try:
        red, green, blue = (int(part, base) for part in parts)
    except ValueError:
        red = green = blue = -1
    if not all(0 <= channel < 256 for channel in (red, green, blue)):
        raise DataError(f"{where}: colour: expected r,g,b or #rrggbb, found {text!r}")
    return red << 16 | green << 8 | blue


def _role(name: str) -> str:
    lower = name.lower()
    return "none" if lower == BACKGROUND else "ignore" if lower in ("ignore", "void", "unlabeled", "unlabelled") else "thing"


def _folder(name: str, place: Path, images: Path | None) -> LabelledSet:
    if (place / "labelmap.txt").is_file():
        return read_voc_folder(name, place, images)
    for layout in COMMON:
        if images is None and (found := _splits(place, layout)):
            first = next(label for _, pairs in found for _, label in pairs)
            in_colours = (place / "classes.tsv").is_file() and holds_colours(first)
            return _read(name, place, replace(layout, values="colour") if in_colours else layout, found, class_names(place, in_colours))
    shown = "; ".join(f"{layout.images} with {layout.labels}" for layout in COMMON)
    raise DataError(f"{name}: expected labelmap.txt with SegmentationClass, or photos and labels as {shown}; found none of them in {place}")


def read_labelmap(path: Path) -> dict[tuple[int, int, int], str]:
    """Colour to name, in the file's order."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected the names of the colours, `name:red,green,blue::` a line; {error}") from error
    found: dict[tuple[int, int, int], str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        parts = rest.partition(":")[0].split(",")
        if rest and parts == [""]:
            parts = [str(channel) for channel in voc_colour(len(found))]  # datumaro's, where labels have none
        if not name.strip() or len(parts) != 3 or not all(part.strip().isdigit() and int(part) < 256 for part in parts):
            raise DataError(f"{path}, line {number}: expected name:red,green,blue::, found {line!r}")
        colour = tuple(int(part) for part in parts)
        if colour in found:
            raise DataError(f"{path}, line {number}: {name!r} has the colour of {found[colour]!r}")
        found[colour] = name.strip()
    return found


def voc_colour(number: int) -> tuple[int, int, int]:
    """VOC's colour of a number: its bits, three by three, from the channels' highest ones on."""
    return tuple(sum((number >> 3 * n + channel & 1) << 7 - n for n in range(8)) for channel in range(3))


def read_voc_folder(name: str, place: Path, images: Path | None, stored: bool = False) -> LabelledSet:
    """Colours of `labelmap.txt`; the void of VOC is not labelled, black is none of the names where no line says otherwise."""
    colours = read_labelmap(place / "labelmap.txt")
    names = Names()
    for (red, green, blue), word in colours.items():
        names.add(red << 16 | green << 8 | blue, word, _role(word), "", str(place / "labelmap.txt"))
    if not names.words:
        raise DataError(f"{place / 'labelmap.txt'}: no name but {BACKGROUND}: nothing to learn there")
    names.index.setdefault(0, OTHER)
    names.index.setdefault(VOID[0] << 16 | VOID[1] << 8 | VOID[2], IGNORE)
    folders = [images] if images else [place / "JPEGImages", place / "images", place.parent / "images"]
    folder = next((one for one in folders if one.is_dir()), None)
    if folder is None:
        raise DataError(
            f"{name}: expected the photos in one of {', '.join(map(str, folders))}; or name their folder: folder:{place.name}:PHOTOS"
        )
    photos, found = _named(folder, ""), _named(place / "SegmentationClass", ".png")
    if not found:
        raise DataError(f"{place / 'SegmentationClass'}: expected label pictures STEM.png, found none")
    made = {}
    for stem, (label, *_) in found.items():
        path = _photo_named(photos, stem, folder, label)
        _same_size(path, label, stored_size(label), stored)
        made[stem] = Coded(path, label, names.identity(), _upright(path, _colours_of(label, names), stored))
    lists = [_listed(place / "ImageSets" / "Segmentation" / f"{split}.txt") for split in ("train", "val")]
    lists = [stems & set(made) for stems in lists]  # CVAT lists photos without labels too
    if all(lists):
        return _dealt(name, names.words, *([made[stem] for stem in sorted(stems)] for stems in lists))
    return _dealt(name, names.words, list(made.values()), None)


def _listed(path: Path) -> set[str]:
    return {line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()} if path.is_file() else set()


def _colours_of(label: Path, names: Names) -> Callable[[], np.ndarray]:
    def of() -> np.ndarray:
        packed = _packed(label)
        for colour in np.unique(packed).tolist():
            if colour not in names.index:
                told = f"{colour >> 16},{colour >> 8 & 255},{colour & 255}"
                raise DataError(
                    f"{label}: the colour {told} stands in no line of labelmap.txt; was it written with smooth edges, or as JPEG?"
                )
        return names.of_codes(packed)

    return of


# COCO's instances


def read_coco_json(path: Path, images: Path, stored: bool = False) -> tuple[list[list[str]], list[Labelled]]:
    """Photos against the categories' names. Smaller regions lie over larger ones; what has no region is none of the names."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        names = Names(index={}, rest=OTHER)
        for category in sorted(content["categories"], key=lambda one: int(one["id"])):
            names.add(int(category["id"]), str(category["name"]).strip(), _role(str(category["name"])), "", str(path))
        sizes = {one["id"]: (str(one["file_name"]), int(one["width"]), int(one["height"])) for one in content["images"]}
        regions: dict = {number: [] for number in sizes}
        for one in content["annotations"]:
            if one["category_id"] not in names.index:
                raise DataError(f"{path}: annotation {one.get('id')}: category {one['category_id']} stands in no line of `categories`")
            if one.get("segmentation"):
                regions[one["image_id"]].append((float(one.get("area") or 0), one["segmentation"], names.index[one["category_id"]]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: expected COCO's instances with `images`, `annotations` and `categories`, found {error!r}") from error
    if not names.words:
        raise DataError(f"{path}: no category: nothing to learn there")
    photos: list[Labelled] = []
    for number, (file, width, height) in sizes.items():
        photo = _photo_of(images, file)
        if photo is None:
            raise DataError(f"{images}: expected the photo {file} of {path.name}, found none")
        _same_size(photo, path, (width, height), stored)
        drawn = sorted(regions[number], key=lambda one: -one[0])
        photos.append(Coded(photo, path, IDENTITY, _upright(photo, _drawn(path, file, drawn, width, height), stored)))
    return [words for words in names.words], photos


def _photo_of(images: Path, file: str) -> Path | None:
    """The photo as an annotation names it. Label Studio puts eight digits before a name that was uploaded, and addresses before local ones."""
    file = file.replace("\\", "/").rpartition("?d=")[2]
    base = file.rpartition("/")[2]
    names = [file, base, re.sub(r"^[0-9a-f]{8}-", "", base)]
    return next((images / one for name in names for one in spellings(name) if (images / one).is_file()), None)


def _drawn(path: Path, file: str, regions: list, width: int, height: int) -> Callable[[], np.ndarray]:
    def of() -> np.ndarray:
        labels = np.full((height, width), OTHER, np.uint8)
        for _, segmentation, index in regions:
            try:
                labels[region_mask(segmentation, width, height)] = index
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise DataError(f"{path}: {file}: expected polygons or run lengths of {width}×{height}, found {error!r}") from error
        return labels

    return of


def region_mask(segmentation, width: int, height: int) -> np.ndarray:
    """[height, width] bool of polygons (lists of x, y), or of run lengths down the columns, plain or compressed."""
    if isinstance(segmentation, list):
        drawn = Image.new("1", (width, height))
        for outline in segmentation:
            if len(outline) < 6 or len(outline) % 2:
                raise ValueError(f"an outline of {len(outline)} numbers")
            # A pixel is inside by its centre.
            ImageDraw.Draw(drawn).polygon([(x - 0.5, y - 0.5) for x, y in zip(outline[::2], outline[1::2])], fill=1)
        return np.asarray(drawn)
    counts = segmentation["counts"]
    counts = _runs(counts) if isinstance(counts, str) else counts
    if list(segmentation["size"]) != [height, width] or min(counts, default=0) < 0 or sum(counts) != width * height:
        raise ValueError(f"runs of {sum(counts)} pixels and size {segmentation['size']}")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


def _runs(text: str) -> list[int]:
    """COCO's compressed run lengths: numbers of six bits a letter, least first; from the third on differences to the one before the last."""
    counts: list[int] = []
    at = 0
    while at < len(text):
        value = shift = 0
        more = True
        while more:
            letter = ord(text[at]) - 48
            if not 0 <= letter < 64 or shift > 60:
                raise ValueError(f"letter {text[at]!r} of the run lengths")
            value |= (letter & 31) << shift
            more, at, shift = bool(letter & 32), at + 1, shift + 5
            if not more and letter & 16:
                value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
    return counts
