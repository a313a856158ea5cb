"""Webdataset tar shards as img2dataset writes them: KEY.jpg, KEY.txt and KEY.json side by side, read in order and never unpacked.

Shards are dealt to ranks and loader workers, so that each is read once an epoch by one reader; a buffer shuffles what they hold.
What a reader gives depends on (seed, epoch, reader, readers) alone, so that a resumed run skips to where it was.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from glob import escape, glob
from pathlib import Path

from PIL import Image

from . import tar
from .data import DataError
from .samples import MOST_PICTURE_BYTES, MOST_TEXT_BYTES, PICTURES, Skipped, Unusable, is_companion, json_captions, picture, text_caption

MOST_SHARDS = 1_000_000
# What a reader's buffer of samples may hold: of small pictures it is never reached, of packed ones that unpack to much it is.
MOST_BUFFER_BYTES = 1 << 28
MOST_LACKING = 100_000  # keys of a shard that are remembered for their lacking something


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
    """Every name that a shell's braces stand for, in their order: `{00..12}`, `{00..12..3}`, `{a..d}`, `{a,b}`, also one in another; braces
    around anything else are letters of the name."""
    start = pattern.find("{")
    depth, cuts = 0, [start]
    for at in range(max(start, 0), len(pattern)):
        depth += {"{": 1, "}": -1}.get(pattern[at], 0)
        if depth == 1 and pattern[at] == ",":
            cuts.append(at)
        elif depth == 0:
            break
    if start < 0:
        return [pattern]
    if depth:
        raise DataError(f"{pattern}: expected a closing brace for the one at character {start + 1}, found none")
    parts = [pattern[low + 1 : high] for low, high in zip(cuts, [*cuts[1:], at])]
    choices = _range(parts[0], pattern) if len(parts) == 1 else [name for part in parts for name in _braces(part)]
    rest = _braces(pattern[at + 1 :])
    if len(choices) * len(rest) > MOST_SHARDS:
        raise DataError(f"{pattern}: expected at most {MOST_SHARDS} names, found more")
    return [pattern[:start] + choice + name for choice in choices for name in rest]


def _range(inner: str, pattern: str) -> list[str]:
    """The names of `0..12`; what is no range keeps its braces."""
    ends = re.fullmatch(r"(?:(\d+)\.\.(\d+)|([a-zA-Z])\.\.([a-zA-Z]))(?:\.\.(\d+))?", inner)
    if not ends:
        return [f"{{{name}}}" for name in _braces(inner)]
    low, high, first, last, step = ends.groups()
    start, stop = (int(low), int(high)) if low else (ord(first), ord(last))
    if start > stop or step == "0":
        raise DataError(f"{pattern}: expected the smaller end first in {{{inner}}}, and a step above 0")
    if stop - start >= MOST_SHARDS:
        raise DataError(f"{pattern}: expected at most {MOST_SHARDS} names, found {{{inner}}}")
    return [f"{n:0{len(low)}d}" if low else chr(n) for n in range(start, stop + 1, int(step or 1))]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a pattern longer than a name may be
        return False


def _globbed(name: str, root: Path) -> str:
    """What `glob` takes for one name out of braces: brackets and stars count as letters where a file has them."""
    path = root / name
    if _is_file(path):
        return escape(str(path))
    return name if Path(name).is_absolute() else escape(str(root)) + "/" + name


def expand(pattern: str, root: Path = Path()) -> list[Path]:
    """`PLACE/{00000..00331}.tar`, `{a,b}.tar` or a glob, several joined by `::`; globs sorted. The error says what was looked for.

    A file of just that name is meant where there is one, whatever braces, brackets and colons it has.
    """
    found: list[Path] = []
    for one in [pattern] if _is_file(root / pattern) else pattern.split("::"):
        if _is_file(root / one):
            found.append(root / one)
            continue
        try:
            names = [_globbed(name, root) for name in _braces(one)]
        except RecursionError as error:
            raise DataError(f"{one[:60]}...: expected fewer braces in one another") from error
        if len(names) > 1:
            absent = [name for name in names if not glob(name)]
            if absent:
                raise DataError(f"{one}: {len(absent)} of {len(names)} shards are missing, {absent[0]} first")
        for name in names:
            found += [Path(place) for place in sorted(glob(name)) if not is_companion(Path(place).name)]
    if not found:
        raise DataError(f"{root / pattern}: expected tar shards, found none; {{00000..00331}}, {{a,b}}, * and ? stand for several names")
    if folder := next((path for path in found if path.is_dir()), None):
        raise DataError(f"{pattern}: expected tar shards, found a folder; take {folder}/*.tar")
    return list(dict.fromkeys(found))


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
    """The samples of one shard, in its order. A shard that ends early gives what it holds and counts as one corrupt sample.

    A sample ends where another key comes, or a field that it has already.
    """
    key: str | None = None
    parts: dict[str, bytes] = {}
    too_large: set[str] = set()
    lacking: set[str | None] = set()  # keys whose sample lacked something

    def finished() -> Iterator[Raw]:
        if parts or too_large:
            try:
                yield sample_of(f"{path}/{key}", parts, too_large)
            except Unusable as reason:
                count.skip("files of a sample that lie apart (tar --sort=name lays them together)" if key in lacking else str(reason))
                if len(lacking) < MOST_LACKING:
                    lacking.add(key)

    for name, content in _members(path, count):
        stem, end = _split(name)
        if stem != key or end in parts or end in too_large:
            yield from finished()
            key, parts, too_large = stem, {}, set()
        if content is None or sum(map(len, parts.values())) + len(content) > MOST_PICTURE_BYTES:
            too_large.add(end)
        else:
            parts[end] = content
    yield from finished()


def _most(name: str) -> int:
    """Most bytes of a picture or a caption; below 0 for what is neither."""
    end = _last(_split(name)[1])
    if end not in (*PICTURES, ".txt", ".json") or is_companion(name):
        return -1
    return MOST_PICTURE_BYTES if end in PICTURES else MOST_TEXT_BYTES


def _members(path: Path, count: Count) -> Iterator[tuple[str, bytes | None]]:
    """Each picture and caption file of the archive with what it holds; nothing where it claims too much."""
    try:
        yield from tar.members(path, _most)
    except Exception as error:  # tarfile and the decompressors raise whatever their input makes them
        count.skip(f"broken shard ({type(error).__name__})")


def shuffled(samples: Iterator[Raw], size: int, rng: random.Random) -> Iterator[Raw]:
    """A buffer of `size` samples, or of MOST_BUFFER_BYTES, from which one is drawn at random for each that is too many."""
    buffer: list[Raw] = []
    held = 0
    for sample in samples:
        buffer.append(sample)
        held += len(sample.picture)
        while len(buffer) > size or (held > MOST_BUFFER_BYTES and len(buffer) > 1):
            place = rng.randrange(len(buffer))
            buffer[place], buffer[-1] = buffer[-1], buffer[place]
            drawn = buffer.pop()
            held -= len(drawn.picture)
            yield drawn
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

    def decoded(self, side: int = 0, past: int = 0) -> Iterator[tuple[Image.Image, str]]:
        """Endless; the first `past` samples, usable or not, are passed over undecoded."""
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
                yield image, caption
            if self.count.given == before and not undecoded:
                raise DataError(f"{self.paths[0]} and {len(self.paths) - 1} more: no sample that can be read, {self.count.reasons.told()}")
            number += 1
