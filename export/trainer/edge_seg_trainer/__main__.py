"""python -m edge_seg_trainer RECIPE.toml"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .data import DataError
from .recipe import RecipeError, read_recipe
from .towers import TowerError


def main() -> int:
    parser = argparse.ArgumentParser(prog="edge_seg_trainer", description="Trains a model and writes its folder.")
    parser.add_argument("recipe", type=Path)
    arguments = parser.parse_args()
    try:
        recipe = read_recipe(arguments.recipe)
        from .train import Run  # after the recipe is known to be sound: loading PyTorch takes seconds

        Run(recipe, arguments.recipe.parent, say=lambda text: print(text, file=sys.stderr, flush=True)).follow()
    except (RecipeError, DataError, TowerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
