"""Labelled photos as releases and annotation tools lay them out: the same labels, whatever the layout."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_seg_trainer import evaluate, layouts
from edge_seg_trainer.adopt import adopt
from edge_seg_trainer.data import IGNORE, OTHER, DataError
from edge_seg_trainer.folder import FolderError
from edge_seg_trainer.schema import RecipeError
from edge_seg_trainer.sets import read_set
from edge_seg_trainer.smoke import smoke
from edge_seg_trainer.tiny import SHADES
from edge_seg_trainer.train import Run

SIDE = 24


def photo(path: Path, kind: str = "JPEG", size: tuple[int, int] = (SIDE, SIDE)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (9, 99, 199)).save(path, kind)


def label(path: Path, values: list[int], palette: bool = False) -> None:
    """Rows of equal height, one of each value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Image.fromarray(np.repeat(np.array(values, np.uint8), SIDE // len(values))[:, None].repeat(SIDE, 1))
    if palette:
        # Colours from which the numbers cannot be guessed.
        made.putpalette([channel for value in range(256) for channel in (value * 37 % 256, value * 91 % 256, 255 - value)])
    made.save(path)


def colours(path: Path, rows: list[tuple[int, int, int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.repeat(np.array(rows, np.uint8), SIDE // len(rows), 0)[:, None].repeat(SIDE, 1)).save(path)


def column(one) -> list[int]:
    """The distinct labels of a photo from top to bottom."""
    return list(dict.fromkeys(one.labels()[:, 0].tolist()))


def voc(root: Path) -> str:
    for split, stem in (("train", "a"), ("val", "b")):
        photo(root / "VOCdevkit/VOC2012/JPEGImages" / f"{stem}.jpg")
        label(root / "VOCdevkit/VOC2012/SegmentationClass" / f"{stem}.png", [1, 15, 0, 255], palette=True)
        listed = root / "VOCdevkit/VOC2012/ImageSets/Segmentation" / f"{split}.txt"
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text(f"{stem}\n")
    return "voc21:."


def coco_stuff(root: Path) -> str:
    for split, stem in (("train2017", "a"), ("val2017", "b")):
        photo(root / "coco/images" / split / f"{stem}.jpg")
        label(root / "coco/stuffthingmaps" / split / f"{stem}.png", [0, 91, 255, 255])
    return "coco-stuff:."


def cityscapes(root: Path) -> str:
    for split in ("train", "val"):
        photo(root / "leftImg8bit" / split / "ulm" / f"{split}_leftImg8bit.png", "PNG")
        label(root / "gtFine" / split / "ulm" / f"{split}_gtFine_labelIds.png", [7, 8, 3, 255])
    return "cityscapes:."


def ade(root: Path) -> str:
    for split in ("training", "validation"):
        photo(root / "ADEChallengeData2016/images" / split / f"{split}.jpg")
        label(root / "ADEChallengeData2016/annotations" / split / f"{split}.png", [1, 2, 0, 0])
    return "ade20k:."


def camvid(root: Path) -> str:
    for n in range(12):
        photo(root / "701_StillsRaw_full" / f"{n}.png", "PNG")
        colours(root / "LabeledApproved_full" / f"{n}_L.png", [(128, 128, 128), (128, 0, 0), (0, 0, 0), (0, 0, 0)])
    return "camvid:."


def panoptic(root: Path) -> str:
    for split in ("train2017", "val2017"):
        photo(root / split / f"{split}.jpg")
        colours(root / "annotations" / f"panoptic_{split}" / f"{split}.png", [(7, 1, 0), (8, 1, 0), (0, 0, 0), (0, 0, 0)])
        segments = [{"id": 7 + 256, "category_id": 1}, {"id": 8 + 256, "category_id": 200}]
        content = {"annotations": [{"file_name": f"{split}.png", "segments_info": segments}]}
        (root / "annotations" / f"panoptic_{split}.json").write_text(json.dumps(content))
    return "coco-panoptic133:."


@pytest.mark.parametrize(
    ("make", "words", "found"),
    [
        (voc, ("aeroplane", "person"), [0, 14, OTHER, IGNORE]),
        (coco_stuff, ("person",), None),
        (cityscapes, ("road", "sidewalk"), [0, 1, IGNORE]),
        (ade, ("wall", "building"), [0, 1, IGNORE]),
        (camvid, ("sky", "building"), [0, 1, IGNORE]),
        (panoptic, ("person",), None),
    ],
)
def test_releases_are_read_in_their_own_layout(tmp_path, make, words, found):
    read = read_set(tmp_path, make(tmp_path))
    assert read.train and read.held and not {p.path for p in read.train} & {p.path for p in read.held}
    column_of = column(read.held[0])
    named = [read.words[index][0] for index in column_of if index < len(read.words)]
    assert set(words) <= set(named) or named[0] == words[0]
    if found:
        assert column_of == found
    else:
        assert len(named) == 2 and column_of[-1] == IGNORE and read.words[0][0] == "person"
    assert column(read.train[0]) == column_of


CLASSES = "value\tname\tsynonyms\trole\n0\t\t\tnone\n3\tfire\tflame, blaze\tthing\n4\tsea\t\tstuff\n9\t\t\tignore\n"


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("images/{}", "annotations/{}"),
        ("img_dir/{}", "ann_dir/{}"),
        ("{}/image", "{}/mask"),
        ("images", "labels"),
        ("images/{}", "labels/{}"),
    ],
)
def test_own_folders_are_read_with_their_classes(tmp_path, images, labels):
    for split in ("train", "val"):
        for n in range(3):
            photo(tmp_path / "mine" / images.format(split) / f"{split}{n}.jpg")
            label(tmp_path / "mine" / labels.format(split) / f"{split}{n}.png", [3, 4, 0, 9], palette=n == 1)
    (tmp_path / "mine" / "classes.tsv").write_text(CLASSES)
    found = read_set(tmp_path, "folder:mine")
    assert found.words == [["fire", "flame", "blaze"], ["sea"]]
    assert all(column(one) == [0, 1, OTHER, IGNORE] for one in found.train + found.held)
    held = {one.path.stem for one in found.held}
    assert held == {"val0", "val1", "val2"} if "{}" in images else len(held) == 1
    (tmp_path / "mine" / "classes.tsv").unlink()
    (tmp_path / "mine" / "classes.txt").write_text("background\nx\ny\nfire\nsea\n")
    assert column(read_set(tmp_path, "folder:mine").held[0]) == [2, 3, OTHER, IGNORE]


def compressed(counts: list[int]) -> str:
    """Run lengths as COCO writes them."""
    text = ""
    for n, count in enumerate(counts):
        value = count - counts[n - 2] if n > 2 else count
        more = True
        while more:
            letter, value = value & 31, value >> 5
            more = value != (-1 if letter & 16 else 0)
            text += chr(48 + (letter | 32 if more else letter))
    return text


def coco_json(root: Path) -> Path:
    """Two photos; regions as polygons, plain and compressed run lengths. Label Studio's numbers begin at 0 and its names with digits."""
    for stem in ("a", "b"):
        photo(root / "photos" / f"{stem}.jpg")
    half = SIDE // 2
    square = [0, 0, SIDE, 0, SIDE, half, 0, half]
    small = np.zeros((SIDE, SIDE), bool)
    small[2:4, 1:9] = True
    flat = small.T.ravel()
    edges = [0, *(np.flatnonzero(np.diff(flat)) + 1).tolist(), flat.size]
    counts = np.diff(edges).tolist()
    content = {
        "images": [
            {"id": 5, "file_name": "images\\0a1b2c3d-a.jpg", "width": SIDE, "height": SIDE},
            {"id": 6, "file_name": "b.jpg", "width": SIDE, "height": SIDE},
        ],
        "categories": [{"id": 0, "name": "fire"}, {"id": 1, "name": "sea"}],
        "annotations": [
            # The small one stands first and lies above all the same.
            {"id": 1, "image_id": 5, "category_id": 1, "area": 16, "segmentation": {"size": [SIDE, SIDE], "counts": compressed(counts)}},
            {"id": 2, "image_id": 5, "category_id": 0, "area": SIDE * half, "segmentation": [square]},
            {"id": 3, "image_id": 6, "category_id": 1, "area": 16, "segmentation": {"size": [SIDE, SIDE], "counts": counts}},
        ],
    }
    place = root / "instances.json"
    place.write_text(json.dumps(content))
    return place


def test_regions_of_coco_are_drawn(tmp_path):
    place = coco_json(tmp_path)
    words, (first, second) = layouts.read_coco_json(place, tmp_path / "photos")
    assert words == [["fire"], ["sea"]]
    small = np.zeros((SIDE, SIDE), bool)
    small[2:4, 1:9] = True
    wanted = np.full((SIDE, SIDE), OTHER)
    wanted[: SIDE // 2] = 0
    assert (first.labels() == np.where(small, 1, wanted)).all()
    assert (second.labels() == np.where(small, 1, OTHER)).all()
    assert adopt(place, tmp_path / "photos", tmp_path / "seg" / "mine") == 2
    adopted = read_set(tmp_path, "mine")
    by_name = {one.path.stem: one.labels() for one in adopted.train + adopted.held}
    assert adopted.words == words and (by_name["a"] == first.labels()).all() and (by_name["b"] == second.labels()).all()


def test_colours_that_are_not_told_are_vocs(tmp_path):
    photo(tmp_path / "JPEGImages" / "a.jpg")
    colours(tmp_path / "SegmentationClass" / "a.png", [(128, 0, 0), (128, 128, 0), (0, 0, 0), (224, 224, 192)])
    (tmp_path / "labelmap.txt").write_text("background:::\nfire:::\ngrass:::\nsea:::\n")
    (one,) = read_set(tmp_path, "folder:.").train
    assert column(one) == [0, 2, OTHER, IGNORE]


def test_labels_in_colours_are_read_by_their_table(tmp_path):
    photo(tmp_path / "mine" / "images" / "a.jpg")
    colours(tmp_path / "mine" / "labels" / "a.png", [(255, 0, 0), (0, 16, 255), (0, 0, 0), (9, 9, 9)])
    table = tmp_path / "mine" / "classes.tsv"
    table.write_text("value\tcolour\tname\n1\t255,0,0\tfire\n2\t#0010fF\tsea\n0\t#000000\tbackground\n")
    (one,) = read_set(tmp_path, "folder:mine").train
    assert column(one) == [0, 1, OTHER, IGNORE]
    for text, message in (
        ("value\tname\n1\tfire\n", "expected the columns colour and name.*the labels hold colours"),
        ("colour\tname\n256,0,0\tfire\n", "row 2: colour: expected r,g,b or #rrggbb, found '256,0,0'"),
        ("colour\tname\n1,2\tfire\n", "expected r,g,b"),
    ):
        table.write_text(text)
        with pytest.raises(DataError, match=message):
            read_set(tmp_path, "folder:mine")


def test_photos_of_one_name_in_two_folders_keep_their_own_labels(tmp_path):
    place = tmp_path / "mine"
    for n, folder in enumerate(("one", "two")):
        photo(place / "images" / folder / "a.JPG", size=(SIDE, SIDE))
        label(place / "annotations" / folder / "a.PNG", [3 + n, 0])
    (place / "classes.tsv").write_text(CLASSES)
    read = read_set(tmp_path, "folder:mine")
    found = {one.path.parent.name: column(one)[0] for one in read.train + read.held}
    assert found == {"one": 0, "two": 1}
    # Labels that lie in no such folder: which photo is meant is not to be known.
    for path in (place / "annotations" / "one" / "a.PNG", place / "annotations" / "two" / "a.PNG"):
        path.rename(place / "annotations" / path.name)
    with pytest.raises(DataError, match="expected one photo for the labels .*a.PNG, found .*one/a.JPG and .*two/a.JPG"):
        read_set(tmp_path, "folder:mine")


def test_a_voc_export_keeps_its_folders_and_splits(tmp_path):
    """As CVAT writes a task of nested photos: its lists name photos without labels too."""
    for stem in ("a", "sub/a", "sub/b", "none"):
        photo(tmp_path / "JPEGImages" / f"{stem}.jpg")
        if stem != "none":
            colours(tmp_path / "SegmentationClass" / f"{stem}.png", [(128, 0, 0), (0, 0, 0)])
    (tmp_path / "labelmap.txt").write_text("background:0,0,0::\nfire:128,0,0::\n")
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nsub/a\nnone\n")
    (lists / "val.txt").write_text("sub/b\n")
    found = read_set(tmp_path, "folder:.")
    assert [one.path.relative_to(tmp_path / "JPEGImages").as_posix() for one in found.train] == ["a.jpg", "sub/a.jpg"]
    assert [one.path.name for one in found.held] == ["b.jpg"]


def test_what_systems_lay_beside_photos_is_no_photo(tmp_path):
    photo(tmp_path / "seg" / "mine" / "images" / "a.jpg")
    label(tmp_path / "seg" / "mine" / "labels" / "a.png", [3, 4])
    (tmp_path / "seg" / "mine" / "classes.tsv").write_text(CLASSES)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._a.jpg"):
        (tmp_path / "seg" / "mine" / "images" / name).write_bytes(b"x")
    found = read_set(tmp_path, "mine")
    assert [one.path.name for one in found.train + found.held] == ["a.jpg"]


def test_names_are_found_as_another_system_spells_them(tmp_path):
    """macOS stores `ä` as two letters, and tables keep it as one."""
    photo(tmp_path / "photos" / "a\u0308.jpg")
    content = {
        "images": [{"id": 1, "file_name": "\u00e4.jpg", "width": SIDE, "height": SIDE}],
        "categories": [{"id": 1, "name": "fire"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "area": 4, "segmentation": [[0, 0, 9, 0, 9, 9]]}],
    }
    (tmp_path / "c.json").write_text(json.dumps(content))
    assert len(read_set(tmp_path, "coco:c.json:photos").train) == 1
    photo(tmp_path / "mine" / "images" / "a\u0308.jpg")
    label(tmp_path / "mine" / "labels" / "\u00e4.png", [3, 4])
    (tmp_path / "mine" / "classes.tsv").write_text(CLASSES)
    assert len(read_set(tmp_path, "folder:mine").train) == 1


def test_faults_of_labelled_sets_are_named(tmp_path):
    place = coco_json(tmp_path)
    content = json.loads(place.read_text())

    def refused(name: str, message: str) -> None:
        with pytest.raises(DataError, match=message):
            for one in (found := read_set(tmp_path, name)).train + found.held:
                one.labels()

    name = "coco:instances.json:photos"
    content["annotations"][0]["segmentation"]["counts"] = "zz"
    place.write_text(json.dumps(content))
    refused(name, "expected polygons or run lengths of 24×24")
    content["annotations"][0]["category_id"] = 7
    place.write_text(json.dumps(content))
    refused(name, "category 7 stands in no line")
    content["images"][1]["width"] = 9
    place.write_text(json.dumps(content | {"annotations": []}))
    refused(name, "expected the photo's size, 24×24, found 9×24")
    place.write_text("[" * 100_000)
    refused(name, "expected COCO's instances")
    refused("cocoo:a:b", "no form 'cocoo:', did you mean 'coco:'")
    refused("voc21:nowhere", "expected a folder")
    (tmp_path / "empty").mkdir()
    refused("ade20k:empty", "expected one of the layouts images/{split}/")
    refused("folder:empty", "expected labelmap.txt with SegmentationClass, or photos and labels as")
    photo(tmp_path / "mine" / "images" / "a.jpg")
    label(tmp_path / "mine" / "labels" / "a.png", [1])
    refused("folder:mine", "expected classes.tsv")
    for text, message in (
        ("id\tname\tkind\n1\tfire\n1\tsea\n", "row 3: value 1 stands there twice"),
        ("name\nfire\n", "expected the columns value and name"),
        ("value\tname\n300\tfire\n", "row 2: value: expected a whole number from 0 to 255"),
        ("value\tname\trole\n1\tfire\tthings\n", "row 2: role: expected one of"),
        ("value\tname\n0\tbackground\n", "no class"),
    ):
        (tmp_path / "mine" / "classes.tsv").write_text(text)
        refused("folder:mine", message)
    (tmp_path / "mine" / "classes.tsv").write_text("value\tname\n1\tfire\n")
    colours(tmp_path / "mine" / "labels" / "a.png", [(1, 2, 3)])
    refused("folder:mine", "expected the columns colour and name.*the labels hold colours")
    label(tmp_path / "mine" / "labels" / "a.png", [1])
    photo(tmp_path / "mine" / "images" / "a.jpg", size=(SIDE, SIDE + 1))
    refused("folder:mine", "expected the photo's size, 24×25, found 24×24")


def shades(root: Path, split: str, count: int) -> None:
    for n in range(count):
        pixels, values = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8)
        for part, (name, value) in enumerate((("fire", 3), ("sea", 4), ("grass", 0))):
            pixels[:, 21 * part : 64], values[:, 21 * part : 64] = SHADES[name], value
        for folder, content in (("images", pixels), ("annotations", values)):
            (root / folder / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(content).save(root / folder / split / f"{split}{n}.png")
    (root / "classes.tsv").write_text(CLASSES)


def test_own_photos_are_trained_on_and_steer_what_is_kept(recipe, world, tmp_path):
    """Without any of COCO's: other layouts of two sets, and a dozen own photos with masks that measure."""
    shades(tmp_path / "mine", "train", 10)
    shades(tmp_path / "mine", "val", 3)
    coco_json(tmp_path)
    shades(tmp_path / "checked", "train", 2)
    name, other = f"folder:{tmp_path / 'mine'}", f"coco:{tmp_path / 'instances.json'}:{tmp_path / 'photos'}"
    stage = {
        "name": "own", "kind": "sets", "learns": "all", "sets": [f"{name}=3", f"{other}=1"], "umbrellas": "", "steps": 12, "rate": 3e-3,
        "evaluate_every": 4, "keep": "better", "folder": "own",
    }  # fmt: skip
    given = {"held_out": "", "calibrate": False, "start": str(Path(__file__).parents[3] / "tests/data/tiny-model"), "head": None}
    made = recipe(stage | {"side_px": 32}, measure=[name, f"folder:{tmp_path / 'checked'}"], **given)
    assert made.final_report == ()
    run = Run(made, Path("."), lambda text: None)
    run.follow()
    entries = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    figures = [entry["figures"] for entry in entries if "figures" in entry]
    assert all(set(one) == {name, f"folder:{tmp_path / 'checked'}"} for one in figures) and len(figures) >= 6
    assert [len(task.photos) for task in run.tasks()] == [3, 2] and all(task.background for task in run.tasks())
    assert any(entry.get("kept") is not None for entry in entries)
    record = json.loads((Path(made.output) / "own" / "training.json").read_text())
    assert record["made_by"]["data"]["labelled photos"]["files"] == 3 + 26 + 4
    assert name in json.loads((Path(made.output) / "own" / "config.json").read_text())["card"]["measured"]


def test_labels_become_a_measure_with_the_rest_as_background(tmp_path):
    shades(tmp_path / "mine", "val", 1)
    (task,) = evaluate.own_tasks(tmp_path, ("folder:mine",), set(), frozenset())
    values = task.photos[0].labels()
    assert values[0, 0] == 1 and values[0, 30] == 2 and values[0, 60] == 0 and task.words == [["fire", "flame", "blaze"], ["sea"]]
    shades(tmp_path / "one", "train", 1)
    with pytest.raises(DataError, match="folder:one: no photo stays out of training"):
        evaluate.own_tasks(tmp_path, ("folder:one",), {"folder:one"}, frozenset())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"final_report": ["camvid"]}, r"camvid_clip101/classes.txt is missing: camvid: expected .* leave its measures out of `final_report`.*`measure`"),
        ({"final_report": ["ade150"]}, r"ade20k_dev400/classes.txt is missing: ade150: expected"),
        ({"final_report": ["idx133", "voc21"]}, r"coco_panoptic200/classes.tsv is missing: idx133, voc21: expected"),
    ],
)
def test_a_measure_whose_set_is_not_there_is_told(recipe, world, tmp_path, change, message):
    for name in ("backbone.npz", "pairs"):
        (tmp_path / name).symlink_to(world / name)
    stage = {"name": "p", "kind": "pairs", "pairs": ["shades"], "steps": 1, "learns": "head"}
    with pytest.raises(DataError, match=message):
        Run(recipe(stage, data=str(tmp_path), **change), Path("."), lambda text: None).follow()


@pytest.mark.parametrize("key", ["keep", "evaluate_every", "calibrate", "none held out", "output"])
def test_what_the_end_needs_is_looked_for_at_the_beginning(recipe, world, tmp_path, key):
    for name in ("backbone.npz", "pairs"):
        (tmp_path / name).symlink_to(world / name)
    stage = {"name": "p", "kind": "pairs", "pairs": ["shades"], "steps": 1, "learns": "head"}
    stage |= {"keep": {"keep": "better"}, "evaluate_every": {"evaluate_every": 1}}.get(key, {"folder": "m"})
    more, wanted = {"data": str(tmp_path)}, f"{key} needs the held-out photos of COCO: .* is missing.*; or (name sets|give calibrate)"
    if key == "none held out":
        (tmp_path / "none.txt").write_text("# none\n")
        more, wanted = {"held_out": str(tmp_path / "none.txt")}, "calibrate needs the held-out photos of COCO: none of those that .*none.txt names"
    if key == "output":
        (tmp_path / "file").write_text("")
        more, wanted = {"output": str(tmp_path / "file" / "models")}, "output .*file/models: expected a folder that can be written to, found at"
    made, said = recipe(stage, **more), []
    for begin in (lambda: Run(made, Path("."), said.append).follow(), lambda: smoke(made, Path("."), said.append)):
        with pytest.raises((DataError, FolderError), match=wanted):
            begin()
    assert not any("loss" in text for text in said), "before the first step"


def test_a_smoke_run_measures_the_sets_of_the_recipe(recipe, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(evaluate, "report", lambda model, bank, tasks, *_: seen.extend(task.name for task in tasks) or {})
    shades(tmp_path / "own", "val", 3)
    own = f"folder:{tmp_path / 'own'}"
    stage = {"name": "p", "kind": "pairs", "pairs": ["shades"], "steps": 1, "word_min_count": 1, "keep": "better"}
    assert smoke(recipe(stage, measure=[own]), Path("."), lambda text: None) == 0
    assert set(seen) == {own}


def test_umbrella_words_that_are_not_there_are_told(recipe, tmp_path):
    shades(tmp_path / "mine", "train", 12)
    stage = {"name": "s", "kind": "sets", "learns": "all", "sets": [f"folder:{tmp_path / 'mine'}=1"], "steps": 1}
    with pytest.raises(DataError, match='umbrella-words.tsv is missing: expected the table of umbrella words.* umbrellas = "" does without'):
        Run(recipe(stage), tmp_path, lambda text: None).follow()


def test_what_measures_and_stages_need_is_told(recipe, tmp_path):
    shades(tmp_path / "measured", "val", 2)
    stage = {"name": "s", "kind": "sets", "learns": "all", "sets": [f"folder:{tmp_path / 'measured'}=1"], "umbrellas": "", "steps": 1}
    with pytest.raises(DataError, match="measured: no photo to train on"):
        Run(recipe(stage), Path("."), lambda text: None).follow()
    with pytest.raises(RecipeError, match="'held_out' is missing"):
        recipe({"name": "d", "kind": "pairs", "pairs": ["shades"], "steps": 1, "evaluate_every": 1}, held_out="", calibrate=False)
    with pytest.raises(RecipeError, match="'sets' is read by stages of kind sets"):
        recipe({"name": "d", "kind": "dense", "sets": ["folder:x=1"], "steps": 1})
