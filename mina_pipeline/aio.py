"""`p.aio`: a pipeline's names, awaitable, in worker threads.

The core has one colour; this is the door for hosts that run on an event loop, asyncio's or trio's.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from anyio import CancelScope, CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from .crew import WorkerThreads
from .pipeline import Pipeline

P = ParamSpec("P")
T = TypeVar("T")

UNBOUND: RunVar[CapacityLimiter] = RunVar("mina-unbound")


def awaitable(
    method: Callable[Concatenate[Pipeline, P], T],
) -> Callable[Concatenate[Aio, P], Coroutine[Any, Any, T]]:
    """The pipeline's method of that name, its signature and docstring kept; a subclass's own where it has one."""
    name = method.__name__

    @wraps(method)
    async def call(self: Aio, /, *args: P.args, **kwargs: P.kwargs) -> T:
        bound: Callable[P, T] = getattr(self.pipeline, name)
        return await self.run(bound, *args, **kwargs)

    return call


class Aio:
    """What a Pipeline can do, awaitable: each call runs in a worker thread, at most `settings.pool_size` at a time on
    one loop. They are threads of this door alone: a host that is busy in its own holds up nothing here, nor the other
    way round.

    Cancelled, a call is carried out or not at all: one that has not begun never does, one that has begun ends in its
    thread. A cancel scope of anyio's or trio's waits for that, and only then goes on; asyncio's own `task.cancel()`
    and `wait_for` do not wait, so ask the session what became of it, or send the command again with its command_id.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.places: RunVar[CapacityLimiter] = RunVar("mina-places")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call any function that waits, in a worker thread: `await p.aio.run(watch.read)`."""
        limiter, borrower = here(self.places, self.pipeline.settings.pool_size), object()
        await limiter.acquire_on_behalf_of(borrower)
        job = Job(lambda: function(*args, **kwargs), lambda: limiter.release_on_behalf_of(borrower), running_loop())
        try:
            return await to_thread.run_sync(job.carry_out, limiter=here(UNBOUND, math.inf))
        finally:
            job.leave()

    @asynccontextmanager
    async def workers(self, count: int = 1) -> AsyncIterator[WorkerThreads]:
        """Worker threads until the block ends, which waits for what runs, up to `settings.shutdown_grace` seconds,
        without holding up the loop: `async with p.aio.workers(8): …`"""
        threads = await self.run(self.pipeline.workers, count)
        try:
            yield threads
        finally:
            with CancelScope(shield=True):
                await self.run(threads.close)

    start_session = awaitable(Pipeline.start_session)
    record = awaitable(Pipeline.record)
    finalize = awaitable(Pipeline.finalize)
    cancel = awaitable(Pipeline.cancel)
    retry = awaitable(Pipeline.retry)
    change_task = awaitable(Pipeline.change_task)
    touch = awaitable(Pipeline.touch)

    get = awaitable(Pipeline.get)
    result = awaitable(Pipeline.result)
    sessions = awaitable(Pipeline.sessions)
    events = awaitable(Pipeline.events)
    feed = awaitable(Pipeline.feed)
    feed_stall = awaitable(Pipeline.feed_stall)
    subscribe = awaitable(Pipeline.subscribe)
    watch = awaitable(Pipeline.watch)
    watch_dashboard = awaitable(Pipeline.watch_dashboard)

    run_until_idle = awaitable(Pipeline.run_until_idle)
    replay = awaitable(Pipeline.replay)
    upcoming = awaitable(Pipeline.upcoming)
    verify = awaitable(Pipeline.verify)
    unlisted = awaitable(Pipeline.unlisted)
    rebuild = awaitable(Pipeline.rebuild)
    recover = awaitable(Pipeline.recover)
    health = awaitable(Pipeline.health)
    fork = awaitable(Pipeline.fork)
    run_fork = awaitable(Pipeline.run_fork)
    diff = awaitable(Pipeline.diff)
    replay_with = awaitable(Pipeline.replay_with)
    close = awaitable(Pipeline.close)


class Job(Generic[T]):
    """A call on its way through a worker thread, and the place that it takes there until it has ended.

    Who awaits it may be gone before that; and where it left before the call began, there is none.
    """

    def __init__(self, call: Callable[[], T], free: Callable[[], None], loop: asyncio.AbstractEventLoop | None) -> None:
        self.call = call
        self.free = free
        self.loop = loop
        self.lock = threading.Lock()
        self.begun = self.ended = self.left = False

    def carry_out(self) -> T:
        """In the worker thread."""
        with self.lock:
            if self.left:
                raise RuntimeError("nobody waits for this call any more")  # and so nobody hears of it
            self.begun = True
        try:
            return self.call()
        finally:
            with self.lock:
                self.ended = True
                left = self.left
            if left and self.loop is not None:
                with suppress(RuntimeError):  # the loop has ended: there are no places any more
                    self.loop.call_soon_threadsafe(self.free)  # and no waiting for it: it may be about to end

    def leave(self) -> None:
        """On the loop, when nobody waits any more."""
        with self.lock:
            self.left = True
            over = self.ended or not self.begun
        if over:
            self.free()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """None under trio, where nobody leaves before a thread has ended."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def here(of: RunVar[CapacityLimiter], width: float) -> CapacityLimiter:
    """This loop's own limiter: those of another loop's cannot be waited for here."""
    try:
        return of.get()
    except LookupError:
        limiter = CapacityLimiter(width)
        of.set(limiter)
        return limiter
