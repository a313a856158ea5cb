"""Takes labels that a person has corrected over into a set of labelled photos that a stage of kind `sets` learns from.

python -m edge_seg_trainer adopt LABELS --images DIR --name NAME [--data DIR] [--label-pixels upright|stored]

LABELS is a folder as CVAT exports it as "Segmentation mask 1.1" and as `edge-seg-export label` writes it as voc/ (`SegmentationClass/STEM.png` in
the colours of `labelmap.txt`), or a JSON file as CVAT and Label Studio export it as COCO.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from . import layouts
from .data import IGNORE, OTHER, DataError, data_root
from .lexicon import warn


def adopt(source: Path, images: Path, target: Path, label_pixels: str = "upright", say=lambda text: None) -> int:
    """Writes `target` whole or not at all; the count of photos. Labels of `stored` pixels are turned as their photos are."""
    stored = label_pixels == "stored"
    if source.is_file():
        words, photos = layouts.read_coco_json(source, images, stored)
    elif (source / "labelmap.txt").is_file():
        found = layouts.read_voc_folder(str(source), source, images, stored)
        words, photos = found.words, found.train + found.held
    else:
        raise DataError(f"{source}: expected a VOC folder with labelmap.txt, or a COCO JSON file, found neither")
    if target.exists():
        raise DataError(f"{target}: is there already; take another name, or move it away")
    fresh = target.with_name(f".{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    (fresh / "images").mkdir(parents=True)
    (fresh / "labels").mkdir()
    values = np.full(256, IGNORE, np.uint8)
    values[: len(words)] = np.arange(len(words)) + 1
    values[OTHER] = 0
    photos = sorted(photos, key=lambda photo: photo.path.name)
    try:
        for photo in photos:
            if (fresh / "labels" / f"{photo.path.stem}.png").exists():
                raise DataError(f"{photo.path}: another photo is called {photo.path.stem} too; names have to differ without their endings")
            Image.fromarray(values[photo.labels()]).save(fresh / "labels" / f"{photo.path.stem}.png")
            shutil.copyfile(photo.path, fresh / "images" / photo.path.name)
        rows = [
            "value\tname\tsynonyms\trole",
            "0\t\t\tnone",
            *(f"{n}\t{some[0]}\t{','.join(some[1:])}\tthing" for n, some in enumerate(words, 1)),
            f"{IGNORE}\t\t\tignore",
        ]
        (fresh / "classes.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        fresh.rename(target)
        warn(str(target), (some[0] for some in words), say)
        if turned := sum(layouts.turn_of(photo.path) is not None for photo in photos):
            other = "" if stored else "; for labels by a tool that ignores EXIF take --label-pixels stored"
            say(f"{turned} photos have an EXIF orientation: labels are taken as of their {label_pixels} pixels{other}")
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return len(photos)


def main(given, say) -> int:
    target = data_root(given.data) / "seg" / given.name
    count = adopt(given.labels, given.images, target, given.label_pixels, say)
    say(f"{target}: {count} photos; a stage of kind 'sets' takes them as sets = [\"{given.name}=1\"]")
    return 0
