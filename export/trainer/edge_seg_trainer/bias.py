"""Is there a single tag bias? How a caption's words share the picture, and how well they are chosen, of one model or of two.

python -m edge_seg_trainer bias FOLDER [FOLDER] --pairs SET [--data DIR] [--out DIR]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from .data import data_root
from .folder import read_folder
from .pairs import Pair, read_pairs
from .tags import KINDS, Competition, competition, measure, truths
from .words import WordBank


def look(folder: Path, pairs: list[Pair], root: Path, short_px: int, scale: float, say) -> tuple[dict, Competition]:
    """A model's figures, and the shares behind them."""
    torch.manual_seed(0)
    model, config = read_folder(folder)
    model.eval()
    bank = WordBank(model.text, folder / "tokenizer.json", config["context"], config["pad_token"], tuple(config["templates"]))
    say(f"{folder}: {len(pairs)} captioned photos")
    shares = competition(model, bank, pairs, short_px or config["preprocess"]["input_px"], scale=scale)
    found = {"model": str(folder), "scale": scale or config["logit_scale"], "image": shares.summary()}
    if (root / "seg" / "coco_mini159" / "captions.tsv").is_file():
        photos = truths(root)
        say(f"{folder}: {len(photos)} labelled photos with captions")
        found["truth"] = measure(model, bank, photos, short_px or config["preprocess"]["input_px"])
    return found, shares


def table(rows: list[dict]) -> str:
    """Markdown; F1 only where truth was there."""
    lines = [
        "| model | softmax scale | captions | words a caption | top word's share | even share | captions over one half | words that share alike |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        one = row["image"]
        lines.append(
            f"| {Path(row['model']).name} | {row['scale']:.1f} | {one['captions']} | {one['words']:.1f} | {one['top_share']:.1f} % "
            f"| {one['even_share']:.1f} % | {one['over_half']:.1f} % | {one['effective_words']:.2f} |"
        )
    if all("truth" in row for row in rows):
        lines += ["", "| model | chosen by | precision | recall | F1 | accuracy | AP |", "|---|---|---|---|---|---|---|"]
        for row in rows:
            for kind in KINDS:
                one = row["truth"]["selection"][kind]
                lines.append(
                    f"| {Path(row['model']).name} | {kind} | {one['precision']:.1f} | {one['recall']:.1f} | {one['f1']:.1f} "
                    f"| {one['accuracy']:.1f} | {one['ap']:.1f} |"
                )
        one = rows[0]["truth"]
        lines += ["", f"{one['words']} words of labelled photos' captions, {one['shown']} of them shown; chosen from a score of 0.5 on."]
    return "\n".join(lines)


def draw(rows: list[dict], shares: list[Competition], picture: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    page, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), constrained_layout=True)
    for row, one in zip(rows, shares):
        axes[0].hist(one.top, bins=np.linspace(0, 1, 21), histtype="step", label=Path(row["model"]).name, density=True)
    axes[0].hist(1 / np.array(shares[0].words), bins=np.linspace(0, 1, 21), histtype="step", linestyle=":", label="even", density=True)
    axes[0].set(xlabel="softmax share of a caption's first word", ylabel="density", title="competition for the picture")
    axes[0].legend(fontsize=7)
    if all("truth" in row for row in rows):
        for n, row in enumerate(rows):
            values = [row["truth"]["selection"][kind]["f1"] for kind in KINDS]
            axes[1].bar(np.arange(len(KINDS)) + 0.35 * n, values, 0.33, label=Path(row["model"]).name)
        axes[1].set_xticks(np.arange(len(KINDS)) + 0.17, KINDS)
        axes[1].set(ylabel="F1, percent", title="tags chosen at 0.5")
        axes[1].legend(fontsize=7)
    page.savefig(picture, dpi=110)
    pyplot.close(page)


def main(arguments: argparse.Namespace, say) -> int:
    torch.set_num_threads(arguments.threads)
    root = data_root(arguments.data)
    pairs = read_pairs(root, arguments.pairs, arguments.split, say)[: arguments.limit]
    found = [look(folder, pairs, root, arguments.size, arguments.scale, say) for folder in arguments.models]
    rows = [row for row, _ in found]
    print(table(rows))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "bias.json").write_text(json.dumps(rows, indent=2) + "\n")
        (arguments.out / "bias.md").write_text(table(rows) + "\n")
        draw(rows, [one for _, one in found], arguments.out / "bias.png")
        say(f"wrote {arguments.out}/bias.md, bias.json, bias.png")
    return 0
