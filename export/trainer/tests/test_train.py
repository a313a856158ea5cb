"""Whole runs in the tiny world."""

import copy
import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from conftest import needed
from edge_seg_trainer import evaluate, provenance
from edge_seg_trainer.adapters import inject, merge
from edge_seg_trainer.checkpoint import CheckpointError
from edge_seg_trainer.config import TowerError
from edge_seg_trainer.data import DataError
from edge_seg_trainer.kinds import make_stage
from edge_seg_trainer.provenance import ProvenanceError
from edge_seg_trainer.schema import RecipeError
from edge_seg_trainer.folder import FolderError, read_folder
from edge_seg_trainer.smoke import smoke
from edge_seg_trainer.stages import Part
from edge_seg_trainer.lamb import Lamb
from edge_seg_trainer.loop import learning, rate_at
from edge_seg_trainer.tiny import tiny_backbone, tiny_folder
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


@pytest.mark.parametrize(
    "stage", [PAIRS | {"steps": 30}, DENSE | {"steps": 30}, DENSE | {"learns": "head", "steps": 30}, TTD | {"steps": 30}]
)
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


def test_adapters_are_kept_as_peft_reads_them(recipe):
    run = start(recipe(TTD | {"ema": 0.5}))
    before = copy.deepcopy(run.model)
    plain = {name: value.clone() for name, value in before.state_dict().items()}
    run.follow()
    for tower in ("image", "text"):
        read = PeftModel.from_pretrained(getattr(before, tower), run.work / "adapters" / "ttd" / tower).merge_and_unload().state_dict()
        trained = getattr(run.model, tower).state_dict()
        assert any(not torch.equal(value, plain[f"{tower}.{name}"]) for name, value in trained.items())
        assert all(torch.allclose(read[name], value, atol=1e-6) for name, value in trained.items())


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
    given = {
        "start": str(start_at),
        "calibrate": False,
        "input_px": 32,
        "head": {"kind": "attention", "similarity": "key-key", "neighbour": 2.0},
    }
    if learns == "head":
        given["head"] = None
    if learns == "all":
        with pytest.raises(RecipeError, match="word_weight 1 teaches .* give the recipe a `score`"):
            start(recipe(stage | {"steps": 3}, **given)).follow()
        given["score"] = [20.0, -6.0]
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
    assert (config["logit_bias"] is None) == (learns == "lora")
    before, _ = read_folder(start_at)
    assert not torch.equal(model.image.blocks[0].attn.qkv.weight, before.image.blocks[0].attn.qkv.weight)


def refused(made, message: str, **more) -> None:
    with pytest.raises((ProvenanceError, CheckpointError), match=message):
        Run(made, Path("."), quiet, **more).follow()


def test_what_another_recipe_began_is_refused(recipe, world):
    stages = [PAIRS | {"folder": "out"}]
    start(recipe(*stages)).follow(until=5)
    refused(
        recipe(stages[0] | {"rate": 1e-3, "batch": 4}),
        r"checkpoint.pt: made by another run.*stage.pairs.batch: 8 there, 4 here; stage.pairs.rate",
    )
    refused(recipe(*stages, seed=7), "seed: 0 there, 7 here")
    refused(recipe(*stages, precision="f32"), "precision: 'bf16' there, 'f32' here")
    # What changes no figure may change.
    again = start(recipe(*stages, log_every=2, threads=2))
    again.follow()
    done = json.loads((Path(again.recipe.output) / "out" / "training.json").read_text())
    assert done["digest"] == provenance.digest(again.made_by) and done["made_by"]["recipe"]["stage.pairs.rate"] == 3e-3
    assert done["seed"] == 0 and done["versions"]["torch"]
    said = []
    Run(recipe(*stages), Path("."), said.append).follow()
    assert any("trained already" in text for text in said)
    refused(recipe(stages[0] | {"rate": 1e-3}), "stage.pairs.rate: 0.003 there, 0.001 here")
    # Another name does not help where the folder is another training's.
    refused(recipe(stages[0] | {"rate": 1e-3}, name="other"), "out: made by another run.*stage.pairs.rate")
    changed = Run(recipe(stages[0] | {"rate": 1e-3}), Path("."), quiet, fresh=True)
    changed.follow()
    assert len(losses(changed)) == PAIRS["steps"]
    assert json.loads((Path(again.recipe.output) / "out" / "training.json").read_text())["made_by"]["recipe"]["stage.pairs.rate"] == 1e-3


