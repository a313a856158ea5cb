"""Labels photos by small pretrained segmenters, once, into a folder of the run's own.

Captioned photos: a word counts where its teachers are sure and none of what else is known speaks against it: a thing where two nets for
VOC's names agree and a caption of the photo names it, scenery where a net for ADE20K's commonest classes passes that class's threshold and
neither of the others sees a thing. All else is not labelled.

Labelled photos: scenery that two nets for ADE20K's commonest classes agree on, where the labels say that none of the set's things is shown.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .data import IGNORE, OTHER, Classes, DataError, Labelled, data_root, label_values, open_rgb, read_held_out
from .labelled_sets import LabelledSet
from .layouts import IDENTITY, Coded
from .pairs import Pair, draws, read_pairs
from .self_training import named_classes, rare_first
from .sets import read_set

THINGS = [
    ["aeroplane", "airplane", "plane", "jet"], ["bicycle", "bike", "cyclist", "bicyclist", "biker", "cycling"], ["bird", "duck", "seagull", "goose", "pigeon"],
    ["boat", "ship", "canoe", "kayak", "sailboat", "raft"], ["bottle"], ["bus"], ["car", "automobile", "van", "taxi"], ["cat", "kitten"],
    ["chair", "armchair", "seat"], ["cow", "cattle", "bull", "calf"], ["dining table", "table"], ["dog", "puppy", "terrier", "retriever", "greyhound"],
    ["horse", "pony"], ["motorbike", "motorcycle", "scooter", "motocross"],
    ["person", "people", "man", "men", "woman", "women", "child", "children", "boy", "girl", "baby", "lady", "guy", "kid", "player", "crowd", "rider", "skier"],
    ["potted plant", "houseplant", "flower pot"], ["sheep", "lamb"], ["sofa", "couch"], ["train", "locomotive"], ["tv", "television", "monitor"],
]  # fmt: skip
ADE31 = (
    "other,wall,building,sky,floor,tree,ceiling,road,bed,windowpane,grass,cabinet,sidewalk,person,earth,door,table,mountain,plant,curtain,chair,car,"
    "water,painting,sofa,shelf,house,sea,mirror,rug,field,armchair"
).split(",")
# Scenery, and the share from which the net is believed: where the sets that may be trained on show it right nine times in ten, and close
# to one where they have too little of it.
SCENERY = {
    "sky": 0.66, "grass": 0.71, "sea": 0.5, "water": 0.97, "road": 0.9, "sidewalk": 0.9, "tree": 0.95, "floor": 0.95, "ceiling": 0.9, "wall": 0.97,
    "building": 0.97, "mountain": 0.97, "curtain": 0.8,
}  # fmt: skip
AGREED = 0.5  # the least share of both nets for a thing
# Scenery, and the share of both nets from which they are believed, by the same sets; pavements, buildings and mountains never are.
AGREED_SCENERY = {
    "sky": 0.5, "grass": 0.7, "sea": 0.5, "water": 0.6, "road": 0.6, "tree": 0.9, "floor": 0.8, "ceiling": 0.9, "wall": 0.95, "curtain": 0.5,
}  # fmt: skip
CAPTIONED = ("coral_voc", "esp_voc", "mosaic_ade")
SCENIC = ("mosaic_ade", "mlperf_ade")
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def letterboxed(image: Image.Image, side: int) -> tuple[Image.Image, int, int]:
    """The picture with its long side `side` at the top left of a grey square, and its width and height there."""
    scale = side / max(image.size)
    width, height = (max(1, round(length * scale)) for length in image.size)
    square = Image.new("RGB", (side, side), (127, 127, 127))
    square.paste(image.resize((width, height), Image.Resampling.BILINEAR if scale > 0.5 else Image.Resampling.BOX))
    return square, width, height


class Teacher:
    """One net of `KINDS`."""

    KINDS = {
        "coral_voc": ("aligned", 513, 21), "esp_voc": ("normalised", 384, 21), "mosaic_ade": ("plain", 512, 32), "mlperf_ade": ("plain", 512, 32),
    }  # fmt: skip

    def __init__(self, root: Path, name: str):
        try:
            import onnxruntime
        except ImportError as error:
            raise DataError(f"teachers need the Python package onnxruntime, which is not there ({error}); see requirements.lock") from error
        model = root / "teachers" / name / "model.onnx"
        if not model.is_file():
            raise DataError(f"{model} is missing: expected a teacher's net")
        self.kind, self.side, self.classes = self.KINDS[name]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.net = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def shares(self, image: Image.Image, height: int, width: int) -> Tensor:
        """[classes, height, width], sum 1."""
        square, inner_w, inner_h = letterboxed(image, self.side)
        pixels = np.asarray(square)
        if self.kind == "normalised":
            pixels = ((pixels.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(DEVIATION)).transpose(2, 0, 1)
        found = torch.from_numpy(self.net.run(None, {"image": pixels[None]})[0][:, : self.classes])
        aligned = self.kind == "aligned"  # the corners of the grid lie on the corner pixels
        whole = F.interpolate(found, size=(self.side, self.side), mode="bilinear", align_corners=aligned)[:, :, :inner_h, :inner_w]
        return F.interpolate(whole, size=(height, width), mode="bilinear", align_corners=False)[0].softmax(0)


def joined(things: tuple[Tensor, Tensor], scenery: Tensor, named: np.ndarray) -> np.ndarray:
    """What the teachers together know, [height, width] u8: index into things and scenery, or IGNORE.

    things: two nets' shares [1 + 20, height, width], background first; scenery [32, height, width]; `named` [20] bool: what captions name.
    """
    (sure_a, a), (sure_b, b) = (one.max(0) for one in things)
    told = torch.from_numpy(np.concatenate([[False], named]))[a]
    thing = (a == b) & (torch.minimum(sure_a, sure_b) >= AGREED) & told
    sure, which = scenery.max(0)
    labels = torch.full(a.shape, IGNORE)
    for place, (name, least) in enumerate(SCENERY.items(), len(THINGS)):
        labels[(which == ADE31.index(name)) & (sure >= least) & (a == 0) & (b == 0)] = place
    labels[thing] = a[thing] - 1
    return labels.numpy().astype(np.uint8)


def chosen_photos(root: Path, name: str, count: int, seed: int) -> tuple[list[Pair], np.ndarray]:
    """`count` photos of a captioned set, rarely named things first, and which things the captions of each name."""
    pairs = read_pairs(root, [name])
    if count > len(pairs):
        raise DataError(f"teachers:{name}:{count}: expected at most the {len(pairs)} photos of {name}")
    named = np.stack([named_classes(pair.captions, Classes([some[0] for some in THINGS], THINGS)) for pair in pairs])
    rows = draws(seed, f"teachers.{name}", 0).choice(len(pairs), count, replace=False, p=rare_first(named, 0.7))
    return [pairs[row] for row in rows], named[rows]


def taught_set(root: Path, work: Path, entry: str, seed: int, say=print) -> LabelledSet:
    """`NAME:COUNT` photos of `pairs/NAME` with the teachers' labels, made where they are not there yet."""
    name, _, count = entry.partition(":")
    if not count.isdigit():
        raise DataError(f"teachers:{entry}: expected teachers:NAME:COUNT")
    photos, named = chosen_photos(root, name, int(count), seed)
    folder = work / "teachers" / f"{name}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    nets: list[Teacher] = []
    table = np.arange(256, dtype=np.uint8)
    found = []
    for number, (pair, told) in enumerate(zip(photos, named)):
        label = folder / f"{pair.path.stem}.png"
        if not label.is_file():
            nets = nets or [Teacher(root, net) for net in CAPTIONED]
            image = open_rgb(pair.path)
            first, second, third = (net.shares(image, image.height, image.width) for net in nets)
            _save(joined((first, second), third, told), label)
            if number % 20 == 0:
                say(f"teachers {name} {number}/{len(photos)}")
        found.append(Labelled(pair.path, label, table))
    return LabelledSet(f"teachers:{name}", THINGS_AS_WORDS + [SCENERY_WORDS.get(word, [word]) for word in SCENERY], found, [])


