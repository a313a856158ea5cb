"""Ends a run between two steps, with a checkpoint, where Ctrl-C or a scheduler's SIGTERM asks for it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SAME_SIGNAL_S = 2.0
_asked: list[int] = []


@contextmanager
def asked_by_signals() -> Iterator[None]:
    """The first signal asks; one that comes later does what it does elsewhere. torchrun sends on what its processes have had already."""
    _asked.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first: list[float] = []

    def ask(number: int, _) -> None:
        now = time.monotonic()
        if not first or now - first[0] < SAME_SIGNAL_S:
            first.append(now)
            _asked.append(number)
        else:
            signal.signal(number, before[number])
            signal.raise_signal(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def asked() -> bool:
    return bool(_asked)


def agreed(by: float) -> bool:
    """Whether any rank was asked, as the mean over the ranks tells; all then end after the same step."""
    if by and not _asked:
        _asked.append(0)
    return bool(by)
