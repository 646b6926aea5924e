"""SIGINT and SIGTERM as something to look at, for verbs that go on until they are told to end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

LOOK = 0.1
"""How often (s) to look. No Event: a handler that runs inside of `wait` would meet its lock held by its own thread."""


@dataclass
class Ending:
    """How often the process was asked to end."""

    asked: int = 0

    def __call__(self, *_: Any) -> None:
        self.asked += 1


@contextmanager
def ending() -> Iterator[Ending]:
    """Count the signals that would end this process, while the block runs (elsewhere than the main thread: none)."""
    asked = Ending()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {one: signal.signal(one, asked) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
