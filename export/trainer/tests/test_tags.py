"""How a caption's words share a picture, and the commands that tell of it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import needed
from edge_seg_trainer import __main__ as command
from edge_seg_trainer import ablate, plain
from edge_seg_trainer.bench import SHAPES, encoder_flops, run as bench
from edge_seg_trainer.tags import Competition, selection, truths
from test_parallel import as_toml
from test_train import PAIRS, TTD, start


@pytest.mark.peers
def test_selection_measures_are_those_of_scikit_learn():
    metrics = needed("sklearn.metrics")
    rng = np.random.default_rng(0)
    shown, score = rng.random(50) < 0.4, np.round(rng.random(50), 1)
    found, chosen = selection(shown, score), score >= 0.5
    assert found["f1"] == pytest.approx(100 * metrics.f1_score(shown, chosen))
    assert found["precision"] == pytest.approx(100 * metrics.precision_score(shown, chosen))
    assert found["accuracy"] == pytest.approx(100 * metrics.accuracy_score(shown, chosen))
    assert found["ap"] == pytest.approx(100 * metrics.average_precision_score(shown, score))


def test_shares_are_summed_up():
    found = Competition([0.9, 0.5], [2, 4], [1.4, 3.0]).summary()
    assert found["top_share"] == pytest.approx(70.0) and found["even_share"] == pytest.approx(37.5)
    assert found["over_half"] == pytest.approx(50.0) and found["effective_words"] == pytest.approx(2.2)


@pytest.fixture
def told(world):
    """Captions for the labelled photos of objects."""
    rows = ["split\tfile\tcaption"]
    rows += [
        f"train\tobject81{n}.png\tthe {a} beside a wet {b} with snow"
        for n, (a, b) in enumerate([("fire", "sea"), ("sea", "grass"), ("grass", "dog")])
    ]
    (world / "seg" / "coco_mini159" / "captions.tsv").write_text("\n".join(rows) + "\n")
    return world


def test_truth_is_known_of_labelled_classes_alone(told):
    photos = {photo.labelled.path.name: photo for photo in truths(told)}
    first = photos["object810.png"].told[0]
    # Snow is scenery, of which the labels of objects say nothing; `wet` is no class.
    assert dict(zip(first.words, first.shown)) == {"fire": True, "wet": False, "sea": True}
    assert "grass" not in photos["object811.png"].told[0].words


def trained(recipe, tmp_path) -> str:
    run = start(recipe(PAIRS | {"folder": "start", "steps": 4}, output=str(tmp_path / "models")))
    run.follow()
    return str(tmp_path / "models" / "start")


def call(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["edge_seg_trainer", *arguments])
    return command.main()


def test_bias_reports_shares_f1_and_a_plot(recipe, told, tmp_path, monkeypatch, capsys):
    folder, out = trained(recipe, tmp_path), tmp_path / "out"
    code = call(
        monkeypatch, "bias", folder, folder, "--pairs", "shades", "--split", "train", "--data", str(told), "--limit", "6", "--out", str(out)
    )
    text = capsys.readouterr().out
    assert code == 0 and "top word's share" in text and "| start | pixel |" in text
    rows = json.loads((out / "bias.json").read_text())
    assert rows[0]["image"] == rows[1]["image"] and 0 < rows[0]["image"]["top_share"] <= 100
    assert (out / "bias.png").read_bytes().startswith(b"\x89PNG")
    assert call(monkeypatch, "bias", str(tmp_path / "none"), "--pairs", "shades", "--data", str(told)) == 2


def test_ablations_share_a_start_and_go_on(recipe, told, tmp_path, monkeypatch, capsys):
    folder = trained(recipe, tmp_path)
    made = recipe(TTD | {"steps": 2}, name="abl", start=folder, calibrate=False, seeds=2)
    toml = as_toml(made, tmp_path / "abl.toml")
    # A model folder's own head stands.
    toml.write_text(
        toml.read_text().replace("[head]", "[head]\n").split("[head]")[0] + "[[stage]]" + toml.read_text().split("[[stage]]")[1]
    )
    rows = ["neither loss", "L_tag alone", "both, all plain words"]
    assert call(monkeypatch, "ablate", str(toml), "--only", rows[0], "--only", rows[1]) == 0
    place = tmp_path / "work" / "abl" / "ablate.json"
    first = json.loads(place.read_text())
    assert list(first) == rows[:2] and [len(first[name]) for name in rows[:2]] == [1, 2]
    assert first[rows[1]][0]["miou"] != first[rows[1]][1]["miou"]
    assert call(monkeypatch, "ablate", str(toml), "--only", rows[1], "--only", rows[2]) == 0
    again = json.loads(place.read_text())
    assert again[rows[1]] == first[rows[1]] and list(again) == rows
    text = capsys.readouterr().out
    assert "2 seeds" in text and "±" in text and "30.4, 60.4, 78.5" in text and (tmp_path / "work" / "abl" / "ablate.md").is_file()
    assert set(ablate.PAPER) <= set(ablate.VARIANTS)
    assert call(monkeypatch, "ablate", str(toml), "--only", "no such row") == 2


def test_an_ablation_refuses_another_recipes_table_and_leaves_out_what_a_start_cannot_have(recipe, tmp_path, monkeypatch, capsys):
    for part in ("images", "labels"):
        (tmp_path / "own" / part).mkdir(parents=True)
    for n in range(2):
        Image.new("RGB", (32, 32), (200, 40 * n, 9)).save(tmp_path / "own" / "images" / f"{n}.png")
        Image.new("L", (32, 32), n).save(tmp_path / "own" / "labels" / f"{n}.png")
    (tmp_path / "own" / "classes.tsv").write_text("value\tname\n0\tfire\n1\tsea\n")
    start_at = Path(__file__).parents[3] / "tests" / "data" / "tiny-clip"
    made = recipe(
        TTD | {"steps": 2, "side_px": 32}, name="abl", start=str(start_at), calibrate=False, held_out="", input_px=32, head={"kind": "maskclip"},
        measure=[f"folder:{tmp_path / 'own'}"],
    )  # fmt: skip
    toml = str(as_toml(made, tmp_path / "abl.toml"))
    rows = ("--only", "neither loss", "--only", "student by sigmoid")
    assert call(monkeypatch, "ablate", toml, *rows) == 0
    text = capsys.readouterr().out
    assert "| neither loss | " in text and "| student by sigmoid | left out: the start scores by softmax" in text
    assert call(monkeypatch, "ablate", toml, *rows, "--set", "stage.ttd.steps=500") == 2
    refused = capsys.readouterr()
    assert "stage.ttd.steps: 2 there, 500 here" in refused.err and not refused.out
    assert call(monkeypatch, "ablate", toml, *rows, "--set", "stage.ttd.steps=500", "--fresh") == 0
    assert capsys.readouterr().out.startswith("500 steps of 8")


@pytest.mark.peers
def test_a_step_does_what_a_plain_loop_of_the_libraries_does(tmp_path):
    """Beside which it is timed."""
    needed("timm")
    plain.made_photos(tmp_path, 4)
    found = plain.compared(tmp_path, f"folder:{tmp_path}", 2, 1, 1, "f32")
    assert found["first_loss"]["ours"] == pytest.approx(found["first_loss"]["plain"], rel=1e-3) and found["ratio_processor"] > 0


@pytest.mark.peers
def test_the_loader_is_timed_beside_webdatasets(tmp_path):
    needed("webdataset")
    found = plain.loaders(tmp_path, 64, 32, 2, 1)
    assert set(found["ms_a_picture"]) == {"ours", "webdataset", "webdataset_draft"}


@pytest.mark.peers
def test_the_step_is_timed_beside_open_clips():
    needed("open_clip")
    import torch

    found = bench("tiny", 2, 2, torch.device("cpu"))
    assert found["machine"] == "cpu" and found["ratio"] > 0 and found["peak_memory_gib"] is None
    image, text = SHAPES["ViT-B-16"]
    # 17.6 GFLOP of multiply-adds, twice that in operations, is what ViT-B/16 at 224 px is known for.
    assert encoder_flops(image, text, 1, 0, 0, 0.0) == pytest.approx(35.1e9, rel=0.02)
