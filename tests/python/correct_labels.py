"""Corrects labels of `edge-seg-export label` as a person would in CVAT, whose formats are datumaro's: CVAT 1.1 in, its two exports out.

usage: correct_labels.py LABELLED PICTURES OUT

LABELLED holds cvat.xml. In each picture one region is drawn anew: the left half is the first label. OUT/masks is the export "Segmentation mask
1.1", OUT/coco the export "COCO 1.0".
"""

import sys
import tempfile
from pathlib import Path

import datumaro
import numpy as np
from datumaro.components.annotation import AnnotationType, Mask


def main(labelled: Path, pictures: Path, out: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "annotations.xml").write_bytes((labelled / "cvat.xml").read_bytes())
        (Path(place) / "images").symlink_to(pictures.resolve())
        read = datumaro.Dataset.import_from(place, "cvat")
        for item in read:
            height, width = item.media.size if item.media else item.attributes["size"]
            left = np.zeros((height, width), bool)
            left[:, : width // 2] = True
            # What lay there is cut off; masks of one picture do not overlap in CVAT's export.
            kept = []
            for one in item.annotations:
                if one.type == AnnotationType.mask:
                    rest = one.image.astype(bool) & ~left
                    if rest.any():
                        kept.append(one.wrap(image=rest))
            item.annotations = [*kept, Mask(image=left, label=0, z_order=1)]
        # CVAT gives each label a colour of its own choice.
        names = [label.name for label in read.categories()[AnnotationType.label]]
        colours = {name: [(40 * (n + 1) % 256, 200 - 30 * n, 90), [], []] for n, name in enumerate(names)}
        label_map = {"background": [(0, 0, 0), [], []]} | colours
        read.export(str(out / "masks"), "voc_segmentation", save_media=True, apply_colormap=True, label_map=label_map)
        read.export(str(out / "coco"), "coco_instances", save_media=True)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