def test_what_other_data_or_another_start_began_is_refused(recipe, world, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(world, mine)
    given = {"data": str(mine), "held_out": str(mine / "held-out.txt"), "text": str(mine / "text")}
    start(recipe(PAIRS, **given)).follow(until=5)
    table = mine / "pairs" / "shades" / "captions.tsv"
    before = table.read_text()
    table.write_text(before.replace("a fire", "a wet fire"))
    refused(recipe(PAIRS, **given), r"data, shades \(train\): .* of other names, sizes or contents")
    table.write_text("\n".join(before.splitlines()[:-2]) + "\n")
    refused(recipe(PAIRS, **given), r"data, shades \(train\): 25 files there, 24 files here")
    table.write_text(before)
    start(recipe(PAIRS, **given)).follow(until=6)
    tiny_backbone(mine / "backbone.npz", width=32, layers=2)
    with np.load(mine / "backbone.npz") as stored:
        np.savez(mine / "backbone.npz", **{name: value * 0.5 for name, value in stored.items()})
    refused(recipe(PAIRS, **given), "the weights to start from")


def test_another_version_of_the_code_is_refused_and_told_where_it_is_asked_for(recipe, monkeypatch):
    start(recipe(PAIRS)).follow(until=5)
    monkeypatch.setattr(provenance, "code", lambda: "other")
    refused(recipe(PAIRS), "the trainer's code: .* there, other here")
    said = []
    run = Run(recipe(PAIRS), Path("."), said.append)
    Run(recipe(PAIRS), Path("."), said.append, resume=run.checkpoints.last).follow()
    assert any("going on although the trainer's code" in text for text in said)


def test_a_run_at_a_constant_rate_is_ended_sooner_from_a_checkpoint(recipe):
    long = PAIRS | {"steps": 20, "schedule": "constant-cooldown", "cooldown": 0.4}
    short = long | {"steps": 9, "cooldown": 0.34}
    start(recipe(long)).follow(until=7)
    refused(recipe(short), "steps: 20 there, 9 here")
    # The rate of the longer one falls from step 12 on, that of the shorter one from step 6 on: the last checkpoint is of before.
    ended = Run(recipe(short), Path("."), quiet, resume=Path(recipe(short).work) / "tiny" / "checkpoint.pt")
    ended.follow()
    whole = start(recipe(short, name="whole"))
    whole.follow()
    assert {at: loss for at, loss in losses(ended).items() if at[1] >= 6} == {at: loss for at, loss in losses(whole).items() if at[1] >= 6}
    assert provenance.digest(ended.made_by) != provenance.digest(start(recipe(long, name="long")).provenance())
    refused(recipe(short | {"cooldown": 0.8}), "cooldown: .* there, 0.8 here", resume=ended.checkpoints.folder / "pairs-0000006.pt")


def test_a_stage_is_blended_with_what_it_began_with_also_where_that_is_thought_of_late(recipe):
    plain = start(recipe(PAIRS | {"steps": 9}, name="plain"))
    before = {name: value.clone() for name, value in plain.model.state_dict().items()}
    plain.follow()
    blended = recipe(PAIRS | {"steps": 9, "blend_with": "start", "blend": 0.25})
    whole = start(blended)
    whole.follow()
    for name, value in whole.model.state_dict().items():
        assert torch.allclose(value, torch.lerp(before[name], plain.model.state_dict()[name], 0.25), atol=1e-6), name
    start(recipe(PAIRS | {"steps": 9}, name="late")).follow(until=7)
    late = recipe(PAIRS | {"steps": 9, "blend_with": "start", "blend": 0.25}, name="late", background=0.4)
    refused(late, "blend: .* there, 0.25 here")
    again = Run(late, Path("."), quiet, resume=Path(late.work) / "late" / "checkpoint.pt")
    again.follow()
    assert all(torch.equal(value, whole.model.state_dict()[name]) for name, value in again.model.state_dict().items())


def test_checkpoints_are_kept_and_gone_on_from(recipe, tmp_path):
    made = recipe(PAIRS | {"steps": 9}, save_every=2, keep_checkpoints=2)
    run = start(made)
    run.follow()
    assert sorted(path.name for path in run.checkpoints.folder.iterdir()) == ["pairs-0000006.pt", "pairs-0000008.pt", "pairs-end.pt"]
    whole = losses(run)
    run.metrics.unlink()
    again = Run(made, Path("."), quiet, resume=run.checkpoints.folder / "pairs-0000006.pt")
    again.follow()
    assert losses(again) == {at: loss for at, loss in whole.items() if at[1] >= 6}
    refused(made, "expected a checkpoint, found no file", resume=tmp_path / "none.pt")
    (tmp_path / "bad.pt").write_bytes(b"no checkpoint")
    refused(made, "that PyTorch cannot read", resume=tmp_path / "bad.pt")


def test_the_start_is_never_written_over(recipe, tmp_path):
    shutil.copytree(Path(__file__).parents[3] / "tests" / "data" / "tiny-clip", tmp_path / "models" / "clip")
    given = {"start": str(tmp_path / "models" / "clip"), "calibrate": False, "input_px": 32, "head": {"kind": "maskclip"}}
    with pytest.raises(RecipeError, match="would be written over `start`"):
        Run(recipe(TTD | {"side_px": 32, "folder": "clip"}, **given), Path("."), quiet, fresh=True).follow()
    shutil.copytree(tmp_path / "models" / "clip", tmp_path / "models" / "mine")
    refused(recipe(TTD | {"side_px": 32, "folder": "mine"}, **given), "mine: a folder that is there already")


def test_what_is_frozen_stays(recipe, tmp_path):
    place = tmp_path / "clip"
    shutil.copytree(Path(__file__).parents[3] / "tests" / "data" / "tiny-clip", place)
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(config | {"logit_scale": 150.0}))
    run = start(
        recipe(
            TTD | {"side_px": 32, "steps": 2, "folder": "out"}, start=str(place), calibrate=False, input_px=32, head={"kind": "maskclip"}
        )
    )
    run.follow()
    assert json.loads((Path(run.recipe.output) / "out" / "config.json").read_text())["logit_scale"] == 150.0


