"""Labelling and measuring: the program's own files and numbers."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CAT, PICTURES
from PIL import Image

import edge_seg

WORDS = ["cat", "wall", "cup", "person"]
ALL = sorted(PICTURES.glob("*.jpg"))


def exporter() -> Path:
    """`edge-seg-export` beside the program that EDGE_SEG_PROGRAM names."""
    program = os.environ.get("EDGE_SEG_PROGRAM")
    if program is None:
        assert os.environ.get("EDGE_SEG_TESTS_REQUIRE") != "all", "EDGE_SEG_PROGRAM names the program"
        pytest.skip("EDGE_SEG_PROGRAM names no edge-seg")
    return Path(program).with_name("edge-seg-export")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_labels_are_the_programs_own(model: edge_seg.Model, tmp_path: Path) -> None:
    program, vocabulary = exporter(), tmp_path / "words.txt"
    vocabulary.write_text("\n".join(WORDS))
    subprocess.run([program, "label", PICTURES, "-o", tmp_path / "program", "--vocabulary", vocabulary, "--size", "64"], check=True, capture_output=True)
    labelling = edge_seg.label(PICTURES, WORDS, tmp_path / "package", model=model)
    pictures = [path for path in PICTURES.iterdir() if path.suffix in {".jpg", ".webp"}]
    assert labelling.classes == WORDS and labelling.failed == [] and len(labelling.pictures) == len(pictures)
    expected, written = files(tmp_path / "program"), files(tmp_path / "package")
    assert sorted(written) == sorted(expected) and "coco.json" in written and "yolo/images/cat.jpg" in written
    assert [name for name in expected if written[name] != expected[name]] == []


def test_one_picture_is_labelled_as_many_are(model: edge_seg.Model, tmp_path: Path) -> None:
    coco: Any = import_module("pycocotools.mask")
    told: list[tuple[int, int]] = []
    many = edge_seg.label(ALL, WORDS, tmp_path, model=model, formats="coco", progress=lambda done, all: told.append((done, all)))
    assert told[-1] == (len(ALL), len(ALL)) and sorted(told) == told
    assert [picture.file for picture in many.pictures] == [str(path) for path in ALL]
    for path, picture in zip(ALL, many.pictures):
        alone = model.label(path, model.words(WORDS))
        assert alone == picture and alone.to_json() == picture.to_json()
        in_memory = model.label(edge_seg.read_picture(path)[..., ::-1], WORDS, order="bgr", file=str(path))
        assert in_memory == picture
        assert pickle.loads(pickle.dumps(picture)) == picture != model.label(path, WORDS, file="another")
        for region in picture.regions:
            mask = region.mask
            assert mask.shape == (picture.height, picture.width) and mask.sum() == region.area
            assert (coco.decode(region.rle()).astype(bool) == mask).all()
            left, top, width, height = region.box
            rows, columns = np.nonzero(mask)
            assert (left, top, left + width, top + height) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert region.name in WORDS and 0 <= region.score <= 1
    assert any(region.name == "cat" for region in many.pictures[ALL.index(CAT)].regions)
    assert json.loads((tmp_path / "coco.json").read_text())["categories"][0] == {"id": 1, "name": "cat"}


def test_parts_are_joined_to_one_run(model: edge_seg.Model, tmp_path: Path) -> None:
    edge_seg.label(ALL, WORDS, tmp_path / "whole", model=model)
    for part in ("2/2", "1/2"):
        edge_seg.label(ALL, WORDS, tmp_path / part[0], model=model, part=part)
    merged = edge_seg.merge_labels(tmp_path / "merged", [tmp_path / "2", tmp_path / "1"])
    assert len(merged.pictures) == len(ALL) and files(tmp_path / "merged") == files(tmp_path / "whole")
    with pytest.raises(edge_seg.OptionError, match="^parts: expected all of the 2 parts"):
        edge_seg.merge_labels(tmp_path / "lacking", [tmp_path / "1"])
    with pytest.raises(edge_seg.DataError, match="part.json"):
        edge_seg.merge_labels(tmp_path / "lacking", [tmp_path / "whole"])


class Enough(Exception):
    pass


def test_a_run_that_was_stopped_goes_on(model: edge_seg.Model, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(300):
        shutil.copy(ALL[number % len(ALL)], pictures / f"{number:03}.jpg")
    whole = edge_seg.label(pictures, WORDS, tmp_path / "whole", model=model, formats="coco")

    def stop(done: int, all: int) -> None:
        if done > 0:
            raise Enough(done, all)

    with pytest.raises(Enough):
        edge_seg.label(pictures, WORDS, tmp_path / "stopped", model=model, formats="coco", progress=stop)
    record = tmp_path / "stopped" / "labels.jsonl"
    done = len(record.read_text().splitlines()) - 1
    assert 0 < done < 300 and not (tmp_path / "stopped" / "coco.json").exists()
    # What is done is not looked at again.
    for line in record.read_text().splitlines()[1:]:
        Path(json.loads(line)["file"]).write_bytes(b"no picture any more")
    again = edge_seg.label(pictures, WORDS, tmp_path / "stopped", model=model, formats="coco")
    assert again.pictures == whole.pictures and again.failed == []
    assert (tmp_path / "stopped" / "coco.json").read_bytes() == (tmp_path / "whole" / "coco.json").read_bytes()
    with pytest.raises(edge_seg.DataError, match="those of another run"):
        edge_seg.label(pictures, ["dog"], tmp_path / "stopped", model=model)


def test_pictures_that_cannot_be_read_are_told(model: edge_seg.Model, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_text("no picture")
    labelling = edge_seg.label([CAT, tmp_path / "broken.jpg", tmp_path / "none.jpg"], "cat", tmp_path / "out", model=model, formats=["coco"])
    assert [picture.file for picture in labelling.pictures] == [str(CAT)]
    assert sorted(Path(name).name for name, _ in labelling.failed) == ["broken.jpg", "none.jpg"]
    assert all(said for _, said in labelling.failed)
    with pytest.raises(FileNotFoundError, match="none.jpg"):
        edge_seg.label(tmp_path / "none.jpg", "cat", tmp_path / "other", model=model)
    with pytest.raises(edge_seg.ImageError, match="broken.jpg"):
        edge_seg.label(tmp_path / "broken.jpg", "cat", tmp_path / "other", model=model)


def test_names_that_are_no_text(model: edge_seg.Model, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "pictures") + b"\xff"
    os.mkdir(folder)
    shutil.copy(os.fsencode(CAT), folder + b"/cat.jpg")
    shutil.copy(os.fsencode(CAT), folder + b"/caf\xe9.jpg")
    # Where names are told in files of labels, they are texts.
    with pytest.raises(edge_seg.OptionError, match="images: expected a name in UTF-8"):
        edge_seg.label(folder, "cat", tmp_path / "out", model=model)
    with pytest.raises(edge_seg.OptionError, match="file: expected a name in UTF-8"):
        model.label(os.fsdecode(folder + b"/caf\xe9.jpg"), "cat")
    assert model.label(os.fsdecode(folder + b"/caf\xe9.jpg"), "cat", file="café.jpg").file == "café.jpg"
    os.rename(folder, folder[:-1])
    labelling = edge_seg.label(tmp_path / "pictures", "cat", folder + b" out", model=model)
    assert [Path(picture.file).name for picture in labelling.pictures] == ["cat.jpg"] and os.path.exists(folder + b" out/coco.json")
    assert len(labelling.failed) == 1 and "one in UTF-8" in labelling.failed[0][1]


def test_captions_give_each_picture_its_words(model: edge_seg.Model, tmp_path: Path) -> None:
    (tmp_path / "captions.tsv").write_text("file\tcaption\ncat.jpg\ta cat before a wall\ncoffee.jpg\ta cup of coffee\n")
    labelling = edge_seg.label(ALL, None, tmp_path / "out", model=model, captions=tmp_path / "captions.tsv", tag_threshold=0, formats="coco")
    assert [Path(picture.file).stem for picture in labelling.pictures] == ["cat", "coffee"] and len(labelling.failed) == len(ALL) - 2
    assert {region.name for region in labelling.pictures[0].regions} <= {"cat", "wall"} and labelling.pictures[0].regions


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"words": None}, edge_seg.OptionError, "neither"),
        ({"captions": "captions.tsv"}, edge_seg.OptionError, "both"),
        ({"words": "cat, -wall"}, edge_seg.WordsError, "left out"),
        ({"words": 5}, TypeError, "found int"),
        ({"images": []}, edge_seg.OptionError, "one picture or more"),
        ({"images": "nowhere/*.jpg"}, edge_seg.OptionError, "a picture, a folder or a glob"),
        ({"images": 5}, TypeError, "found int"),
        ({"images": [CAT, CAT]}, edge_seg.OptionError, "file names that differ"),
        ({"formats": "xml"}, edge_seg.OptionError, "formats: unknown variant `xml`, expected one of `coco`"),
        ({"coco_masks": "points"}, edge_seg.OptionError, "coco_masks: unknown variant"),
        ({"pictures": "move"}, edge_seg.OptionError, "pictures: unknown variant"),
        ({"part": "3/2"}, edge_seg.OptionError, "part: expected I/N"),
        ({"tag_threshold": 2}, edge_seg.OptionError, "^tag_threshold: expected 0 to 1"),
        ({"least_share": float("nan")}, edge_seg.OptionError, "^least_share: "),
        ({"progress": "tqdm"}, TypeError, "not callable"),
    ],
)
def test_what_cannot_be_labelled_is_refused(model: edge_seg.Model, tmp_path: Path, wrong: dict[str, Any], error: type[Exception], said: str) -> None:
    call: dict[str, Any] = {"images": CAT, "words": "cat", "out": tmp_path / "out", "model": model, "formats": "coco", **wrong}
    with pytest.raises(error, match=said):
        edge_seg.label(**call)


def test_labels_from_elsewhere_are_read_with_care() -> None:
    for text in ("", "{}", "[]", '{"file": "a", "width": 4, "height": 4, "regions": [5]}'):
        with pytest.raises(edge_seg.DataError, match="a picture's labels"):
            edge_seg.PictureLabels.from_json(text)
    region = '{"class": "cat", "score": 0.5, "counts": "nonsense", "bounds_px": [0, 0, 4, 4], "area_px": 16}'
    labels = edge_seg.PictureLabels.from_json(f'{{"file": "a", "width": 4, "height": 4, "regions": [{region}]}}')
    with pytest.raises(edge_seg.DataError, match="runs of 4×4 pixels"):
        _ = labels.regions[0].mask


MANY = "words = [f'a thing with the number {number}' for number in range(60000)]"
LABELS_ON_AND_ON = """
import sys, edge_seg
model = edge_seg.Model(size=448, threads=1)
def told(done, all):
    print(done, flush=True)
