"""python -m edge_seg_trainer RECIPE.toml; ablate RECIPE.toml; bias FOLDER... --pairs SET; bench; lexicon"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def at_least(low: int):
    """A whole number of an option, from `low` on."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) < 2**31:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {low}, found {text!r}")
        return int(text)

    return read


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="edge_seg_trainer", description="Trains a model and writes its folder.")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="follow a recipe")
    train.add_argument("recipe", type=Path)
    train.add_argument("--smoke", action="store_true", help="walk through every stage with a few steps, and say what the whole needs")
    train.add_argument("--resume", type=Path, default=None, metavar="CHECKPOINT", help="go on from this checkpoint in place of the last")
    ablate = commands.add_parser("ablate", help="measure what each part of TTD gives")
    ablate.add_argument("recipe", type=Path)
    ablate.add_argument("--only", action="append", help="a row's name; may be given several times")
    for command in (train, ablate):
        command.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="in place of the recipe's; stage.NAME.KEY for a stage's"
        )
        command.add_argument("--fresh", action="store_true", help="forget what was done before")
    label = commands.add_parser("teachers", help="let the teachers label the photos that a recipe asks for, before or beside training")
    label.add_argument("recipe", type=Path)
    views = commands.add_parser("views", help="measure a model folder or a bundle on held-out photos of all kinds, by plain names")
    views.add_argument("model", type=Path)
    views.add_argument("--recipes", type=Path, default=Path("export/recipes"), help="folder with coco-held-out.txt and umbrella-words.tsv")
    views.add_argument("--data", default=None)
    views.add_argument("--size", type=at_least(1), default=448, help="short side in pixels")
    views.add_argument("--threshold", type=float, default=0.0, help="the model's own if none")
    views.add_argument("--thin", type=at_least(1), default=1, help="every n-th photo of the larger sets")
    views.add_argument("--words", action="store_true", help="also each word's figures, and the threshold that would suit it best")
    views.add_argument("--threads", type=at_least(1), default=1)
    views.add_argument("--json", type=Path, default=None, help="figures at every threshold")
    adopt = commands.add_parser("adopt", help="take corrected labels over into a set to train on")
    adopt.add_argument("labels", type=Path, metavar="LABELS", help="a VOC folder with labelmap.txt, or a COCO JSON file")
    adopt.add_argument("--images", type=Path, required=True, help="folder of the photos")
    adopt.add_argument("--name", required=True, help="the set is written to seg/NAME of the data's folder")
    adopt.add_argument("--data", default=None)
    adopt.add_argument(
        "--label-pixels",
        choices=("upright", "stored"),
        default="upright",
        help="which pixels of photos with an EXIF orientation the labels are of: stored for tools that ignore EXIF",
    )
    bias = commands.add_parser("bias", help="show how a caption's words share the picture")
    bias.add_argument(
        "models", type=Path, nargs="+", metavar="FOLDER", help="one model folder, or the one before and the one after training"
    )
    bias.add_argument("--pairs", required=True, action="append", metavar="SET", help="a captioned set; may be given several times")
    bias.add_argument("--split", default="val")
    bias.add_argument("--data", default=None)
    bias.add_argument("--limit", type=at_least(1), default=None, help="photos at most")
    bias.add_argument("--size", type=at_least(0), default=0, help="short side in pixels; the model's if none")
    bias.add_argument("--scale", type=float, default=0.0, help="factor on the cosines in the softmax; the model's if none")
    bias.add_argument("--threads", type=at_least(1), default=1)
    bias.add_argument("--out", type=Path, default=None, help="folder for bias.md, bias.json and bias.png")
    bench = commands.add_parser("bench", help="time a TTD step beside open_clip's training step")
    bench.add_argument("--model", default="ViT-B-16", choices=("ViT-B-16", "ViT-L-14", "tiny"))
    bench.add_argument("--batch", type=at_least(1), default=256)
    bench.add_argument("--rounds", type=at_least(1), default=20)
    bench.add_argument("--device", default="auto")
    bench.add_argument("--compile", action="store_true")
    bench.add_argument("--recompute", action="store_true")
    bench.add_argument("--pairs", nargs="+", default=[])
    bench.add_argument("--workers", type=int, default=8)
    bench.add_argument("--plain", action="store_true", help="on the CPU, with loader, beside a plain loop of timm, transformers and peft")
    bench.add_argument("--loader", action="store_true", help="read shards beside webdataset")
    bench.add_argument("--photos", type=Path, default=None, metavar="FOLDER", help="--plain: JPEGs with .txt beside; made ones if none")
    bench.add_argument("--threads", type=at_least(1), default=1, help="--plain")
    bench.add_argument("--precision", default="f32", choices=("f32", "bf16"), help="--plain")
    lexicon = commands.add_parser("lexicon", help="make the lexicon of other languages' words from open word lists")
    lexicon.add_argument("--sources", type=Path, required=True, metavar="FOLDER", help="folder of the lists; without one it says what they are")
    lexicon.add_argument("--by-hand", type=Path, default=Path("export/recipes/words-of-languages.tsv"), metavar="FILE", help="words that win")
    lexicon.add_argument("--presets", type=Path, default=Path("export/presets"), metavar="FOLDER", help="data sets whose words are English")
    lexicon.add_argument("--out", type=Path, default=Path("runtime/model/src/words/lexicon.tsv"), metavar="FILE")
    # A recipe alone is trained.
    given = sys.argv[1:]
    return parser.parse_args(["train", *given] if given and given[0].endswith(".toml") else given)


