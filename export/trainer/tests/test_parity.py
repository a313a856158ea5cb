"""The same model on the same photos has the same figures in the trainer and in the runtime, for every family."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from edge_seg_trainer.adapters import inject, merge
from edge_seg_trainer.data import IGNORE, Labelled
from edge_seg_trainer.evaluate import Encoder, Task, by_threshold, logit_of, own_tasks
from edge_seg_trainer.folder import read_folder
from edge_seg_trainer.recipe import StageRecipe
from edge_seg_trainer.tags import measure, truths
from edge_seg_trainer.words import WordBank

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "data"
PROGRAM = Path(os.environ.get("EDGE_SEG_EXPORT", ROOT / "target" / "release" / "edge-seg-export"))
needs_program = pytest.mark.skipif(not PROGRAM.is_file(), reason="EDGE_SEG_EXPORT names no edge-seg-export to compare with")
CLASSES = "id\tname\tvoc\tsynonyms\n1\tdog\t1\tdog,grass\n2\tsnow\t2\tsnow,dog on grass\n3\troad\t0\troad\n4\tsky\t0\tsky\n"
WORDS = [["dog", "grass"], ["snow", "dog on grass"]]


def run(*arguments: str, folder: Path) -> str:
    found = subprocess.run([PROGRAM, *arguments], cwd=folder, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Blocks of noise and colour, of sizes that are no whole patches, with labels of four classes and pixels to ignore."""
    place = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(3)
    for part in ("images", "labels"):
        (place / part).mkdir()
    for n in range(8):
        rows, cols = int(rng.integers(40, 90)), int(rng.integers(40, 90))
        blocks = rng.integers(0, 256, (5, 5, 3)).repeat(20, 0).repeat(20, 1)[:rows, :cols]
        pixels = np.clip(blocks + rng.integers(-40, 40, blocks.shape), 0, 255).astype(np.uint8)
        labels = np.array([0, 1, 2, 3, 4])[rng.integers(0, 5, (5, 5))].repeat(20, 0).repeat(20, 1)[:rows, :cols].astype(np.uint8)
        Image.fromarray(pixels).save(place / "images" / f"{n}.png")
        Image.fromarray(np.where(labels == 0, IGNORE, labels).astype(np.uint8)).save(place / "labels" / f"{n}.png")
    (place / "classes.tsv").write_text(CLASSES)
    return place


def family(name: str, place: Path) -> Path:
    """A model folder of that family."""
    if name in ("tiny-model", "tiny-clip"):
        return DATA / name
    source, *more = name.split()
    if (DATA / "checkpoints" / source).is_dir():
        run("import", str(DATA / "checkpoints" / source), "-o", "imported", "--name", "tiny", *SIZES.get(source, ()), *more, folder=place)
        return place / "imported"
    common = ("--tokenizer", str(DATA / "clip-families" / "bpe.txt"), "--head-width", "16", "--name", "tiny")
    run("import", str(DATA / "clip-families" / source), "-o", "imported", *common, *more, folder=place)
    return place / "imported"


# What no file of a family's small form tells.
SIZES = {
    "siglip-timm": ("--head-width", "8"),
    "pe-core": ("--head-width", "8", "--pool-heads", "4"),
    "mobileclip": ("--head-width", "8"),
    "eva02": ("--head-width", "8"),
}
FAMILIES = ("hf", "open-clip", "clipa", "siglip", "siglip-timm", "pe-core", "mobileclip", "tips", "eva02", "metaclip2", "metaclip2-mt5")


@needs_program
@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_each_family_gives_its_librarys_embeddings(name, tmp_path):
    """On the outputs of the library that publishes the family, which the runtime is held to as well."""
    model, config = read_folder(family(name, tmp_path))
    model.eval()
    golden = load_file(DATA / "checkpoints" / name / "golden.safetensors")
    found = dict(zip(("patches", "global"), model.image.encode(golden["pixels"])))
    with safe_open(DATA / "checkpoints" / name / "golden.safetensors", "pt") as file:
        texts = json.loads(file.metadata()["texts"])
    bank = WordBank(model.text, tmp_path / "imported" / "tokenizer.json", config["context"], config["pad_token"])
    found["text"] = bank.encode(texts)
    for kind, value in found.items():
        expected = F.normalize(golden[kind], dim=-1)
        assert torch.allclose(F.normalize(value, dim=-1), expected, atol=1e-4), f"{kind}: {(F.normalize(value, dim=-1) - expected).abs().max()}"


