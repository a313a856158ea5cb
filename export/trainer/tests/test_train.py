"""Whole runs in the tiny world."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from edge_seg_trainer import evaluate
from edge_seg_trainer.adapters import inject, merge
from edge_seg_trainer.data import DataError
from edge_seg_trainer.recipe import RecipeError
from edge_seg_trainer.folder import read_folder
from edge_seg_trainer.stages import Part, make_stage
from edge_seg_trainer.tiny import tiny_folder
from edge_seg_trainer.loop import learning
from edge_seg_trainer.train import Run

PAIRS = {"name": "pairs", "kind": "pairs", "steps": 8, "pairs": ["shades"], "rate": 3e-3, "word_min_count": 1}
TTD = {"name": "ttd", "kind": "ttd", "learns": "lora", "steps": 6, "pairs": ["shades"], "rate": 3e-3, "selection_scale": 20.0}
DENSE = {"name": "dense", "kind": "dense", "learns": "all", "steps": 8, "rate": 3e-3}
PIXELS = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(5))


def quiet(_):
    pass


def start(recipe) -> Run:
    return Run(recipe, Path("."), quiet)


def losses(run: Run) -> dict[tuple[str, int], float]:
    """By stage and step; of a step done again after a resume, the last."""
    entries = map(json.loads, run.metrics.read_text().splitlines())
    return {(entry["stage"], entry["step"]): entry["loss"] for entry in entries if "loss" in entry}


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        (PAIRS, ("image.head.", "logit_")),
        (DENSE, ("image.", "logit_")),
        (DENSE | {"frozen_blocks": 1}, ("image.head.", "image.norm.", "image.blocks.1.", "logit_")),
        (TTD, ("lora_",)),
        (TTD | {"lora_towers": ["image"], "lora_targets": ["qkv"]}, ("lora_",)),
    ],
)
def test_gradients_reach_only_what_should_learn(recipe, stage, expected):
    made = recipe(stage)
    run, stage = start(made), made.stages[0]
    source = make_stage(stage, run.around)
    if stage.learns == "lora":
        inject(run.model, stage)
    learning(run.model, stage)
    source.loss(source.load(Part(0)))[0].backward()
    for name, parameter in run.model.named_parameters():
        should = any(part in name if part == "lora_" else name.startswith(part) for part in expected)
        assert (parameter.grad is not None) == should, name
        if "lora_" in name and stage.lora_towers == ("image",):
            assert name.startswith("image.") and ".qkv." in name


def test_adapters_start_as_the_identity_and_merge_exactly(recipe):
    made = recipe(TTD)
    run = start(made)
    names = set(run.model.state_dict())
    with torch.no_grad():
        before = run.model.image(PIXELS)
        inject(run.model, made.stages[0])
        assert torch.equal(run.model.image(PIXELS), before)
        for name, parameter in run.model.named_parameters():
            if "lora_" in name:
                parameter.add_(torch.randn_like(parameter) * 0.05)
        changed = run.model.image(PIXELS)
        assert not torch.allclose(changed, before, atol=1e-3)
        merge(run.model)
        assert torch.allclose(run.model.image(PIXELS), changed, atol=1e-5)
    assert set(run.model.state_dict()) == names


@pytest.mark.parametrize("stage", [PAIRS | {"steps": 30}, DENSE | {"steps": 30}, DENSE | {"learns": "head", "steps": 30}, TTD | {"steps": 30}])
def test_the_loss_falls(recipe, stage):
    run = start(recipe(stage))
    run.follow()
    found = list(losses(run).values())
    assert sum(found[-5:]) < 0.9 * sum(found[:5])
    assert (run.work / "metrics.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("stages", [[PAIRS | {"ema": 0.9}], [DENSE], [PAIRS, TTD]])
def test_a_resumed_run_is_the_same_run(recipe, stages):
    whole = recipe(*stages, name="whole")
    broken = recipe(*stages, name="broken")
    run = start(whole)
    run.follow()
    start(broken).follow(until=5)
    again = start(broken)
    again.follow()
    assert losses(again) == losses(run)
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


def test_a_stage_is_blended_with_an_earlier_one_also_after_a_resume(recipe):
    stages = [DENSE | {"name": "first", "steps": 2}, DENSE | {"name": "second", "steps": 5}]
    blended = [stages[0], stages[1] | {"blend_with": "first", "blend": 0.25}]
    states = []
    for name, some in (("one", stages[:1]), ("two", stages), ("mixed", blended)):
        run = start(recipe(*some, name=name))
        run.follow()
        states.append(run.model.state_dict())
    start(recipe(*blended, name="resumed")).follow(until=3)
    again = start(recipe(*blended, name="resumed"))
    again.follow()
    for name, value in states[2].items():
        assert torch.equal(value, again.model.state_dict()[name]), name
        assert torch.allclose(value, states[0][name] * 0.75 + states[1][name] * 0.25, atol=1e-6), name


def test_what_is_held_out_is_never_drawn(recipe):
    made = recipe(DENSE)
    run = start(made)
    source = make_stage(made.stages[0], run.around)
    assert len(source.photos) == 12 - len(run.held_out)


def test_a_written_folder_satisfies_the_contract(recipe, world):
    run = start(recipe(DENSE | {"folder": "out"}))
    run.follow()
    folder = Path(run.recipe.output) / "out"
    config = json.loads((folder / "config.json").read_text())
    assert set(config) == {
        "format", "name", "image", "text", "embedding_dim", "context", "pad_token", "preprocess", "logit_scale",
        "logit_bias", "templates", "background", "tag_threshold", "card",
    }  # fmt: skip
    assert 0 < config["background"] < 1 and config["logit_scale"] > 0
    weights = load_file(folder / "model.safetensors")
    assert all(value.dtype == torch.float32 for value in weights.values())
    assert weights["image.head.fc1.weight"].shape == (32, 3 * config["image"]["width"])
    read, _ = read_folder(folder)
    with torch.no_grad():
        assert torch.equal(read.image(PIXELS), run.model.image(PIXELS))
    assert not list(folder.parent.glob(".*"))  # nothing half-written left beside it


def test_what_is_left_blank_counts_as_wrong_where_everything_has_a_name(recipe):
    run = start(recipe(DENSE | {"steps": 20}))
    run.follow()
    task = evaluate.tasks(run.root, run.held_out, ("present",))[0]
    encoder = evaluate.Encoder(run.model, 64)
    plain = evaluate.measure(run.bank, task, encoder, (1.0, 0.0))
    named = {bias: evaluate.by_threshold(run.bank, evaluate.with_blank(task), encoder, (1.0, bias)) for bias in (9.0, 0.0, -9.0)}
    assert plain["accuracy"] > 50
    assert all(found == plain for found in named[9.0].values())
    assert all(found["miou"] == found["accuracy"] == 0 for found in named[-9.0].values())
    right = [found["accuracy"] for found in named[0.0].values()]
    assert right == sorted(right, reverse=True) and right[0] > right[-1]


def test_the_committed_tiny_model_is_what_its_script_writes(tmp_path):
    committed = Path(__file__).parents[3] / "tests" / "data" / "tiny-model"
    tiny_folder(tmp_path / "tiny")
    for name in ("model.safetensors", "golden.safetensors"):
        fresh, stored = load_file(tmp_path / "tiny" / name), load_file(committed / name)
        assert fresh.keys() == stored.keys()
        for key in fresh:
            assert torch.allclose(fresh[key].float(), stored[key].float(), atol=1e-5), key
    assert (tmp_path / "tiny" / "config.json").read_text() == (committed / "config.json").read_text()


@pytest.mark.parametrize("learns", ["head", "all", "lora"])
def test_an_imported_clip_trains_from_its_folder(recipe, learns):
    start_at = Path(__file__).parents[3] / "tests" / "data" / "tiny-clip"
    stage = TTD if learns == "lora" else PAIRS | {"learns": learns, "side_px": 32}
    given = {"start": str(start_at), "calibrate": False, "input_px": 32, "head": {"kind": "attention", "similarity": "key-key", "neighbour": 2.0}}
    if learns == "head":
        given["head"] = None
    made = recipe(stage | {"side_px": 32, "steps": 3, "folder": "out"}, **given)
    if learns == "head":
        # Features are cached for the fusion head alone, whose inputs do not depend on what learns.
        with pytest.raises(RecipeError, match="fusion"):
            start(made).follow()
        return
    run = start(made)
    run.follow()
    model, config = read_folder(Path(run.recipe.output) / "out")
    assert config["image"]["head"]["similarity"] == "key-key" and config["templates"] == ["{}"]
    before, _ = read_folder(start_at)
    assert not torch.equal(model.image.blocks[0].attn.qkv.weight, before.image.blocks[0].attn.qkv.weight)


def test_missing_data_is_named(recipe, tmp_path):
    with pytest.raises(DataError, match="EDGE_SEG_DATA"):
        start(recipe(DENSE, data=str(tmp_path / "nowhere")))
    with pytest.raises(DataError, match="backbone's weights"):
        start(recipe(DENSE, backbone="weights/other.npz"))
    run = start(recipe(PAIRS | {"pairs": ["no_such_set"]}))
    with pytest.raises(DataError, match="captions.tsv is missing"):
        run.follow()


def test_tensorboard_is_written_where_asked(recipe):
    pytest.importorskip("tensorboard")
    run = start(recipe(TTD | {"steps": 2}, tensorboard=True))
    run.follow()
    assert any(path.stat().st_size > 0 for path in (run.work / "tensorboard").iterdir())