def test_metrics_tell_pace_and_memory(recipe):
    said = []
    run = Run(recipe(PAIRS), Path("."), said.append)
    run.follow()
    entry = [json.loads(line) for line in run.metrics.read_text().splitlines() if '"loss"' in line][-1]
    assert entry["images_per_s"] > 0 and entry["left_s"] == 0 and entry["memory_mb"] > 10 and entry["step_s"] > 0
    assert any("images/s" in text and "left" in text and "MB" in text for text in said)


def test_a_smoke_run_walks_every_stage_and_says_what_the_whole_needs(recipe, capsys):
    stages = [
        PAIRS | {"folder": "one"},
        TTD | {"evaluate_every": 2},
        DENSE | {"learns": "head", "name": "head", "views": 3},
        DENSE | {"folder": "out"},
    ]
    made = recipe(*stages, final_report=["idx133"])
    said = []
    assert smoke(made, Path("."), said.append) == 0
    told = capsys.readouterr().out
    for name in ("pairs", "ttd", "head", "dense"):
        assert f"stage {name}: " in told
    assert "features of 24 pictures" in told and "features of 27 pictures" in told and "5 reports (idx133)" in told
    checks = -(-TTD["steps"] // 2)
    assert f"{checks} measurements for evaluate_every and keep (idx133, present, voc21): about" in told
    assert "the whole: about" in told and "GB of memory" in told and "of disk" in told
    assert any("every stage was walked through" in text for text in said)
    # Nothing is left that a true run would take for its own.
    assert not list(Path(made.work).glob("*.smoke")) and not Path(made.output).exists()


def test_a_smoke_run_says_what_checkpoints_the_whole_leaves(recipe, capsys):
    stages = [PAIRS | {"learns": "all", "name": "all", "steps": 12}, DENSE | {"steps": 5, "evaluate_every": 2, "folder": "out"}]
    made = recipe(*stages, save_every=2, keep_checkpoints=2)
    assert smoke(made, Path("."), quiet) == 0
    told = re.search(r"([\d.]+) MB of disk \((\d+) checkpoints of up to ([\d.]+) MB", capsys.readouterr().out)
    start(made).follow()
    left = [path.stat().st_size for path in (Path(made.work) / "tiny" / "checkpoints").glob("*.pt")]
    assert int(told[2]) == len(left)
    assert float(told[3]) == pytest.approx(max(left) / 1e6, abs=0.51)
    models = sum(path.stat().st_size for path in Path(made.output).rglob("*") if path.is_file())
    assert float(told[1]) == pytest.approx((sum(left) + max(left) + models) / 1e6, rel=0.15, abs=1)


def test_rates_end_where_the_recipe_says(recipe):
    def rates(**given) -> list[float]:
        stage = recipe(PAIRS | {"steps": 100, "rate": 2.0} | given).stages[0]
        return [rate_at(step, stage) for step in (50, 99)]

    assert rates() == pytest.approx([2 * 0.505, 2 * 0.01], abs=0.02)
    assert rates(final_rate=0.0) == pytest.approx([1.0, 0.0], abs=0.02)
    # open_clip's const-cooldown, with its end and power.
    assert rates(schedule="constant-cooldown", cooldown=1.0, final_rate=0.5) == pytest.approx([1.5, 1.0], abs=0.02)
    assert rates(schedule="constant-cooldown", cooldown=1.0, final_rate=0.0, cooldown_power=2.0) == pytest.approx([0.5, 0.0], abs=0.02)


@pytest.mark.parametrize("optimizer", ["lamb", "sgd"])
def test_other_optimizers_learn_and_resume(recipe, optimizer):
    stage = DENSE | {"optimizer": optimizer, "steps": 14, "rate": 0.02 if optimizer == "lamb" else 0.05}
    whole = start(recipe(stage, name="whole"))
    whole.follow()
    found = list(losses(whole).values())
    assert sum(found[-4:]) < 0.95 * sum(found[:4])
    broken = recipe(stage, name="broken")
    start(broken).follow(until=5)
    again = start(broken)
    again.follow()
    assert losses(again) == losses(whole)


def test_lamb_takes_adams_step_at_each_tensors_own_size():
    torch.manual_seed(0)
    decayed, plain = torch.nn.Parameter(torch.randn(4, 3)), torch.nn.Parameter(torch.randn(5))
    theirs = plain.detach().clone().requires_grad_()
    lamb = Lamb([{"params": [decayed], "weight_decay": 0.1}, {"params": [plain], "weight_decay": 0.0}], lr=0.01, betas=(0.9, 0.99), eps=1e-8)
    adam = torch.optim.AdamW([theirs], lr=0.01, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.0)
    mean, square, mine = np.zeros((4, 3)), np.zeros((4, 3)), decayed.detach().double().numpy().copy()
    for step in range(1, 6):
        decayed.grad, plain.grad = torch.randn(4, 3), torch.randn(5)
        theirs.grad = plain.grad.clone()
        gradient = decayed.grad.double().numpy()
        mean, square = 0.9 * mean + 0.1 * gradient, 0.99 * square + 0.01 * gradient**2
        update = (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-8) + 0.1 * mine
        mine = mine - 0.01 * np.linalg.norm(mine) / np.linalg.norm(update) * update
        lamb.step()
        adam.step()
    assert np.allclose(decayed.detach().numpy(), mine, atol=1e-5)
    assert torch.allclose(plain, theirs, atol=1e-6)


def test_figures_go_to_wandb_where_it_is_asked_for(recipe, monkeypatch):
    sent, begun, ended = [], [], []

    class Begun:
        log = staticmethod(sent.append)
        finish = staticmethod(lambda: ended.append(True))

    def init(**given):
        begun.append(given)
        return Begun()

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    run = start(recipe(PAIRS, wandb="mine", final_report=["idx133"]))
    assert not begun
    run.follow()
    assert [(one["project"], one["name"]) for one in begun] == [("mine", "tiny")] and begun[0]["config"]["stage.pairs.rate"] == 3e-3
    assert [one["pairs/loss"] for one in sent if "pairs/loss" in one] == list(losses(run).values())
    assert any("start/figures/idx133/miou" in one for one in sent) and ended == [True]
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(DataError, match="needs the Python package wandb"):
        start(recipe(PAIRS, wandb="mine", name="other"))


@pytest.mark.parametrize("schedule", ["constant", "constant-cooldown"])
def test_the_rate_follows_its_schedule(recipe, schedule):
    stage = recipe(PAIRS | {"steps": 100, "warmup": 0.1, "cooldown": 0.2, "schedule": schedule, "rate": 1.0, "final_rate": 0.0}).stages[0]
    rates = [rate_at(step, stage) for step in range(100)]
    assert rates[:2] == pytest.approx([0.1, 0.2]) and rates[10:80] == [1.0] * 70
    assert rates[80:] == [1.0] * 20 if schedule == "constant" else rates[80:] == pytest.approx([n / 21 for n in range(20, 0, -1)])


def test_half_precision_scales_its_losses(recipe):
    run = start(recipe(TTD, precision="f16"))
    run.follow()
    assert all(np.isfinite(value) for value in losses(run).values())
    assert all(torch.isfinite(value).all() for value in run.model.state_dict().values())


def test_what_the_models_cannot_take_is_refused_before_the_first_step(recipe):
    positions = json.loads((Path(recipe(PAIRS).text) / "config.json").read_text())["max_position_embeddings"]
    with pytest.raises(RecipeError, match=f"context: expected at most {positions}.* found {positions + 1}"):
        start(recipe(PAIRS, context=positions + 1))
    with pytest.raises(RecipeError, match="input_px: expected a multiple of the model's patch, 16, found 70"):
        start(recipe(PAIRS, input_px=70))
    with pytest.raises(RecipeError, match="overlay_pictures: expected a picture, found none at .*absent.png"):
        start(recipe(PAIRS, overlay_pictures=["absent.png"], overlay_words=["sea"], overlay_every=5))
    whole = start(recipe(PAIRS | {"steps": 1, "folder": "small"}, context=positions))
    whole.follow()
    with pytest.raises(FolderError, match=f"context {positions + 1}: expected 1 to text.positions, {positions}"):
        folder = Path(whole.recipe.output) / "small"
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"context": positions + 1}))
        read_folder(folder)


