"""Cancelled, a call is carried out or not at all, and its thread's place is free again only when that has ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import anyio
import pytest
from spoken import SAID, Open, types

from mina_pipeline import Pipeline

anyio_only = pytest.mark.anyio


class Gate:
    """A function that waits in its thread until it may go on; how often it began, and how often it ended."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.then = then
        self.begun = threading.Semaphore(0)
        self.may = threading.Event()
        self.ended = 0

    def __call__(self) -> None:
        self.begun.release()
        assert self.may.wait(30)
        self.then()
        self.ended += 1


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while not holds():
            await anyio.sleep(0.001)


@anyio_only
async def test_a_scope_waits_for_what_has_begun(pipeline: Pipeline) -> None:
    """A cancel scope ends only when the call has: afterwards it is known to be carried out."""
    session_id = (await pipeline.aio.start_session()).session_id
    gate = Gate(lambda: pipeline.finalize(session_id))
    async with anyio.create_task_group() as group:
        group.start_soon(pipeline.aio.run, gate)
        await until(lambda: gate.begun.acquire(blocking=False))
        group.cancel_scope.cancel()
        gate.may.set()
    assert gate.ended == 1
    assert (await pipeline.aio.get(session_id)).state == "finalized"


@anyio_only
async def test_what_has_not_begun_never_does(opened: Open) -> None:
    """A call that waits for a thread is not carried out when it is cancelled."""
    pipeline, gate, late = opened(settings={"pool_size": 1}), Gate(), list[str]()
    async with anyio.create_task_group() as group:
        group.start_soon(pipeline.aio.run, gate)
        await until(lambda: gate.begun.acquire(blocking=False))
        with anyio.move_on_after(0.01):
            await pipeline.aio.run(late.append, "was carried out")
        gate.may.set()
    await pipeline.aio.run(late.append, "the next one")
    assert late == ["the next one"]


def test_a_task_that_is_cancelled_leaves_at_once(opened: Open) -> None:
    """asyncio's own cancel does not wait: the call ends in its thread, whole, and only then is its place free."""

    async def main() -> None:
        gate = Gate(lambda: pipeline.record(session_id, SAID))
        task = asyncio.ensure_future(pipeline.aio.run(gate))
        await until(lambda: gate.begun.acquire(blocking=False))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert gate.ended == 0
        other = asyncio.ensure_future(pipeline.aio.get(session_id))
        await anyio.wait_all_tasks_blocked()
        assert not other.done()  # the one thread is still at it
        gate.may.set()
        assert (await other).total_segments == len(SAID)
        assert gate.ended == 1

    pipeline = opened(settings={"pool_size": 1})
    session_id = pipeline.start_session().session_id
    asyncio.run(main())
    assert types(pipeline, session_id) == ["session_started", "segments_recorded"]


def test_many_cancelled_commands_are_carried_out_or_not(opened: Open) -> None:
    """Cancelled at any moment: each is in the log once or not at all, the log is whole, and all places are free."""

    async def main() -> None:
        for n in range(60):
            task = asyncio.ensure_future(pipeline.aio.record(session_id, SAID, command_id=f"c{n}"))
            for _ in range(n % 12):
                await asyncio.sleep(0)
            if n % 3:
                await asyncio.sleep(n % 7 * 0.0002)
            task.cancel()
            await asyncio.wait([task])
        with anyio.fail_after(30):
            for _ in range(5):  # more than there are places
                await pipeline.aio.get(session_id)

    pipeline = opened(settings={"pool_size": 2})
    session_id = pipeline.start_session().session_id
    asyncio.run(main())
    ids = [event.command_id for event in pipeline.events(session_id)]
    assert len(ids) == len(set(ids))
    assert pipeline.get(session_id).total_segments == (len(ids) - 1) * len(SAID)
    assert pipeline.verify(session_id) == []


def test_a_loop_that_ends_waits_for_no_call(opened: Open) -> None:
    """A call that outlives its loop ends by itself, and is carried out."""
    gate = Gate()

    async def main() -> None:
        task = asyncio.ensure_future(pipeline.aio.run(gate))
        await until(lambda: gate.begun.acquire(blocking=False))
        task.cancel()

    pipeline = opened()
    before = set(threading.enumerate())
    asyncio.run(main())
    threads = [thread for thread in threading.enumerate() if thread not in before]
    gate.may.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert gate.ended == 1
