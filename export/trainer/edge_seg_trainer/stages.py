"""What each kind of stage draws and minimises.

`load` reads what a part of a step needs, without the model, so that loader workers can do it; `loss` is the rest. What is drawn depends
on (seed, stage, step) alone, so that a resumed run sees what an unbroken one would have seen, and a batch dealt to several ranks is
the batch of one. Shards are the exception: there each reader has its own stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from . import parallel, ttd
from .data import IGNORE, DataError, Labelled, coco_classes, patch_targets, random_crop, read_coco, recoloured, split_words, square
from .features import FeatureCache, pictures_named
from .licences import licensed
from .losses import caption_contrast, dense_loss, pooled, word_contrast
from .pairs import Captioned, draws, is_stream, mixed, read_pairs, shuffled_rows, weighed
from .prune import kept
from .recipe import StageRecipe
from .samples import Skipped
from .schema import RecipeError
from .self_training import Taught, cut_rectangles, pasted, seen, teacher_shares
from .sources import Photos, Shards
from .towers import Model, bytes_of
from .words import WordBank


@dataclass
class Context:
    """What a stage works with."""

    model: Model
    bank: WordBank
    root: Path
    work: Path
    seed: int
    held_out: frozenset[str] = frozenset()
    precision: str = "bf16"
    recipes: Path = Path()  # where the recipe's own files lie
    say: Callable[[str], None] = print
    photos_at_most: int = 0  # of each set; 0: all
    licences: frozenset[str] = frozenset()  # of the photos that are trained on; none: all

    def autocast(self):
        number = torch.float16 if self.precision == "f16" else torch.bfloat16
        return torch.autocast(self.model.device.type, number, enabled=self.precision != "f32")


class Part(NamedTuple):
    """The share of a step's batch that one rank computes at once."""

    step: int
    micro: int = 0
    micros: int = 1
    rank: int = 0
    world: int = 1

    def of(self, batch: int) -> slice:
        size = batch // (self.micros * self.world)
        first = (self.micro * self.world + self.rank) * size
        return slice(first, first + size)


class Stage:
    """The faces that the loop sees."""

    def __init__(self, stage: StageRecipe, around: Context):
        self.stage, self.around = stage, around
        if stage.learns == "head" and stage.kind != "ttd" and around.model.image.config.head.kind != "fusion":
            raise RecipeError(
                f"stage {stage.name}: learns = 'head' is for the fusion head, found {around.model.image.config.head.kind!r}; take 'lora' or 'all'"
            )
        by_word = {"pairs": "word_weight", "dense": "yes_no", "sets": "yes_no"}.get(stage.kind)
        if by_word and getattr(stage, by_word) and not around.model.calibrated:
            raise RecipeError(
                f"stage {stage.name}: {by_word} {getattr(stage, by_word):g} teaches each word a yes or no of its own, which needs a model with a "
                f"logit_bias, found one without; give the recipe a `score`, or take 0"
            )
        side, patch = stage.side_px, around.model.image.config.patch_px
        if side % patch:
            raise RecipeError(f"stage {stage.name}: side_px {side}: expected a multiple of the model's patch, {patch}")
        self.model, self.bank = around.model, around.bank
        self.to_cache = 0  # pictures whose features a whole run keeps
        self.reader = 0
        self.listed = Skipped()  # what was passed over in the tables and folders of the sets
        self.skipped = Skipped()  # what this reader's process passed over
        self.met: dict[int, dict[str, int]] = {}  # what each reader did, as their batches tell

    def few(self, photos: list) -> list:
        """All of them, but in a smoke run."""
        return photos[: self.around.photos_at_most or None]

    def passed_over(self) -> Skipped:
        """Samples that were passed over: of the sets' lists, and by this rank's readers."""
        found = Skipped(self.listed)
        for one in self.met.values():
            found.update(one)
        return found

    def own_parameters(self) -> list[nn.Parameter]:
        return []

    def open(self, reader: int, readers: int, past: list[int]) -> None:
        """Told before the first part: which reader it is and, to a stage that reads streams, how many samples of each to pass over, as its
        batches told their `place`; nothing where none was read."""
        self.reader = reader

    def averaged(self, learned: list[nn.Parameter], average: list[Tensor]) -> None:
        """Told the running average of the weights before the first step and after each one."""

    def load(self, part: Part) -> dict:
        raise NotImplementedError

    def loss(self, batch: dict) -> tuple[Tensor, dict[str, float]]:
        raise NotImplementedError

    def words(self, texts: list[str], learning: bool = False) -> Tensor:
        """Embeddings of words, put into the model's templates or not, as the recipe says."""
        return self.bank.words(texts, self.stage.word_templates, learning)

    def tell(self, batch: dict) -> dict:
        """The batch with what its reader has passed over."""
        return batch | {"reader": self.reader, "skipped": dict(self.skipped)}

    def pixels(self, pictures: Tensor) -> Tensor:
        return self.model.preprocess.normalised(pictures.to(self.model.device, non_blocking=True))


