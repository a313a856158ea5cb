"""What each part of TTD gives: one start, one change a row.

python -m edge_seg_trainer ablate RECIPE.toml
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from . import checkpoint, evaluate, parallel, provenance
from .provenance import ProvenanceError
from .recipe import Recipe, StageRecipe
from .schema import RecipeError, near
from .sets import OBJECTS
from .tags import KINDS, measure, truths
from .train import Run

# Losses and selection, as the paper's ablations; then the choices that the paper leaves open.
VARIANTS: dict[str, dict] = {
    "neither loss": {"steps": 0},
    "both, tags by pixel": {},
    "L_distill alone": {"tag_weight": 0.0},
    "L_tag alone": {"distill_weight": 0.0},
    "both, tags by image": {"selection": "image"},
    "both, tags by text": {"selection": "text"},
    "both, all plain words": {"selection": "words"},
    "distance L1": {"distance": "l1"},
    "distance BCE": {"distance": "bce"},
    "student by sigmoid": {"student": "sigmoid"},
    "scores by min-max": {"normalisation": "min-max"},
}

# What measures a row where the recipe has no `measure`.
COLUMNS = {"idx133": "all names", "present": "present", "voc21": "VOC"}
# Jo et al., ECCV 2024, TCL: mean mIoU of six sets, CaptionIoU, F1 of tags by pixel; then F1 of each way to choose tags before training.
PAPER = {
    "neither loss": "30.4, 60.4, 78.5",
    "both, tags by pixel": "33.9, 65.5, 82.8",
}
PAPER_SELECTION = {"image": "43.7", "text": "44.1", "pixel": "78.5", "words": "69.8 (nouns)"}


def variant(recipe: Recipe, name: str, number: int) -> Recipe | None:
    """The recipe of one row's run with the `number`-th seed; none for the start itself."""
    change = VARIANTS[name]
    if change.get("steps") == 0:
        return None
    stage = replace(recipe.stages[0], **change, keep="always", folder="", evaluate_every=0)  # measured at the end alone
    plain = "".join(c if c.isalnum() else "-" for c in name.lower())
    seed = recipe.seed + number
    return replace(recipe, name=f"{recipe.name}/{plain}-{seed}", seed=seed, stages=(stage,), final_report=(), measure=())


def _base(recipe: Recipe) -> StageRecipe:
    if len(recipe.stages) != 1 or recipe.stages[0].kind != "ttd" or not recipe.start or not (recipe.held_out or recipe.measure):
        raise RecipeError("ablate: expected a recipe with `start`, one stage of kind ttd, and `measure` or `held_out`")
    return recipe.stages[0]


def figures(run: Run, tasks: list[evaluate.Task], photos: list) -> dict:
    """What a row shows of the model as it stands."""
    run.bank.forget()
    found = evaluate.report(run.model, run.bank, tasks, run.recipe.input_px, 4)
    miou = {name: row["miou"] for name, row in found.items()}
    return {"miou": miou} | ({"tags": measure(run.model, run.bank, photos, run.recipe.input_px)} if photos else {})


def cell(values: list[float]) -> str:
    """The mean, and half of what lies between the seeds."""
    mean = f"{sum(values) / len(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ±{(max(values) - min(values)) / 2:.1f}"


def table(rows: dict[str, list[dict]], stage: StageRecipe, reasons: dict[str, str]) -> str:
    """Markdown: the losses and choices, then the ways to choose tags at the start. `reasons` tell why rows are left out."""
    seeds = max(map(len, rows.values()), default=0)
    lines = [
        f"{stage.steps} steps of {stage.batch}, {seeds} seed{'s' if seeds > 1 else ''} (± half of what lies between them), percent; "
        "CaptionIoU and F1 (words chosen by pixel at 0.5) on labelled photos with captions.",
        "",
    ]
    first = next((runs[0] for runs in rows.values()), {"miou": {}})
    columns = [COLUMNS.get(name, name) for name in first["miou"]] + ["mean"]
    columns += ["CaptionIoU", "tag F1", "tag AP"] if "tags" in first else []
    lines += [f"| | {' | '.join(columns)} | paper, TCL: mean mIoU, CaptionIoU, F1 |", "|---" * (len(columns) + 2) + "|"]
    for name, runs in rows.items():
        each = []
        for run in runs:
            miou, tags = run["miou"], run.get("tags")
            of_tags = [tags["caption_iou"], *(tags["selection"]["pixel"][key] for key in ("f1", "ap"))] if tags else []
            each.append([*miou.values(), sum(miou.values()) / len(miou), *of_tags])
        lines.append(f"| {name} | " + " | ".join(cell(list(values)) for values in zip(*each)) + f" | {PAPER.get(name, 'not at hand')} |")
    lines += [f"| {name} | left out: {reason} |" + " |" * len(columns) for name, reason in reasons.items()]
    start = rows.get("neither loss")
    if start and "tags" in start[0]:
        lines += [
            "",
            "| tags at the start, by | precision | recall | F1 | accuracy | AP | paper, TCL: F1 |",
            "|---|---|---|---|---|---|---|",
        ]
        for kind in KINDS:
            one = start[0]["tags"]["selection"][kind]
            cells = " | ".join(f"{one[key]:.1f}" for key in ("precision", "recall", "f1", "accuracy", "ap"))
            lines.append(f"| {kind} | {cells} | {PAPER_SELECTION[kind]} |")
    return "\n".join(lines)


