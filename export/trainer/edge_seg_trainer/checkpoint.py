"""Checkpoints: written whole or not at all, enough to go on exactly."""

from __future__ import annotations

import os
from pathlib import Path

import torch


def save(path: Path, state: dict) -> None:
    """Writes beside, syncs, renames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    with fresh.open("wb") as handle:
        torch.save(state, handle)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(fresh, path)


def load(path: Path) -> dict | None:
    """The state, or nothing where there is none; tensors and plain containers only."""
    return torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else None