def mirrored(pictures: Tensor, chosen: np.ndarray) -> Tensor:
    """[batch, 3, height, width] with the chosen ones mirrored, in place."""
    for row in np.flatnonzero(chosen):
        pictures[row] = pictures[row].flip(-1)
    return pictures


class PairsStage(Stage):
    """Contrast of photos with captions and with words."""

    def __init__(self, stage: StageRecipe, around: Context, split: str = "train"):
        super().__init__(stage, around)
        names, self.weights = weighed(stage.pairs)
        if self.weights:
            sets = [self.few(self.captioned_photos(name, split)) for name in names]
            every, self.counts = [pair for one in sets for pair in one], [len(one) for one in sets]
            self.captioned = Captioned(every, stage.word_min_count, stage.keep_stop_words)
        else:
            every = [pair for name in names for pair in self.captioned_photos(name, split)]
            self.captioned = Captioned(self.few(every), stage.word_min_count, stage.keep_stop_words)
        self.cache = None
        if stage.learns == "head":
            self.to_cache = len(every)
            pairs, side = self.captioned.pairs, stage.side_px
            named = pictures_named(pair.path for pair in pairs)
            self.cache = FeatureCache(
                around.work,
                self.model.image,
                self.model.preprocess,
                len(pairs),
                named,
                lambda n: square(pairs[n].path, side),
                side,
                around.say,
            )
        self.scale = nn.Parameter(torch.tensor(stage.contrast_scale, device=self.model.device))
        self.learns_text = "text" in stage.adapted

    def captioned_photos(self, name: str, split: str) -> list:
        around = self.around
        return licensed(around.root / "pairs" / name, read_pairs(around.root, [name], split, around.say, self.listed), around.licences)

    def own_parameters(self) -> list[nn.Parameter]:
        return [self.scale]

    def load(self, part: Part) -> dict:
        stage = self.stage
        rng = draws(self.around.seed, stage.name, part.step)
        if self.weights:
            rows = [sum(self.counts[:number]) + row for number, row in mixed(self.counts, self.weights, stage.batch, rng)]
        else:
            rows = shuffled_rows(len(self.captioned.pairs), stage.batch, self.around.seed, stage.name, part.step)
        count = (stage.side_px // self.model.image.config.patch_px) ** 2
        chosen = np.sort(rng.choice(count, stage.patches, replace=False)) if 0 < stage.patches < count else None
        own = part.of(stage.batch)
        batch = {"rows": rows[own], "chosen": chosen}
        if self.cache is None:
            flips = rng.random(stage.batch) < 0.5
            images, usable = self._pictures(rows[own])
            batch["pictures"] = mirrored(bytes_of(images), flips[own])
        else:
            usable = [row not in self.cache.broken for row in rows[own]]
        batch["usable"] = torch.tensor(usable)
        captions = [self.captioned.pairs[row].caption(rng) for row in rows]
        # The other ranks' rows of the same part are contrasted too; other parts of the step are not.
        size = stage.batch // part.micros
        together = slice(part.micro * size, (part.micro + 1) * size)
        batch["captions"] = captions[together]
        batch["words"], batch["present"] = self.captioned.batch_words(rows[together], stage.words, rng)
        return self.tell(batch)

    def _pictures(self, rows: list[int]) -> tuple[list[Image.Image], list[bool]]:
        """The photos; a black one for each that cannot be read, which then counts for nothing."""
        side, images, usable = self.stage.side_px, [], []
        for row in rows:
            try:
                images.append(square(self.captioned.pairs[row].path, side))
                usable.append(True)
            except DataError as error:
                self.skipped[str(error.__cause__ or error)] += 1
                images.append(Image.new("RGB", (side, side)))
                usable.append(False)
        return images, usable

    def loss(self, batch: dict) -> tuple[Tensor, dict[str, float]]:
        stage, chosen = self.stage, batch["chosen"]
        with self.around.autocast():
            if self.cache is not None:
                taps = self.cache.taps(batch["rows"], chosen)
                patches = self.model.image.head([tap.to(self.model.device) for tap in taps])
            else:
                patches = self.model.image(self.pixels(batch["pictures"]))
                patches = patches if chosen is None else patches[:, chosen]
            captions, words = batch["captions"], batch["words"]
            if self.learns_text:
                size = len(batch["rows"])
                own = captions[parallel.rank() * size :][:size]
                of_captions = parallel.gather(self.bank.encode(own))
            else:
                of_captions = self.bank.fixed(captions)
            # A batch of few or short captions may hold no word that counts.
            texts = torch.cat([of_captions, self.words(words, learning=self.learns_text)]) if words else of_captions
        patches = F.normalize(patches.float(), dim=-1)
        scores = parallel.gather(pooled(patches, texts, stage.sharpness))
        present = batch["present"].to(scores.device)
        own_captions, of_words = scores[:, : len(captions)], scores[:, len(captions) :]
        self.met[batch["reader"]] = batch["skipped"]
        usable = parallel.gather(batch["usable"].to(scores.device, torch.float32)) > 0
        if not usable.all():
            if not usable.any():
                raise DataError(f"stage {stage.name}: none of a step's {len(usable)} photos can be read: {self.passed_over().told()}")
            own_captions, of_words, present = own_captions[usable][:, usable], of_words[usable], present[usable]
        contrast = caption_contrast(own_captions, self.scale)
        word = word_contrast(of_words, present, self.model.logit_scale, self.model.logit_bias) if words else contrast.new_zeros(())
        return contrast + stage.word_weight * word, {"contrast": contrast.item(), "word": word.item()}


def ttd_losses(
    stage: StageRecipe, model: Model, patches: Tensor, picture: Tensor, caption: Tensor, words: Tensor, tags: list[list[int]]
) -> tuple[Tensor, Tensor, float]:
    """L_distill, L_tag and the share of tags selected. All embeddings unit-norm; `tags` are each picture's rows of `words` [words, dim]."""
    longest = max(map(len, tags))
    index = torch.tensor([some + [0] * (longest - len(some)) for some in tags], device=patches.device)
    real = torch.tensor([[True] * len(some) + [False] * (longest - len(some)) for some in tags], device=patches.device)
    with torch.no_grad():
        scores = ttd.tag_scores(
            stage.selection, patches, picture, caption, words[index], real,
            stage.selection_scale or model.logit_scale.item(), stage.normalisation,
        )  # fmt: skip
        selected = ttd.select(scores, real, stage.threshold)
    distill, tag = ttd.losses(
        patches, caption, words[index], real, selected, stage.distance, stage.student, model.logit_scale.detach(), model.logit_bias.detach()
    )
    return distill, tag, (selected.sum() / real.sum()).item()


class TtdStage(Stage):
    """Text-Tag Self-Distillation on captioned photos; both towers learn through adapters."""

    def __init__(self, stage: StageRecipe, around: Context, split: str = "train"):
        super().__init__(stage, around)
        if stage.student == "sigmoid" and not self.model.calibrated:
            raise RecipeError(f"stage {stage.name}: student 'sigmoid' needs a model with a logit_bias, found one without; take 'min-max'")
        names, self.weights = weighed(stage.pairs)
        # Without weights all are one set, in which every photo counts the same.
        groups = [[name] for name in names] if self.weights else [names]
        self.sources = [
            Shards(group, stage)
            if is_stream(group[0])
            else Photos(self.few(read_pairs(around.root, group, split, around.say, self.listed)), stage, self.skipped)
            for group in groups
        ]
        self.photos = [source for source in self.sources if isinstance(source, Photos)]
        self.shards = [source for source in self.sources if isinstance(source, Shards)]
        if stage.prune > 0 and split == "train":
            keep = kept(self, around)
            for source in self.sources:
                source.settle(keep)

    def open(self, reader: int, readers: int, past: list[int]) -> None:
        super().open(reader, readers, past)
        for source, passed in zip(self.shards, past or [0] * len(self.shards), strict=True):
            source.open(self.around.seed, reader, readers, self.around.root, self.skipped, passed)

    def _rows(self, step: int, rng: np.random.Generator) -> list[tuple[int, int]]:
        """Source and row of each of a step's pictures; a stream's row is -1."""
        counts = [len(source.rows) if isinstance(source, Photos) else 0 for source in self.sources]
        if self.weights:
            return mixed(counts, self.weights, self.stage.batch, rng)
        if self.shards:
            return [(0, -1)] * self.stage.batch
        return [(0, row) for row in shuffled_rows(counts[0], self.stage.batch, self.around.seed, self.stage.name, step)]

    def load(self, part: Part) -> dict:
        stage = self.stage
        rng = draws(self.around.seed, stage.name, part.step)
        own = part.of(stage.batch)
        rows, picks, flips = self._rows(part.step, rng), rng.random(stage.batch), rng.random(stage.batch) < 0.5
        drawn = [
            self.sources[number].draw() if row < 0 else self.sources[number].draw(row, pick)
            for (number, row), pick in zip(rows[own], picks[own])
        ]
        pictures, captions, tags = (list(column) for column in zip(*drawn))
        place = {"place": [source.read for source in self.shards]} if self.shards else {}
        return self.tell({"pictures": mirrored(torch.stack(pictures), flips[own]), "captions": captions, "tags": tags} | place)

    def loss(self, batch: dict) -> tuple[Tensor, dict[str, float]]:
        stage, captions, tags = self.stage, batch["captions"], batch["tags"]
        distinct = sorted({tag for some in tags for tag in some})  # each word of a batch is encoded once
        place = {tag: n for n, tag in enumerate(distinct)}
        with self.around.autocast():
            patches, picture = self.model.image.encode(self.pixels(batch["pictures"]), whole=stage.selection in ("image", "image-text"))
            # Apart: words are a few tokens, captions many, and padding costs what tokens cost.
            caption, words = self.bank.encode(captions), self.words(distinct, learning=True)
        patches = F.normalize(patches.float(), dim=-1)
        picture = F.normalize(picture.float(), dim=-1) if picture is not None else patches[:, 0].detach()
        distill, tag, share = ttd_losses(
            stage, self.model, patches, picture, caption, words, [[place[tag] for tag in some] for some in tags]
        )
        loss = stage.distill_weight * distill + stage.tag_weight * tag
        self.met[batch["reader"]] = batch["skipped"]
        return loss, {"distill": distill.item(), "tag": tag.item(), "selected": share, "corrupt": float(self.passed_over().total())}


class DenseStage(Stage):
    """Labelled photos against class names."""

    def __init__(self, stage: StageRecipe, around: Context):
        super().__init__(stage, around)
        root, held_out, seed = around.root, around.held_out, around.seed
        self.classes = coco_classes(root)
        photos = read_coco(root, lambda name: name not in held_out)
        in_all, photos = len(photos), self.few(photos)
        self.photos = [(photo.image(), self._labels(photo)) for photo in photos]
        self.searched = torch.tensor(self.classes.things)
        counts = np.zeros(len(self.classes.names))
        for _, labels in self.photos:
            counts += np.bincount(labels.ravel(), minlength=256)[: len(counts)]
        weight = (np.maximum(counts, counts.sum() * 1e-5) / counts.sum()) ** -stage.balance
        self.class_weight = torch.tensor(weight * counts.sum() / (weight * counts).sum(), dtype=torch.float32)
        self.taught = Taught(root, list(stage.pairs), self.classes, self.model.image, stage.rare, around.say, self.listed) if stage.taught else None
        if self.taught and stage.taught > len(self.taught.shares):
            raise RecipeError(f"stage {stage.name}: taught {stage.taught}: expected no more than the sets hold, {len(self.taught.shares)}")
        self.learns_text = "text" in stage.adapted
        self.teacher_words: dict[str, Tensor] = {}
        if self.taught and self.learns_text:
            # The teacher's words stay as the stage found them.
            every = sorted({word for words in self.classes.words for word in words})
            self.teacher_words = dict(zip(every, self.words(every)))
            self.bank.forget()
        # The cosine that a word has to beat where nothing is shown.
        self.none = nn.Parameter((-self.model.logit_bias / self.model.logit_scale).detach().clone()) if stage.none else None
        self.cache = None
        if stage.learns == "head":
            # The views are drawn once; what a step would draw afresh must stay still to be cached.
            count, self.to_cache = len(self.photos) * stage.views, in_all
            named = f"{pictures_named(photo.path for photo in photos)} {stage.views} {stage.zoom} {seed}"
            self.cache = FeatureCache(
                around.work, self.model.image, self.model.preprocess, count, named, lambda n: self._view(n)[0], stage.side_px, around.say
            )
            self.view_labels = np.stack([self._view(n)[1] for n in range(count)])

    def own_parameters(self) -> list[nn.Parameter]:
        return [] if self.none is None else [self.none]

    def _labels(self, photo: Labelled) -> np.ndarray:
        labels = photo.labels()
        if self.stage.drop_every:
            dropped = np.arange(0, len(self.classes.names), self.stage.drop_every)
            labels = np.where(np.isin(labels, dropped), IGNORE, labels)
        return labels

    def _view(self, number: int) -> tuple[Image.Image, np.ndarray]:
        rng = draws(self.around.seed, "view", number)
        return random_crop(*self.photos[number % len(self.photos)], self.stage.side_px, self.stage.zoom, rng)

    def load(self, part: Part) -> dict:
        stage = self.stage
        rng = draws(self.around.seed, stage.name, part.step)
        own = part.of(stage.batch)
        if self.cache:
            rows = shuffled_rows(len(self.view_labels), stage.batch, self.around.seed, stage.name, part.step)[own]
            batch = {"rows": rows, "labels": self.view_labels[rows]}
        else:
            rows = shuffled_rows(len(self.photos), stage.batch, self.around.seed, stage.name, part.step)
            crops = [random_crop(*self.photos[row], stage.side_px, stage.zoom, rng) for row in rows][own]
            batch = {"pictures": bytes_of([image for image, _ in crops]), "labels": np.stack([labels for _, labels in crops])}
        batch["words"] = [self._word(words, rng) for words in self.classes.words]
        if self.taught:
            batch |= self._told(part)
            self.skipped = self.taught.skipped
        if stage.cut:
            side = stage.side_px // self.model.image.config.patch_px
            every = cut_rectangles(rng, stage.batch + stage.taught, side, stage.cut)
            batch["cut"] = torch.cat([every[: stage.batch][own], every[stage.batch :][part.of(stage.taught)]])
        return self.tell(batch)

    def _told(self, part: Part) -> dict:
        """The captioned photos' share of a part."""
        stage, taught = self.stage, self.taught
        rng = draws(self.around.seed, stage.name + ".taught", part.step)
        rows = taught.rows(stage.taught, rng)
        own = part.of(stage.taught)
        # Every rank reads all of a step's photos, so that all pass over the same ones.
        views = [(taught.view(row, stage.side_px, stage.zoom, rng), rng.spawn(1)[0]) for row in rows]
        rows = [row for (_, _, row), _ in views]
        pictures = bytes_of([view for (view, _, _), _ in views[own]])
        changed = bytes_of([recoloured(view, colours) for (view, _, _), colours in views[own]])
        captions = [taught.pairs[row].caption(rng) for row in rows][own]
        return {
            "captions": captions, "tags": [split_words(text, stage.keep_stop_words) or [text] for text in captions],
            "seen": pictures, "changed": changed, "inside": seen(np.stack([outside for (_, outside, _), _ in views[own]]), self.model.image.config.patch_px),
            "named": torch.from_numpy(taught.named[rows[own]]),
        }  # fmt: skip

    def averaged(self, learned: list[nn.Parameter], average: list[Tensor]) -> None:
        if self.taught and self.stage.teacher == "average":
            self.taught.follow(self.model.image, learned, average)

    def _targets(self, batch: dict, texts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Shares, other and ignored of all crops, the labelled ones first."""
        stage, device = self.stage, self.model.device
        targets = [part.to(device) for part in patch_targets(batch["labels"], len(self.classes.names), self.model.image.config.patch_px)]
        if self.taught:
            words = torch.stack([self.teacher_words[word] for word in batch["words"]]) if self.teacher_words else texts
            similarity = self.taught.similarity(self.pixels(batch["seen"]), words)
            shares = teacher_shares(
                similarity, batch["named"].to(device), self.searched.to(device), self.model.logit_scale.item(), stage.prior, stage.confidence
            ) * batch["inside"].to(device)[..., None]  # fmt: skip
            ignored = 1 - shares.sum(-1)
            targets = [torch.cat(both) for both in zip(targets, (shares, torch.zeros_like(ignored), ignored))]
        if stage.cut:
            cut = batch["cut"].to(device).flatten(1)
            targets = [pasted(part, cut[..., None] if part.dim() == 3 else cut) for part in targets]
        return tuple(targets)

    def loss(self, batch: dict) -> tuple[Tensor, dict[str, float]]:
        stage, device = self.stage, self.model.device
        self.met[batch["reader"]] = batch["skipped"]
        texts = self._texts(batch["words"])
        shares, other, ignored = self._targets(batch, texts)
        with self.around.autocast():
            if self.cache:
                patches = self.model.image.head([tap.to(device) for tap in self.cache.taps(batch["rows"])])
            else:
                pictures = torch.cat([batch["pictures"], batch["changed"]]) if self.taught else batch["pictures"]
                if stage.cut:
                    px = self.model.image.config.patch_px
                    pictures = pasted(pictures, batch["cut"].repeat_interleave(px, 1).repeat_interleave(px, 2)[:, None])
                patches = self.model.image(self.pixels(pictures))
        patches = F.normalize(patches.float(), dim=-1)
        similarity = patches @ texts.T
        labelled = len(batch["labels"])

        def against(rows: slice) -> Tensor:
            return dense_loss(
                similarity[rows], shares[rows], other[rows], ignored[rows], self.searched.to(device),
                self.model.logit_scale, self.model.logit_bias, self.class_weight.to(device), stage.yes_no,
                None if self.none is None else self.model.logit_scale * self.none,
            )  # fmt: skip

        loss = against(slice(labelled))
        parts = {"dense": loss.item()}
        if self.taught:
            taught = against(slice(labelled, None))
            loss = loss + stage.taught_weight * taught
            parts |= {"taught": taught.item(), "kept": (1 - ignored[labelled:]).mean().item()}
            if stage.ttd_weight:
                loss = loss + stage.ttd_weight * self._ttd(patches[labelled:], batch, parts)
        with torch.no_grad():
            clear = shares[:labelled].amax(-1) > 0.5
            right = (similarity[:labelled].argmax(-1) == shares[:labelled].argmax(-1))[clear].float().mean().item()
        return loss, parts | {"right": right}

    def _texts(self, texts: list[str], captions: bool = False) -> Tensor:
        """Embeddings of words, or of captions, from the cache unless the text tower learns."""
        if not self.learns_text:
            return self.bank.fixed(texts) if captions else self.words(texts)
        distinct = sorted(set(texts))
        place = {text: n for n, text in enumerate(distinct)}
        with self.around.autocast():
            embedded = self.bank.encode(distinct) if captions else self.words(distinct, learning=True)
        return embedded[[place[text] for text in texts]]

    def _ttd(self, patches: Tensor, batch: dict, parts: dict[str, float]) -> Tensor:
        """TTD's losses on the captioned photos; the words stay as they are."""
        distinct = sorted({tag for some in batch["tags"] for tag in some})
        place = {tag: n for n, tag in enumerate(distinct)}
        picture = F.normalize(patches.mean(1), dim=-1).detach()
        distill, tag, _ = ttd_losses(
            self.stage, self.model, patches, picture, self._texts(batch["captions"], captions=True), self._texts(distinct),
            [[place[tag] for tag in some] for some in batch["tags"]],
        )  # fmt: skip
        parts |= {"distill": distill.item(), "tag": tag.item()}
        return self.stage.distill_weight * distill + self.stage.tag_weight * tag

    @staticmethod
    def _word(words: list[str], rng: np.random.Generator) -> str:
        """The class's own name half the time, else one of its synonyms."""
        return words[0] if rng.random() < 0.5 else words[int(rng.integers(len(words)))]
