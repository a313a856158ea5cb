"""Recipes are read strictly."""

from pathlib import Path

import pytest

from edge_seg_trainer.recipe import RecipeError, parse, read_recipe

STAGE = {"name": "a", "kind": "dense", "steps": 3}
GOOD = {"name": "x", "held_out": "h.txt", "card": {}, "stage": [STAGE]}


def test_committed_recipes_are_sound():
    recipes = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
    assert recipes
    for path in recipes:
        if not read_recipe(path).held_out:
            continue
        held_out = path.parent / read_recipe(path).held_out
        assert held_out.is_file()
        names = [line for line in held_out.read_text().splitlines() if line and not line.startswith("#")]
        assert len(set(names)) == 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sed": 1}, "unknown key 'sed', did you mean 'seed'"),
        ({"seed": "one"}, "seed: expected int, found 'one'"),
        ({"stage": []}, "no .*stage"),
        ({"stage": [STAGE | {"kind": "dence"}]}, "did you mean 'dense'"),
        ({"stage": [STAGE | {"rat": 1.0}]}, "did you mean 'rate'"),
        ({"stage": [STAGE | {"kind": "pairs"}]}, "needs `pairs`"),
        ({"stage": [STAGE | {"zoom": [1.0]}]}, "expected 2 numbers, found 1"),
        ({"stage": [STAGE | {"steps": 0}]}, "at least 1"),
        ({"stage": [STAGE, STAGE | {"name": "b", "blend_with": "A"}]}, "expected an earlier stage, found 'A'"),
        ({"stage": [STAGE | {"blend_with": "a"}]}, "expected an earlier stage"),
        ({"seeds": 0}, "seeds: expected 1 or more"),
        ({"stage": [{"kind": "dense", "steps": 3}]}, "'name' is missing"),
        ({"head": {"tap": []}}, "did you mean 'taps'"),
    ],
)
def test_faults_are_named(change, message):
    with pytest.raises(RecipeError, match=message):
        parse(GOOD | change, "r.toml")


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(RecipeError, match="no such recipe"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(RecipeError, match="bad.toml"):
        read_recipe(tmp_path / "bad.toml")


def test_heads_are_read_strictly():
    with pytest.raises(RecipeError, match="unknown key 'taps' of kind 'attention'"):
        parse(GOOD | {"start": "x", "head": {"kind": "attention", "taps": ["final"]}}, "r.toml")
    with pytest.raises(RecipeError, match="did you mean 'key-key'"):
        parse(GOOD | {"start": "x", "head": {"kind": "attention", "similarity": "keykey"}}, "r.toml")
    with pytest.raises(RecipeError, match="needs `start`"):
        parse(GOOD | {"head": {"kind": "maskclip"}}, "r.toml")
    made = parse(GOOD | {"start": "x", "head": {"kind": "attention", "neighbour": 5}}, "r.toml")
    assert made.head.neighbour == 5.0