def left_out(name: str, calibrated: bool) -> str:
    """Why a row cannot be had from this start, if so."""
    if VARIANTS[name].get("student") == "sigmoid" and not calibrated:
        return "the start scores by softmax and has no logit_bias"
    return ""


def _stored(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ProvenanceError(f"{path}: expected what an ablation has kept, found {error}; measure anew by --fresh") from error


def main(recipe: Recipe, base: Path, say, only: list[str] | None = None, fresh: bool = False) -> int:
    stage = _base(recipe)
    unknown = [name for name in only or [] if name not in VARIANTS]
    if unknown:
        raise RecipeError(f"--only {unknown[0]!r}{near(unknown[0], list(VARIANTS))}")
    recipe = replace(recipe.placed(base.absolute()), final_report=())
    work = Path(recipe.work) / recipe.name
    with checkpoint.alone(work) if parallel.rank() == 0 else nullcontext():
        return _rows(recipe, base, stage, work, say, only, fresh)


def _rows(recipe: Recipe, base: Path, stage: StageRecipe, work: Path, say, only: list[str] | None, fresh: bool) -> int:
    place, of_place = work / "ablate.json", work / "ablate.made-by.json"
    first = Run(recipe, base, say)
    made_by = first.provenance()
    if parallel.rank() == 0:
        if fresh:
            place.unlink(missing_ok=True)
        if place.is_file():
            there = _stored(of_place) if of_place.is_file() else None
            provenance.check(str(place), there, made_by, "give back what differs, take another `name`, or measure anew by --fresh")
        checkpoint.write_text(of_place, json.dumps(made_by, indent=2) + "\n")
    # A run that is done is not done again, so that an ablation that was stopped goes on.
    rows: dict[str, list[dict]] = _stored(place) if place.is_file() else {}
    tasks = first.tasks(() if recipe.measure else tuple(COLUMNS))
    reasons = {name: reason for name in only or VARIANTS if (reason := left_out(name, first.model.calibrated))}
    for name, reason in reasons.items():
        say(f"{name}: left out, {reason}")
    del first
    photos = None
    # One seed of every row, then the next: a table that is stopped early is whole but for its spread.
    for number in range(recipe.seeds):
        for name in only or VARIANTS:
            made = variant(recipe, name, number)
            if name in reasons or len(rows.get(name, [])) > number or (made is None and number):
                continue
            run = Run(made or recipe, base, say, fresh)
            say(f"== {name}, seed {recipe.seed + number}")
            if made and not run.follow():
                say("the same command goes on there")
                return 130
            if parallel.rank() == 0:
                if photos is None:
                    photos = [] if recipe.measure and not (run.root / "seg" / OBJECTS / "captions.tsv").is_file() else truths(run.root)
                rows.setdefault(name, []).append(figures(run, tasks, photos))
                checkpoint.write_text(place, json.dumps(rows, indent=2) + "\n")
                tags = rows[name][-1].get("tags")
                say(f"{name}: {rows[name][-1]['miou']}" + (f", CaptionIoU {tags['caption_iou']:.1f}" if tags else ""))
            parallel.barrier()
            del run
            torch.manual_seed(0)
    if parallel.rank() == 0:
        text = table({name: rows[name] for name in VARIANTS if name in rows}, stage, reasons)
        (work / "ablate.md").write_text(text + "\n")
        print(text)
    return 0