@needs_program
@pytest.mark.parametrize(
    "name",
    [
        "tiny-model",
        "tiny-clip",
        "open_clip",
        "open_clip --head reduced",
        "open_clip --head key-key",
        "open_clip --head neighbour",
        "tcl.pth",
        *FAMILIES,
        "tips --head neighbour",
        "tips --head key-key",
    ],
)
@pytest.mark.parametrize("template", ["{}", "the {} beside"])
def test_figures_are_those_of_the_runtime(name, template, photos, tmp_path):
    folder = family(name, tmp_path)
    model, config = read_folder(folder)
    templates = [template, "a {}"] if template != "{}" else ["{}"]
    mine = tmp_path / "model"
    mine.mkdir()
    for file in ("model.safetensors", "tokenizer.json"):
        (mine / file).write_bytes((folder / file).read_bytes())
    (mine / "config.json").write_text(json.dumps(config | {"templates": templates}))
    run("bundle", str(mine), "-o", "tiny.esb", "--weights", "f32", folder=tmp_path)
    table = np.full(256, IGNORE, np.uint8)
    table[1:5] = [1, 2, 0, 0]
    labelled = [Labelled(path, photos / "labels" / path.name, table) for path in sorted((photos / "images").iterdir())]
    bank = WordBank(model.text, mine / "tokenizer.json", config["context"], config["pad_token"], tuple(templates))
    encoder = Encoder(model, 64, torch.float32)
    thresholds = (0.3, 0.5, 0.7)
    found = by_threshold(bank, Task("voc", labelled, WORDS, background=True), encoder, logit_of(model), thresholds=thresholds)
    ways = ("--images", str(photos / "images"), "--labels", str(photos / "labels"), "--classes", str(photos / "classes.tsv"))
    told = run(
        "eval", "segmentation", "--model", "tiny.esb", *ways, "--view", "voc", "--names", "synonyms", "--size", "64", "--json",
        "--background", ",".join(map(str, thresholds)), folder=tmp_path,
    )  # fmt: skip
    rows = {round(row["background"], 6): row for row in map(json.loads, told.splitlines()) if row.get("background") is not None}
    assert set(thresholds) <= set(rows)
    # A cosine agrees to some 1e-5, a logit is 100 times it: pixels between two classes may fall to either.
    for threshold in thresholds:
        theirs = rows[threshold]
        assert found[threshold]["miou"] == pytest.approx(100 * theirs["miou"], abs=0.3), threshold
        assert found[threshold]["accuracy"] == pytest.approx(100 * theirs["pixel_accuracy"], abs=0.3), threshold


@needs_program
@pytest.mark.parametrize("background", ["none", "stuff"])
def test_a_set_that_is_trained_on_measures_alike(background, photos, tmp_path):
    """By the roles of its own table: what `measure` of a recipe says of a set is what `eval segmentation` says of its files."""
    place = tmp_path / "data" / "seg" / "mine"
    for part in ("images", "labels"):
        (place / part).mkdir(parents=True)
        for path in (photos / part).iterdir():
            (place / part / path.name).write_bytes(path.read_bytes())
    name = "" if background == "none" else "fire"
    rows = ["1\tdog\tgrass\tthing", "2\tsnow\tdog on grass\tstuff", f"3\t{name}\t\t{background}", "4\tsky\t\tignore", "255\t\t\tignore"]
    (place / "classes.tsv").write_text("\n".join(["value\tname\tsynonyms\trole", *rows]) + "\n")
    (task,) = own_tasks(tmp_path / "data", ("mine",), set(), frozenset())
    folder = DATA / "tiny-model"
    model, config = read_folder(folder)
    bank = WordBank(model.text, folder / "tokenizer.json", config["context"], config["pad_token"], tuple(config["templates"]))
    found = by_threshold(bank, task, Encoder(model, 64, torch.float32), logit_of(model), thresholds=(0.5,))
    run("bundle", str(folder), "-o", "tiny.esb", "--weights", "f32", folder=tmp_path)
    ways = ("--images", str(place / "images"), "--labels", str(place / "labels"), "--classes", str(place / "classes.tsv"), "--view", "value")
    told = run(
        "eval", "segmentation", "--model", "tiny.esb", *ways, "--names", "synonyms", "--size", "64", "--json",
        "--background", "0.5" if background == "none" else "none", folder=tmp_path,
    )  # fmt: skip
    (theirs,) = map(json.loads, told.splitlines())
    assert set(found) == ({0.5} if background == "none" else {0.0})
    (ours,) = found.values()
    assert ours["miou"] == pytest.approx(100 * theirs["miou"], abs=0.3)
    assert ours["accuracy"] == pytest.approx(100 * theirs["pixel_accuracy"], abs=0.3)