def main() -> int:
    given = arguments()

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    if given.command == "lexicon":
        from .lexicon import LexiconError
        from .lexicon import main as lexicon

        try:
            return lexicon(given, say)
        except (LexiconError, OSError) as error:
            say(f"edge_seg_trainer: {error}")
            return 2

    # Loading PyTorch takes seconds, and a wrong option should be told before.
    import torch

    from . import parallel
    from .folder import FolderError
    from .checkpoint import CheckpointError
    from .data import DataError
    from .provenance import ProvenanceError
    from .recipe import read_recipe
    from .schema import RecipeError
    from .config import TowerError

    try:
        if given.command == "bias":
            from .bias import main as bias

            return bias(given, say)
        if given.command == "adopt":
            from .adopt import main as adopt

            return adopt(given, say)
        if given.command == "views":
            from .views import main as views

            return views(given, say)
        if given.command == "bench" and (given.plain or given.loader):
            from .plain import main as plain

            return plain(given)
        if given.command == "bench":
            from .bench import main as bench

            return bench(given, say)
        recipe = read_recipe(given.recipe, getattr(given, "set", []))
        if given.command == "ablate":
            from .ablate import main as ablate

            return ablate(recipe, given.recipe.parent, say, given.only, given.fresh)
        if given.command == "teachers":
            from .teachers import main as teachers

            return teachers(recipe, say)
        if given.smoke:
            from .smoke import smoke

            return smoke(recipe, given.recipe.parent, say)
        from .train import Run

        if not Run(recipe, given.recipe.parent, say, given.fresh, given.resume).follow():
            say("the same command goes on there")
            return 130
    except KeyboardInterrupt:
        say("stopped; what was kept stays, and the same command goes on there")
        return 130
    except torch.OutOfMemoryError as error:
        full = str(error).partition(". ")[0]
        say(f"error: the device's memory does not hold a step: {full}; take a smaller `batch`, a larger `accumulate`, or `recompute`")
        return 2
    except (
        RecipeError,
        DataError,
        TowerError,
        FolderError,
        CheckpointError,
        ProvenanceError,
        parallel.DeviceError,
        FloatingPointError,
        OSError,
    ) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        # PyTorch has no kind of its own for a processor's memory that is full.
        if not isinstance(error, MemoryError) and "can't allocate memory" not in str(error):
            raise
        say("error: the memory does not hold this; take a smaller `batch`, `side_px` or `input_px`, a larger `accumulate`, or `recompute`")
        return 2
    finally:
        parallel.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
