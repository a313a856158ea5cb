"""Photos by their licences: what a model for others may be trained on."""

from __future__ import annotations

from pathlib import Path

from .data import DataError, table


def licensed(folder: Path, photos: list, licences: frozenset[str]) -> list:
    """Those of `photos`, each with a `path`, to which the folder's `images.tsv` gives one of the licences; all where none is named."""
    if not licences:
        return photos
    rows = table(folder / "images.tsv", ("file", "licence"))
    good = {row["file"] for row in rows if row["licence"] in licences}
    kept = [photo for photo in photos if photo.path.name in good]
    if not kept:
        raise DataError(
            f"{folder / 'images.tsv'}: expected a photo under one of {', '.join(sorted(licences))}; found {len(photos)} photos under "
            f"{', '.join(sorted({row['licence'] for row in rows})) or 'none'}"
        )
    return kept


def licensed_names(folder: Path, names: frozenset[str], licences: frozenset[str]) -> frozenset[str]:
    """The same of file names, of which the folder may hold a part."""
    if not licences:
        return names
    return frozenset(row["file"] for row in table(folder / "images.tsv", ("file", "licence")) if row["licence"] in licences) & names
