"""What a run's figures depend on, as a digest: recipe, data list, start, code. A checkpoint, table or folder of another digest is refused."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .pairs import is_stream, members, weighed
from .recipe import Recipe
from .schema import keys

FORMAT = 1


class ProvenanceError(ValueError):
    """Something that another recipe, other data, another start or other code has made."""


def of_files(files: Iterable[tuple[str, Path]], contents: bool) -> dict:
    """Digest of named files: of what they hold, or of their sizes where they are many."""
    state, count = hashlib.sha256(), 0
    for name, path in files:
        count += 1
        state.update(f"{name}\0{path.stat().st_size}\0".encode("utf-8", "surrogateescape"))
        if contents:
            with path.open("rb") as handle:
                while part := handle.read(1 << 20):
                    state.update(part)
    return {"files": count, "digest": state.hexdigest()[:16]}


# Read when the package is loaded: what is edited later is not what runs.
_CODE = of_files(((path.name, path) for path in sorted(Path(__file__).parent.glob("*.py"))), True)["digest"]


def code() -> str:
    """Of this package's own sources."""
    return _CODE


def versions() -> dict[str, str]:
    """Of what the figures were made with; kept for people, not compared."""
    found = {"python": platform.python_version()}
    for name in ("torch", "numpy", "pillow", "peft", "tokenizers", "safetensors"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def flat(recipe: Recipe) -> dict:
    """The recipe's keys that change figures, `stage.NAME.KEY` for those of a stage. Paths count by what stands there."""
    found = {name: getattr(recipe, name) for name, known in keys(Recipe).items() if not (known.free or known.base)}
    if recipe.head:
        found |= {f"head.{name}": value for name, value in recipe.head.as_folder().items()}
    for stage in recipe.stages:
        found |= {f"stage.{stage.name}.{entry.name}": getattr(stage, entry.name) for entry in fields(stage) if entry.name != "name"}
    found["stages"] = [stage.name for stage in recipe.stages]
    return json.loads(json.dumps(found))


def data_of(recipe: Recipe, root: Path, labelled: Iterable[tuple[str, Path]], words: Iterable[tuple[str, Path]]) -> dict[str, dict]:
    """Each captioned set's list of files, the labelled photos, the tables of their words, the held-out list."""
    found = {}
    for stage in recipe.stages:
        for split, names in (("train", stage.pairs), ("val", stage.validation)):
            for name in weighed(names)[0]:
                where = f"{name} ({split})"
                if where not in found:
                    tables, pictures = members(root, name, split)
                    whole = of_files(tables, True)
                    listed = of_files(pictures, False)
                    found[where] = {"files": whole["files"] + listed["files"], "digest": f"{whole['digest']}{listed['digest']}"}
    if recipe.held_out:
        found["held_out"] = of_files([("held_out", Path(recipe.held_out))], True)
    for name, listed, contents in (("labelled photos", labelled, False), ("tables of words", words, True)):
        of_listed = of_files(listed, contents)
        if of_listed["files"]:
            found[name] = of_listed
    return found


def provenance(
    recipe: Recipe,
    root: Path,
    start: Iterable[tuple[str, Path]],
    labelled: Iterable[tuple[str, Path]],
    words: Iterable[tuple[str, Path]],
    world: int,
) -> dict:
    """All of it, ready to be kept."""
    found = {
        "format": FORMAT,
        "recipe": flat(recipe),
        "data": data_of(recipe, root, labelled, words),
        "start": of_files(start, True)["digest"],
        "code": code(),
    }
    if any(is_stream(name) for stage in recipe.stages for name in stage.pairs):
        # Streams are dealt to readers: another count of them draws other samples.
        found["readers"] = world * max(1, recipe.workers)
    return found


def digest(found: dict) -> str:
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]


def differences(there: dict, here: dict) -> list[str]:
    """What `there`, kept before, differs in from `here`, line by line."""
    if there.get("format") != here["format"]:
        return ["it was written by another version of the trainer"]
    lines = []
    absent = "absent"
    for part in ("recipe", "data"):
        for name in sorted({*there[part], *here[part]}):
            before, now = there[part].get(name, absent), here[part].get(name, absent)
            if before == now:
                continue
            if part == "data":
                told = [one if one == absent else f"{one['files']} files" for one in (before, now)]
                lines.append(
                    f"data, {name}: {told[0]} there, {told[1]} here" + (", of other names, sizes or contents" if told[0] == told[1] else "")
                )
            elif not (
                before == absent
                and name.startswith("stage.")
                and "stages" in here["recipe"]
                and there["recipe"]["stages"] != here["recipe"]["stages"]
            ):
                lines.append(f"{name}: {before!r} there, {now!r} here")
    for name, told in (
        ("start", "the weights to start from"),
        ("code", "the trainer's code"),
        ("readers", "readers (processes times workers)"),
    ):
        if there.get(name) != here.get(name):
            lines.append(f"{told}: {there.get(name)} there, {here.get(name)} here")
    return lines


def check(what: str, there: dict | None, here: dict, way: str, other_code: bool = False) -> list[str]:
    """Refuses `there` unless it is `here`; `other_code` lets another version of the code pass and tells it."""
    if not isinstance(there, dict) or "recipe" not in there:
        raise ProvenanceError(f"{what}: it does not say which recipe, data, start and code made it; {way}")
    found = differences(there, here)
    passed = [line for line in found if other_code and line.startswith("the trainer's code")]
    left = [line for line in found if line not in passed]
    if left:
        more = f" and {len(left) - 12} more" if len(left) > 12 else ""
        raise ProvenanceError(f"{what}: made by another run: {'; '.join(left[:12])}{more}; {way}")
    return passed
