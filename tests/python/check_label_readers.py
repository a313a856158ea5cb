"""Reads what `edge-seg-export label` wrote with other people's readers, against pycocotools' reading of coco.json.

usage: check_label_readers.py FOLDER PICTURES

YOLO: Ultralytics' own check of the data set, and `supervision`; outlines as Ultralytics, supervision, pillow and pycocotools draw them.
VOC and cvat.xml: `datumaro`. label-studio.json: `label_studio_sdk`. All are needed.
Exit codes: 0 all agree, 1 some differ.
"""

import json
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as rle
from pycocotools.coco import COCO

# An outline is within a quarter of a pixel; drawing programs paint lines, whose slopes they round in ways of their own.
MOST_PIXELS, MOST_SHARE = 4, 0.01


def grown(mask):
    """A mask and the pixels that touch it, corners included."""
    high, wide = mask.shape
    around = np.pad(mask, 1)
    return np.any([around[y : y + high, x : x + wide] for y in range(3) for x in range(3)], axis=0)


def near(reader, found, truth):
    """Whether two masks differ by a few pixels, and by how many."""
    found = found.astype(bool)
    wrong = int((found ^ truth).sum())
    if reader == "supervision":  # it rounds points to whole pixels, and then paints the line: no outline survives that by every rule
        return wrong, not (found & ~grown(truth)).any() and not (truth & ~grown(found)).any()
    return wrong, wrong <= MOST_PIXELS + MOST_SHARE * truth.sum()


class Outlines:
    """How well outlines give masks back, by reader."""

    def __init__(self):
        self.pixels, self.wrong, self.off = {}, {}, []

    def add(self, reader, place, found, truth):
        wrong, good = near(reader, found, truth)
        self.pixels[reader] = self.pixels.get(reader, 0) + int(truth.sum())
        self.wrong[reader] = self.wrong.get(reader, 0) + wrong
        if not good:
            self.off.append(f"{place}: {reader} draws {wrong} pixels otherwise, of {int(truth.sum())}")

    def told(self):
        return "; ".join(f"{reader} {wrong} of {self.pixels[reader]} pixels" for reader, wrong in self.wrong.items())


def truths(coco):
    """For each picture's stem its annotations with their masks."""
    for image in coco.dataset["images"]:
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        yield image, [(a, coco.annToMask(a).astype(bool)) for a in annotations]


def ultralytics(folder, _, coco, outlines, wrong):
    os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp())
    from ultralytics.data.utils import check_det_dataset, polygons2masks, verify_image_label

    at, here = (folder / "yolo/data.yaml").resolve(), os.getcwd()
    with tempfile.TemporaryDirectory() as elsewhere:
        os.chdir(elsewhere)  # a path that leads somewhere by chance would not here
        try:
            read = check_det_dataset(str(at), autodownload=False)
        finally:
            os.chdir(here)
    names = [c["name"] for c in coco.loadCats(sorted(coco.getCatIds()))]
    if list(read["names"].values()) != names or Path(read["train"]) != at.parent / "images":
        wrong.append(f"Ultralytics reads {read['names']}, {read['train']}")
    count = 0
    for image, annotations in truths(coco):
        picture = at.parent / "images" / image["file_name"]
        label = at.parent / "labels" / f"{picture.stem}.txt"
        found = verify_image_label((str(picture), str(label), "", False, len(names), 0, 2, False))
        file, boxes, shape, segments, _, _, _, _, corrupt, said = found
        if file is None or corrupt or said:
            wrong.append(f"{label}: {said}")
            continue
        if [int(c) for c in boxes[:, 0]] != [a["category_id"] - 1 for a, _ in annotations]:
            wrong.append(f"{label}: Ultralytics' classes differ")
            continue
        height, width = shape
        for (annotation, truth), segment in zip(annotations, segments):
            count += 1
            scaled = segment * np.array([width, height], np.float32)
            outlines.add("Ultralytics", f"{label} {annotation['id']}", polygons2masks((height, width), [scaled.reshape(-1)], 1)[0], truth)
    return f"ultralytics {version('ultralytics')}: {count} regions"


def supervision(folder, pictures, coco, outlines, wrong):
    import supervision as sv

    read = sv.DetectionDataset.from_yolo(
        images_directory_path=str(folder / "yolo/images"),
        annotations_directory_path=str(folder / "yolo/labels"),
        data_yaml_path=str(folder / "yolo/data.yaml"),
        force_masks=True,
    )
    names = [c["name"] for c in coco.loadCats(sorted(coco.getCatIds()))]
    if list(read.classes) != names:
        wrong.append(f"supervision reads the classes {read.classes} instead of {names}")
    known, count = {image["file_name"]: annotations for image, annotations in truths(coco)}, 0
    for path, _, found in read:
        annotations = known[Path(path).name]
        if found.class_id.tolist() != [a["category_id"] - 1 for a, _ in annotations]:
            wrong.append(f"{path}: supervision's classes differ")
            continue
        for (annotation, truth), mask in zip(annotations, found.mask if found.mask is not None else []):
            count += 1
            outlines.add("supervision", f"{path} {annotation['id']}", mask, truth)
    return f"supervision {sv.__version__}: {count} regions"


