"""Who makes the events happen, and when each was there to be delivered: times of time.perf_counter(), in s.

burst: one by one, as fast as they go; batch: all at once; pace: at a fixed rate. Each answers [the time before the
first, the times of the events]; of a batch, the time before its commit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from .event import FIRST

Times = tuple[float, list[float]]
Emit = Callable[[Sequence[int]], Awaitable[None]]
"""Send these versions to everybody, all at once."""


class Emitter:
    """The floor's and the peers': nothing is stored. `emit` runs on the server's loop, or is called where there is
    none (loop=None)."""

    def __init__(self, emit: Emit, loop: asyncio.AbstractEventLoop | None) -> None:
        self.emit, self.loop, self.version = emit, loop, FIRST

    def run(self, work: Coroutine[Any, Any, Times]) -> Times:
        return asyncio.run(work) if self.loop is None else asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def next(self, count: int) -> range:
        first, self.version = self.version + 1, self.version + count
        return range(first, self.version + 1)

    def burst(self, count: int) -> Times:
        return self.run(self.one_by_one(count, 0))

    def pace(self, count: int, hz: float) -> Times:
        return self.run(self.one_by_one(count, 1 / hz))

    def batch(self, count: int) -> Times:
        return self.run(self.at_once(count))

    async def one_by_one(self, count: int, gap: float) -> Times:
        began, times = time.perf_counter(), list[float]()
        for n, version in enumerate(self.next(count)):
            await asyncio.sleep(max(0.0, began + n * gap - time.perf_counter()))
            times.append(time.perf_counter())
            await self.emit((version,))
        return began, times

    async def at_once(self, count: int) -> Times:
        began = time.perf_counter()
        await self.emit(self.next(count))
        return began, [began] * count
