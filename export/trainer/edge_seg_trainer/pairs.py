"""Captioned photos that can be drawn one by one: folders with captions, tables, and COCO's captions JSON.

A set's name says its form, and by `=WEIGHT` at its end how often it is drawn: `NAME` (the folder `pairs/NAME` of the data, with
captions.tsv and images/), `folder:DIR` (pictures with a .txt or .json of the same stem beside, or below image/ and json/),
`table:FILE[:IMAGES]` (TSV, CSV, JSON lines or Parquet with a column of files and one of captions), `coco:ANNOTATIONS.json:IMAGES`.
Paths are taken from the data's folder. Tar shards (`shards:PATTERN`), which can only be read in
order, are `shards.py`'s.
"""

from __future__ import annotations

import csv
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from torch import Tensor

from .data import DataError, split_words
from .samples import MOST_TEXT_BYTES, PICTURES, Skipped, Unusable, captions_of, files_below, json_captions, spellings, text_caption
from .schema import near
from .shards import expand

SHARDS, COCO, FOLDER, TABLE = "shards:", "coco:", "folder:", "table:"
FORMS = (SHARDS, COCO, FOLDER, TABLE)
FILE_COLUMNS = ("file", "filepath", "image", "path", "filename", "file_name", "image_path", "key")
CAPTION_COLUMNS = ("caption", "title", "text")
SPLITS = {"train": ("train", "training"), "val": ("val", "validation", "valid")}


@dataclass(frozen=True)
class Pair:
    """A photo and all its captions."""

    path: Path
    captions: tuple[str, ...]

    def caption(self, rng: np.random.Generator) -> str:
        """One of them."""
        return self.captions[int(rng.integers(len(self.captions)))]


@dataclass(frozen=True)
class CaptionedSet:
    """A set that was read: its usable photos, the tables behind them, and what was passed over."""

    pairs: tuple[Pair, ...]
    tables: tuple[Path, ...]
    skipped: Skipped


def weighed(names: tuple[str, ...] | list[str]) -> tuple[list[str], list[float] | None]:
    """The sets without `=WEIGHT`, and their weights, or none where none is given. A ValueError where they do not fit together."""
    found = [re.fullmatch(r"(.+)=(\d+(?:\.\d+)?)", name, re.S) for name in names]
    plain = [one[1] if one else name for one, name in zip(found, names)]
    if not any(found):
        if 0 < sum(map(is_stream, names)) < len(names):
            raise ValueError("expected a weight for each set (SET=WEIGHT) where shards and others are mixed")
        return plain, None
    weights = [float(one[2]) if one else 0.0 for one in found]
    for name, weight in zip(names, weights):
        if weight <= 0:
            raise ValueError(f"expected a weight above 0 for each set (SET=WEIGHT) where one has one, found {name!r}")
    return plain, weights


