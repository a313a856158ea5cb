"""Masks that formats of labels lose: a ring with a thing in its hole, several parts, single pixels, lines, diagonals, what touches the
border, a picture full of one class and one without any.

usage: make_hard_masks.py PICTURES OUT

OUT/voc is a VOC folder of these masks over cuttings of the pictures, as `edge-seg-export label` writes one; OUT/images are the cuttings.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ["person", "cat", "cup", "sky", "wall"]
WIDTH, HEIGHT = 96, 72


def ring(labels):
    labels[8:40, 10:50] = 1
    labels[16:32, 20:40] = 0
    labels[20:28, 24:34] = 2
    labels[24, 28] = 0


def parts(labels):
    for left in range(4, 90, 14):
        labels[6:18, left : left + 9] = 3
    labels[40:60, 5:30], labels[40:60, 60:90] = 3, 4


def thin(labels):
    labels[10, 5:90] = 1
    labels[5:70, 50] = 2
    labels[30, 30], labels[33, 34], labels[71, 95], labels[0, 0] = 3, 3, 4, 5
    for n in range(20):
        labels[40 + n, 60 + n] = 5


def border(labels):
    labels[:20], labels[20:], labels[:, 80:] = 4, 5, 1
    labels[60:, :6], labels[30:34, 0] = 3, 2


def full(labels):
    labels[:] = 5


def none(labels):
    pass


def main(pictures, out):
    pictures, voc, images = sorted(Path(pictures).glob("*.jpg")), Path(out) / "voc", Path(out) / "images"
    for folder in (images, voc / "JPEGImages", voc / "SegmentationClass", voc / "ImageSets/Segmentation"):
        folder.mkdir(parents=True)
    palette = [0, 0, 0, 200, 30, 60, 30, 180, 30, 30, 60, 200, 200, 200, 30, 200, 30, 200]
    stems = []
    for number, draw in enumerate((ring, parts, thin, border, full, none)):
        stem = f"{draw.__name__} é" if draw is ring else draw.__name__
        stems.append(stem)
        base = Image.open(pictures[number % len(pictures)]).convert("RGB")
        left, top = 40 * number % (base.width - WIDTH), 30 * number % (base.height - HEIGHT)
        cutting = base.crop((left, top, left + WIDTH, top + HEIGHT))
        for folder in (images, voc / "JPEGImages"):
            cutting.save(folder / f"{stem}.png")
        labels = np.zeros((HEIGHT, WIDTH), np.uint8)
        draw(labels)
        picture = Image.fromarray(labels)
        picture.putpalette(palette)
        picture.save(voc / f"SegmentationClass/{stem}.png")
    rows = [f"{name}:{','.join(map(str, palette[3 * k : 3 * k + 3]))}::" for k, name in enumerate(["background", *NAMES])]
    (voc / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + "\n".join(rows) + "\n")
    (voc / "ImageSets/Segmentation/default.txt").write_text("\n".join(stems) + "\n")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))
