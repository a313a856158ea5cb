"""Corrected labels become a set to train on; the documentation's recipe for it is followed."""

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_seg_trainer.adopt import adopt
from edge_seg_trainer.data import DataError
from edge_seg_trainer.layouts import TURNS, read_labelmap
from edge_seg_trainer.recipe import Recipe, StageRecipe, parse
from edge_seg_trainer.schema import markdown
from edge_seg_trainer.sets import read_set
from edge_seg_trainer.tiny import SHADES
from edge_seg_trainer.train import Run

DOCS = Path(__file__).parents[3] / "docs" / "training.md"
LABELMAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nfire:128,0,0::\nsea:0,128,0::\n"
COLOURS = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 255: (224, 224, 192)}


def corrected(folder: Path, palette: bool, count: int = 10) -> Path:
    """Photos of two colours, and their labels as CVAT exports them (RGB) or as `label` writes them (a palette)."""
    (folder / "photos").mkdir(parents=True)
    (folder / "voc" / "SegmentationClass").mkdir(parents=True)
    (folder / "voc" / "labelmap.txt").write_text(LABELMAP)
    for n in range(count):
        pixels, values = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8)
        for part, (name, value) in enumerate((("fire", 1), ("sea", 2), ("grass", 0), ("snow", 255))):
            pixels[:, 16 * part : 16 * (part + 1)], values[:, 16 * part : 16 * (part + 1)] = SHADES[name], value
        Image.fromarray(pixels).save(folder / "photos" / f"{n}.png")
        labels = Image.fromarray(values)
        if palette:
            labels.putpalette([channel for value in range(256) for channel in COLOURS.get(value, (value, value, value))])
        else:
            labels = Image.fromarray(np.array([COLOURS.get(value, (0, 0, 0)) for value in range(256)], np.uint8)[values])
        labels.save(folder / "voc" / "SegmentationClass" / f"{n}.png")
    return folder


@pytest.mark.parametrize("palette", [True, False], ids=["palette", "rgb"])
def test_corrected_labels_become_a_set(tmp_path, palette):
    place = corrected(tmp_path, palette)
    assert adopt(place / "voc", place / "photos", tmp_path / "seg" / "mine") == 10
    found = read_set(tmp_path, "mine")
    assert found.names == ["fire", "sea"] and len(found.train) + len(found.held) == 10
    labels = found.train[0].labels()
    assert [int(labels[0, 16 * part]) for part in range(4)] == [0, 1, 254, 255]
    with pytest.raises(DataError, match="is there already"):
        adopt(place / "voc", place / "photos", tmp_path / "seg" / "mine")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_labels_of_turned_photos_say_which_pixels_they_are_of(tmp_path, orientation):
    upright = np.zeros((20, 30), np.uint8)
    upright[:8, :10], upright[12:, 15:] = 1, 2
    undo = {None: None} | {way: way for way in TURNS.values()}
    undo |= {Image.Transpose.ROTATE_270: Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270}
    back, exif = undo[TURNS.get(orientation)], Image.Exif()
    exif[0x0112] = orientation
    for folder in ("photos", "voc/SegmentationClass"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "voc" / "labelmap.txt").write_text(LABELMAP)
    drawn = Image.fromarray(np.array([COLOURS[value] for value in range(3)], np.uint8)[upright])
    stored = drawn if back is None else drawn.transpose(back)
    stored.save(tmp_path / "photos" / "p.jpg", exif=exif)
    said = []
    for pixels, labels in (("upright", drawn), ("stored", stored)):
        labels.save(tmp_path / "voc" / "SegmentationClass" / "p.png")
        assert adopt(tmp_path / "voc", tmp_path / "photos", tmp_path / pixels, pixels, said.append) == 1
        assert np.array_equal(np.asarray(Image.open(tmp_path / pixels / "labels" / "p.png")), upright)
    assert len(said) == (2 if orientation > 1 else 0)
    if orientation > 4:
        with pytest.raises(DataError, match="take --label-pixels stored"):
            adopt(tmp_path / "voc", tmp_path / "photos", tmp_path / "other")


def test_faults_of_corrected_labels_are_named(tmp_path):
    place = corrected(tmp_path, palette=False, count=1)
    target = tmp_path / "seg" / "mine"
    mask = place / "voc" / "SegmentationClass" / "0.png"
    Image.new("RGB", (64, 64), (1, 2, 3)).save(mask)
    with pytest.raises(DataError, match="0.png: the colour 1,2,3 stands in no line"):
        adopt(place / "voc", place / "photos", target)
    Image.new("RGB", (64, 32)).save(mask)
    with pytest.raises(DataError, match="expected the photo's size, 64×64, found 64×32"):
        adopt(place / "voc", place / "photos", target)
    (place / "photos" / "0.png").rename(place / "photos" / "other.png")
    with pytest.raises(DataError, match="found no 0 with one of"):
        adopt(place / "voc", place / "photos", target)
    mask.write_bytes(b"no picture")
    (place / "photos" / "other.png").rename(place / "photos" / "0.png")
    with pytest.raises(DataError, match="not a readable picture"):
        adopt(place / "voc", place / "photos", target)
    assert not target.exists() and not list(target.parent.glob(".*"))
    for text, message in (
        ("fire 1,2,3\n", "line 1: expected name:red,green,blue"),
        ("a:1,2,3::\nb:1,2,3::\n", "'b' has the colour of 'a'"),
    ):
        (place / "voc" / "labelmap.txt").write_text(text)
        with pytest.raises(DataError, match=message):
            read_labelmap(place / "voc" / "labelmap.txt")


def test_the_documented_recipe_learns_from_what_was_corrected(tmp_path):
    place = corrected(tmp_path / "work", palette=False)
    adopt(place / "voc", place / "photos", tmp_path / "data" / "seg" / "mine")
    given = tomllib.loads(re.search(r"```toml\n(name = \"mine\".*?)```", DOCS.read_text(), re.S)[1])
    parse(given, "docs")
    # A tiny model in place of the bundle.
    del given["backbone"]
    tiny = DOCS.parents[1] / "tests" / "data" / "tiny-model"
    given |= {
        "start": str(tiny),
        "data": str(tmp_path / "data"),
        "output": str(tmp_path / "models"),
        "work": str(tmp_path / "run"),
        "threads": 1,
        "log_every": 1,
    }
    given["stage"][0] |= {"steps": 60, "frozen_blocks": 0, "side_px": 32, "rate": 3e-3, "warmup": 0.0}
    run = Run(parse(given, "docs"), Path(), lambda text: None)
    run.follow()
    right = [json.loads(line)["right"] for line in run.metrics.read_text().splitlines() if '"right"' in line]
    assert sum(right[-10:]) / 10 > sum(right[:10]) / 10 + 0.1
    assert json.loads((tmp_path / "models" / "mine" / "training.json").read_text())["made_by"]["data"]["labelled photos"]["files"] == 21


def test_every_key_is_documented_with_its_range():
    text = DOCS.read_text()
    assert markdown(Recipe) in text and markdown(StageRecipe) in text
