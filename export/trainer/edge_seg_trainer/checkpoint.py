"""Checkpoints: written whole or not at all, enough to go on exactly."""

from __future__ import annotations

import fcntl
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch


LOCK = ".lock"  # in a run's folder


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or written."""


def save(path: Path, state: dict) -> None:
    """Writes beside, syncs, renames; what stood there stays where that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with fresh.open("wb") as handle:
            torch.save(state, handle)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(fresh, path)
    except (OSError, RuntimeError) as error:  # PyTorch's writer makes its own of a full disk's
        kept = f"; {path} is still the one before" if path.is_file() else ""
        raise CheckpointError(f"{path}: cannot be written: {error}{kept}; make room, and the same command goes on there") from error
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    fresh.write_text(text)
    os.replace(fresh, path)


@contextmanager
def alone(work: Path) -> Iterator[None]:
    """Holds a run's folder for this process, which ends with it however it ends; what killed ones left half-written goes."""
    work.mkdir(parents=True, exist_ok=True)
    place = work / LOCK
    with place.open("a+") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            held.seek(0)
            raise CheckpointError(
                f"{work}: {held.read().strip() or 'another process'} trains there; wait for it, or take another `name`"
            ) from error
        except OSError:  # a file system without locks
            pass
        with suppress(OSError):
            held.truncate(0)
            held.write(f"process {os.getpid()}")
            held.flush()
        for folder in (work, work / "checkpoints"):
            for path in folder.glob(".*.new") if folder.is_dir() else ():
                path.unlink()
        yield


def load(path: Path) -> dict | None:
    """The state, or nothing where there is none; tensors and plain containers only."""
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path}: expected a checkpoint of this trainer, found a file that PyTorch cannot read; {_way(path)}"
        ) from error
    if not isinstance(state, dict) or "stage" not in state:
        raise CheckpointError(f"{path}: expected a checkpoint of this trainer, found other content; {_way(path)}")
    return state


def _way(path: Path) -> str:
    return f"take an earlier one of {path.parent / 'checkpoints'} by --resume, or start anew by --fresh"


class Checkpoints:
    """A run's checkpoints: `checkpoint.pt` is the last, `checkpoints/` holds earlier ones by stage and step, and each stage's best."""

    def __init__(self, work: Path, keep: int):
        self.last, self.folder, self.keep = work / "checkpoint.pt", work / "checkpoints", keep

    def save(self, state: dict, stage: str, step: int | None = None) -> None:
        """The last; a second name for it stays when the next one takes its place."""
        save(self.last, state)
        if self.keep:
            self.folder.mkdir(parents=True, exist_ok=True)
            kept = self.folder / (f"{stage}-{step:07d}.pt" if step is not None else f"{stage}-end.pt")
            kept.unlink(missing_ok=True)
            try:
                os.link(self.last, kept)
            except OSError:  # a file system without links
                save(kept, state)
            steps = sorted(path for path in self.folder.glob(f"{_plain(stage)}-*.pt") if path.stem.removeprefix(f"{stage}-").isdigit())
            for path in steps[: -self.keep]:
                path.unlink()

    def save_best(self, state: dict, stage: str) -> None:
        save(self.folder / f"{stage}-best.pt", state)

    def clear(self) -> None:
        """Forgets every checkpoint."""
        self.last.unlink(missing_ok=True)
        for path in self.folder.glob("*.pt") if self.folder.is_dir() else ():
            path.unlink()


def _plain(name: str) -> str:
    """A name whose brackets and stars a glob takes as they are."""
    return "".join(f"[{letter}]" if letter in "[]*?" else letter for letter in name)
