"""Checks the masks in JSON lines of `edge-seg run --json-masks rle|polygons --masks DIR` with pycocotools, against the label pictures.

usage: check_masks.py LINES DIR

Exit codes: 0 all agree, 1 some differ, 2 something is missing.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools.mask import area, decode, frPyObjects, merge, toBbox


def differences(line, labels):
    for entry in line["classes"]:
        inside, found = labels == entry["label"], entry["segmentation"]
        place = f"frame {line['sequence']}, {entry['name']}"
        if isinstance(found, dict):
            if not np.array_equal(decode(found).astype(bool), inside):
                yield f"{place}: {np.sum(decode(found).astype(bool) != inside)} pixels"
            if area(found) != entry["pixels"]:
                yield f"{place}: area {area(found)} instead of {entry['pixels']}"
            if entry["box"] is not None and toBbox(found).tolist() != entry["box"]:
                yield f"{place}: box {toBbox(found).tolist()} instead of {entry['box']}"
        elif found or inside.any():
            drawn = decode(merge(frPyObjects(found, *labels.shape))).astype(bool) if found else np.zeros(labels.shape, bool)
            wrong = int((drawn ^ inside).sum())
            # pycocotools paints lines, whose slopes it rounds in a way of its own.
            if wrong > 4 * len(found) + 0.01 * inside.sum():
                yield f"{place}: {len(found)} outlines draw {wrong} of {int(inside.sum())} pixels otherwise"


def main(lines, folder):
    frames = [json.loads(line) for line in Path(lines).read_text().splitlines()]
    if not frames or "segmentation" not in frames[0]["classes"][0]:
        print(f"{lines}: expected frames with masks", file=sys.stderr)
        return 2
    wrong = []
    for frame in frames:
        labels = np.array(Image.open(Path(folder) / f"{frame['sequence']:08}.mask.png"))
        wrong += differences(frame, labels)
    print(f"{len(frames)} frames, {sum(len(f['classes']) for f in frames)} masks, {len(wrong)} differences")
    print("\n".join(wrong[:20]), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))
