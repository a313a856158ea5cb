"""Walks every stage of a recipe with a few steps on a few photos, and says what the whole would need: time, memory, disk."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

from . import checkpoint, evaluate, parallel
from .progress import duration, memory_mb
from .recipe import Recipe
from .train import Run

PHOTOS = 48  # read of each set
STEPS, SAVED = 3, 2  # steps of a stage, and the one after which a checkpoint is written
MEASURED = 2  # photos of each measure


def small(recipe: Recipe, batch: int) -> Recipe:
    """The recipe with few steps of a small batch, in a work folder of its own."""
    stages = []
    for stage in recipe.stages:
        few = {
            "steps": STEPS,
            "batch": batch,
            "accumulate": 1,
            "taught": batch if stage.taught else 0,
            "evaluate_every": 0,
            "keep": "always",
        }
        few |= {"validate_every": STEPS if stage.validate_every else 0, "validation_steps": 1, "prune": 0.0, "word_min_count": 1}
        few |= {"shuffle": min(stage.shuffle, 16), "views": 1, "ema": stage.ema and 0.5}
        stages.append(replace(stage, **few))
    place = Path(recipe.work) / f"{recipe.name}.smoke"
    # What is drawn while training is drawn once.
    return replace(
        recipe, name="run", stages=tuple(stages), work=str(place), output=str(place / "models"), final_report=(), measure=(), calibrate=False, save_every=SAVED,
        keep_checkpoints=1, log_every=1, overlay_every=STEPS if recipe.overlay_every else 0, tensorboard=False, wandb="", workers=min(recipe.workers, 1),
    )  # fmt: skip


def gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def smoke(recipe: Recipe, base: Path, say) -> int:
    recipe = recipe.placed(base.absolute())
    place = Path(recipe.work) / f"{recipe.name}.smoke"
    if parallel.rank():
        return _walked(recipe, base, place, say)
    with checkpoint.alone(place):
        try:
            return _walked(recipe, base, place, say)
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _empty(place: Path) -> None:
    """Removes all but the lock."""
    for path in place.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != checkpoint.LOCK:
            path.unlink(missing_ok=True)


def _walked(recipe: Recipe, base: Path, place: Path, say) -> int:
    began = time.monotonic()
    batch = max(2, parallel.world())
    peaks, run = [], None
    for size in (batch, 2 * batch):
        if parallel.rank() == 0:
            _empty(place)
        run = Run(small(recipe, size), base, say, fresh=True, photos_at_most=PHOTOS)
        run.look_ahead(recipe)
        # Thresholds are fitted in the whole run alone.
        run.settings = {"background": 0.5, "tag_threshold": 0.5} | run.settings
        if not run.follow():
            return 130
        peaks.append(memory_mb(run.model.device))
    if parallel.rank():
        return 0
    each_report = _measured(run, recipe)
    each_check = _measured(run, recipe, () if recipe.measure else evaluate.HELD_OUT) if _checks(recipe) else 0.0
    walked = time.monotonic() - began
    lines, seconds, cached = [], 0.0, 0.0
    largest = max(stage.batch + stage.taught for stage in recipe.stages)
    for stage in recipe.stages:
        told = run.walked[stage.name]
        step = told["step_s"] * stage.batch / (2 * batch)
        lines.append(f"stage {stage.name}: {stage.steps} steps of {stage.batch}, about {step:.2f} s each: {duration(step * stage.steps)}")
        seconds += step * stage.steps
        if told["to_cache"]:
            pictures = told["to_cache"] * (stage.views if stage.kind == "dense" else 1)
            fill = pictures * told["cache_s"]
            lines.append(f"  before it the features of {pictures} pictures: {duration(fill)}, {gb(pictures * told['cache_bytes'])}")
            seconds, cached = seconds + fill, cached + pictures * told["cache_bytes"]
    if measures := (*recipe.measure, *recipe.final_report):
        reports = 1 + len(recipe.stages)
        lines.append(f"{reports} reports ({', '.join(measures)}): about {duration(each_report)} each")
        seconds += reports * each_report
    if checks := _checks(recipe):
        names = recipe.measure or evaluate.HELD_OUT
        lines.append(f"{checks} measurements for evaluate_every and keep ({', '.join(names)}): about {duration(each_check)} each")
        seconds += checks * each_check
    slope = max(0.0, peaks[1] - peaks[0]) / batch
    memory = peaks[1] + slope * max(0, largest / parallel.world() / max(stage.accumulate for stage in recipe.stages) - 2 * batch)
    many, largest, disk = _kept(run, recipe)
    lines.append(
        f"the whole: about {duration(seconds)}, {memory / 1000:.1f} GB of {'GPU ' if run.model.device.type == 'cuda' else ''}memory, {gb(disk + cached)} of disk "
        f"({many} checkpoints of up to {gb(largest)} among it); figures from steps of {2 * batch} pictures, scaled"
    )
    say(f"every stage was walked through in {duration(walked)}")
    for line in lines:
        print(line)
    return 0


def _checks(recipe: Recipe) -> int:
    """How often stages measure for themselves: at every `evaluate_every` and their end, and before and after where `keep` decides."""
    often = sum(-(-stage.steps // stage.evaluate_every) for stage in recipe.stages if stage.evaluate_every)
    return often + 2 * sum(stage.keep != "always" for stage in recipe.stages)


def _kept(run: Run, recipe: Recipe) -> tuple[int, int, int]:
    """Checkpoints that a whole run leaves, bytes of the largest, and bytes of all, of the next one while it is written, and of the model folders."""
    many = largest = total = 0
    for stage in recipe.stages:
        # Within a stage there are the weights it began with, those it has reached and the optimizer's; at its end the weights alone.
        within, end = ((run.checkpoints.folder / f"{stage.name}-{of}.pt").stat().st_size for of in (f"{SAVED:07d}", "end"))
        states = min(recipe.keep_checkpoints, (stage.steps - 1) // recipe.save_every) + bool(stage.evaluate_every or stage.validate_every)
        ends = bool(recipe.keep_checkpoints)
        many += states + ends
        total += states * within + ends * end + bool(stage.folder) * end
        largest = max(largest, within if states or not ends else end)
    # The last one is a second name of one of them, where such are kept.
    return many + (not recipe.keep_checkpoints), largest, total + (1 if recipe.keep_checkpoints else 2) * largest


def _measured(run: Run, recipe: Recipe, named: tuple[str, ...] | None = None) -> float:
    """Seconds that a report would take, from a few photos of each measure."""
    total = 0.0
    for task in run.tasks(named, recipe):
        count = len(task.photos) // (recipe.report_thin if task.name in evaluate.UNSEEN_SETS else 1)
        few = replace(task, photos=task.photos[:MEASURED])
        began = time.monotonic()
        evaluate.report(run.model, run.bank, [few], recipe.input_px)
        total += (time.monotonic() - began) / max(1, len(few.photos)) * count
    return total
