"""Webdataset tar shards as img2dataset writes them: KEY.jpg, KEY.txt and KEY.json side by side, read in order and never unpacked.

Shards are dealt to ranks and loader workers, so that each is read once an epoch by one reader; a buffer shuffles what they hold.
What a reader gives depends on (seed, epoch, reader, readers) alone, so that a resumed run skips to where it was.
"""

from __future__ import annotations

import io
import json
import random
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path

from PIL import Image

from .data import DataError

PICTURES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass
class Count:
    """What a reader met; `corrupt` are pictures or captions that cannot be read and samples that lack one of the two."""

    given: int = 0
    corrupt: int = 0
    pruned: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def skip(self, reason: str) -> None:
        self.corrupt += 1
        self.reasons[reason] = self.reasons.get(reason, 0) + 1


@dataclass
class Raw:
    """A sample as it stands in the shard."""

    key: str  # SHARD/KEY
    picture: bytes
    caption: bytes

    def decode(self) -> tuple[Image.Image, str]:
        """The picture as RGB and the caption; ValueError or OSError where one of them is broken."""
        caption = self.caption.decode("utf-8").strip()
        if not caption:
            raise ValueError("empty caption")
        with Image.open(io.BytesIO(self.picture)) as stored:
            return stored.convert("RGB"), caption


def expand(pattern: str) -> list[Path]:
    """`PLACE/{00000..00331}.tar`, or a glob; sorted. The error says what was looked for."""
    found = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if found:
        first, last = found.groups()
        names = [f"{pattern[: found.start()]}{n:0{len(first)}d}{pattern[found.end() :]}" for n in range(int(first), int(last) + 1)]
        absent = [name for name in names if not Path(name).is_file()]
        if absent:
            raise DataError(f"{pattern}: {len(absent)} of {len(names)} shards are missing, {absent[0]} first")
        return [Path(name) for name in names]
    names = sorted(glob(pattern))
    if not names:
        raise DataError(f"{pattern}: expected tar shards, found none")
    return [Path(name) for name in names]


def read_shard(path: Path, count: Count) -> Iterator[Raw]:
    """The samples of one shard, in its order. A shard that ends early gives what it holds and counts as one corrupt sample."""
    key, parts = None, {}

    def finished() -> Raw | None:
        picture = next((parts[end] for end in PICTURES if end in parts), None)
        caption = parts.get(".txt")
        if caption is None and ".json" in parts:
            try:
                caption = str(json.loads(parts[".json"])["caption"]).encode()
            except (ValueError, KeyError, TypeError):
                caption = None
        if picture is None or caption is None:
            count.skip("without picture" if picture is None else "without caption")
            return None
        return Raw(f"{path.stem}/{key}", picture, caption)

    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                if not member.isfile():
                    continue
                stem, dot, end = member.name.rpartition(".")
                end = (dot + end).lower()
                if end not in (*PICTURES, ".txt", ".json"):
                    continue
                if stem != key and parts:
                    sample = finished()
                    if sample:
                        yield sample
                    parts = {}
                key = stem
                parts[end] = archive.extractfile(member).read()
    except (tarfile.TarError, EOFError, OSError) as error:
        count.skip(f"broken shard: {type(error).__name__}")
    if parts:
        sample = finished()
        if sample:
            yield sample


def shuffled(samples: Iterator, size: int, rng: random.Random) -> Iterator:
    """A buffer of `size` samples from which one is drawn at random for each that comes in."""
    buffer = []
    for sample in samples:
        if len(buffer) < size:
            buffer.append(sample)
            continue
        place = rng.randrange(size)
        buffer[place], sample = sample, buffer[place]
        yield sample
    rng.shuffle(buffer)
    yield from buffer


class ShardReader:
    """An endless stream of one reader's share of the shards."""

    def __init__(self, patterns: list[str], seed: int, reader: int, readers: int, shuffle: int, keep: set[str] | None = None):
        self.paths = [path for pattern in patterns for path in expand(pattern)]
        if readers > len(self.paths):
            raise DataError(f"{len(self.paths)} shards for {readers} readers (ranks times workers): expected at least one for each")
        self.seed, self.reader, self.readers, self.shuffle, self.keep = seed, reader, readers, shuffle, keep
        self.count = Count()

    def epoch(self, number: int) -> Iterator[Raw]:
        """One pass over this reader's shards, dealt anew each time."""
        paths = list(self.paths)
        random.Random(f"{self.seed} {number}").shuffle(paths)

        def samples() -> Iterator[Raw]:
            for path in paths[self.reader :: self.readers]:
                for sample in read_shard(path, self.count):
                    if self.keep is None or sample.key in self.keep:
                        yield sample
                    else:
                        self.count.pruned += 1

        yield from shuffled(samples(), max(1, self.shuffle), random.Random(f"{self.seed} {number} {self.reader}"))

    def decoded(self, skip: int = 0) -> Iterator[tuple[Image.Image, str]]:
        """Endless; `skip` samples that were good are passed over first."""
        number = 0
        while True:
            before = self.count.given
            for raw in self.epoch(number):
                try:
                    sample = raw.decode()
                except (OSError, ValueError, SyntaxError) as error:
                    self.count.skip(type(error).__name__)
                    continue
                self.count.given += 1
                if self.count.given > skip:
                    yield sample
            if self.count.given == before:
                raise DataError(f"{self.paths[0]} and {len(self.paths) - 1} more: no sample that can be read, {self.count.reasons}")
            number += 1