def _save(labels: np.ndarray, place: Path) -> None:
    fresh = place.with_suffix(f".{os.getpid()}.new")
    Image.fromarray(labels).save(fresh, format="png")
    os.replace(fresh, place)


def sure_scenery(shares: Tensor) -> np.ndarray:
    """Scenery that a net for ADE20K's commonest classes sees with that class's share of `AGREED_SCENERY`: index into it, or IGNORE."""
    sure, which = shares.max(0)
    labels = torch.full(which.shape, IGNORE, dtype=torch.uint8)
    for place, (name, least) in enumerate(AGREED_SCENERY.items()):
        labels[(which == ADE31.index(name)) & (sure >= least)] = place
    return labels.numpy()


def agreed(photo: Labelled, nets: list[Teacher]) -> np.ndarray:
    """What all nets say alike of the photo where it is `OTHER`, IGNORE elsewhere, [height, width] u8."""
    image, found = photo.image(), np.where(photo.labels() == OTHER, 0, IGNORE).astype(np.uint8)
    for number, net in enumerate(nets):
        if (found != IGNORE).any():
            own = sure_scenery(net.shares(image, *found.shape))
            found = np.where((found == IGNORE) | (number > 0) & (own != found), IGNORE, own).astype(np.uint8)
    return found


def with_scenery(labels: np.ndarray, scenery: np.ndarray, first: int) -> np.ndarray:
    """`scenery`, counted from class `first` on, where the labels are `OTHER`."""
    return np.where((labels == OTHER) & (scenery != IGNORE), scenery + first, labels).astype(np.uint8)


