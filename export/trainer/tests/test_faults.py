"""What a run survives: kills, full disks, signals, a second run, edited words, losses that are no numbers."""

import json
import os
import resource
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from PIL import Image

from edge_seg_trainer import checkpoint
from edge_seg_trainer.checkpoint import CheckpointError
from edge_seg_trainer.data import DataError
from edge_seg_trainer.features import FeatureCache
from edge_seg_trainer.provenance import ProvenanceError
from edge_seg_trainer.schema import RecipeError
from edge_seg_trainer.smoke import smoke
from edge_seg_trainer.train import Run
from test_layouts import shades
from test_samples import shard
from test_train import DENSE, PAIRS, TTD, losses, quiet, start


def same(one: Run, other: Run) -> None:
    assert losses(one) == losses(other)
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name


def test_a_run_survives_a_kill_at_any_of_its_file_operations(recipe):
    stage = TTD | {"steps": 3, "folder": "out"}
    whole = start(recipe(stage | {"folder": ""}, name="whole"))
    whole.follow()
    broken = recipe(stage, name="broken", save_every=1)
    for operation in range(1, 100):
        child = os.fork()
        if not child:
            # What a kill leaves undone is all that follows.
            left = [operation]

            def dying(call):
                def counted(*given, **more):
                    left[0] -= 1
                    if not left[0]:
                        os._exit(9)
                    return call(*given, **more)

                return counted

            for name in ("replace", "link", "rename", "unlink", "fsync"):
                setattr(os, name, dying(getattr(os, name)))
            try:
                start(broken).follow()
            except BaseException:
                os._exit(7)
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert ended in (0, 9), ended
        if not ended:
            break
    again = start(broken)
    again.follow()
    same(again, whole)
    assert operation > 3
    assert not [path for path in again.work.rglob(".*") if path.name != ".lock"] and not list(Path(broken.output).glob(".*"))