def drawn(folder, _, coco, outlines, wrong):
    """The same outlines by pillow and by pycocotools."""
    count = 0
    for image, annotations in truths(coco):
        lines = (folder / f"yolo/labels/{Path(image['file_name']).stem}.txt").read_text().splitlines()
        height, width = image["height"], image["width"]
        for line, (annotation, truth) in zip(lines, annotations):
            count += 1
            points = np.array(line.split()[1:], float).reshape(-1, 2) * [width, height]
            by_pillow = Image.new("1", (width, height))
            ImageDraw.Draw(by_pillow).polygon([tuple(p) for p in points], fill=1, outline=1)
            place = f"{image['file_name']} {annotation['id']}"
            outlines.add("pillow", place, np.array(by_pillow), truth)
            by_coco = rle.decode(rle.merge(rle.frPyObjects([points.ravel().tolist()], height, width)))
            outlines.add("pycocotools", place, by_coco, truth)
    return f"pillow {version('pillow')}, pycocotools {version('pycocotools')}: {count} outlines"


def cvat(folder, pictures, coco, _, wrong):
    import datumaro
    from datumaro.components.annotation import AnnotationType

    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "annotations.xml").write_bytes((folder / "cvat.xml").read_bytes())
        (Path(place) / "images").symlink_to(pictures.resolve())
        read = datumaro.Dataset.import_from(place, "cvat")
        labels = [label.name for label in read.categories()[AnnotationType.label]]
        known, count = {Path(image["file_name"]).stem: annotations for image, annotations in truths(coco)}, 0
        for item in read:
            annotations = known[Path(item.id).stem]
            found = [a for a in item.annotations if a.type in (AnnotationType.mask, AnnotationType.polygon)]
            names = sorted(labels[a.label] for a in found)
            if names != sorted(coco.cats[a["category_id"]]["name"] for a, _ in annotations):
                wrong.append(f"{item.id}: CVAT classes {names}")
                continue
            for (annotation, truth), shape in zip(annotations, found):
                count += 1
                if shape.type == AnnotationType.mask and not np.array_equal(shape.image.astype(bool), truth):
                    wrong.append(f"{item.id}: the mask of CVAT annotation {annotation['id']} differs")
    return f"datumaro {version('datumaro')}: {count} CVAT regions"


def voc(folder, _, coco, __, wrong):
    import datumaro
    from datumaro.components.annotation import AnnotationType

    read = datumaro.Dataset.import_from(str(folder / "voc"), "voc")
    labels = [label.name for label in read.categories()[AnnotationType.label]]
    known = {Path(image["file_name"]).stem: (image, annotations) for image, annotations in truths(coco)}
    items = list(read)
    if sorted(item.id for item in items) != sorted(known):
        wrong.append(f"VOC: datumaro finds {sorted(item.id for item in items)}")
    for item in items:
        image, annotations = known[item.id]
        if item.media is None or item.media.data.shape[:2] != (image["height"], image["width"]):
            wrong.append(f"{item.id}: datumaro finds no picture in JPEGImages")
        for name in {coco.cats[a["category_id"]]["name"] for a, _ in annotations}:
            mine = [m for a, m in annotations if coco.cats[a["category_id"]]["name"] == name]
            masks = [m.image for m in item.annotations if m.type == AnnotationType.mask and labels[m.label] == name]
            if not masks or not np.array_equal(np.any(masks, axis=0), np.any(mine, axis=0)):
                wrong.append(f"{item.id}: datumaro's VOC mask of {name} differs")
        boxes = sum(a.type == AnnotationType.bbox for a in item.annotations)
        if boxes != len(annotations):
            wrong.append(f"{item.id}: datumaro reads {boxes} boxes of {len(annotations)}")
    return f"datumaro {version('datumaro')}: {len(items)} VOC pictures"


def label_studio(folder, pictures, coco, outlines, wrong):
    from label_studio_sdk.label_interface import LabelInterface

    names = [c["name"] for c in coco.loadCats(sorted(coco.getCatIds()))]
    labels = "".join(f'<Label value="{name}"/>' for name in names)
    interface = LabelInterface(
        f'<View><Image name="image" value="$image"/><PolygonLabels name="label" toName="image">{labels}</PolygonLabels></View>'
    )
    tasks, count = json.loads((folder / "label-studio.json").read_text()), 0
    known = {image["file_name"]: (image, annotations) for image, annotations in truths(coco)}
    for task in tasks:
        # With predictions it calls itself without them (2.1.2).
        if not interface.validate_task({"data": task["data"]}):
            wrong.append(f"label-studio.json: label_studio_sdk refuses {task['data']}")
        prefix, _, name = task["data"]["image"].rpartition("=")
        if not prefix.startswith("/data/local-files/") or unquote(name) not in known:
            wrong.append(f"label-studio.json: {task['data']['image']} is none of the pictures' addresses")
            continue
        image, annotations = known[unquote(name)]
        for prediction in task["predictions"]:
            said = interface.validate_prediction(prediction, return_errors=True)
            if said:
                wrong.append(f"{name}: label_studio_sdk says {said}")
            for (annotation, truth), result in zip(annotations, prediction["result"], strict=True):
                count += 1
                points = np.array(result["value"]["points"]) * [image["width"] / 100, image["height"] / 100]
                found = rle.decode(rle.merge(rle.frPyObjects([points.ravel().tolist()], image["height"], image["width"])))
                outlines.add("Label Studio's points", f"{name} {annotation['id']}", found, truth)
    return f"label_studio_sdk {version('label-studio-sdk')}: {count} regions"


def main(folder, pictures):
    folder = Path(folder)
    coco = COCO(str(folder / "coco.json"))
    wrong, said, outlines = [], [], Outlines()
    for read in (ultralytics, supervision, drawn, cvat, voc, label_studio):
        said.append(read(folder, Path(pictures), coco, outlines, wrong))
    wrong += outlines.off
    print("\n".join(said) + f"\noutlines: {outlines.told()}\n{len(wrong)} differences")
    print("\n".join(wrong[:20]), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))