try:
    edge_seg.label(sys.argv[1], "cat, wall", sys.argv[2], model=model, formats="coco", progress=told)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
# Minutes each.
LONG = {
    "words": "model.words(words)",
    "a line of words": "model.words(', '.join(words))",
    "words with others": "model.words({word: [word + ' too'] for word in words})",
    "hide": "model.hide(words)",
    "segment": "model.segment(picture, words)",
    "tags": "model.tags(picture, words)",
    "label": "edge_seg.label(sys.argv[1], words, sys.argv[2], model=model)",
    "label one": "model.label(picture, words)",
    "live": "edge_seg.Live(model, [picture], words)",
    "set_words": "edge_seg.Live(model, itertools.repeat(picture), 'cat').set_words(words)",
    "evaluate": "edge_seg.evaluate(model=model, **measured)",
    "evaluate with other templates": "edge_seg.evaluate(model=model, templates='clip80', **measured)",
    "a large picture": "[edge_seg.Model(size=2048, threads=1).encode(picture) for _ in range(20)]",
}
ON_AND_ON = """
import itertools, os, sys, edge_seg, numpy
from pathlib import Path
from PIL import Image
model = edge_seg.Model(size=64)
picture = numpy.zeros((480, 640, 3), numpy.uint8)
{many}
folder = Path(sys.argv[1]).parent
measured = dict(images=folder / "images", labels=folder / "labels", classes=folder / "classes.tsv", view="id")
for name in ("images", "labels"):
    (folder / name).mkdir()
    Image.fromarray(picture[..., 0] + 1).save(folder / name / "one.png")
(folder / "classes.tsv").write_text("id\\tname\\n" + "".join(f"{{at}}\\t{{word}}\\n" for at, word in enumerate(words[:9000], 1)))
print("1", flush=True)
try:
    {long}
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("code", [LABELS_ON_AND_ON, *(ON_AND_ON.format(many=MANY, long=long) for long in LONG.values())], ids=["pictures", *LONG])
def test_ctrl_c_ends_long_work(code: str, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(500):
        (pictures / f"{number}.jpg").hardlink_to(shutil.copy(CAT, tmp_path / f"{number}.jpg"))
    child = subprocess.Popen([sys.executable, "-c", code, pictures, tmp_path / "out"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert child.stdout is not None
    while child.stdout.readline() not in ("1\n", "2\n"):
        assert child.poll() is None
    time.sleep(1)
    child.send_signal(signal.SIGINT)
    sent = time.monotonic()
    said, _ = child.communicate(timeout=60)
    assert said.splitlines()[-1] == "interrupted" and child.returncode == 0, said
    assert time.monotonic() - sent < 10


@pytest.fixture
def labelled(tmp_path: Path) -> dict[str, Any]:
    """Two pictures, halves of which are labelled by what they show and by what they do not."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for name in ("cat", "coffee"):
        with Image.open(PICTURES / f"{name}.jpg") as picture:
            small = picture.convert("RGB").resize((120, 90))
        small.save(tmp_path / "images" / f"{name}.png")
        labels = np.zeros((90, 120), np.uint8)
        labels[:, :60], labels[:45, 60:] = 1 if name == "cat" else 2, 3
        Image.fromarray(labels).save(tmp_path / "labels" / f"{name}.png")
    (tmp_path / "classes.tsv").write_text("id\tname\n1\tcat\n2\tcup\n3\twall\n")
    return {"images": tmp_path / "images", "labels": tmp_path / "labels", "classes": tmp_path / "classes.tsv", "view": "id"}


