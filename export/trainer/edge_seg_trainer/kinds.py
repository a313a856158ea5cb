"""The kinds of stages that a recipe may name."""

from __future__ import annotations

from .recipe import StageRecipe
from .schema import RecipeError
from .sets_stage import SetsStage
from .stages import Context, DenseStage, PairsStage, Stage, TtdStage


def make_stage(stage: StageRecipe, around: Context, split: str = "train") -> Stage:
    """The stage of a recipe, ready to draw batches."""
    if stage.kind == "pairs":
        return PairsStage(stage, around, split)
    if stage.kind == "ttd":
        return TtdStage(stage, around, split)
    if stage.kind == "dense":
        return DenseStage(stage, around)
    if stage.kind == "sets":
        return SetsStage(stage, around)
    raise RecipeError(f"stage kind {stage.kind!r}")
