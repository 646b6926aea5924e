"""A thread that serves what is marked for it, and ends when there is nothing to do."""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from mina_pipeline.log import logger

T = TypeVar("T")

IDLE = 1.0  # s without anything to do after which the thread ends; the next mark starts one
AGAIN = 0.5  # s until what failed is tried again


class Duty(Generic[T]):
    """`serve(item)` says in how many seconds the item wants to be served again; None: when it is marked.

    What is marked twice is served once, and each has one time at which it is due. over: whether the pipeline is
    closed, and nothing is left to be done.
    """

    def __init__(self, name: str, serve: Callable[[T], float | None], over: Callable[[], bool]) -> None:
        self.name = name
        self.serve = serve
        self.over = over
        self.due: dict[T, None] = {}
        self.times: dict[T, float] = {}  # when those are due that are not due yet,
        self.later: list[tuple[float, int, T]] = []  # and a heap of it: when, and of several the first first
        self.count = itertools.count()
        self.changed = threading.Condition()
        self.thread: threading.Thread | None = None

    def mark(self, *items: T) -> None:
        """To be served now; from any thread, waiting for nothing."""
        with self.changed:
            self.due.update(dict.fromkeys(items))
            self.run()

    def within(self, item: T, wait: float) -> None:
        """To be served in so many seconds, unless it is due before that; likewise."""
        with self.changed:
            if item not in self.due:
                self.put(item, wait)
            self.run()

    def put(self, item: T, wait: float) -> None:
        """Make it due in so many seconds, or sooner; under the lock."""
        when = time.monotonic() + wait
        if wait <= 0:
            self.due[item] = None
        elif when < self.times.get(item, math.inf):
            self.times[item] = when
            heapq.heappush(self.later, (when, next(self.count), item))

    def run(self) -> None:
        """Wake the thread, or start it; under the lock."""
        self.changed.notify()
        if self.thread is None and (self.due or self.later):
            thread = threading.Thread(target=self.loop, name=self.name, daemon=True)
            thread.start()  # where none can be had it raises, and the next mark tries again
            self.thread = thread

    def next(self) -> T | None:
        """The next item, when its time has come; None: there is nothing to do, and this thread is not the duty's any
        more."""
        idle = time.monotonic() + IDLE
        with self.changed:
            while True:
                now = time.monotonic()
                while self.later and self.later[0][0] <= now:
                    when, _, item = heapq.heappop(self.later)
                    if self.times.get(item) == when:  # else it was served meanwhile, or is due at another time
                        self.due[item] = None
                if self.due:
                    item = next(iter(self.due))
                    del self.due[item]
                    self.times.pop(item, None)
                    return item
                if (now >= idle and not self.later) or self.over():
                    self.later.clear()
                    self.times.clear()
                    self.thread = None
                    return None
                self.changed.wait(min(IDLE, self.later[0][0] - now if self.later else IDLE))

    def loop(self) -> None:
        while (item := self.next()) is not None:
            try:
                wait = self.serve(item)
            except Exception as error:
                logger(__name__).error("serving sockets failed", of=self.name, error_type=type(error).__name__)
                wait = AGAIN
            if wait is not None and not self.over():
                with self.changed:
                    self.put(item, wait)