@pytest.mark.parametrize("learns", ["head", "lora"])
def test_captions_without_a_word_that_counts_are_trained_on(recipe, learns):
    run = start(recipe(PAIRS | {"word_min_count": 1000, "steps": 2, "learns": learns}))
    assert run.follow() and len(losses(run)) == 2


def test_a_start_that_lacks_something_is_named(recipe, tmp_path):
    def begin(place: Path):
        return start(recipe(TTD, start=str(place), calibrate=False, held_out="", input_px=32, head=None))

    for name, content, message in [
        ("tokenizer.json", None, "tokenizer.json: expected a tokenizer.json, found"),
        ("tokenizer.json", "{}", "tokenizer.json: expected a tokenizer.json, found"),
        ("config.json", "[]", "config.json: expected the keys of docs/model-folder.md"),
        ("config.json", "templates", "found none of the name templates"),
    ]:
        place = tmp_path / f"start-{len(list(tmp_path.iterdir()))}"
        tiny_folder(place)
        if content is None:
            (place / name).unlink()
        elif content == "templates":
            config = json.loads((place / name).read_text())
            del config["templates"]
            (place / name).write_text(json.dumps(config))
        else:
            (place / name).write_text(content)
        with pytest.raises((TowerError, FolderError), match=message):
            begin(place)


def test_missing_data_is_named(recipe, tmp_path):
    with pytest.raises(DataError, match="EDGE_SEG_DATA"):
        start(recipe(DENSE, data=str(tmp_path / "nowhere")))
    with pytest.raises(DataError, match="backbone's weights"):
        start(recipe(DENSE, backbone="weights/other.npz"))
    run = start(recipe(PAIRS | {"pairs": ["no_such_set"]}))
    with pytest.raises(DataError, match="captions.tsv is missing"):
        run.follow()


@pytest.mark.peers
def test_tensorboard_is_written_where_asked(recipe):
    needed("tensorboard")
    run = start(recipe(TTD | {"steps": 2}, tensorboard=True))
    run.follow()
    assert any(path.stat().st_size > 0 for path in (run.work / "tensorboard").iterdir())
