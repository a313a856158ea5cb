"""Reads what `edge-seg-export label` wrote with other people's readers: YOLO with `supervision`, cvat.xml with `datumaro`, against coco.json.

usage: check_label_readers.py FOLDER PICTURES

Both are compared with pycocotools' reading of coco.json. A reader that is not installed is named and left out; none at all is an error.
Exit codes: 0 all agree, 1 some differ, 2 nothing to compare.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO


def yolo(folder, pictures, coco, wrong):
    import supervision as sv

    read = sv.DetectionDataset.from_yolo(
        images_directory_path=str(pictures),
        annotations_directory_path=str(folder / "yolo/labels"),
        data_yaml_path=str(folder / "yolo/data.yaml"),
        force_masks=True,
    )
    names = [c["name"] for c in coco.loadCats(sorted(coco.getCatIds()))]
    if list(read.classes) != names:
        wrong.append(f"YOLO classes {read.classes} instead of {names}")
    images = {Path(i["file_name"]).stem: i["id"] for i in coco.dataset["images"]}
    regions, worst = 0, 1.0
    for path, _, found in read:
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=images[Path(path).stem]))
        if sorted(found.class_id.tolist()) != sorted(a["category_id"] - 1 for a in annotations):
            wrong.append(f"{path}: YOLO classes differ")
            continue
        for annotation, mask in zip(annotations, found.mask if found.mask is not None else []):
            regions += 1
            truth = coco.annToMask(annotation).astype(bool)
            kept = (truth & mask).sum() / max(truth.sum(), 1)
            if truth.sum() > 500:
                worst = min(worst, kept)
    if worst < 0.85:
        wrong.append(f"YOLO: an outline holds {worst:.2f} of its mask")
    return f"supervision {sv.__version__}: {regions} YOLO regions, the worst holds {worst:.3f} of its mask"


def cvat(folder, pictures, coco, wrong):
    import datumaro
    from datumaro.components.annotation import AnnotationType

    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "annotations.xml").write_bytes((folder / "cvat.xml").read_bytes())
        (Path(place) / "images").symlink_to(pictures.resolve())
        read = datumaro.Dataset.import_from(place, "cvat")
        labels = [label.name for label in read.categories()[AnnotationType.label]]
        images = {Path(i["file_name"]).stem: i["id"] for i in coco.dataset["images"]}
        regions = 0
        for item in read:
            annotations = coco.loadAnns(coco.getAnnIds(imgIds=images[Path(item.id).stem]))
            found = [a for a in item.annotations if a.type in (AnnotationType.mask, AnnotationType.polygon)]
            names = sorted(labels[a.label] for a in found)
            if names != sorted(coco.cats[a["category_id"]]["name"] for a in annotations):
                wrong.append(f"{item.id}: CVAT classes {names}")
                continue
            for annotation, shape in zip(annotations, found):
                regions += 1
                if shape.type == AnnotationType.mask and not np.array_equal(shape.image.astype(bool), coco.annToMask(annotation) > 0):
                    wrong.append(f"{item.id}: the mask of CVAT annotation {annotation['id']} differs")
    return f"datumaro: {regions} CVAT regions"


def main(folder, pictures):
    folder = Path(folder)
    coco = COCO(str(folder / "coco.json"))
    wrong, said = [], []
    for read in (yolo, cvat):
        try:
            said.append(read(folder, Path(pictures), coco, wrong))
        except ImportError as missing:
            print(f"{read.__name__}: left out, {missing}", file=sys.stderr)
    print("\n".join(said) + f"\n{len(wrong)} differences")
    print("\n".join(wrong[:20]), file=sys.stderr)
    return 1 if wrong else 0 if said else 2


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))
