"""Scores followed things against a clip whose things are known (make_things_clip.py).

    score_things.py GT.txt LINES.jsonl [WORD]

LINES.jsonl is what `edge-seg run --things` wrote. Prints the mean error and the share of right frames of the count, and by TrackEval
HOTA, DetA, AssA, IDF1, MOTA and identity switches, at boxes that overlap by half (HOTA: by 0.05 to 0.95). Needs numpy and trackeval 1.3.
"""

import json
import sys

import numpy as np

# TrackEval was written for a numpy that had these.
for name, kind in [("float", float), ("int", int), ("bool", bool)]:
    if not hasattr(np, name):
        setattr(np, name, kind)
from trackeval.metrics import CLEAR, HOTA, Identity


def box_overlaps(a, b):
    """Intersection over union of each box of a with each of b. [a, b]"""
    a, b = np.asarray(a, float).reshape(-1, 1, 4), np.asarray(b, float).reshape(1, -1, 4)
    start, end = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    shared = np.clip(end - start, 0, None).prod(-1)
    return shared / (a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - shared)


def main():
    word = sys.argv[3] if len(sys.argv) > 3 else "person"
    truth = {}
    for line in open(sys.argv[1]):
        frame, number, *box = line.split(",")
        truth.setdefault(int(frame) - 1, []).append((int(number), [float(v) for v in box[:4]]))
    found, frames, took = {}, 0, []
    for line in open(sys.argv[2]):
        line = json.loads(line)
        frames = max(frames, line["sequence"] + 1)
        found[line["sequence"]] = [(thing["id"], thing["box"]) for thing in line["things"] if thing["word"] == word]
        took.append(line["things_ms"])
    numbers = [sorted({n for frame in side.values() for n, _ in frame}) for side in (truth, found)]
    places = [{n: i for i, n in enumerate(side)} for side in numbers]
    data = {"num_timesteps": frames, "num_gt_ids": len(numbers[0]), "num_tracker_ids": len(numbers[1])}
    data["gt_ids"] = [np.array([places[0][n] for n, _ in truth.get(f, [])], int) for f in range(frames)]
    data["tracker_ids"] = [np.array([places[1][n] for n, _ in found.get(f, [])], int) for f in range(frames)]
    data["similarity_scores"] = [box_overlaps([b for _, b in truth.get(f, [])], [b for _, b in found.get(f, [])]) for f in range(frames)]
    data["num_gt_dets"] = sum(map(len, data["gt_ids"]))
    data["num_tracker_dets"] = sum(map(len, data["tracker_ids"]))
    errors = np.array([len(found.get(f, [])) - len(truth.get(f, [])) for f in range(frames)])
    hota, identity, clear = HOTA().eval_sequence(data), Identity().eval_sequence(data), CLEAR().eval_sequence(data)
    print(f"{frames} frames, {data['num_gt_ids']} things known, {data['num_tracker_ids']} found")
    print(f"count: mean absolute error {np.abs(errors).mean():.2f}, right in {(errors == 0).mean():.0%}, too many in {(errors > 0).mean():.0%}, too few in {(errors < 0).mean():.0%}")
    print(f"HOTA {hota['HOTA'].mean():.3f}, DetA {hota['DetA'].mean():.3f}, AssA {hota['AssA'].mean():.3f}")
    print(f"IDF1 {identity['IDF1']:.3f}, MOTA {clear['MOTA']:.3f}, identity switches {int(clear['IDSW'])}")
    print(f"cutting and following: median {np.median(took):.2f} ms a frame")


main()
