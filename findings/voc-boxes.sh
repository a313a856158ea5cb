#!/usr/bin/env bash
# Two readers of PASCAL VOC take different boxes from the same file.
#
# Expected: VOC's corners count pixels from 1 and include the last one (development kit of VOC2012: the top left pixel of the
#   picture is 1,1), so xmin 11, xmax 20 is ten pixels wide and starts at pixel 10, counted from 0. All readers agree on that.
# Real: supervision 0.31.2 reads left 10, top 5, width 10, height 10. datumaro 1.13.12 takes the numbers as they are: left 11, top 6, width 9,
#   height 9: its left and upper edges lie a pixel too far in. A writer cannot please both, so it has to say for which reader its boxes are.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check supervision==0.31.2 datumaro==1.13.12
cat > read.py <<'PYTHON'
from pathlib import Path

import datumaro
import numpy
import supervision
from PIL import Image

voc = Path("voc")
for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
    (voc / folder).mkdir(parents=True)
Image.fromarray(numpy.zeros((20, 30, 3), numpy.uint8)).save(voc / "JPEGImages/a.jpg")
(voc / "ImageSets/Main/train.txt").write_text("a\n")
(voc / "Annotations/a.xml").write_text(
    "<annotation><folder>JPEGImages</folder><filename>a.jpg</filename><size><width>30</width><height>20</height><depth>3</depth></size>"
    "<segmented>0</segmented><object><name>cat</name><pose>Unspecified</pose><truncated>0</truncated><occluded>0</occluded>"
    "<difficult>0</difficult><bndbox><xmin>11</xmin><ymin>6</ymin><xmax>20</xmax><ymax>15</ymax></bndbox></object></annotation>"
)
found = supervision.DetectionDataset.from_pascal_voc(str(voc / "JPEGImages"), str(voc / "Annotations"))
_, _, detections = found[0]
left, top, right, bottom = (int(v) for v in detections.xyxy[0])
print("supervision", supervision.__version__, [left, top, right - left, bottom - top])
items = datumaro.Dataset.import_from("voc", "voc")
boxes = [a.get_bbox() for item in items for a in item.annotations if a.type == datumaro.AnnotationType.bbox]
print("datumaro", datumaro.__version__, [int(v) for v in boxes[0]])
PYTHON
venv/bin/python read.py 2>/dev/null | tee read.txt
printf '%s\n' 'supervision 0.31.2 [10, 5, 10, 10]' 'datumaro 1.13.12 [11, 6, 9, 9]' | cmp --silent - read.txt || {
    echo "this has changed"
    exit 1
}
