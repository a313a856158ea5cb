"""The training loop: stage after stage, resumable."""

from __future__ import annotations

import json
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import checkpoint, evaluate, layouts, parallel, provenance, stop
from .adapters import inject, merge
from .adapters import save as save_adapters
from .calibrate import calibrate
from .data import DataError, data_root, read_held_out
from .folder import FolderError, read_folder, recover, write_folder
from .kinds import make_stage
from .labelled_sets import TAXONOMIES
from .licences import licensed_names
from .loop import StageLoop, rate_at
from .overlay import overlay
from .plot import plot
from .pretrained import bert_config, load_bert, load_timm_vit, vit_config, weights_in
from .progress import MetricsLog
from .provenance import ProvenanceError
from .recipe import Recipe, StageRecipe
from .schema import RecipeError
from .sets import OBJECTS, PANOPTIC
from .sets_stage import SCENERY
from .stages import Context
from .towers import HeadConfig, Model
from .unpack import load_unpacked, unpack
from .words import WordBank


def text_source(package: str) -> Path:
    """A folder as transformers saves a BERT, or the model/ folder inside an installed Python package."""
    if weights_in(Path(package)):
        return Path(package)
    spec = find_spec(package) if package.isidentifier() else None
    places = [Path(place) / "model" for place in (spec.submodule_search_locations or [])] if spec else []
    for place in places:
        if weights_in(place):
            return place
    raise DataError(f"text model: expected a folder or an installed Python package {package!r} with model.safetensors")


def plain_tokenizer(source: Path, work: Path) -> Path:
    """The tokenizer without the padding and cutting that its package asks for: the runtime does both itself."""
    content = json.loads((source / "tokenizer.json").read_text())
    content["padding"] = content["truncation"] = None
    work.mkdir(parents=True, exist_ok=True)
    path = work / "tokenizer.json"
    path.write_text(json.dumps(content, ensure_ascii=False))
    return path


# Keys of a stage that say how long it goes on and how its rate falls, and those that act when its steps are done.
LENGTH = ("steps", "warmup", "cooldown", "cooldown_power", "final_rate")
AFTER = ("blend_with", "blend", "keep", "folder")
AT_THE_END = ("background", "calibrate")  # the recipe's own


def _written(folder: Path) -> tuple[int, int] | None:
    """Tells a model folder from the one that another run puts in its place."""
    try:
        found = (folder / "config.json").stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


