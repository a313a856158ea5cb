"""Webdataset tar shards as img2dataset writes them: KEY.jpg, KEY.txt and KEY.json side by side, read in order and never unpacked.

Shards are dealt to ranks and loader workers, so that each is read once an epoch by one reader; a buffer shuffles what they hold.
What a reader gives depends on (seed, epoch, reader, readers) alone, so that a resumed run skips to where it was.
"""

from __future__ import annotations

import random
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from glob import escape, glob
from itertools import product
from pathlib import Path

from PIL import Image

from .data import DataError
from .samples import MOST_PICTURE_BYTES, MOST_TEXT_BYTES, PICTURES, Skipped, Unusable, is_companion, json_captions, picture, text_caption


@dataclass
class Count:
    """What a reader met; `corrupt` are pictures or captions that cannot be read and samples that lack one of the two."""

    given: int = 0
    pruned: int = 0
    reasons: Skipped = field(default_factory=Skipped)

    @property
    def corrupt(self) -> int:
        return self.reasons.total()

    def skip(self, reason: str) -> None:
        self.reasons[reason] += 1


@dataclass
class Raw:
    """A sample as it stands in the shard."""

    key: str  # PATH/KEY
    picture: bytes
    captions: tuple[str, ...]

    def decode(self, side: int = 0) -> Image.Image:
        """The picture as RGB; Unusable where it is broken."""
        return picture(self.picture, side)


def _braces(pattern: str) -> list[str]:
    """Every name that `{00..12}` and `{a,b}` stand for, in their order."""
    parts = re.split(r"\{([^{}]*)\}", pattern)
    choices: list[list[str]] = []
    for number, part in enumerate(parts):
        found = re.fullmatch(r"(\d+)\.\.(\d+)", part) if number % 2 else None
        if found:
            first, last = found.groups()
            if int(first) > int(last):
                raise DataError(f"{pattern}: expected the smaller number first in {{{part}}}")
            choices.append([f"{n:0{len(first)}d}" for n in range(int(first), int(last) + 1)])
        else:
            choices.append(part.split(",") if number % 2 else [part])
    return ["".join(one) for one in product(*choices)]


def expand(pattern: str, root: Path = Path()) -> list[Path]:
    """`PLACE/{00000..00331}.tar`, `{a,b}.tar` or a glob, several joined by `::`; globs sorted. The error says what was looked for."""
    found: list[Path] = []
    for one in pattern.split("::"):
        names = [name if Path(name).is_absolute() else escape(str(root)) + "/" + name for name in _braces(one)]
        if len(names) > 1:
            absent = [name for name in names if not glob(name)]
            if absent:
                raise DataError(f"{one}: {len(absent)} of {len(names)} shards are missing, {absent[0]} first")
        for name in names:
            found += [Path(place) for place in sorted(glob(name)) if not is_companion(Path(place).name)]
    if not found:
        raise DataError(f"{root / pattern}: expected tar shards, found none")
    return list(dict.fromkeys(found))


class _Header(tarfile.TarInfo):
    """A header whose extension fields are small: they are read whole, whatever they claim."""

    def _proc_member(self, archive):
        extended = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
        if self.type in extended and self.size > MOST_TEXT_BYTES:
            raise tarfile.ReadError(f"a header field of {self.size} bytes")
        return super()._proc_member(archive)


def _split(name: str) -> tuple[str, str]:
    """Key and field of a member: the key ends at the first dot of its base name."""
    folder, slash, base = name.rpartition("/")
    key, _, end = base.partition(".")
    return folder + slash + key, end.lower()


def _last(end: str) -> str:
    return "." + end.rpartition(".")[2]


def sample_of(key: str, parts: dict[str, bytes], too_large: set[str]) -> Raw:
    """The sample of a key's fields: picture and caption of the plain fields (`jpg`, `txt`), else of the first with such an ending."""

    def choose(ends: tuple[str, ...]) -> str | None:
        plain = next((end[1:] for end in ends if end[1:] in parts), None)
        return plain or next((name for name in parts if _last(name) in ends), None)

    image = choose(PICTURES)
    if image is None:
        if any(_last(name) in PICTURES for name in too_large):
            raise Unusable("picture of too many bytes")
        raise Unusable("without picture")
    text, table = choose((".txt",)), choose((".json",))
    if text is not None:
        return Raw(key, parts[image], (text_caption(parts[text]),))
    if table is not None:
        return Raw(key, parts[image], json_captions(parts[table]))
    raise Unusable("caption of too many bytes" if too_large else "without caption")


def read_shard(path: Path, count: Count) -> Iterator[Raw]:
    """The samples of one shard, in its order. A shard that ends early gives what it holds and counts as one corrupt sample."""
    key: str | None = None
    parts: dict[str, bytes] = {}
    too_large: set[str] = set()

    def finished() -> Iterator[Raw]:
        if parts or too_large:
            try:
                yield sample_of(f"{path}/{key}", parts, too_large)
            except Unusable as reason:
                count.skip(str(reason))

    for name, content in _members(path, count):
        stem, end = _split(name)
        if stem != key:
            yield from finished()
            key, parts, too_large = stem, {}, set()
        if content is None:
            too_large.add(end)
        else:
            parts[end] = content
    yield from finished()


def _members(path: Path, count: Count) -> Iterator[tuple[str, bytes | None]]:
    """Each picture and caption file of the archive with what it holds; nothing where it claims too much."""
    try:
        with tarfile.open(path, "r|*", tarinfo=_Header) as archive:
            for member in archive:
                archive.members = []  # or each header of a long shard would stay
                end = _last(_split(member.name)[1])
                if not member.isfile() or is_companion(member.name) or end not in (*PICTURES, ".txt", ".json"):
                    continue
                most = MOST_PICTURE_BYTES if end in PICTURES else MOST_TEXT_BYTES
                yield member.name, archive.extractfile(member).read() if member.size <= most else None
    except Exception as error:  # tarfile and the decompressors raise whatever their input makes them
        count.skip(f"broken shard ({type(error).__name__})")


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

    def __init__(
        self, patterns: list[str], seed: int, reader: int, readers: int, shuffle: int, keep: set[str] | None = None, root: Path = Path()
    ):
        self.paths = [path for pattern in patterns for path in expand(pattern, root)]
        if readers > len(self.paths):
            raise DataError(f"{len(self.paths)} shards for {readers} readers (ranks times workers): expected at least one for each")
        self.seed, self.reader, self.readers, self.shuffle, self.keep = seed, reader, readers, shuffle, keep
        self.count = Count()
        self.read = 0  # samples that `decoded` has taken from the shards, usable or not

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

    def decoded(self, skip: int = 0, side: int = 0, past: int = 0) -> Iterator[tuple[Image.Image, str]]:
        """Endless. Passed over first: `past` samples as they stand in the shards, undecoded, or `skip` that were good."""
        number = 0
        while True:
            before, undecoded = self.count.given, 0
            for raw in self.epoch(number):
                self.read += 1
                if self.read <= past:
                    undecoded += 1
                    continue
                try:
                    image = raw.decode(side)
                except Unusable as reason:
                    self.count.skip(str(reason))
                    continue
                caption = raw.captions[0]
                if len(raw.captions) > 1:
                    caption = random.Random(f"{self.seed} {self.reader} {self.read}").choice(raw.captions)
                self.count.given += 1
                if self.count.given > skip:
                    yield image, caption
            if self.count.given == before and not undecoded:
                raise DataError(f"{self.paths[0]} and {len(self.paths) - 1} more: no sample that can be read, {self.count.reasons.told()}")
            number += 1
