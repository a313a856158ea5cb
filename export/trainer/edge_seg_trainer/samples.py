"""Captioned photos as people have them: what is broken is passed over and counted by its reason, and never ends a run."""

from __future__ import annotations

import io
import json
import os
import warnings
from collections import Counter
from pathlib import Path
from unicodedata import normalize

from PIL import Image, ImageOps

PICTURES = (".jpg", ".jpeg", ".png", ".webp")
# What one member of a shard, or one file beside a picture, may hold.
MOST_PICTURE_BYTES = 1 << 26
MOST_TEXT_BYTES = 1 << 20


class Unusable(ValueError):
    """A sample that cannot be used; the message is the reason that is counted."""


class Skipped(Counter):
    """Samples that were passed over, by reason."""

    def told(self) -> str:
        """`3: 2 empty caption, 1 ...`, the most frequent first; empty where none was."""
        parts = [f"{count} {reason}" for reason, count in self.most_common()]
        return f"{self.total()}: {', '.join(parts)}" if parts else ""


def is_companion(name: str) -> bool:
    """What macOS and Windows lay beside files, on foreign disks and in archives too."""
    parts = name.split("/")
    return parts[-1].startswith("._") or parts[-1] in (".DS_Store", "Thumbs.db", "desktop.ini") or "__MACOSX" in parts


def files_below(place: Path) -> list[Path]:
    """Every file below a folder, in one order, also of folders that are links; without what systems lay beside."""
    found, seen = [], set()
    for folder, inner, names in os.walk(place, followlinks=True):
        inner.sort()
        known = os.stat(folder)
        if (known.st_dev, known.st_ino) in seen:  # a link to a folder above
            inner.clear()
            continue
        seen.add((known.st_dev, known.st_ino))
        found += [Path(folder, name) for name in names]
    return sorted(path for path in found if not is_companion(path.relative_to(place).as_posix()))


def spellings(file: str) -> dict[str, None]:
    """A file's name as a table tells it, and as another system may have stored it: composed and decomposed letters, its own slashes."""
    plain = [file, file.replace("\\", "/")]
    return dict.fromkeys([*plain, *(normalize(form, name) for name in plain for form in ("NFC", "NFD"))])


def picture(source: bytes | Path, side: int = 0) -> Image.Image:
    """The picture upright as RGB; Unusable where it cannot be read. With `side` a JPEG may be decoded smaller, not below that."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as stored:
                if side:
                    stored.draft("RGB", (side, side))
                ImageOps.exif_transpose(stored, in_place=True)
                stored.load()
                return stored if stored.mode == "RGB" else stored.convert("RGB")
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise Unusable("picture too large") from error
    except FileNotFoundError as error:
        raise Unusable("picture missing") from error
    except Exception as error:  # decoders raise whatever their input makes them
        raise Unusable(f"picture unreadable ({type(error).__name__})") from error


def text_caption(content: bytes) -> str:
    """The caption of a text file."""
    try:
        return _filled(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Unusable("caption is not UTF-8") from error


def json_captions(content: bytes) -> tuple[str, ...]:
    """The caption, or captions, of img2dataset's JSON: the field `caption`, a text or a list of texts."""
    try:
        given = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"JSON unreadable ({type(error).__name__})") from error
    return captions_of(given.get("caption") if isinstance(given, dict) else None)


def captions_of(given) -> tuple[str, ...]:
    """One text, or a list of them; those of a list that cannot be used are left out."""
    if given is None:
        raise Unusable("without caption")
    if isinstance(given, str):
        return (_filled(given),)
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise Unusable("caption is no text")
    found, reason = [], Unusable("empty caption")
    for one in given:
        try:
            found.append(_filled(one))
        except Unusable as error:
            reason = error
    if not found:
        raise reason
    return tuple(found)


def _filled(text: str) -> str:
    text = text.strip()
    if not text:
        raise Unusable("empty caption")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can hold half of a letter, as `\ud83d` of an emoji that was cut
        raise Unusable("caption is not Unicode") from error
    return text