class Run:
    """One recipe being followed."""

    def __init__(self, recipe: Recipe, base: Path, say=print, fresh: bool = False, resume: Path | None = None, photos_at_most: int = 0):
        recipe = recipe.placed(base.absolute())
        self.recipe, self.base, self.fresh, self.resume = recipe, base.absolute(), fresh, resume
        if recipe.threads:
            torch.set_num_threads(recipe.threads)
        device = parallel.start(recipe.device)
        torch.manual_seed(recipe.seed)
        self.work = Path(recipe.work) / recipe.name
        self.metrics_log = MetricsLog(self.work, recipe.tensorboard, say, recipe.wandb, provenance.flat(recipe))
        self.say, self.log, self.metrics = self.metrics_log.say, self.metrics_log.log, self.metrics_log.metrics
        self.root = data_root(recipe.data or None)
        self.held_out = read_held_out(Path(recipe.held_out)) if recipe.held_out else frozenset()
        self.checkpoints = checkpoint.Checkpoints(self.work, recipe.keep_checkpoints)
        self.began_with: list[tuple[str, Path]] = []  # the files of the weights to start from
        self.settings = {"context": recipe.context, "templates": list(recipe.templates), "pad_token": 0}
        if recipe.start:
            start = Path(recipe.start)
            self.model, config = read_folder(start, recipe.head)
            self.tokenizer = start / "tokenizer.json"
            self.began_with = [(name, start / name) for name in ("config.json", "model.safetensors", "tokenizer.json")]
            self.settings |= {name: config[name] for name in ("context", "templates", "pad_token", "background", "tag_threshold")}
        else:
            self._fresh()
        patch = self.model.image.config.patch_px
        if recipe.input_px % patch:
            raise RecipeError(f"input_px: expected a multiple of the model's patch, {patch}, found {recipe.input_px}")
        for picture in recipe.overlay_pictures if recipe.overlay_every else ():
            if not Path(picture).is_file():
                raise RecipeError(f"overlay_pictures: expected a picture, found none at {picture}")
        if recipe.score:
            self.model.score_from(*recipe.score)
        self.model.to(device)
        self.model.recompute(recipe.recompute)
        if recipe.compile:
            self.model.compile_blocks()
        settings = self.settings
        self.bank = WordBank(self.model.text, self.tokenizer, settings["context"], settings["pad_token"], tuple(settings["templates"]))
        self.around = Context(
            self.model, self.bank, self.root, self.work.parent, recipe.seed, self.held_out, recipe.precision, self.base, self.say
        )
        self.around.photos_at_most, self.around.licences = photos_at_most, frozenset(recipe.licences)
        self.own_tasks: list[evaluate.Task] | None = None
        self.walked: dict[str, dict[str, float]] = {}  # by stage: its pace, and what it keeps of pictures
        self.figures: dict[str, dict] = {}
        self.seen: dict[Path, tuple[int, int] | None] = {}  # the folders to write, as this run found or left them
        self.to_blend: dict[str, dict[str, Tensor]] = {}  # weights of stages that a later one is averaged with

    def _fresh(self) -> None:
        """A pretrained ViT with a head that knows nothing yet, and a pretrained BERT."""
        recipe = self.recipe
        source = text_source(recipe.text)
        self.tokenizer = plain_tokenizer(source, self.work)
        text = bert_config(source / "config.json")
        if recipe.context > text.positions:
            raise RecipeError(
                f"context: expected at most {text.positions}, as many tokens as {recipe.text} has positions for, found {recipe.context}"
            )
        if recipe.backbone.endswith(".esb"):
            # A bundle's image tower, head and score; the words are the published ones.
            found = unpack(Path(recipe.backbone))
            if recipe.head and recipe.head != found.config.head:
                raise RecipeError(f"head: expected that of {recipe.backbone}, {found.config.head}, or none given")
            self.model = Model(found.config, text, found.logit_scale, found.logit_bias)
            load_unpacked(self.model.image, found, recipe.backbone)
            load_bert(self.model.text, weights_in(source))
            self.began_with = self._files(Path(recipe.backbone), source)
            self.settings |= {"background": found.background, "tag_threshold": found.tag_threshold}
            return
        weights = self.root / recipe.backbone
        if not weights.is_file():
            raise DataError(f"{weights} is missing: expected the backbone's weights (`backbone` in the recipe)")
        self.model = Model(vit_config(weights, recipe.head or HeadConfig(), text.width), text)
        load_timm_vit(self.model.image, weights)
        load_bert(self.model.text, weights_in(source))
        self.began_with = self._files(weights, source)

    @staticmethod
    def _files(backbone: Path, text: Path) -> list[tuple[str, Path]]:
        return [("backbone", backbone), ("text", weights_in(text)), ("tokenizer", text / "tokenizer.json")]

    def provenance(self) -> dict:
        """What this run's figures depend on. Labelled photos count by their names and sizes, the tables of their words by what they hold."""
        labelled: list[tuple[str, Path]] = []
        words: list[tuple[str, Path]] = []
        every = [*(entry.rpartition("=")[0] for stage in self.recipe.stages for entry in stage.sets), *self.recipe.measure]
        for name in dict.fromkeys(filter(layouts.is_form, every)):
            found = layouts.read(self.root, name)
            paths = {path for photo in found.train + found.held for path in (photo.path, photo.label)}
            labelled += [(f"{name} {path.name}", path) for path in sorted(paths)]
            words += [(f"{name} {path.name}", path) for path in found.tables]
        names = [name.removeprefix(SCENERY) for name in every if not layouts.is_form(name)]
        folders = [self.root / "seg" / name for name in (*(("coco_panoptic200", "coco_mini159") if self.recipe.held_out else ()), *names)]
        for folder in dict.fromkeys(folders):
            listed = [(path.relative_to(self.root).as_posix(), path) for path in sorted(folder.rglob("*")) if path.is_file()]
            labelled += listed
            words += [(name, path) for name, path in listed if path.name == "classes.tsv"]
        if any(stage.sets for stage in self.recipe.stages):
            words += [(path.name, path) for path in sorted((self.root / TAXONOMIES).glob("*.txt"))]
        umbrellas = dict.fromkeys(stage.umbrellas for stage in self.recipe.stages if stage.sets and stage.umbrellas)
        for name in umbrellas:
            if not (self.base / name).is_file():
                raise DataError(
                    f"{self.base / name} is missing: expected the table of umbrella words (`umbrellas`); export/recipes has one, and "
                    'umbrellas = "" does without'
                )
            words.append((name, self.base / name))
        return provenance.provenance(self.recipe, self.root, self.began_with, labelled, words, parallel.world())

    def _begin(self) -> dict | None:
        """The checkpoint to go on from, if there is one. Refuses what another run has made."""
        self.made_by = self.provenance()
        way = "give back what differs, take another `name`, or start anew by --fresh, which forgets the checkpoints"
        if parallel.rank() == 0:
            for stage in self.recipe.stages:
                if stage.folder:
                    recover(Path(self.recipe.output) / stage.folder)
        parallel.barrier()
        for stage in self.recipe.stages:
            if stage.folder:
                target = Path(self.recipe.output) / stage.folder
                self._check_folder(target)
                self.seen[target] = _written(target)
        if parallel.rank() == 0 and self.fresh:
            self.checkpoints.clear()
            self.metrics.unlink(missing_ok=True)
        parallel.barrier()
        self.look_ahead(self.recipe)
        place = self.resume or self.checkpoints.last
        state = checkpoint.load(place)
        if self.resume and not state:
            raise checkpoint.CheckpointError(
                f"--resume {place}: expected a checkpoint, found no file; those of this run lie in {self.checkpoints.folder}"
            )
        if state:
            # A checkpoint that was named is gone on from with newer code too, which is said.
            made_by = self._with_what_follows(state) if self.resume else state.get("made_by")
            for line in provenance.check(str(place), made_by, self.made_by, way, other_code=self.resume is not None):
                self.say(f"going on although {line}")
                self.log({"run": provenance.digest(self.made_by), "despite": line})
        else:
            self.log({"run": provenance.digest(self.made_by), "seed": self.recipe.seed, "versions": provenance.versions()})
        return state

    def look_ahead(self, recipe: Recipe) -> None:
        """Looks for what stages and folders need at their ends: a run should not find out after its last step that it is not there."""
        kept = next((stage for stage in recipe.stages if stage.keep != "always" or stage.evaluate_every), None)
        writes = any(stage.folder for stage in recipe.stages)
        needed = []
        if kept and not recipe.measure:
            key = "keep" if kept.keep != "always" else "evaluate_every"
            needed.append((f"stage {kept.name}: {key}", self.held_out, "name sets of your own by `measure`"))
        if recipe.calibrate and writes:
            needed.append(("calibrate", self._calibrating(), "give calibrate = false, with `start` or with a bundle as `backbone`"))
        for asked, names, way in needed:
            try:
                found = evaluate.tasks(self.root, names, evaluate.HELD_OUT)
            except DataError as error:
                raise DataError(f"{asked} needs the held-out photos of COCO: {error}; or {way}") from error
            if not all(task.photos for task in found):
                raise DataError(
                    f"{asked} needs the held-out photos of COCO: none of those that {recipe.held_out} names lies in both of seg/{PANOPTIC} and "
                    f"seg/{OBJECTS} of {self.root}; name some, or {way}"
                )
        if writes and parallel.rank() == 0:
            output = Path(recipe.output)
            there = next((place for place in (output, *output.parents) if place.exists()), output)
            try:
                with tempfile.TemporaryFile(dir=there):
                    pass
            except OSError as error:
                raise FolderError(
                    f"output {output}: expected a folder that can be written to, found at {there}: {error.strerror}; name another by `output`"
                ) from error

    def _calibrating(self) -> frozenset[str]:
        """The held-out photos that thresholds may be fitted on."""
        names = licensed_names(self.root / "seg" / PANOPTIC, self.held_out, self.around.licences)
        return names | licensed_names(self.root / "seg" / OBJECTS, self.held_out, self.around.licences)

    def _with_what_follows(self, state: dict) -> dict | None:
        """What made a checkpoint, with what the recipe now says of the steps that its stage has not done yet and of what comes after them: where
        no rate so far is another one, no step was either."""
        made_by = state.get("made_by")
        if not isinstance(made_by, dict) or "step" not in state or state["stage"] >= len(self.recipe.stages):
            return made_by
        stage, told = self.recipe.stages[state["stage"]], made_by["recipe"]
        free = AFTER
        before = replace(stage, **{name: told.get(f"stage.{stage.name}.{name}", getattr(stage, name)) for name in LENGTH})
        if stage.steps >= state["step"] and all(rate_at(step, before) == rate_at(step, stage) for step in range(state["step"])):
            free += LENGTH
        here = {f"stage.{stage.name}.{name}": getattr(stage, name) for name in free} | {name: getattr(self.recipe, name) for name in AT_THE_END}
        return made_by | {"recipe": told | here}

    def _check_folder(self, target: Path) -> None:
        if self.recipe.start and target.resolve() == Path(self.recipe.start).resolve():
            raise RecipeError(f"folder {target.name!r}: it would be written over `start`, {target}; take another name")
        if not target.exists():
            return
        if self.fresh:
            # What is written over is removed, and that may only be a model.
            if any(target.iterdir()) and not (target / "config.json").is_file():
                raise RecipeError(f"folder {target.name!r}: {target} is there and holds no model; take another name, or move it away")
            return
        way = f"take another `folder` or `output`, move {target} away, or give --fresh to write over it"
        try:
            there = json.loads((target / "training.json").read_text()).get("made_by")
        except (OSError, ValueError, AttributeError):
            raise ProvenanceError(f"{target}: a folder that is there already and no training of this recipe's; {way}") from None
        provenance.check(str(target), there, self.made_by, way, other_code=True)

    def tasks(self, only: tuple[str, ...] | None = None, recipe: Recipe | None = None) -> list[evaluate.Task]:
        """The measures of a report: the recipe's own sets, then the named ones of COCO and others."""
        recipe = recipe or self.recipe
        if recipe.measure and self.own_tasks is None:
            trained = {entry.rpartition("=")[0] for stage in recipe.stages for entry in stage.sets}
            self.own_tasks = evaluate.own_tasks(self.root, recipe.measure, trained, self.held_out)
        named = recipe.final_report if only is None else only
        return [*(self.own_tasks or []), *(evaluate.tasks(self.root, self.held_out, named) if named else [])]

    def report(self, name: str, only: tuple[str, ...] | None = None, thin: int = 1) -> dict:
        """Measures the model as it stands; all figures asked for are kept under the stage's name. One rank does it for all."""
        found: list = [None]
        if parallel.rank() == 0:
            wanted = self.tasks(only)
            found[0] = evaluate.report(self.model, self.bank, wanted, self.recipe.input_px, 1 if only is None else 4, thin)
        if parallel.world() > 1:
            torch.distributed.broadcast_object_list(found)
        self.say(f"[{name}] {evaluate.one_line(found[0])}")
        if only is None:
            self.figures[name] = found[0]
        self.log({"stage": name, "figures": found[0]})
        return found[0]

    def draw(self, name: str, step: int) -> None:
        """Sample overlays, as pictures in the work folder and in TensorBoard."""
        if parallel.rank() == 0:
            place = self.work / "overlays"
            place.mkdir(parents=True, exist_ok=True)
            for path in self.recipe.overlay_pictures:
                drawn = overlay(self.model, self.bank, Path(path), self.recipe.overlay_words, self.recipe.input_px)
                drawn.save(place / f"{name}-{Path(path).stem}.png")
                self.metrics_log.picture(f"overlay/{Path(path).stem}", step, np.asarray(drawn))

    def follow(self, until: int | None = None) -> bool:
        """Runs all stages, from the last checkpoint where there is one; `until` stops after that many steps. False if a signal stopped it."""
        try:
            with checkpoint.alone(self.work) if parallel.rank() == 0 else nullcontext(), stop.asked_by_signals():
                return self._follow(until)
        finally:
            self.metrics_log.finish()

    def _follow(self, until: int | None) -> bool:
        state = self._begin()
        first = state["stage"] if state else 0
        if state:
            self.figures, self.to_blend = state["figures"], state["to_blend"]
            self.model.load_state_dict(state["start"])
            if first == len(self.recipe.stages):
                self.say(f"{self.recipe.name} is trained already; --fresh trains it anew")
                self._restore_folders()
                return True
            at = f", step {state['step']}" if "step" in state else ""
            self.say(f"going on at stage {self.recipe.stages[first].name}{at}")
        elif self.recipe.final_report or self.recipe.measure:
            self.report("start", thin=self.recipe.report_thin)
        for number in range(first, len(self.recipe.stages)):
            stage = self.recipe.stages[number]
            inner = state if state and state["stage"] == number and "optimizer" in state else None
            before = inner["start"] if inner else {name: value.clone() for name, value in self.model.state_dict().items()}
            if not self._stage(number, stage, inner, before, until):
                return not stop.asked()
            state = None
            if stage.blend_with:
                self._blend(stage, before)
            self._settle(stage, before)
            if any(later.blend_with == stage.name for later in self.recipe.stages[number + 1 :]):
                self.to_blend[stage.name] = {name: value.clone() for name, value in self.model.state_dict().items()}
            if stage.folder:
                self.write(stage.folder)
            if parallel.rank() == 0:
                plot(self.metrics, self.work / "metrics.png")
                self.save(
                    {"stage": number + 1, "start": self.model.state_dict(), "figures": self.figures, "to_blend": self.to_blend}, stage.name
                )
            parallel.barrier()
        return True

    def save(self, state: dict, stage: str, step: int | None = None) -> None:
        self.checkpoints.save(state | {"made_by": self.made_by}, stage, step)

    def _restore_folders(self) -> None:
        """Writes the last stage's folder again where it is gone."""
        last = self.recipe.stages[-1].folder
        if last and not (Path(self.recipe.output) / last).exists():
            self.write(last)

    def _stage(self, number: int, stage: StageRecipe, state: dict | None, before: dict, until: int | None) -> bool:
        torch.manual_seed((self.recipe.seed * 1000 + number) % 2**63)
        source = make_stage(stage, self.around)
        adapted = bool(stage.adapted)
        if adapted:
            inject(self.model, stage)
        loop = StageLoop(self, number, stage, source)
        if state:
            loop.restore(state)
        if not loop.follow(before, until):
            return False
        self.walked[stage.name] = loop.told()
        if skipped := source.passed_over():
            self.say(f"{stage.name}: passed over {skipped.told()}")
            self.log({"stage": stage.name, "passed_over": dict(skipped)})
        if adapted:
            if parallel.rank() == 0:
                save_adapters(self.model, stage, self.work / "adapters" / stage.name)
            merge(self.model)
            self.bank.forget()
        return True

    def _blend(self, stage: StageRecipe, before: dict[str, Tensor]) -> None:
        """Averages the weights with an earlier stage's: fine-tuned models of one start lie in one basin (Wortsman et al., CVPR 2022)."""
        earlier = self.to_blend.get(stage.blend_with, before)
        self.model.load_state_dict({name: torch.lerp(earlier[name], value, stage.blend) for name, value in self.model.state_dict().items()})
        self.bank.forget()

    def _settle(self, stage: StageRecipe, before: dict[str, Tensor]) -> None:
        """Measures what a stage made, and undoes it where the recipe says so."""
        if self.recipe.final_report or self.recipe.measure:
            self.report(stage.name, thin=self.recipe.report_thin)
        if stage.keep == "always":
            return
        gain = self.held_out_score(stage.name)
        after = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(before)
        self.bank.forget()
        gain -= self.held_out_score(f"{stage.name}.before")
        kept = stage.keep == "better" and gain > 0
        self.say(f"{stage.name}: {gain:+.2f} on the held-out photos, {'kept' if kept else 'undone'}")
        self.log({"stage": stage.name, "gain": gain, "kept": kept})
        if kept:
            self.model.load_state_dict(after)
            self.bank.forget()

    def held_out_score(self, name: str) -> float:
        """Sum of the mIoU of the recipe's own measures, else of the held-out photos' three."""
        only = () if self.recipe.measure else evaluate.HELD_OUT
        return sum(row["miou"] for row in self.report(f"{name}.check", only).values())

    def _record(self) -> bytes:
        """How the folder came about, for people and for the next run."""
        card = {
            "digest": provenance.digest(self.made_by),
            "seed": self.recipe.seed,
            "versions": provenance.versions(),
            "figures": self.figures,
            "made_by": self.made_by,
        }
        return (json.dumps(card, indent=2) + "\n").encode()

    def write(self, name: str) -> Path:
        """Calibrates on the held-out photos where the recipe says so, and writes the model folder."""
        target = Path(self.recipe.output) / name
        if parallel.rank() == 0:
            if target in self.seen and _written(target) != self.seen[target]:
                raise ProvenanceError(
                    f"{target}: another run has written it meanwhile; move it away, or take another `folder` or `output`, and the same command goes on"
                )
            model = self.model
            if self.recipe.calibrate:
                found = calibrate(model, self.bank, self.root, self._calibrating(), self.recipe.input_px)
                found |= {"background": self.recipe.background} if self.recipe.background else {}
                self.log({"folder": name, "calibration": dict(found)})
                self.say(f"calibrated: {found}")
            else:
                bias = model.logit_bias.item() if model.calibrated else None
                found = {"logit_scale": model.logit_scale.item(), "logit_bias": bias}
            card = dict(self.recipe.card)
            card["measured"] = measured_text(next(reversed(self.figures.values()), {}), self.recipe.input_px)
            settings = self.settings | found | {"name": name, "input_px": self.recipe.input_px, "card": card}
            write_folder(target, model, self.tokenizer, settings, {"training.json": self._record()})
            self.seen[target] = _written(target)
            self.say(f"wrote {target}")
        parallel.barrier()
        return target


def measured_text(figures: dict[str, dict], input_px: int) -> str:
    """The model card's figures."""
    if not figures:
        return "not measured"
    names = {
        "idx133": "COCO, all 133 names",
        "present": "COCO, only the classes present",
        "voc21": "VOC's 20 names with background",
        "camvid": "CamVid, 11 names",
        "ade150": "ADE20K, 150 names",
    }
    shown = [f"{names.get(key, key)}: {row['miou']:.1f} mIoU, {row['accuracy']:.1f} % of pixels" for key, row in figures.items()]
    return f"At {input_px} px short side, percent, on photos never trained on. " + "; ".join(shown) + "."
