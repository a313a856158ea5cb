"""Hands a stage's parts to the loop, read ahead by worker processes."""

from __future__ import annotations

import time
from collections.abc import Iterator

from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from . import parallel
from .data import DataError
from .stages import Part, Stage


class Parts(IterableDataset):
    """The parts of a stage's steps for this rank, from a step on; workers take turns."""

    def __init__(self, stage: Stage, first: int, places: dict[int, list[int]]):
        self.stage, self.first, self.places = stage, first, places
        self.micros = stage.stage.accumulate

    def __iter__(self) -> Iterator[dict | DataError]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        rank, world = parallel.rank(), parallel.world()
        done = self.first * self.micros
        # A resumed run must read each stream where the unbroken one would have been, whichever worker now reads it.
        stream = (done + number) % workers
        reader = rank * workers + stream
        self.stage.open(reader, world * workers, self.places.get(reader, []))
        for index in range(done + number, self.stage.stage.steps * self.micros, workers):
            try:
                part = self.stage.load(Part(index // self.micros, index % self.micros, self.micros, rank, world))
            except DataError as error:
                yield error  # raised in a worker it would come out as a traceback
                return
            yield part


def _same(part: dict | DataError) -> dict | DataError:
    return part


class Loader:
    """Iterates over the parts and counts the seconds that the loop waits for them."""

    def __init__(self, stage: Stage, first: int, workers: int, places: dict[int, list[int]] | None = None):
        cuda = stage.model.device.type == "cuda"
        self.waited = 0.0
        self.places = dict(places or {})  # how far each stream was read for what the loop has been given
        self._parts = iter(
            DataLoader(
                Parts(stage, first, self.places), batch_size=None, collate_fn=_same, num_workers=workers, pin_memory=cuda, prefetch_factor=4 if workers else None,
                # Workers that have a model's threads or its GPU behind them must not use either; `load` touches neither.
                multiprocessing_context="fork" if workers else None,
            )
        )  # fmt: skip

    def next(self) -> dict:
        began = time.monotonic()
        part = next(self._parts)
        self.waited += time.monotonic() - began
        if isinstance(part, DataError):
            raise part
        if "place" in part:
            self.places[part["reader"]] = part["place"]
        return part
