"""What a run tells: metrics as JSON lines, TensorBoard where asked for, a bar on a terminal and plain lines elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from . import parallel
from .data import DataError


class Diary:
    """Rank 0 writes; the others are silent."""

    def __init__(self, work: Path, tensorboard: bool, say: Callable[[str], None]):
        self.metrics = work / "metrics.jsonl"
        self._speaks = parallel.rank() == 0
        self._say = say
        self._board = None
        if tensorboard and self._speaks:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise DataError(f"tensorboard = true needs the Python package tensorboard, which is not there ({error})") from error
            self._board = SummaryWriter(str(work / "tensorboard"))

    def say(self, text: str) -> None:
        if self._speaks:
            self._say(text)

    def log(self, entry: dict) -> None:
        if not self._speaks:
            return
        self.metrics.parent.mkdir(parents=True, exist_ok=True)
        with self.metrics.open("a") as handle:
            handle.write(json.dumps(entry) + "\n")
        if self._board and "step" in entry:
            for name, value in entry.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{entry['stage']}/{name}", value, entry["step"])
            self._board.flush()

    def picture(self, name: str, step: int, pixels) -> None:
        """[height, width, 3] u8 to TensorBoard."""
        if self._board:
            self._board.add_image(name, pixels, step, dataformats="HWC")


class Progress:
    """One stage's steps: a bar that moves on a terminal, a line every `every` steps where there is none."""

    def __init__(self, diary: Diary, name: str, steps: int, first: int, every: int):
        self.diary, self.name, self.steps, self.every = diary, name, steps, every
        self._bar = None
        if parallel.rank() == 0 and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=steps, initial=first, desc=name, unit="step", dynamic_ncols=True, leave=True)

    def step(self, step: int, shown: str, due: bool) -> None:
        if self._bar:
            self._bar.update()
            self._bar.set_postfix_str(shown)
        elif due:
            self.diary.say(f"{self.name} {step + 1}/{self.steps} {shown}")

    def close(self) -> None:
        if self._bar:
            self._bar.close()