@needs_program
def test_tags_are_measured_as_the_runtime_measures_them(world, tmp_path):
    """Words that name scenery, of which labels of objects say nothing, are left out in both; words are put into templates in both."""
    place = world / "seg" / "coco_mini159"
    names = sorted(path.name for path in (place / "images").iterdir())
    rows = ["split\tfile\tcaption", *(f"train\t{name}\tthe fire beside a wet sea with snow and grass" for name in names)]
    before = (place / "captions.tsv").read_text() if (place / "captions.tsv").is_file() else None
    (place / "captions.tsv").write_text("\n".join(rows) + "\n")
    try:
        model, config = read_folder(DATA / "tiny-model")
        bank = WordBank(
            model.text, DATA / "tiny-model" / "tokenizer.json", config["context"], config["pad_token"], tuple(config["templates"])
        )
        ours = measure(model, bank, truths(world), 32)
        run("bundle", str(DATA / "tiny-model"), "-o", "tiny.esb", "--weights", "f32", folder=tmp_path)
        told = run(
            "eval", "tags", "--model", "tiny.esb", "--images", str(place / "images"), "--labels", str(place / "object81"), "--classes",
            str(place / "classes.tsv"), "--values", "object81", "--view", "object81", "--captions", str(place / "captions.tsv"), "--size", "32",
            "--json", folder=tmp_path,
        )  # fmt: skip
    finally:
        if before is None:
            (place / "captions.tsv").unlink()
        else:
            (place / "captions.tsv").write_text(before)
    assert ours["words"] == 3 * len(names)
    rows = {row["score"]: row["measures"] for row in map(json.loads, told.splitlines())}
    for kind in ("image", "text", "pixel"):
        for measured in ("precision", "recall", "f1", "accuracy"):
            assert ours["selection"][kind][measured] == pytest.approx(100 * (rows[kind][measured] or 0.0), abs=1e-6), (kind, measured)


@needs_program
@pytest.mark.parametrize("name", [*FAMILIES, "clipa --head key-key"])
@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_each_family_learns_through_adapters_that_merge(name, precision, tmp_path):
    model, config = read_folder(family(name, tmp_path))
    model.recompute(True)
    inject(model, StageRecipe(name="x", kind="ttd", learns="lora", steps=1))
    generator = torch.Generator().manual_seed(5)
    adapters = {name: value for name, value in model.named_parameters() if "lora_" in name}
    for value in adapters.values():
        value.data.add_(0.02 * torch.randn(value.shape, generator=generator))
    side = 2 * model.image.config.patch_px
    pixels = torch.randn(2, 3, side, side + model.image.config.patch_px, generator=generator)
    bank = WordBank(model.text, tmp_path / "imported" / "tokenizer.json", config["context"], config["pad_token"])

    def outputs():
        patches, whole = model.image.encode(pixels)
        return patches.float(), whole.float(), bank.encode(["a photo of a dog", "snow"])

    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        found = outputs()
    sum((value * torch.randn(value.shape, generator=generator)).sum() for value in found).backward()
    layers = {name.split(".lora_")[0] for name in adapters}
    assert any("head.pool" in name for name in layers) == (model.image.config.head.kind == "pooled")
    assert {name.split(".")[0] for name in layers} == {"image", "text"}
    still = [name for name, value in adapters.items() if "lora_B" in name and not value.grad.abs().sum() > 0]
    assert not still, f"no gradient at {still}"
    model.eval()
    with torch.no_grad():
        before = outputs()
        merge(model)
        for one, other in zip(before, outputs()):
            assert torch.allclose(one, other, atol=1e-4), (one - other).abs().max()
