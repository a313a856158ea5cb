"""What a model for others is trained on: photos by their licences alone."""

from pathlib import Path

import pytest

from edge_seg_trainer.data import DataError
from edge_seg_trainer.kinds import make_stage
from edge_seg_trainer.recipe import RecipeError, read_recipe
from edge_seg_trainer.stages import Context
from edge_seg_trainer.train import Run

ROOT = Path(__file__).parents[3]
PAIRS = {"name": "pairs", "kind": "pairs", "steps": 2, "pairs": ["shades"], "word_min_count": 1}
SETS = {"name": "sets", "kind": "sets", "learns": "all", "steps": 2, "sets": ["coco_panoptic200=1"], "umbrellas": ""}


def write_licences(folder: Path, of) -> set[str]:
    """`images.tsv` of a folder's photos; the names of the free ones."""
    names = sorted(path.name for path in (folder / "images").iterdir())
    rows = [f"{name}\t{of(number)}" for number, name in enumerate(names)]
    (folder / "images.tsv").write_text("\n".join(["file\tlicence", *rows]) + "\n")
    return {name for number, name in enumerate(names) if of(number) == "free"}


@pytest.fixture
def licensed_world(world, tmp_path):
    """The tiny world, whose every third photo is free."""
    import shutil

    root = tmp_path / "world"
    shutil.copytree(world, root)
    free = {
        part: write_licences(root / part, lambda number: "unfree" if number % 3 else "free")
        for part in ("pairs/shades", "seg/coco_panoptic200", "seg/coco_mini159")
    }
    return root, free


def test_only_photos_of_the_named_licences_are_trained_on(recipe, licensed_world):
    root, free = licensed_world
    run = Run(recipe(PAIRS, SETS, data=str(root), licences=["free"]), Path("."), lambda text: None)
    pairs, sets = (make_stage(stage, run.around) for stage in run.recipe.stages)
    for found, part in ((pairs.captioned.pairs, "pairs/shades"), (sets.sources[0].photos.train, "seg/coco_panoptic200")):
        names = {one.path.name for one in found}
        assert names and names <= free[part]
    assert {one.path.name for one in pairs.captioned.pairs} == {
        one.path.name for one in make_stage(run.recipe.stages[0], Context(run.model, run.bank, root, run.work, 0)).captioned.pairs
    } & free["pairs/shades"]


def test_a_set_that_says_nothing_of_licences_is_refused(recipe, world, licensed_world):
    root, _ = licensed_world
    run = Run(recipe(SETS, data=str(root), licences=["a gift"]), Path("."), lambda text: None)
    with pytest.raises(DataError, match="expected a photo under one of a gift; found .* photos under free, unfree"):
        make_stage(run.recipe.stages[0], run.around)
    (root / "seg" / "coco_panoptic200" / "images.tsv").unlink()
    with pytest.raises(DataError, match="images.tsv is missing"):
        make_stage(run.recipe.stages[0], run.around)


@pytest.mark.parametrize(
    "stage", [PAIRS | {"pairs": ["folder:own"]}, SETS | {"sets": ["teachers:shades:3=1"]}, {"name": "dense", "kind": "dense", "steps": 2}]
)
def test_what_has_no_licences_cannot_be_asked_for_them(recipe, stage):
    with pytest.raises(RecipeError, match="licences are known of sets by their plain names"):
        recipe(stage, licences=["free"])


def test_the_clean_recipe_takes_no_photo_of_unfree_licences():
    found = read_recipe(ROOT / "export" / "recipes" / "mini-clean.toml")
    assert found.licences and not any("Non" in one or "NoDerivs" in one for one in found.licences)
