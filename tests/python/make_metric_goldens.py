"""Writes tests/data/metrics/golden.json: measures of random label maps, masks and tags by scikit-learn, torchmetrics and pycocotools.

usage: make_metric_goldens.py OUT.json

Cases hold absent classes, classes that are only predicted, ignored pixels, pictures that are ignored whole, and empty masks.
"""

import json
import sys

import numpy as np
import sklearn
import torch
import torchmetrics
from pycocotools import mask as coco
from sklearn.metrics import accuracy_score, average_precision_score, confusion_matrix, precision_recall_fscore_support
from torchmetrics.functional.classification import multiclass_jaccard_index

IGNORE = 255


def segmentation(rng, labels, drawn, predicted, ignored, height=9, width=11):
    """`labels` label values; truth draws from `drawn`, the prediction from `predicted`."""
    truth = rng.choice(drawn, (height, width)) if drawn else np.full((height, width), IGNORE)
    found = np.where(rng.random((height, width)) < 0.5, truth, rng.choice(predicted, (height, width)))
    found = np.where(np.isin(found, predicted), found, predicted[0])
    truth = np.where(rng.random((height, width)) < ignored, IGNORE, truth)
    kept = truth != IGNORE
    case = {"labels": labels, "truth": truth.ravel().tolist(), "found": found.ravel().tolist()}
    if not kept.any():
        return case | {"confusion": np.zeros((labels, labels), int).tolist(), "iou": [None] * labels, "accuracy": None}
    table = confusion_matrix(truth[kept], found[kept], labels=range(labels))
    # torchmetrics leaves classes that are neither true nor predicted at 0: those are none here.
    iou = multiclass_jaccard_index(
        torch.tensor(found), torch.tensor(truth), num_classes=labels, average=None, ignore_index=IGNORE
    ).tolist()
    met = table.sum(0) + table.sum(1) > 0
    return case | {
        "confusion": table.tolist(),
        "iou": [value if m else None for value, m in zip(iou, met)],
        "accuracy": accuracy_score(truth[kept], found[kept]),
    }


def masks(rng, truth_share, found_share, height=13, width=7):
    truth = (rng.random((height, width)) < truth_share).astype(np.uint8)
    found = (rng.random((height, width)) < found_share).astype(np.uint8)
    encode = lambda m: coco.encode(np.asfortranarray(m))
    both, either = coco.merge([encode(truth), encode(found)], intersect=True), coco.merge([encode(truth), encode(found)])
    iou = float(coco.iou([encode(found)], [encode(truth)], [0])[0][0])
    areas = [int(coco.area(x)) for x in (both, either, encode(truth), encode(found))]
    return {"truth": truth.ravel().tolist(), "found": found.ravel().tolist(), "areas": areas, "iou": iou}


def tags(rng, count, shown_share, ties):
    shown = rng.random(count) < shown_share
    scores = np.clip(rng.normal(0.4 + 0.3 * shown, 0.25), 0, 1).astype(np.float32)
    if ties:
        scores = (np.round(scores * 4) / 4).astype(np.float32)
    chosen = scores >= 0.5
    precision, recall, f1, _ = precision_recall_fscore_support(shown, chosen, average="binary", zero_division=np.nan)
    none = lambda x: None if np.isnan(x) else float(x)
    return {
        "shown": shown.tolist(),
        "scores": scores.astype(float).tolist(),
        "precision": none(precision),
        "recall": none(recall),
        "f1": none(f1),
        "accuracy": float(accuracy_score(shown, chosen)),
        "average_precision": float(average_precision_score(shown, scores)) if shown.any() else None,
    }


def main(out):
    rng = np.random.default_rng(20261122)
    golden = {
        "made_by": {"scikit-learn": sklearn.__version__, "torchmetrics": torchmetrics.__version__, "pycocotools": "2"},
        "segmentation": [
            segmentation(rng, 4, [0, 1, 2, 3], [0, 1, 2, 3], 0.0),
            segmentation(rng, 6, [0, 2, 5], [0, 2, 5], 0.2),  # 1, 3, 4 are nowhere
            segmentation(rng, 6, [1, 2], [1, 2, 4], 0.3),  # 4 is only predicted, 0 is nowhere
            segmentation(rng, 3, [1, 2], [0], 0.1),  # nothing is found
            segmentation(rng, 3, [], [1, 2], 0.0),  # everything is ignored
        ],
        "masks": [masks(rng, a, b) for a, b in [(0.5, 0.5), (0.2, 0.9), (1.0, 1.0), (0.5, 0.0), (0.0, 0.5), (0.0, 0.0)]],
        "tags": [tags(rng, *case) for case in [(60, 0.3, False), (60, 0.5, True), (12, 0.0, False), (12, 1.0, True), (1, 1.0, False)]],
    }
    with open(out, "w") as file:
        json.dump(golden, file, indent=None, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