@contextmanager
def no_room():
    """Files that end where a full disk would end them."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_costs_the_checkpoint_alone(recipe):
    stage = PAIRS | {"steps": 6}
    whole = start(recipe(stage, name="whole", save_every=1))
    whole.follow()
    broken = recipe(stage, name="broken", save_every=1)
    start(broken).follow(until=3)
    with no_room(), pytest.raises(CheckpointError, match="checkpoint.pt: cannot be written.*is still the one before; make room"):
        start(broken).follow()
    again = start(broken)
    assert not list(again.work.glob(".checkpoint*"))
    again.follow()
    same(again, whole)


def test_features_that_find_no_room_are_told(recipe, tmp_path):
    made = recipe(PAIRS | {"steps": 2})
    with no_room(), pytest.raises(DataError, match="expected room for .* GB of features, found less"):
        start(made).follow()
    assert all(path.stat().st_size == 0 for path in (tmp_path / "work").glob("features-*"))
    start(made).follow()


def test_a_cache_of_features_is_never_without_its_list_of_broken_pictures(recipe, tmp_path, monkeypatch):
    run = start(recipe(PAIRS))
    given = (tmp_path, run.model.image, run.model.preprocess, 2, "two")

    def picture(number):
        raise DataError(f"{number}: no picture")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        FeatureCache(*given, picture, 64, quiet)
    monkeypatch.undo()
    assert FeatureCache(*given, picture, 64, quiet).broken == {0, 1}


def test_two_runs_do_not_share_a_folder(recipe):
    made = recipe(PAIRS)
    run = start(made)
    with checkpoint.alone(run.work), pytest.raises(CheckpointError, match=rf"process {os.getpid()} trains there; wait for it"):
        run.follow()
    run.follow()


def test_a_model_folder_that_another_run_has_written_meanwhile_is_left(recipe):
    stage = PAIRS | {"steps": 3, "folder": "out"}
    first, second = start(recipe(stage, name="first", save_every=2)), start(recipe(stage, name="second", seed=1))
    first.follow(until=2)
    second.follow()
    theirs = (Path(second.recipe.output) / "out" / "model.safetensors").read_bytes()

    late = start(first.recipe)
    before = late._begin

    def begin():
        place = Path(late.recipe.output) / "out"
        place.rename(place.with_name("aside"))
        found = before()
        place.with_name("aside").rename(place)
        return found

    late._begin = begin
    with pytest.raises(ProvenanceError, match="another run has written it meanwhile; move it away"):
        late.follow()
    place = Path(late.recipe.output) / "out"
    assert (place / "model.safetensors").read_bytes() == theirs
    place.rename(place.with_name("theirs"))
    start(first.recipe).follow()
    assert (place / "config.json").is_file()


def test_a_fresh_run_removes_models_alone(recipe):
    made = recipe(PAIRS | {"steps": 1, "folder": "tiny"}, output=recipe(PAIRS).work)
    run = start(recipe(PAIRS | {"steps": 1}))
    run.follow()
    (run.work / "notes.txt").write_text("mine")
    with pytest.raises(RecipeError, match="is there and holds no model; take another name"):
        Run(made, Path("."), quiet, fresh=True).follow()
    assert (run.work / "notes.txt").read_text() == "mine" and run.checkpoints.last.is_file()


def test_smoke_runs_do_not_share_a_folder_and_leave_none_when_they_fail(recipe, monkeypatch):
    made = recipe(PAIRS)
    place = Path(made.work) / "tiny.smoke"
    with checkpoint.alone(place), pytest.raises(CheckpointError, match="trains there"):
        smoke(made, Path("."), quiet)
    with pytest.raises(RecipeError, match="input_px"):
        smoke(recipe(PAIRS, input_px=70), Path("."), quiet)
    assert not place.exists()


@pytest.mark.parametrize("name", ["photo", os.fsdecode(b"caf\xe9")])
def test_kept_features_and_scores_are_of_the_photos_that_are_there(recipe, world, tmp_path, name):
    place = tmp_path / "photos"
    place.mkdir()

    def photo(number: int, side: int):
        Image.new("RGB", (side, side), (20 * number, 90, 160)).save(place / f"{name}{number}.png")
        (place / f"{name}{number}.txt").write_text("fire beside the sea")

    for number in range(6):
        photo(number, 48)
    told = []
    given = {"pairs": [f"folder:{place}"], "steps": 1}
    stages = [PAIRS | given, TTD | given | {"prune": 0.4, "batch": 2}]
    Run(recipe(*stages, name="a"), Path("."), told.append).follow()
    assert any("pruning: 2 of 6 pairs" in text for text in told)
    for number in (0, 6, 7, 8, 9):  # one is another picture now, four are new
        photo(number, 96)
    features = len(list((tmp_path / "work").glob("features-*.bin")))
    told.clear()
    Run(recipe(*stages, name="b"), Path("."), told.append).follow()
    assert any("pruning: 4 of 10 pairs" in text for text in told)
    assert len(list((tmp_path / "work").glob("features-*.bin"))) == features + 1
    told.clear()
    photo(1, 96)
    Run(recipe(*stages, name="c"), Path("."), told.append).follow()
    assert len(list((tmp_path / "work").glob("features-*.bin"))) == features + 2, "a picture of another size"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_after_the_step_with_a_checkpoint(recipe, number):
    stages = [PAIRS | {"steps": 5}, TTD]
    whole = start(recipe(*stages, name="whole", save_every=100))
    whole.follow()
    broken = recipe(*stages, name="broken", save_every=100)
    said = []

    def say(text):
        said.append(text)
        if text.startswith("pairs 3/5"):
            signal.raise_signal(number)

    before = signal.getsignal(number)
    assert Run(broken, Path("."), say).follow() is False
    assert any("stopped after step 4 of 5, kept in" in text for text in said), said
    assert signal.getsignal(number) is before
    again = start(broken)
    assert again.follow() is True
    same(again, whole)


def test_what_a_killed_run_left_unfinished_is_ended(recipe):
    made = recipe(PAIRS | {"folder": "out"})
    start(made).follow(until=4)
    run = start(made)
    with run.metrics.open("a") as handle:
        handle.write('{"stage": "pairs", "st')
    (run.work / ".checkpoint.pt.1.new").write_bytes(b"half")
    output = Path(run.recipe.output)
    (output / ".out.1.new").mkdir(parents=True)
    run.follow()
    assert [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert not list(run.work.glob(".checkpoint*")) and not list(output.glob(".*"))
    # Killed between the two renames, with the folder moved away.
    (output / "out").rename(output / ".out.1.old")
    start(made).follow()
    assert (output / "out" / "config.json").is_file() and not list(output.glob(".*"))


def test_words_that_were_edited_are_another_run(recipe, world, tmp_path):
    shades(tmp_path / "mine", "train", 4)
    stage = {"name": "s", "kind": "sets", "learns": "all", "sets": [f"folder:{tmp_path / 'mine'}=1"], "umbrellas": "", "steps": 4}
    table = tmp_path / "mine" / "classes.tsv"
    start(recipe(stage)).follow(until=3)
    before = table.read_text()
    table.write_text(before.replace("fire", "wood"))
    assert len(table.read_text()) == len(before)
    with pytest.raises(ProvenanceError, match="data, tables of words: .* of other names, sizes or contents"):
        start(recipe(stage)).follow()
    table.write_text(before)
    start(recipe(stage)).follow()


@pytest.mark.parametrize("workers", [0, 1])
def test_faults_of_workers_are_told_as_the_loops_own(recipe, tmp_path, workers):
    shard(tmp_path / "s.tar", {"a": {"jpg": b"no picture", "txt": b"a dog on grass"}})
    with pytest.raises(DataError) as caught:
        start(recipe(TTD | {"pairs": [f"shards:{tmp_path / 's.tar'}"]}, workers=workers)).follow()
    assert "no sample that can be read" in str(caught.value) and "Traceback" not in str(caught.value)


def test_a_loss_that_is_no_number_ends_the_run_and_harms_no_checkpoint(recipe):
    made = recipe(DENSE | {"rate": 1e30, "steps": 8}, save_every=1)
    run = start(made)
    with pytest.raises(FloatingPointError, match=r"stage dense, step \d+: the (loss|gradient's norm) is (nan|inf); lower `rate`"):
        run.follow()
    state = checkpoint.load(run.checkpoints.last)
    assert state is None or all(torch.isfinite(value).all() for value in state["start"].values())
