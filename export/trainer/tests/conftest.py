"""A tiny world: four-pixel patches of colour, two towers of one layer, data in the documented layout."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_seg_trainer.tiny import SHADES, tiny_backbone, tiny_text_folder


def needed(module: str):
    """The module, or the test is skipped where it is not there, but in CI, where it is then an error."""
    return importlib.import_module(module) if os.environ.get("EDGE_SEG_TESTS_REQUIRE") == "all" else pytest.importorskip(module)


def _picture(rng: np.random.Generator, names: list[str], side: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Left half one colour, right half another; the labels say which."""
    pixels = np.zeros((side, side, 3), np.uint8)
    labels = np.zeros((side, side), np.uint8)
    for n, name in enumerate(names):
        part = slice(n * side // len(names), (n + 1) * side // len(names))
        pixels[:, part] = np.clip(np.array(SHADES[name]) + rng.integers(-20, 20, (side, side // len(names), 3)), 0, 255)
        labels[:, part] = list(SHADES).index(name) + 1
    return pixels, labels


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """A data root with one captioned set, both labelled COCO sets, a backbone and a text model."""
    root = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    names = list(SHADES)
    pairs = root / "pairs" / "shades"
    (pairs / "images").mkdir(parents=True)
    rows = ["split\tfile\tcaption"]
    for n in range(24):
        two = [names[n % 4], names[(n + 1 + n // 4) % 4]]
        Image.fromarray(_picture(rng, two)[0]).save(pairs / "images" / f"{n}.png")
        rows += [f"train\t{n}.png\ta {two[0]} beside the {two[1]}", f"train\t{n}.png\t{two[1]} and {two[0]}"]
    (pairs / "captions.tsv").write_text("\n".join(rows) + "\n")
    columns = "coco_id\tname\tisthing\tsupercategory\tidx133\tobject81\tvoc21\tvoc_name\tsynonyms_fcclip"
    lines = [columns]
    for n, name in enumerate(names):
        thing = n < 2
        lines.append(f"{n + 1}\t{name}\t{int(thing)}\tany\t{n}\t{n + 1 if thing else 0}\t{n + 1 if thing else 0}\t\t{name}")
    for folder, labels in (("coco_panoptic200", "semantic"), ("coco_mini159", "object81")):
        place = root / "seg" / folder
        (place / "images").mkdir(parents=True)
        (place / labels).mkdir()
        (place / "classes.tsv").write_text("\n".join(lines) + "\n")
        for n in range(6):
            pixels, found = _picture(rng, [names[n % 4], names[(n + 1) % 4]])
            Image.fromarray(pixels).save(place / "images" / f"{labels}{n}.png")
            found = found if labels == "semantic" else np.where(found <= 2, found, 0).astype(np.uint8)
            Image.fromarray(found).save(place / labels / f"{labels}{n}.png")
    (root / "held-out.txt").write_text("# kept out\nsemantic0.png\nsemantic5.png\nobject810.png\n")
    tiny_backbone(root / "backbone.npz")
    tiny_text_folder(root / "text")
    return root


@pytest.fixture
def recipe(world, tmp_path):
    """Makes a recipe over the tiny world from a list of stages."""
    from edge_seg_trainer.recipe import parse

    def make(*stages: dict, **more):
        given = {
            "name": "tiny", "held_out": str(world / "held-out.txt"), "data": str(world), "backbone": "backbone.npz",
            "text": str(world / "text"), "work": str(tmp_path / "work"), "output": str(tmp_path / "models"),
            "input_px": 64, "context": 40, "final_report": [], "save_every": 3, "log_every": 1, "threads": 1,
            "head": {"kind": "fusion", "taps": ["block1", "value", "final"], "hidden": 32},
            "card": {"title": "tiny", "licence": "none", "training_data": "colours", "limits": "all"},
            "stage": [{"side_px": 64, "batch": 8, "warmup": 0.0, **stage} for stage in stages],
        }  # fmt: skip
        return parse(given | more, "test")

    return make
