"""Writes a VOC folder, as `edge-seg-export label` writes one, anew with other people's writers, for `edge-seg-export eval` to read.

usage: write_labels.py VOC_FOLDER OUT

OUT/exact, which hold the masks to the pixel:
  datumaro: COCO instances (run lengths, which it calls crowds), VOC masks, "CVAT for images" with masks;
  pycocotools: COCO instances of one annotation a class with all of its parts, run lengths compressed, as numbers and as crowds;
  label_studio_sdk: brushes.
OUT/near, which follow them within about a pixel: supervision's COCO and YOLO polygons. Ultralytics' YOLO outlines are of the outer borders
alone, in whole numbers of pixels: holes and what is thinner than two pixels are lost.
"""

import json
import sys
from pathlib import Path
from urllib.parse import quote

import datumaro
import numpy as np
import supervision as sv
from label_studio_sdk.converter import brush
from PIL import Image
from pycocotools import mask as rle
from ultralytics.data.converter import convert_segment_masks_to_yolo_seg


def by_datumaro(voc, exact):
    from datumaro.components.annotation import AnnotationType, Mask
    from datumaro.components.dataset import Dataset

    read = Dataset.import_from(str(voc), "voc_segmentation")
    read.export(str(exact / "datumaro-coco"), "coco_instances", save_media=False)
    read.export(str(exact / "datumaro-voc"), "voc_segmentation", save_media=False, label_map="source")
    # CVAT knows no background, and one mask of a class is one annotation.
    names = [label.name for label in read.categories()[AnnotationType.label]]
    kept = [name for name in names if name not in ("background", "ignored")]
    items = []
    for item in read:
        masks = [Mask(a.image, label=kept.index(names[a.label])) for a in item.annotations if names[a.label] in kept]
        items.append(item.wrap(annotations=masks))
    Dataset.from_iterable(items, categories=kept).export(str(exact / "datumaro-cvat"), "cvat", save_media=False)


def by_pycocotools(pictures, names, exact):
    document = {"images": [], "annotations": [], "categories": [{"id": k + 1, "name": name} for k, name in enumerate(names)]}
    for number, (path, labels) in enumerate(pictures):
        height, width = labels.shape
        document["images"].append({"id": number, "file_name": path.name, "width": width, "height": height})
        for k in range(len(names)):
            mask = labels == k + 1
            found = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
            way = (number + k) % 3
            if way == 0:
                counts = found["counts"].decode()
            else:
                edges = np.flatnonzero(np.diff(np.r_[0, mask.T.ravel().astype(int), 1 - mask.T.ravel()[-1].astype(int)]))
                counts = np.diff(np.r_[0, edges]).tolist()
            document["annotations"].append({
                "id": len(document["annotations"]) + 1,
                "image_id": number,
                "category_id": k + 1,
                "segmentation": {"size": [height, width], "counts": counts},
                "area": float(rle.area(found)),
                "bbox": rle.toBbox(found).tolist(),
                "iscrowd": int(way == 2),
            })
    (exact / "pycocotools.json").write_text(json.dumps(document))


def by_label_studio(pictures, names, exact):
    tasks = []
    for path, labels in pictures:
        results = []
        for k, name in enumerate(names):
            mask = labels == k + 1
            if mask.any():
                results.append({
                    "type": "brushlabels",
                    "value": {"format": "rle", "rle": [int(b) for b in brush.mask2rle(mask * 255)], "brushlabels": [name]},
                    "original_width": labels.shape[1],
                    "original_height": labels.shape[0],
                    "image_rotation": 0,
                })
        tasks.append({"data": {"image": f"/data/local-files/?d=pictures/{quote(path.name)}"}, "annotations": [{"result": results}]})
    (exact / "label-studio.json").write_text(json.dumps(tasks))


def by_supervision(pictures, names, near):
    found, paths = {}, []
    for path, labels in pictures:
        kept = [k for k in range(1, len(names) + 1) if (labels == k).any()]
        masks = np.array([labels == k for k in kept]) if kept else np.zeros((0, *labels.shape), bool)
        boxes = sv.mask_to_xyxy(masks) if kept else np.zeros((0, 4))
        found[str(path)] = sv.Detections(xyxy=boxes, mask=masks, class_id=np.array(kept, int) - 1)
        paths.append(str(path))
    data = sv.DetectionDataset(classes=names, images=paths, annotations=found)
    data.as_coco(annotations_path=str(near / "supervision.json"), approximation_percentage=0.0)
    yolo = near / "supervision-yolo"
    data.as_yolo(annotations_directory_path=str(yolo / "labels"), data_yaml_path=str(yolo / "data.yaml"), approximation_percentage=0.0)


def main(voc, out):
    voc, exact, near = Path(voc), Path(out) / "exact", Path(out) / "near"
    for folder in (exact, near):
        folder.mkdir(parents=True)
    names = [line.split(":")[0] for line in (voc / "labelmap.txt").read_text().splitlines()[2:]]
    pictures = [
        (path, np.array(Image.open(voc / f"SegmentationClass/{path.stem}.png"))) for path in sorted((voc / "JPEGImages").iterdir())
    ]
    by_datumaro(voc, exact)
    by_pycocotools(pictures, names, exact)
    by_label_studio(pictures, names, exact)
    by_supervision(pictures, names, near)
    convert_segment_masks_to_yolo_seg(str(voc / "SegmentationClass"), str(near / "ultralytics/labels"), classes=len(names))
    (near / "ultralytics/data.yaml").write_text(f"names: {json.dumps(names)}\n")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))
