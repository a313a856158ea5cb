"""What a recipe's key may hold: each key states its meaning and its range where it is declared, and messages and docs read both."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path


class RecipeError(ValueError):
    """A recipe that cannot be followed; the message says what was expected and where."""


@dataclass(frozen=True)
class Range:
    """Numbers between two ends; an end that is `open` does not belong to it. NaN never does."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    what: str = ""

    def holds(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return math.isfinite(value) and above and below

    def __str__(self) -> str:
        if self.high == math.inf:
            return "any number" if self.low == -math.inf else f"{'above' if self.open_low else 'at least'} {self.low:g}"
        low = "" if self.low == -math.inf else f"{'above' if self.open_low else 'from'} {self.low:g} "
        return f"{self.what}{low}to {'below ' if self.open_high else ''}{self.high:g}"


COUNT = Range(0)  # nothing or more
SOME = Range(1)
POSITIVE = Range(0, open_low=True)
WEIGHT = Range(0)
MOST_INT = 2**63 - 1  # as TOML's integers
MOST_FLOAT = 1e30  # what is computed is f32
SHARE = Range(0, 1, what="a share ")
PART = Range(0, 1, open_high=True, what="a share ")  # never the whole


@dataclass(frozen=True)
class Key:
    """What the schema knows of a key."""

    meaning: str
    allowed: Range | tuple[str, ...] | None = None  # of the value, or of each entry of a list
    kinds: tuple[str, ...] = ()  # kinds of stage that read it; none: all
    base: str = ""  # what a path is taken from: `recipe`, `data`
    free: bool = False  # may differ between a run and its continuation: changes no figure

    def told(self) -> str:
        """The range in words, for messages and the docs."""
        if isinstance(self.allowed, tuple):
            return " \\| ".join(self.allowed)
        return str(self.allowed) if self.allowed else ""


def key(default, meaning: str, allowed=None, kinds: tuple[str, ...] = (), base: str = "", free: bool = False):
    """A field of a recipe; `default` may be MISSING."""
    return field(default=default, metadata={"key": Key(meaning, allowed, kinds, base, free)})


def keys(kind: type) -> dict[str, Key]:
    return {entry.name: entry.metadata["key"] for entry in fields(kind) if "key" in entry.metadata}


def near(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 1, 0.5)
    return f", did you mean {close[0]!r}?" if close else f"; known: {', '.join(known) or 'none'}"


def one_of(value: str, known: tuple[str, ...], where: str) -> None:
    if value not in known:
        raise RecipeError(f"{where}: {value!r}{near(value, list(known))}")


def check_keys(given: dict, known: Iterable[str], where: str, elsewhere: dict[str, str] | None = None, of: str = "") -> None:
    """An unknown key is an error that says where it belongs (`elsewhere`, by key), or the near one."""
    for name in given:
        if name not in known:
            place = (elsewhere or {}).get(name)
            raise RecipeError(f"{where}: unknown key {name!r}{of}{f'; it is {place}' if place else near(name, sorted(known))}")


def build(kind: type, given: dict, where: str, special: dict, elsewhere: dict[str, str] | None = None):
    """An instance of the dataclass `kind` from a TOML table; `special` are fields that are no keys, `elsewhere` keys of other tables."""
    known = {entry.name: entry for entry in fields(kind)}
    check_keys(given, {*known} - {*special}, where, elsewhere)
    values = dict(special)
    for name, entry in known.items():
        if name in given:
            values[name] = _typed(given[name], entry, f"{where}: {name}")
        elif name not in special and entry.default is MISSING and entry.default_factory is MISSING:
            raise RecipeError(f"{where}: {name!r} is missing")
    return kind(**values)


def _typed(value, entry, where: str):
    text = str(entry.type)
    known: Key | None = entry.metadata.get("key")
    if text.startswith("tuple"):
        if not isinstance(value, list):
            raise RecipeError(f"{where}: expected a list, found {value!r}")
        inner = (int, float) if "float" in text else str
        if not all(isinstance(one, inner) and not isinstance(one, bool) for one in value):
            raise RecipeError(f"{where}: expected a list of {'float' if inner is not str else 'str'}, found {value!r}")
        if "..." not in text and len(value) != text.count("float"):
            raise RecipeError(f"{where}: expected {text.count('float')} numbers, found {len(value)}")
        value = tuple(float(one) if inner is not str else one for one in value)
        for one in value:
            _allowed(one, known, where)
        return value
    if text == "dict[str, str]":
        if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
            raise RecipeError(f"{where}: expected a table of texts, found {value!r}")
        return value
    expected = {"str": str, "int": int, "float": (int, float), "bool": bool}[text]
    if not isinstance(value, expected) or (isinstance(value, bool) and text != "bool"):
        raise RecipeError(f"{where}: expected {text}, found {value!r}")
    value = float(value) if text == "float" else value
    _allowed(value, known, where)
    return value


def _allowed(value, known: Key | None, where: str) -> None:
    if isinstance(value, (int, float)):
        most = MOST_INT if isinstance(value, int) else MOST_FLOAT
        if most < abs(value) < math.inf:
            raise RecipeError(f"{where}: expected a number of at most {most:g} in size, found {value!r}")
    if known is None or known.allowed is None:
        return
    if isinstance(known.allowed, tuple):
        one_of(value, known.allowed, where)
    elif not known.allowed.holds(value):
        raise RecipeError(f"{where}: expected {known.allowed} ({known.meaning}), found {value!r}")


def plain_name(name: str, where: str) -> None:
    """A name becomes the name of files and folders."""
    if not name.strip() or name != Path(name).name or name.startswith(".") or "\\" in name or not name.isprintable():
        raise RecipeError(f"{where}: expected a name that a file can have, without `/` and not beginning with a dot, found {name!r}")


def markdown(kind: type) -> str:
    """The keys of a table with default, range and meaning, as docs/training.md shows them."""
    lines = ["| key | default | range | meaning |", "|---|---|---|---|"]
    for entry in fields(kind):
        known = entry.metadata.get("key")
        if known is None:
            continue
        default = "needed" if entry.default is MISSING else _toml(entry.default)
        of_kind = f" ({', '.join(known.kinds)})" if known.kinds else "; free" if known.free else ""
        base = f"; a path from the {known.base}'s folder" if known.base else ""
        lines.append(f"| `{entry.name}` | {default} | {known.told()} | {known.meaning}{base}{of_kind} |")
    return "\n".join(lines)


def _toml(value) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return "`[" + ", ".join(_toml(one).strip("`") for one in value) + "]`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value:g}`"