def mixed(counts: list[int], weights: list[float], batch: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Set and row of each of a batch's pictures: as nearly in the weights as the batch allows, no row twice where a set has enough.

    `counts` are the sets' rows; a set that can only be read in order has none, and its row is -1.
    """
    # Systematic draws; mixed, or each rank's part would be of few sets.
    shares = np.cumsum(weights) / sum(weights)
    chosen = rng.permutation(np.searchsorted(shares, (np.arange(batch) + rng.random()) / batch, side="right").clip(max=len(counts) - 1))
    rows = np.full(batch, -1)
    for number, count in enumerate(counts):
        own = np.flatnonzero(chosen == number)
        if count:
            rows[own] = rng.choice(count, len(own), replace=len(own) > count)
    return list(zip(chosen.tolist(), rows.tolist()))


def is_stream(name: str) -> bool:
    """Whether a set can only be read in order."""
    return name.startswith(SHARDS)


def read_pairs(root: Path, names: list[str], split: str = "train", say=None, counted: Skipped | None = None) -> list[Pair]:
    """The photos of every set, in the order of their tables. `split` chooses among the rows of a table, or the folders of a folder.

    Rows that cannot be used are passed over, told to `say` by their reasons and added to `counted`; a set without any usable one is an error.
    """
    pairs: list[Pair] = []
    for name in names:
        found = read_set(Path(root), name, split)
        if found.skipped and say:
            say(f"{name}: passed over {found.skipped.told()}")
        if counted is not None:
            counted.update(found.skipped)
        pairs += found.pairs
    return pairs


def read_set(root: Path, name: str, split: str) -> CaptionedSet:
    """One set that can be drawn from."""
    form = next((form for form in FORMS if name.startswith(form)), None)
    rest = name.removeprefix(form or "")
    if form == SHARDS:
        raise DataError(f"{name}: shards can only be read in order; stages of kind ttd take them")
    skipped, other_splits = Skipped(), Counter()
    if form is None:
        if ":" in name:
            given = name.partition(":")[0] + ":"
            raise DataError(f"{name}: no form {given!r}{near(given, list(FORMS))}; or the name of a folder below {root / 'pairs'}")
        place = root / "pairs" / name
        rows, tables = _table_rows(place / "captions.tsv", split, skipped, other_splits), (place / "captions.tsv",)
        images = place / "images"
    elif form == FOLDER:
        place = _split_folder(root / rest, split)
        rows, tables, images = _folder_rows(place, skipped), (), place
    else:
        parts = rest.split(":")
        if len(parts) != 2 and not (form == TABLE and len(parts) == 1):
            raise DataError(f"{name}: expected {'coco:ANNOTATIONS.json:IMAGES' if form == COCO else 'table:FILE or table:FILE:IMAGES'}")
        source = root / parts[0]
        tables, images = (source,), root / parts[1] if len(parts) == 2 else source.parent
        rows = _coco_rows(source, skipped) if form == COCO else _table_rows(source, split, skipped, other_splits)
    captions: dict[str, list[str]] = {}
    for file, texts in rows:
        captions.setdefault(file, []).extend(texts)
    pairs = []
    for file, texts in captions.items():
        if path := _located(images, file):
            pairs.append(Pair(path, tuple(texts)))
        else:
            skipped["picture missing"] += 1
    if not pairs:
        place = tables[0] if tables else images
        others = ", ".join(f"{count} of split {other!r}" for other, count in other_splits.most_common(3))
        raise DataError(
            f"{place}: no picture with a caption of split {split!r} that can be used; pictures are looked for in {images}; passed over "
            f"{skipped.told() or 'none'}{'; the table has rows ' + others if others else ''}"
        )
    return CaptionedSet(tuple(pairs), tables, skipped)


def _located(images: Path, file: str) -> Path | None:
    """The picture of a table's row: a file, or the key by which img2dataset names it in the folder of its shard."""
    for name in spellings(file):
        if (images / name).is_file():
            return images / name
    if file.isdigit():
        places = (images / folder / f"{file}{end}" for folder in ("", file[:5]) for end in PICTURES)
        return next((place for place in places if place.is_file()), None)
    return None


def members(root: Path, name: str, split: str) -> tuple[list[tuple[str, Path]], list[tuple[str, Path]]]:
    """The files of a set, named from its own place: tables, whose content counts, and pictures or shards, which are many."""
    if is_stream(name):
        paths = expand(name.removeprefix(SHARDS), root)
        return [], [(f"{path.parent.name}/{path.name}", path) for path in paths]
    found = read_set(Path(root), name, split)
    captions = zlib.crc32("\0".join(text for pair in found.pairs for text in pair.captions).encode("utf-8", "replace"))
    return [(path.name, path) for path in found.tables], [(f"{pair.path.name} {captions}", pair.path) for pair in found.pairs]


def _table_rows(path: Path, split: str, skipped: Skipped, other_splits: Counter) -> Iterator[tuple[str, list[str]]]:
    """File and caption of each row that can be used; rows of other splits are counted apart."""
    if not path.is_file():
        raise DataError(f"{path} is missing: expected a table with the columns file and caption, and split where it holds several")
    rows = {".parquet": _parquet, ".jsonl": _json_lines}.get(path.suffix.lower(), _separated)(path)
    columns: list[str] | None = None
    for row in rows:
        if columns is None:
            columns = [str(name) for name in row]
            file = next((name for name in FILE_COLUMNS if name in columns), None)
            caption = next((name for name in CAPTION_COLUMNS if name in columns), None)
            if file is None or caption is None:
                raise DataError(
                    f"{path}: expected a column of files ({', '.join(FILE_COLUMNS)}) and one of captions ({', '.join(CAPTION_COLUMNS)}), found "
                    f"{', '.join(columns[:8])}; a list of addresses, as CC3M's, is fetched by img2dataset and then read as shards: or folder:"
                )
            continue
        if "split" in columns and row.get("split") not in SPLITS.get(split, (split,)):
            other_splits[row.get("split")] += 1
            continue
        if isinstance(row[file], (dict, bytes)):
            raise DataError(f"{path}: expected a column of files, found pictures in {file!r}; write them out as files, or as shards")
        if not isinstance(row[file], str) or not row[file]:
            skipped["row without a file"] += 1
            continue
        try:
            yield row[file], list(captions_of(row[caption]))
        except Unusable as reason:
            skipped[str(reason)] += 1


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """A table in UTF-8, or in UTF-16 as its first bytes tell."""
    with path.open("rb") as handle:
        begin = handle.read(2)
    if begin == b"\x1f\x8b":
        raise DataError(f"{path}: expected a text file, found one that is packed by gzip; unpack it")
    try:
        with path.open(encoding="utf-16" if begin in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", newline="") as handle:
            yield handle
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected a table in UTF-8, found another byte at {error.start}") from error


def _separated(path: Path) -> Iterator[dict]:
    """The rows of a TSV or CSV, the columns' names first; what a short row lacks is None. The head tells the separator: open_clip's .csv has tabs."""
    csv.field_size_limit(MOST_TEXT_BYTES)
    with _opened(path) as handle:
        head = handle.readline(MOST_TEXT_BYTES)
    delimiter = max("\t,;", key=lambda one: (one in head, one == "\t", head.count(one)))
    quoting = _quoting(path, delimiter)
    with _opened(path) as handle:
        reader = csv.reader(handle, delimiter=delimiter, quoting=quoting)
        try:
            names = next(reader, [])
            yield dict.fromkeys(names)
            for row in reader:
                if row:
                    yield dict(zip(names, [*row, *[None] * (len(names) - len(row))]))
        except csv.Error as error:
            raise DataError(f"{path}: expected a table, found {error} near line {reader.line_num}") from error


def _quoting(path: Path, delimiter: str) -> int:
    """Whether fields stand in quotes, as spreadsheets and pandas write them where they must, or a quote is a letter as any other.

    With tabs both are met: a file whose quotes are all in their right places has them by that rule.
    """
    begun = 0
    with _opened(path) as handle:
        reader = csv.reader(handle, delimiter=delimiter, strict=True)
        try:
            for _ in reader:
                begun = reader.line_num
        except csv.Error as error:
            if delimiter == "\t":
                return csv.QUOTE_NONE
            if "end of data" in str(error) or "field limit" in str(error):
                raise DataError(f"{path}, line {begun + 1}: a quote begins there that nothing ends") from error
    return csv.QUOTE_MINIMAL


def _json_lines(path: Path) -> Iterator[dict]:
    """The objects of a file that has one a line, the columns' names first, which are those of the first."""
    names: list[str] | None = None
    with _opened(path) as handle:
        for number, line in enumerate(handle, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}, line {number}: expected a JSON object, found {error}") from error
            if not isinstance(row, dict):
                raise DataError(f"{path}, line {number}: expected a JSON object, found {type(row).__name__}")
            if names is None:
                names = list(row)
                yield dict.fromkeys(names)
            yield {name: row.get(name) for name in names}


def _parquet(path: Path) -> Iterator[dict]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise DataError(
            f"{path}: Parquet needs the Python package pyarrow in the trainer's environment, which is not there; or write it as .tsv"
        ) from error
    try:
        with parquet.ParquetFile(path) as stored:
            yield dict.fromkeys(stored.schema_arrow.names)
            for batch in stored.iter_batches():
                yield from batch.to_pylist()
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: expected a Parquet table, found {error}") from error


def _coco_rows(path: Path, skipped: Skipped) -> Iterator[tuple[str, list[str]]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        files = {image["id"]: image["file_name"] for image in content["images"]}
        for row in content["annotations"]:
            file, given = files[row["image_id"]], row.get("caption")
            try:
                yield file, list(captions_of(given))
            except Unusable as reason:
                skipped[str(reason)] += 1
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: expected COCO captions with `images` and `annotations`, found {error!r}") from error


def _split_folder(place: Path, split: str) -> Path:
    """DIR, or its folder of that split where it has such."""
    if not place.is_dir():
        raise DataError(f"{place}: expected a folder of pictures with captions beside, found none")
    if any((place / name).is_dir() for names in SPLITS.values() for name in names):
        for name in SPLITS.get(split, (split,)):
            if (place / name).is_dir():
                return place / name
        raise DataError(f"{place}: no folder of split {split!r}; expected one of {', '.join(SPLITS.get(split, (split,)))}")
    return place


def _folder_rows(place: Path, skipped: Skipped) -> Iterator[tuple[str, list[str]]]:
    """Every picture below the folder with its caption."""
    apart = (place / "image").is_dir() and (place / "json").is_dir()
    texts = {path.with_suffix(path.suffix.lower()): path for path in files_below(place) if path.suffix.lower() in (".txt", ".json")}
    for path in files_below(place / "image" if apart else place):
        if path.suffix.lower() not in PICTURES:
            continue
        beside = (place / "json" if apart else path.parent) / path.name
        try:
            yield path.relative_to(place).as_posix(), list(_caption_of(beside, texts))
        except Unusable as reason:
            skipped[str(reason)] += 1


def _caption_of(picture: Path, texts: dict[Path, Path]) -> tuple[str, ...]:
    """What the .txt or .json of a picture's stem says; `texts` by their names with the ending in lower case."""
    for end in (".txt", ".json"):
        if place := texts.get(picture.parent / f"{picture.stem}{end}"):
            if place.stat().st_size > MOST_TEXT_BYTES:
                raise Unusable("caption of too many bytes")
            content = place.read_bytes()
            return (text_caption(content),) if end == ".txt" else json_captions(content)
    raise Unusable("without caption")


def draws(seed: int, stage: str, step: int) -> np.random.Generator:
    """The random numbers of one step."""
    return np.random.default_rng([seed, zlib.crc32(stage.encode()), step])


def shuffled_rows(count: int, batch: int, seed: int, stage: str, step: int) -> list[int]:
    """The step's rows: every row once an epoch, in an order of that epoch's own."""
    rows = []
    for position in range(step * batch, (step + 1) * batch):
        epoch, place = divmod(position, count)
        rows.append(int(_order(count, seed, stage, epoch)[place]))
    return rows


_orders: dict[tuple, np.ndarray] = {}


def _order(count: int, seed: int, stage: str, epoch: int) -> np.ndarray:
    key = (count, seed, stage, epoch)
    if key not in _orders:
        _orders.clear()
        _orders[key] = draws(seed, stage + ".order", epoch).permutation(count)
    return _orders[key]


class Captioned:
    """Captioned photos with the words that their captions hold."""

    def __init__(self, pairs: list[Pair], min_count: int, keep_stop_words: bool = False):
        self.pairs = pairs
        found = [{word for text in pair.captions for word in split_words(text, keep_stop_words)} for pair in pairs]
        counts = Counter(word for words in found for word in words)
        self.words = [sorted(word for word in words if counts[word] >= min_count) for words in found]

    def batch_words(self, rows: list[int], most: int, rng: np.random.Generator) -> tuple[list[str], Tensor]:
        """Distinct words of the rows' captions, `most` at the most, and who holds which: [rows, words] bool."""
        every = sorted({word for row in rows for word in self.words[row]})
        if len(every) > most:
            every = [every[n] for n in sorted(rng.choice(len(every), most, replace=False))]
        place = {word: n for n, word in enumerate(every)}
        present = torch.zeros(len(rows), len(every), dtype=torch.bool)
        for n, row in enumerate(rows):
            present[n, [place[word] for word in self.words[row] if word in place]] = True
        return every, present
