"""What a TTD stage draws captioned photos from: sets that are drawn from row by row, and streams of tar shards."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from .data import DataError, split_words, square
from .pairs import SHARDS, Captioned, Pair
from .recipe import StageRecipe
from .samples import Skipped
from .shards import ShardReader

Drawn = tuple[Image.Image, str, list[str]]  # a picture, a caption, the caption's words


class Photos:
    """Captioned photos that can be drawn one by one."""

    def __init__(self, pairs: list[Pair], stage: StageRecipe, skipped: Skipped):
        self.stage, self.skipped = stage, skipped
        self.captioned = Captioned(pairs, 1, stage.keep_stop_words)
        self.keep: set | None = None
        self.rows: list[int] = []
        self.settle(None)

    def settle(self, keep: set | None) -> None:
        """What can be drawn, once pruning has told what stays: a caption of one word has no other tag to share its picture with."""
        self.keep = keep
        self.rows = [n for n, words in enumerate(self.captioned.words) if len(words) >= 2 and self.captions_of(n)]
        if not self.rows:
            left = "left by pruning " if keep is not None else ""
            raise DataError(f"stage {self.stage.name}: no photo {left}of {', '.join(self.stage.pairs)} has a caption of two words and more")

    def captions_of(self, row: int) -> list[str]:
        """The captions of a photo that pruning left."""
        pair = self.captioned.pairs[row]
        return [text for text in pair.captions if self.keep is None or (str(pair.path), text) in self.keep]

    def draw(self, place: int, pick: float) -> Drawn:
        """The photo at that place of the rows, or the next one that can be read; `pick` in 0..1 chooses the caption."""
        for further in range(len(self.rows)):
            row = self.rows[(place + further) % len(self.rows)]
            try:
                image = square(self.captioned.pairs[row].path, self.stage.side_px)
            except DataError as error:
                self.skipped[str(error.__cause__ or error)] += 1
                continue
            texts = self.captions_of(row)
            caption = texts[int(pick * len(texts))]
            return image, caption, split_words(caption, self.stage.keep_stop_words) or self.captioned.words[row]
        raise DataError(f"stage {self.stage.name}: none of the {len(self.rows)} photos can be read: {self.skipped.told()}")


class Shards:
    """Shards, read in order; nothing is read before `open`."""

    def __init__(self, names: list[str], stage: StageRecipe):
        self.patterns = [name.removeprefix(SHARDS) for name in names]
        self.stage = stage
        self.keep: set | None = None

    def settle(self, keep: set | None) -> None:
        self.keep = keep

    def open(self, seed: int, reader: int, readers: int, root: Path, skipped: Skipped, past: int) -> None:
        self.reader = ShardReader(self.patterns, seed, reader, readers, self.stage.shuffle, self.keep, root)
        self.reader.count.reasons = skipped
        self.stream = self.reader.decoded(self.stage.side_px, past)

    @property
    def read(self) -> int:
        """Samples that were taken from the shards so far."""
        return self.reader.read

    def draw(self) -> Drawn:
        """The next one."""
        side = self.stage.side_px
        image, caption = next(self.stream)
        image = image.resize((side, side), Image.Resampling.BICUBIC)
        return image, caption, split_words(caption, self.stage.keep_stop_words) or [caption]
