"""Takes labels that a person has corrected over into a set of labelled photos that a stage of kind `sets` learns from.

python -m edge_seg_trainer adopt VOC_FOLDER --images DIR --name NAME [--data DIR] [--label-pixels upright|stored]

VOC_FOLDER is what CVAT exports as "Segmentation mask 1.1", and what `edge-seg-export label` writes as voc/: `SegmentationClass/STEM.png`, in
the colours of `labelmap.txt` or with a palette of them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from .data import DataError, data_root, open_rgb
from .samples import PICTURES, is_companion

BACKGROUND, VOID = "background", (224, 224, 192)
IGNORED = 255
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
        if not name.strip() or len(parts) != 3 or not all(part.strip().isdigit() and int(part) < 256 for part in parts):
            raise DataError(f"{path}, line {number}: expected name:red,green,blue::, found {line!r}")
        colour = tuple(int(part) for part in parts)
        if colour in found:
            raise DataError(f"{path}, line {number}: {name!r} has the colour of {found[colour]!r}")
        found[colour] = name.strip()
    return found


def read_labels(path: Path, values: dict[tuple[int, int, int], int]) -> np.ndarray:
    """The value of each pixel's colour, [height, width] u8."""
    try:
        with Image.open(path) as stored:
            pixels = np.asarray(stored.convert("RGB")).astype(np.uint32)
    except Exception as error:  # decoders raise whatever their input makes them
        raise DataError(f"{path}: not a readable picture ({type(error).__name__})") from error
    packed = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    colours, place = np.unique(packed, return_inverse=True)
    known = {red << 16 | green << 8 | blue: value for (red, green, blue), value in values.items()}
    for colour in colours.tolist():
        if colour not in known:
            told = f"{colour >> 16},{colour >> 8 & 255},{colour & 255}"
            raise DataError(f"{path}: the colour {told} stands in no line of labelmap.txt; was it written with smooth edges, or as JPEG?")
    return np.array([known[colour] for colour in colours.tolist()], np.uint8)[place.reshape(packed.shape)]


def turn_of(photo: Path) -> Image.Transpose | None:
    """What turns a photo's stored pixels upright."""
    try:
        with Image.open(photo) as stored:
            return TURNS.get(stored.getexif().get(ORIENTATION, 1))
    except Exception as error:  # decoders raise whatever their input makes them
        raise DataError(f"{photo}: not a readable picture ({type(error).__name__})") from error


def adopt(source: Path, images: Path, target: Path, label_pixels: str = "upright", say=lambda text: None) -> int:
    """Writes `target` whole or not at all; the count of photos. Labels of `stored` pixels are turned as their photos are."""
    names = read_labelmap(source / "labelmap.txt")
    words = [name for name in names.values() if name.lower() != BACKGROUND]
    if len(words) > 254:
        raise DataError(f"{source / 'labelmap.txt'}: expected at most 254 names, found {len(words)}")
    values = {colour: 0 if name.lower() == BACKGROUND else words.index(name) + 1 for colour, name in names.items()}
    values = {(0, 0, 0): 0, VOID: IGNORED} | values
    pictures = (
        {path.stem: path for path in sorted(images.iterdir()) if path.suffix.lower() in PICTURES and not is_companion(path.name)}
        if images.is_dir()
        else {}
    )
    found = [path for path in sorted((source / "SegmentationClass").glob("*.png")) if not is_companion(path.name)]
    if not found:
        raise DataError(f"{source / 'SegmentationClass'}: expected label pictures STEM.png, found none")
    if target.exists():
        raise DataError(f"{target}: is there already; take another name, or move it away")
    fresh, turned = target.with_name(f".{target.name}.new"), 0
    shutil.rmtree(fresh, ignore_errors=True)
    (fresh / "images").mkdir(parents=True)
    (fresh / "labels").mkdir()
    try:
        for path in found:
            photo = pictures.get(path.stem)
            if photo is None:
                raise DataError(f"{images}: expected the photo of {path.name}, found no {path.stem} with one of {', '.join(PICTURES)}")
            labels, size, turn = read_labels(path, values), open_rgb(photo).size, turn_of(photo)
            turned += turn is not None
            found_size = labels.shape[::-1]
            if turn is not None and label_pixels == "stored":
                labels = np.asarray(Image.fromarray(labels).transpose(turn))
            if labels.shape[::-1] != size:
                why = ""
                if turn is not None and found_size == size:
                    why = "; these are its upright pixels: leave --label-pixels stored away"
                elif turn is not None and found_size == size[::-1]:
                    why = "; these are its stored pixels, before its EXIF orientation is applied: take --label-pixels stored"
                raise DataError(f"{path}: expected the photo's size, {size[0]}×{size[1]}, found {found_size[0]}×{found_size[1]}{why}")
            Image.fromarray(labels).save(fresh / "labels" / f"{path.stem}.png")
            shutil.copyfile(photo, fresh / "images" / photo.name)
        rows = [
            "value\tname\tsynonyms\trole",
            "0\t\t\tnone",
            *(f"{n}\t{word}\t\tthing" for n, word in enumerate(words, 1)),
            f"{IGNORED}\t\t\tignore",
        ]
        (fresh / "classes.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        fresh.rename(target)
        if turned:
            other = "" if label_pixels == "stored" else "; for labels by a tool that ignores EXIF take --label-pixels stored"
            say(f"{turned} photos have an EXIF orientation: labels are taken as of their {label_pixels} pixels{other}")
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return len(found)


def main(given, say) -> int:
    target = data_root(given.data) / "seg" / given.name
    count = adopt(given.labels, given.images, target, given.label_pixels, say)
    say(f"{target}: {count} photos; a stage of kind 'sets' takes them as sets = [\"{given.name}=1\"]")
    return 0
