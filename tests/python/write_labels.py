"""Writes the VOC folder of `edge-seg-export label` anew with other people's writers, for `edge-seg-export eval` to read.

usage: write_labels.py VOC_FOLDER OUT

OUT/datumaro: COCO instances (masks as run lengths, which it calls crowds) and VOC masks. OUT/supervision.json: COCO polygons with several
parts, which follow the masks within about a pixel.
"""

import sys
from pathlib import Path

import datumaro
import numpy as np
import supervision as sv
from PIL import Image


def main(voc, out):
    voc, out = Path(voc), Path(out)
    read = datumaro.Dataset.import_from(str(voc), "voc_segmentation")
    read.export(str(out / "datumaro/coco"), "coco_instances", save_media=False)
    read.export(str(out / "datumaro/voc"), "voc_segmentation", save_media=False, label_map="source")
    names = [line.split(":")[0] for line in (voc / "labelmap.txt").read_text().splitlines()[2:]]
    found, paths = {}, []
    for path in sorted((voc / "JPEGImages").iterdir()):
        labels = np.array(Image.open(voc / f"SegmentationClass/{path.stem}.png"))
        kept = [k for k in range(1, len(names) + 1) if (labels == k).any()]
        masks = np.array([labels == k for k in kept]) if kept else np.zeros((0, *labels.shape), bool)
        boxes = sv.mask_to_xyxy(masks) if kept else np.zeros((0, 4))
        found[str(path)] = sv.Detections(xyxy=boxes, mask=masks, class_id=np.array(kept, int) - 1)
        paths.append(str(path))
    data = sv.DetectionDataset(classes=names, images=paths, annotations=found)
    data.as_coco(annotations_path=str(out / "supervision.json"), approximation_percentage=0.0)
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))
