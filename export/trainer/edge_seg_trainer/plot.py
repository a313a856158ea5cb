"""Draws a run's metrics.jsonl as a picture: the loss of every stage, and the measures between them."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402  the backend must be chosen first


def plot(metrics: Path, picture: Path) -> None:
    """Reads JSON lines, writes a PNG; a resumed run's repeated steps show their last value."""
    losses: dict[str, dict[int, float]] = {}
    figures: dict[str, dict[str, float]] = {}
    for line in metrics.read_text().splitlines():
        entry = json.loads(line)
        if "loss" in entry:
            losses.setdefault(entry["stage"], {})[entry["step"]] = entry["loss"]
        elif "figures" in entry and not entry["stage"].endswith((".check", ".before.check")):
            figures[entry["stage"]] = {name: row["miou"] for name, row in entry["figures"].items()}
    columns = max(1, len(losses)) + 1
    page, axes = pyplot.subplots(1, columns, figsize=(4 * columns, 3.2), constrained_layout=True)
    for axis, (stage, points) in zip(axes, losses.items()):
        steps = sorted(points)
        axis.plot(steps, [points[step] for step in steps], linewidth=1)
        axis.set(title=stage, xlabel="step", ylabel="loss")
    for name in sorted({name for row in figures.values() for name in row}):
        axes[-1].plot(list(figures), [row.get(name, float("nan")) for row in figures.values()], marker="o", label=name)
    axes[-1].set(title="after each stage", ylabel="mIoU, percent")
    axes[-1].tick_params(axis="x", rotation=30)
    if figures:
        axes[-1].legend(fontsize=7)
    fresh = picture.with_name(f".{picture.name}.new")
    page.savefig(fresh, dpi=110, format="png")
    pyplot.close(page)
    fresh.replace(picture)
