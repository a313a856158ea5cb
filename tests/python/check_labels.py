"""Checks what `edge-seg-export label` wrote: coco.json with pycocotools, against the VOC masks, boxes and YOLO outlines of the same run.

usage: check_labels.py FOLDER

Exit codes: 0 all agree, 1 some differ, 2 the folder lacks something.
"""

import sys
import xml.etree.ElementTree as xml
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.mask import area, decode, frPyObjects


def yolo_outlines(path, width, height):
    for line in path.read_text().splitlines():
        label, *points = line.split()
        points = np.array(points, float).reshape(-1, 2)
        assert len(points) >= 3 and (points >= 0).all() and (points <= 1).all(), f"{path}: {line}"
        yield int(label), (points * [width, height]).ravel().tolist()


def holes(mask):
    """How many regions without it a mask encloses."""
    around = np.pad(1 - mask, 1, constant_values=1)
    return cv2.connectedComponents(around, connectivity=4)[0] - 2


def main(folder):
    folder = Path(folder)
    if not (folder / "coco.json").exists():
        print(f"{folder}: no coco.json", file=sys.stderr)
        return 2
    coco = COCO(str(folder / "coco.json"))
    wrong, enclosed, dots = [], 0, 0
    for image in coco.loadImgs(coco.getImgIds()):
        stem = Path(image["file_name"]).stem
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        semantic = np.zeros((image["height"], image["width"]), np.uint8)
        for annotation in annotations:
            mask = coco.annToMask(annotation)
            enclosed += holes(mask)
            dots += int(mask.sum() == 1)
            semantic[mask > 0] = annotation["category_id"]
            left, top, width, height = annotation["bbox"]
            rows, cols = np.nonzero(mask)
            if [cols.min(), rows.min(), np.ptp(cols) + 1, np.ptp(rows) + 1] != [left, top, width, height]:
                wrong.append(f"{stem}: box of annotation {annotation['id']}")
            if isinstance(annotation["segmentation"], dict) and mask.sum() != annotation["area"]:
                wrong.append(f"{stem}: area of annotation {annotation['id']}")
        voc = np.array(Image.open(folder / f"voc/SegmentationClass/{stem}.png"))
        if annotations and isinstance(annotations[0]["segmentation"], dict) and not np.array_equal(voc, semantic):
            wrong.append(f"{stem}: VOC and COCO masks differ")
        boxes = [o.find("bndbox") for o in xml.parse(folder / f"voc/Annotations/{stem}.xml").iter("object")]
        boxes = [[int(b.find(k).text) for k in ("xmin", "ymin", "xmax", "ymax")] for b in boxes]
        if boxes != [[a + 1, b + 1, a + c, b + d] for a, b, c, d in (x["bbox"] for x in annotations)]:
            wrong.append(f"{stem}: VOC boxes differ")
        outlines = list(yolo_outlines(folder / f"yolo/labels/{stem}.txt", image["width"], image["height"]))
        if [label + 1 for label, _ in outlines] != [a["category_id"] for a in annotations]:
            wrong.append(f"{stem}: YOLO classes differ")
            continue
        for (_, points), annotation in zip(outlines, annotations):
            drawn = frPyObjects([points], image["height"], image["width"])
            filled = coco.annToRLE(annotation)
            off = int((decode(drawn)[..., 0] ^ decode(filled)).sum())
            if off > 4 + 0.01 * area(filled):
                wrong.append(f"{stem}: YOLO outline is off by {off} of the {area(filled)} pixels of annotation {annotation['id']}")
    seen = f"{len(coco.imgs)} pictures, {len(coco.anns)} annotations, {enclosed} holes, {dots} single pixels"
    print(f"{seen}, {len(wrong)} differences")
    print("\n".join(wrong[:20]), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(sys.argv[1]))
