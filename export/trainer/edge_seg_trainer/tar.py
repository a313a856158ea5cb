"""Reads tar archives front to back: plain ones by their 512-byte headers, in a fifth of tarfile's time; packed or unusual ones by tarfile."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from .samples import MOST_TEXT_BYTES

BLOCK = 512


class _Header(tarfile.TarInfo):
    """A header whose extension fields are small: they are read whole, whatever they claim. An archive ends with a header of zeros, or is cut off."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        if len(buf) < BLOCK:
            raise tarfile.ReadError("the archive has no end")
        return super().frombuf(buf, encoding, errors)

    def _proc_member(self, archive):
        extended = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
        if self.type in extended and self.size > MOST_TEXT_BYTES:
            raise tarfile.ReadError(f"a header field of {self.size} bytes")
        return super()._proc_member(archive)


class _Finite:
    """Ends who reads on behind the end: tarfile passes over what a header claims block by block, whether it is there or not."""

    MOST_EMPTY = 16  # a decompressor asks more than once

    def __init__(self, handle: BinaryIO):
        self.handle, self.empty = handle, 0

    def read(self, size: int) -> bytes:
        content = self.handle.read(size)
        self.empty = 0 if content else self.empty + 1
        if self.empty > self.MOST_EMPTY:
            raise tarfile.ReadError("the archive is cut off")
        return content


def members(path: Path, most: Callable[[str], int]) -> Iterator[tuple[str, bytes | None]]:
    """Name and content of each plain file; no content where it has more bytes than `most` allows of that name, which leaves it out below 0."""
    with path.open("rb") as handle:
        yield from _plain(handle, most)


def _by_tarfile(handle: BinaryIO, most: Callable[[str], int]) -> Iterator[tuple[str, bytes | None]]:
    with tarfile.open(fileobj=_Finite(handle), mode="r|*", tarinfo=_Header) as archive:
        for member in archive:
            archive.members = []  # or each header of a long shard would stay
            limit = most(member.name)
            if member.isfile() and limit >= 0:
                yield member.name, archive.extractfile(member).read() if member.size <= limit else None


def _plain(handle: BinaryIO, most: Callable[[str], int]) -> Iterator[tuple[str, bytes | None]]:
    begun, told = 0, {}  # where the member's headers begin; what extensions say of it
    while head := handle.read(BLOCK):
        if head.count(0) == BLOCK:
            return
        kind = head[156:157]
        if len(head) < BLOCK or not _checked(head) or kind not in b"\0000xL":
            handle.seek(begun)
            yield from _by_tarfile(handle, most)
            return
        size = int(told.get("size", 0)) or _number(head[124:136])
        if size < 0:
            raise tarfile.ReadError("a size below 0")
        if kind in b"xL":
            if size > MOST_TEXT_BYTES:
                raise tarfile.ReadError(f"a header field of {size} bytes")
            content = _exactly(handle, size)
            told |= _records(content) if kind == b"x" else {"path": content.partition(b"\0")[0].decode("utf-8", "surrogateescape")}
            handle.seek(-size % BLOCK, 1)
            if any(name.startswith("GNU.sparse") for name in told):
                handle.seek(begun)
                yield from _by_tarfile(handle, most)
                return
            continue
        name, limit = told.get("path") or _name(head), -1
        if not name.endswith("/"):
            limit = most(name)
        if size <= limit:
            yield name, _exactly(handle, size)
            handle.seek(-size % BLOCK, 1)
        else:
            if limit >= 0:
                yield name, None
            handle.seek(max(0, size - 1), 1)
            _exactly(handle, min(size, 1))
            handle.seek(-size % BLOCK, 1)
        begun, told = handle.tell(), {}
    raise tarfile.ReadError("the archive has no end")  # which every writer puts there: it was cut off between two files


def _checked(head: bytes) -> bool:
    """Whether the header's sum is right, the field of the sum counted as blanks."""
    try:
        return _number(head[148:156]) == sum(head) - sum(head[148:156]) + 8 * 32
    except ValueError:
        return False


def _number(given: bytes) -> int:
    """Octal digits, or in GNU's form bytes after 0x80."""
    if given[0] == 0x80:
        return int.from_bytes(given[1:], "big")
    return int(given.partition(b"\0")[0].strip() or b"0", 8)


def _name(head: bytes) -> str:
    name = head[:100].partition(b"\0")[0]
    if head[257:263] == b"ustar\0" and head[345]:
        name = head[345:500].partition(b"\0")[0] + b"/" + name
    return name.decode("utf-8", "surrogateescape")


def _exactly(handle: BinaryIO, size: int) -> bytes:
    content = handle.read(size)
    if len(content) < size:
        raise tarfile.ReadError("the archive is cut off")
    return content


def _records(content: bytes) -> dict[str, str]:
    """Fields of a POSIX extended header: `LENGTH NAME=VALUE` and a line end, one after the other."""
    found, at = {}, 0
    while at < len(content) and content[at]:
        digits, _, _ = content[at : at + 20].partition(b" ")
        length = int(digits)
        name, equals, value = content[at + len(digits) + 1 : at + length - 1].partition(b"=")
        if length <= len(digits) or not equals:
            raise tarfile.ReadError("a damaged extended header")
        found[name.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
        at += length
    return found
