"""Writes tests/data/metrics/refinement.json: masks refined by torch (PAMR) and numpy (guided filter), window by window, from the formulas.

usage: make_refinement_goldens.py OUT.json
"""

import json
import sys

import numpy as np
import torch
import torch.nn.functional as F

rng = np.random.default_rng(4)


def blocks(height, width):
    """A picture with flat parts, edges and noise. 0..255"""
    picture = np.zeros((height, width, 3))
    picture[:, width // 3 :] = [200, 120, 40]
    picture[height // 2 :, : width // 2] = [30, 160, 220]
    return np.clip(picture + rng.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)


def pamr(height=18, width=23, dilations=(1, 2, 4), iterations=4):
    picture, masks = blocks(height, width), rng.random((2, height, width)).astype(np.float32)
    x = torch.tensor(picture / 255, dtype=torch.float64).permute(2, 0, 1)[None]
    m = torch.tensor(masks, dtype=torch.float64)[None]

    def near(t):  # [channels, 9 * dilations, height, width], the centre of each ring among them
        parts = [
            F.unfold(F.pad(t, (d,) * 4, mode="replicate"), 3, dilation=d).view(t.shape[1], 9, height, width) for d in dilations
        ]
        return torch.cat(parts, 1)

    rings = [i for i in range(9 * len(dilations)) if i % 9 != 4]
    values = near(x)
    deviation = values.std(1, keepdim=True)
    k = -((values[:, rings] - x[0][:, None]).abs() / (1e-8 + 0.1 * deviation)).mean(0)
    alpha = k.softmax(0)
    for _ in range(iterations):
        m = (near(m)[:, rings] * alpha).sum(1)[None]
    return {
        "height": height,
        "width": width,
        "dilations": dilations,
        "iterations": iterations,
        "picture": picture.ravel().tolist(),
        "masks": masks.ravel().tolist(),
        "refined": m.ravel().tolist(),
    }


def guided(rows=4, cols=5, classes=3, dim=8, scale=10.0, cells=4, radius=4, epsilon=1e-3):
    unit = lambda a: a / np.linalg.norm(a, axis=-1, keepdims=True)
    words = unit(rng.normal(size=(classes, dim)))
    likely = rng.integers(0, classes, (rows, cols))
    patches = unit(words[likely] + 0.6 * rng.normal(size=(rows, cols, dim)) / np.sqrt(dim))
    logits = scale * np.moveaxis(patches @ words.T, -1, 0)
    fine = F.interpolate(torch.tensor(logits)[None], scale_factor=cells, mode="bilinear", align_corners=False)[0].numpy()
    height, width = fine.shape[1:]
    picture = blocks(height, width)
    guide = picture / 255
    window = lambda i, n: slice(max(i - radius, 0), min(i + radius + 1, n))
    refined = np.empty_like(fine)
    for plane in range(classes):
        slopes, offsets = np.empty((height, width, 3)), np.empty((height, width))
        for y in range(height):
            for x in range(width):
                colours = guide[window(y, height), window(x, width)].reshape(-1, 3)
                values = fine[plane, window(y, height), window(x, width)].ravel()
                covariance = np.cov(colours.T, bias=True) + epsilon * np.eye(3)
                slope = np.linalg.solve(covariance, ((colours - colours.mean(0)) * (values - values.mean())[:, None]).mean(0))
                slopes[y, x], offsets[y, x] = slope, values.mean() - slope @ colours.mean(0)
        for y in range(height):
            for x in range(width):
                where = window(y, height), window(x, width)
                refined[plane, y, x] = slopes[where].mean((0, 1)) @ guide[y, x] + offsets[where].mean()
    # Classes that win nowhere by themselves are not refined.
    winners = np.unique(fine.argmax(0))
    ranked = np.sort(refined[winners], axis=0)
    return {
        "rows": rows,
        "cols": cols,
        "dim": dim,
        "scale": scale,
        "patches": patches.ravel().tolist(),
        "words": words.ravel().tolist(),
        "picture": picture.ravel().tolist(),
        "labels": (1 + winners[refined[winners].argmax(0)]).ravel().tolist(),
        "margins": (ranked[-1] - ranked[-2]).ravel().tolist(),
        "unrefined": (1 + fine.argmax(0)).ravel().tolist(),
    }


def rounded(value):
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    return round(value, 6) if isinstance(value, float) else value


cases = {name: {k: rounded(v) for k, v in case.items()} for name, case in {"pamr": pamr(), "guided": guided()}.items()}
with open(sys.argv[1], "w") as out:
    json.dump(cases, out, separators=(",", ":"))
    out.write("\n")