def scenery_set(root: Path, work: Path, name: str, held_out: frozenset[str], say=print, most: int = 0) -> LabelledSet:
    """The set `name`, and beside its own classes scenery by the teachers, made where it is not there yet. Held-out photos have none."""
    own = read_set(root, name, held_out)
    taken = sorted({some[0] for some in own.words} & {SCENERY_WORDS.get(word, [word])[0] for word in AGREED_SCENERY})
    if taken:
        raise DataError(f"scenery:{name}: {', '.join(taken)} is labelled there by hand: expected a set of things alone")
    folder = work / "teachers" / f"scenery-{name.replace('/', '_')}"
    folder.mkdir(parents=True, exist_ok=True)
    train = own.train[:most] if most else own.train
    nets: list[Teacher] = []
    found: list[Labelled] = []
    for number, photo in enumerate(train):
        label = folder / f"{photo.path.stem}.png"
        if not label.is_file():
            nets = nets or [Teacher(root, net) for net in SCENIC]
            _save(agreed(photo, nets), label)
            if number % 20 == 0:
                say(f"scenery {name} {number}/{len(train)}")
        found.append(Coded(photo.path, label, IDENTITY, _Overlaid(photo, label, len(own.words))))
    scenery = [SCENERY_WORDS.get(word, [word]) for word in AGREED_SCENERY]
    return LabelledSet(f"scenery:{name}", own.words + scenery, found, own.held, open=frozenset(some[0] for some in scenery))


@dataclass(frozen=True)
class _Overlaid:
    """A photo's labels with scenery; a class, for loader processes to take along."""

    photo: Labelled
    scenery: Path
    first: int

    def __call__(self) -> np.ndarray:
        return with_scenery(self.photo.labels(), label_values(self.scenery), self.first)


# A photo is taught the names, not all the words by which captions tell of them.
THINGS_AS_WORDS = [[some[0], *some[1:2]] for some in THINGS]
SCENERY_WORDS = {"sidewalk": ["pavement", "sidewalk"], "sea": ["sea", "ocean"], "road": ["road", "street"], "mountain": ["mountain", "hill"]}


def main(recipe, say) -> int:
    """Labels what the stages of a recipe ask for."""
    root, work = data_root(recipe.data or None), Path(recipe.work)
    torch.set_num_threads(1)
    held_out = read_held_out(Path(recipe.held_out)) if recipe.held_out else frozenset()
    for entry in dict.fromkeys(entry.rpartition("=")[0] for stage in recipe.stages for entry in stage.sets):
        kind, _, name = entry.partition(":")
        if kind == "teachers":
            made = taught_set(root, work, name, recipe.seed, say)
        elif kind == "scenery":
            made = scenery_set(root, work, name, held_out, say)
        else:
            continue
        say(f"{made.name}: {len(made.train)} photos")
    return 0
