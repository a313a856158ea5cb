"""What a run tells: metrics as JSON lines, TensorBoard where asked for, a bar on a terminal and plain lines elsewhere."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import torch

from . import parallel
from .data import DataError


class MetricsLog:
    """Rank 0 writes; the others are silent."""

    def __init__(self, work: Path, tensorboard: bool, say: Callable[[str], None], project: str = "", settings: dict | None = None):
        self.metrics = work / "metrics.jsonl"
        self._speaks = parallel.rank() == 0
        self._whole = False  # whether the file is known to end with a whole line
        self._say = say
        self._board = None
        if tensorboard and self._speaks:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise DataError(f"tensorboard = true needs the Python package tensorboard, which is not there ({error})") from error
            self._board = SummaryWriter(str(work / "tensorboard"))
        self._wandb = None
        self._begin_wandb = _wandb(work, project, settings or {}) if project and self._speaks else None

    def say(self, text: str) -> None:
        if self._speaks:
            self._say(text)

    def log(self, entry: dict) -> None:
        if not self._speaks:
            return
        self.metrics.parent.mkdir(parents=True, exist_ok=True)
        self._whole = self._whole or without_torn_line(self.metrics)
        try:
            with self.metrics.open("a") as handle:
                handle.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.metrics)) from error
        if self._board and "step" in entry:
            for name, value in entry.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{entry['stage']}/{name}", value, entry["step"])
            self._board.flush()
        if self._begin_wandb and (numbers := flat(entry)):
            # A run of its begins with the first figures: not every run here comes to some.
            self._wandb = self._wandb or self._begin_wandb()
            self._wandb.log(numbers)

    def finish(self) -> None:
        """Sends what is left."""
        if self._wandb:
            self._wandb.finish()
            self._wandb = None

    def picture(self, name: str, step: int, pixels) -> None:
        """[height, width, 3] u8 to TensorBoard."""
        if self._board:
            self._board.add_image(name, pixels, step, dataformats="HWC")


def without_torn_line(path: Path) -> bool:
    """Cuts off the line that a killed run left unfinished."""
    if path.is_file():
        with path.open("rb+") as handle:
            content = handle.read()
            handle.truncate(content.rfind(b"\n") + 1)
    return True


def _wandb(work: Path, project: str, settings: dict) -> Callable:
    """What begins a run there, once it is known that it can."""
    try:
        import wandb
    except ImportError as error:
        raise DataError(
            f"wandb = {project!r} needs the Python package wandb in the trainer's environment, which is not there ({error})"
        ) from error
    return lambda: wandb.init(project=project, name=work.name, dir=str(work), config=settings)


def flat(entry: dict) -> dict[str, float]:
    """The numbers of an entry under `STAGE/NAME`, those of its tables under `STAGE/TABLE/NAME`."""
    found: dict[str, float] = {}
    stage = entry.get("stage", "run")
    for name, value in entry.items():
        if isinstance(value, dict):
            found |= flat({"stage": f"{stage}/{name}", **value})
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[f"{stage}/{name}"] = value
    return found


class Pace:
    """How fast steps go, how long the rest takes, what memory they take. A context manager around each step."""

    def __init__(self, pictures: int, steps: int, device: torch.device):
        self.pictures, self.steps, self.device = pictures, steps, device
        self.seconds, self.done = 0.0, 0
        self._recent: deque[float] = deque(maxlen=50)

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_) -> None:
        passed = time.monotonic() - self._began
        self.seconds, self.done = self.seconds + passed, self.done + 1
        self._recent.append(passed)

    def steady(self) -> float:
        """Mean seconds of the recent steps; the very first, which prepares much, does not count where there are others."""
        recent = list(self._recent)[1 if self.done > 1 and self.done == len(self._recent) else 0 :]
        return sum(recent) / max(1, len(recent))

    def figures(self, steps_done: int) -> dict[str, float]:
        """For the metrics: the last 50 steps' pace, seconds left of the stage, the peak of memory."""
        each = sum(self._recent) / len(self._recent)
        return {
            "step_s": each,
            "images_per_s": self.pictures / max(each, 1e-9),
            "left_s": each * (self.steps - steps_done),
            "memory_mb": memory_mb(self.device),
        }

    def told(self, steps_done: int) -> str:
        found = self.figures(steps_done)
        return f"{found['images_per_s']:.1f} images/s, {found['step_s']:.2f} s/step, {duration(found['left_s'])} left, {found['memory_mb']:.0f} MB"


def memory_mb(device: torch.device) -> float:
    """The peak so far: of the GPU where there is one, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`, `2 d 5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


class Progress:
    """One stage's steps: a bar that moves on a terminal, a line every `every` steps where there is none."""

    def __init__(self, metrics_log: MetricsLog, name: str, steps: int, first: int, every: int):
        self.metrics_log, self.name, self.steps, self.every = metrics_log, name, steps, every
        self._bar = None
        if parallel.rank() == 0 and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=steps, initial=first, desc=name, unit="step", dynamic_ncols=True, leave=True)

    def step(self, step: int, shown: str, due: bool) -> None:
        if self._bar:
            self._bar.update()
            self._bar.set_postfix_str(shown)
        elif due:
            self.metrics_log.say(f"{self.name} {step + 1}/{self.steps} {shown}")

    def close(self) -> None:
        if self._bar:
            self._bar.close()
