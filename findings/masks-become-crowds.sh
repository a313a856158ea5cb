#!/usr/bin/env bash
# Two writers of COCO call a single thing a crowd because of how its mask is written, and COCO's measure leaves crowds out.
#
# Expected: `iscrowd` says what an annotation is of: 1 a group that nobody told apart, 0 one thing (COCO's data format). A ring is one thing.
# Real: supervision 0.31.2 writes iscrowd 1 for each mask with a hole or of several parts (its documentation says so), datumaro 1.13.12 for
#   every mask. pycocotools 2.0.11 then ignores these things: against such a file the ring's own mask measures AP -1, "nothing to find".
# What works: supervision takes `data={"iscrowd": ...}`; a reader of masks does not go by the word.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check supervision==0.31.2 datumaro==1.13.12 pycocotools==2.0.11
cat > write.py <<'PYTHON'
import contextlib
import io
from pathlib import Path

import datumaro
import numpy as np
import supervision as sv
from datumaro.components.annotation import Mask
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image as Media
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

disc = np.zeros((48, 64), bool)
disc[8:40, 10:50] = True
ring = disc.copy()
ring[16:32, 20:40] = False
masks = {"ring": ring, "disc": disc}
Path("images").mkdir()
for name in masks:
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(f"images/{name}.png")
things = {f"images/{n}.png": sv.Detections(xyxy=sv.mask_to_xyxy(m[None]), mask=m[None], class_id=np.array([0])) for n, m in masks.items()}
data = sv.DetectionDataset(classes=["cup"], images=list(things), annotations=things)
data.as_coco(annotations_path="supervision.json")
items = [
    DatasetItem(id=n, media=Media.from_file(f"images/{n}.png"), annotations=[Mask(m, label=0, id=1, group=1)]) for n, m in masks.items()
]
datumaro.Dataset.from_iterable(items, categories=["cup"]).export("datumaro", "coco_instances", save_media=False)
for name, path in (("supervision", "supervision.json"), ("datumaro", next(Path("datumaro/annotations").glob("*.json")))):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        stems = {image["id"]: Path(image["file_name"]).stem for image in truth.dataset["images"]}
        crowds = {stems[a["image_id"]]: a["iscrowd"] for a in truth.dataset["annotations"]}
        (number,) = (i for i, stem in stems.items() if stem == "ring")
        mask = rle.encode(np.asfortranarray(ring.astype(np.uint8)))
        mask["counts"] = mask["counts"].decode()
        told = {"image_id": number, "category_id": truth.getCatIds()[0], "score": 1.0, "segmentation": mask}
        measure = COCOeval(truth, truth.loadRes([told]), "segm")
        measure.params.imgIds = [number]
        measure.evaluate()
        measure.accumulate()
        measure.summarize()
    print(name, f"ring {crowds['ring']}, disc {crowds['disc']}, AP {measure.stats[0]:.0f}")
PYTHON
venv/bin/pip list --disable-pip-version-check 2>/dev/null | grep -E '^(supervision|datumaro|pycocotools) '
venv/bin/python write.py 2>/dev/null | tee written.txt
printf '%s\n' 'supervision ring 1, disc 0, AP -1' 'datumaro ring 1, disc 1, AP -1' | cmp --silent - written.txt || {
    echo "this has changed"
    exit 1
}