def test_measures_are_the_programs_own(model: edge_seg.Model, labelled: dict[str, Any], tmp_path: Path) -> None:
    program = exporter()
    options = [word for name in labelled for word in (f"--{name}", labelled[name])]
    ended = subprocess.run(
        [program, "eval", *options, "--size", "64", "--background", "none,0.3", "--refine", "none,guided", "--json", "--confusion"],
        check=True, capture_output=True, text=True,
    )
    expected = [json.loads(line) for line in ended.stdout.splitlines()]
    found = edge_seg.evaluate(model=model, **labelled, background=["none", 0.3], refine=["none", "guided"])
    assert len(found) == len(expected) == 4
    for one, row in zip(found, expected):
        confusion = row.pop("confusion")
        assert (one.confusion == confusion).all() and one.confusion.dtype == np.uint64
        row.pop("encode_ms_median")
        assert {name: value for name, value in one.details.items() if name != "encode_ms_median"} == row
        assert (one.miou, one.pixel_accuracy, one.mfpr, one.mfnr, one.run) == (row["miou"], row["pixel_accuracy"], row["mfpr"], row["mfnr"], row["run"])


def test_measures_add_up(model: edge_seg.Model, labelled: dict[str, Any], tmp_path: Path) -> None:
    record, html = tmp_path / "record.jsonl", tmp_path / "report.html"
    (one,) = edge_seg.evaluate(model=model, **labelled, record=record, html=html)
    assert one.labels == ["background", "cat", "cup", "wall"] and one.pictures == 2 and one.confusion.shape == (4, 4)
    assert one.confusion.sum() == 2 * (60 * 90 + 60 * 45), "value 0 without a row counts for nothing"
    right = one.confusion.diagonal()[1:].sum()
    assert one.pixel_accuracy == pytest.approx(right / one.confusion.sum())
    present = [measures.iou for measures in one.per_class if measures.truth]
    assert one.miou == pytest.approx(np.mean(np.array(present, float))) and [measures.name for measures in one.per_class] == one.labels[1:]
    for measures in one.per_class:
        assert measures.truth == one.confusion[measures.label].sum() and measures.predicted == one.confusion[:, measures.label].sum()
    assert html.read_text().startswith("<!") and len(record.read_text().splitlines()) == 3
    for picture in labelled["images"].iterdir():
        picture.write_bytes(b"not read again")
    (again,) = edge_seg.evaluate(model=model, **labelled, record=record)
    assert (again.confusion == one.confusion).all()
    refined = edge_seg.Model(size=64, refine=True)
    with pytest.raises(edge_seg.DataError, match="those of another run"):
        edge_seg.evaluate(model=refined, **labelled, record=record)


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"images": None, "labels": None}, edge_seg.OptionError, "preset and data, or images, labels"),
        ({"classes": None}, edge_seg.OptionError, "classes"),
        ({"view": "colour"}, edge_seg.DataError, 'one named "colour"'),
        ({"preset": "imagenet"}, edge_seg.OptionError, "voc21"),
        ({"background": 2}, edge_seg.OptionError, "background: expected 0 to 1"),
        ({"background": "0.9..0.1/0.1"}, edge_seg.OptionError, "LOW..HIGH/STEP"),
        ({"refine": "crf"}, edge_seg.OptionError, "refine: unknown variant `crf`"),
        ({"names": ["plain", "long"]}, edge_seg.OptionError, "names: unknown variant `long`"),
        ({"protocol": "board"}, edge_seg.OptionError, 'expected "edge" or "paper"'),
        ({"label_pixels": "turned"}, edge_seg.OptionError, "upright"),
        ({"scales": [0.0]}, edge_seg.OptionError, "scales"),
        ({"windows": "large"}, edge_seg.OptionError, "SIDE/STRIDE"),
        ({"images": "nowhere"}, FileNotFoundError, "nowhere"),
        ({"background": "paper"}, edge_seg.OptionError, "^background paper: expected preset with it, found none$"),
        ({"word_thresholds": "thresholds.tsv"}, FileNotFoundError, "thresholds.tsv"),
        ({"size": 4096}, edge_seg.OptionError, "^size or scales: "),
        ({"preset": "voc21", "images": None, "labels": None}, edge_seg.OptionError, "^preset: expected its pictures by data, or by images and labels"),
    ],
)
def test_what_cannot_be_measured_is_refused(model: edge_seg.Model, labelled: dict[str, Any], wrong: dict[str, Any], error: type[Exception], said: str) -> None:
    call: dict[str, Any] = {"model": model, **labelled, **wrong}
    with pytest.raises(error, match=said) as raised:
        edge_seg.evaluate(**call)
    assert "--" not in str(raised.value), "these are the program's names"
