"""Several processes, parts of a batch, and what else must not change the losses."""

import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from edge_seg_trainer.recipe import RecipeError
from test_train import DENSE, PAIRS, TTD, losses, start

TRAINER = Path(__file__).parents[1]


def as_toml(made, path: Path) -> Path:
    """A recipe back to the file that a process of its own reads."""

    def value(given) -> str:
        return "[" + ", ".join(map(value, given)) + "]" if isinstance(given, tuple) else json.dumps(given)

    lines = [f"{name} = {value(getattr(made, name))}" for name in made.__dataclass_fields__ if name not in ("stages", "card", "head")]
    lines += ["[card]", *(f"{name} = {json.dumps(text)}" for name, text in made.card.items())]
    lines += ["[head]", *(f"{name} = {value(got)}" for name, got in made.head.as_folder().items() if name != "kind"), f'kind = "{made.head.kind}"']
    for stage in made.stages:
        lines += ["[[stage]]", *(f"{name} = {value(getattr(stage, name))}" for name in stage.__dataclass_fields__)]
    path.write_text("\n".join(lines) + "\n")
    return path


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        return taken.getsockname()[1]


def several(made, tmp_path: Path, machines: int = 1) -> list[float]:
    """The losses of two processes, of one torchrun or of one each that meet as machines do."""
    place = as_toml(made, tmp_path / f"{made.name}.toml")
    meeting = ["--rdzv_backend", "c10d", "--rdzv_endpoint", f"localhost:{free_port()}", "--rdzv_id", "test", "--nnodes", str(machines)]
    command = [sys.executable, "-m", "torch.distributed.run", *(meeting if machines > 1 else ["--standalone"])]
    command += ["--nproc_per_node", str(2 // machines), "-m", "edge_seg_trainer", str(place)]
    environment = os.environ | {"PYTHONPATH": str(TRAINER), "OMP_NUM_THREADS": "1"}
    with ExitStack() as stack:
        running = []
        for _ in range(machines):
            running.append(stack.enter_context(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)))
        for process in running:
            stack.callback(process.kill)
        for process in running:
            _, stderr = process.communicate(timeout=600)
            assert process.returncode == 0, stderr[-3000:]
    entries = map(json.loads, (Path(made.work) / made.name / "metrics.jsonl").read_text().splitlines())
    return [entry["loss"] for entry in entries if "loss" in entry]


@pytest.mark.parametrize(
    "stage",
    [TTD | {"steps": 4}, PAIRS | {"learns": "all", "steps": 4}, PAIRS | {"learns": "lora", "steps": 4, "lora_towers": ["image", "text"]}],
    ids=["ttd", "contrast", "contrast with text"],
)
def test_two_processes_give_the_losses_of_one(recipe, stage, tmp_path):
    one = start(recipe(stage, name="one", precision="f32"))
    one.follow()
    found = several(recipe(stage, name="two", precision="f32", device="cpu"), tmp_path)
    assert found == pytest.approx(list(losses(one).values()), rel=2e-4)
    assert len(set(found)) == len(found)


def test_two_processes_are_one_that_computes_its_batch_in_two_parts_in_bfloat16(recipe, tmp_path):
    """To the last bit: what sets two processes and one apart is how products of other shapes are rounded, as `accumulate` does too."""
    stage = TTD | {"steps": 6}
    one = start(recipe(stage | {"accumulate": 2}, name="one", precision="bf16"))
    one.follow()
    found = several(recipe(stage, name="two", precision="bf16", device="cpu"), tmp_path)
    assert found == pytest.approx(list(losses(one).values()), rel=1e-6)
    whole = start(recipe(stage, name="whole", precision="bf16"))
    whole.follow(until=1)
    assert found[0] == pytest.approx(next(iter(losses(whole).values())), rel=1e-2)


def test_two_machines_meet_and_give_the_losses_of_one(recipe, tmp_path):
    stage = TTD | {"steps": 3}
    one = start(recipe(stage, name="one", precision="f32"))
    one.follow()
    found = several(recipe(stage, name="two", precision="f32", device="cpu"), tmp_path, machines=2)
    assert found == pytest.approx(list(losses(one).values()), rel=2e-4)


@pytest.mark.parametrize("change", [{"accumulate": 4}, {"accumulate": 2}], ids=str)
def test_a_batch_in_parts_gives_the_losses_of_the_whole(recipe, change):
    whole, parts = (start(recipe(TTD | more, name=name, precision="f32")) for name, more in (("whole", {}), ("parts", change)))
    whole.follow()
    parts.follow()
    assert list(losses(parts).values()) == pytest.approx(list(losses(whole).values()), rel=2e-4)


def test_recomputing_activations_changes_nothing(recipe):
    plain, less = (start(recipe(TTD, name=f"r{on}", precision="f32", recompute=on)) for on in (False, True))
    plain.follow()
    less.follow()
    assert list(losses(less).values()) == pytest.approx(list(losses(plain).values()), rel=1e-5)


def test_workers_read_the_same_batches(recipe):
    alone, helped = (start(recipe(TTD, name=f"w{count}", workers=count)) for count in (0, 2))
    alone.follow()
    helped.follow()
    assert losses(alone) == losses(helped)


def test_dropout_is_the_same_after_a_resume(recipe):
    stage = TTD | {"lora_dropout": 0.3}
    whole = start(recipe(stage, name="whole"))
    whole.follow()
    broken = recipe(stage, name="broken")
    start(broken).follow(until=4)
    again = start(broken)
    again.follow()
    assert losses(again) == losses(whole)


def test_validation_keeps_the_best_and_ends_early(recipe, world):
    # The rate is far too high, so that every step makes it worse.
    name = f"coco:{world / 'val.json'}:{world / 'pairs' / 'shades' / 'images'}"
    images = [{"id": n, "file_name": f"{n}.png"} for n in range(8)]
    (world / "val.json").write_text(
        json.dumps({"images": images, "annotations": [{"image_id": n, "caption": "the fire beside the sea"} for n in range(8)]})
    )
    stage = TTD | {"rate": 1.0, "steps": 30, "validation": [name], "validate_every": 2, "validation_steps": 1, "patience": 2}
    run = start(recipe(stage))
    run.follow()
    entries = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    found = [entry["validation"] for entry in entries if "validation" in entry]
    assert len(found) < 15 and found.index(min(found)) == len(found) - 3
    assert all(torch.isfinite(value).all() for value in run.model.state_dict().values())


def test_overlays_and_compilation_options_are_followed(recipe, world):
    pictures = [str(world / "pairs" / "shades" / "images" / "0.png")]
    made = recipe(TTD, overlay_pictures=pictures, overlay_words=["fire", "sea"], overlay_every=3)
    run = start(made)
    run.follow()
    assert sorted(path.name for path in (run.work / "overlays").iterdir()) == ["ttd-000003-0.png", "ttd-000006-0.png"]


def test_batches_that_cannot_be_dealt_are_refused(recipe):
    with pytest.raises(RecipeError, match="cannot be dealt"):
        recipe(TTD | {"accumulate": 3})
    with pytest.raises(RecipeError, match="patience needs validate_every"):
        recipe(TTD | {"patience": 3})
    with pytest.raises(RecipeError, match="held_out"):
        recipe({"name": "d", "kind": "dense", "steps": 1}, held_out="")


@pytest.mark.skipif(not shutil.which("c++"), reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_blocks_give_the_losses_of_plain_ones(recipe):
    plain, compiled = (start(recipe(DENSE | {"steps": 3}, name=f"c{on}", precision="f32", compile=on)) for on in (False, True))
    plain.follow()
    compiled.follow()
    assert all(block._compiled_call_impl for block in compiled.model.image.blocks)
    assert list(losses(compiled).values()) == pytest.approx(list(losses(plain).values()), rel=1e-3)
