"""Calls through p.aio do what the pipeline's do, and the loop goes on while they wait."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest
from spoken import SAID, Open

from mina_pipeline import IllegalTransition, MinaError, Pipeline, RecordedEvent, StageContext, TaskNotFound
from mina_pipeline.crew import WorkerThreads
from mina_pipeline.stages.offline import OfflineProvider

pytestmark = pytest.mark.anyio


async def test_a_meeting_from_end_to_end(pipeline: Pipeline) -> None:
    """On every store: commands, work, reads and what operators do, all awaited; errors are the pipeline's own."""
    aio = pipeline.aio
    session_id = (await aio.start_session("Figures", tenant="t")).session_id
    await aio.record(session_id, SAID, actor="maya")
    assert (await aio.finalize(session_id)).stats is not None
    assert await aio.run_until_idle() == 4
    tasks = (await aio.result(session_id)).tasks
    assert tasks is not None
    task_id = next(iter(tasks)).task_id
    assert task_id is not None
    version = (await aio.change_task(session_id, task_id, {"completed": True})).version
    assert [event.version for event in await aio.events(session_id)] == list(range(1, version + 1))
    assert [one.session_id for one in await aio.sessions(tenant="t")] == [session_id]
    with pytest.raises(IllegalTransition):
        await aio.cancel(session_id)
    with pytest.raises(TaskNotFound):
        await aio.change_task(session_id, "no task", {"completed": True})
    assert await aio.verify(session_id) == []
    assert await aio.rebuild(session_id) == 0
    assert (await aio.replay(session_id))[-1].after == "revealed"
    assert (await aio.health()).overdue == 0
    again = await aio.fork(session_id, "tasks")
    assert (await aio.diff(session_id, again.session_id)).lines == len(SAID)


async def test_watched_and_heard_from_a_loop(pipeline: Pipeline) -> None:
    """A watch's wake and a subscription's callback come from threads of ours; what they hand over, the loop takes."""
    send, receive = anyio.create_memory_object_stream[RecordedEvent](100)
    with send, receive:
        token = anyio.lowlevel.current_token()

        def heard(event: RecordedEvent) -> None:
            anyio.from_thread.run_sync(send.send_nowait, event, token=token)

        subscription = await pipeline.aio.subscribe(heard)
        session_id = (await pipeline.aio.start_session()).session_id
        with await pipeline.aio.watch(session_id, 0) as watch:
            with anyio.fail_after(30):
                assert (await receive.receive()).session_id == session_id
            frames = watch.ready()
            frames = await pipeline.aio.run(watch.read) if frames is None else frames
            assert [(frame.version, frame.name) for frame in frames] == [(1, "session_started")]
        await pipeline.aio.run(subscription.close)


async def test_the_loop_turns_while_a_call_waits(opened: Open) -> None:
    """A stage that hangs until the loop lets it go on is let go on."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow(OfflineProvider):
        def analyze(self, ctx: StageContext) -> Any:
            begun.set()
            assert go_on.wait(30)
            return super().analyze(ctx)

    pipeline = opened(provider=Slow())
    session_id = (await pipeline.aio.start_session()).session_id
    await pipeline.aio.record(session_id, SAID)
    await pipeline.aio.finalize(session_id)
    async with anyio.create_task_group() as group:
        group.start_soon(pipeline.aio.run_until_idle)
        with anyio.fail_after(30):
            while not begun.is_set():
                await anyio.sleep(0.001)
        assert (await pipeline.aio.get(session_id)).state == "analyzing"
        go_on.set()
    assert (await pipeline.aio.get(session_id)).state == "revealed"


async def test_workers_for_a_block(pipeline: Pipeline) -> None:
    """`async with` starts worker threads and ends them, also when the block is cancelled."""
    session_ids = [(await pipeline.aio.start_session()).session_id for _ in range(4)]
    kept: list[WorkerThreads] = []
    with anyio.CancelScope() as scope:
        async with pipeline.aio.workers(2) as threads:
            kept.append(threads)
            for session_id in session_ids:
                await pipeline.aio.finalize(session_id)
            with anyio.fail_after(30):
                while {(await pipeline.aio.get(one)).state for one in session_ids} != {"revealed"}:
                    await anyio.sleep(0.01)
            scope.cancel()
            await anyio.sleep_forever()
    (ended,) = kept
    assert ended.stop.is_set()
    assert not any(thread.is_alive() for thread in ended.threads.values())
    with pytest.raises(MinaError):
        async with pipeline.aio.workers(0):
            pass


async def test_the_end_of_workers_does_not_hold_up_the_loop(opened: Open) -> None:
    """What runs has its grace time, and meanwhile the loop can do what it waits for."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow(OfflineProvider):
        def analyze(self, ctx: StageContext) -> Any:
            begun.set()
            assert go_on.wait(30)
            return super().analyze(ctx)

    pipeline = opened(provider=Slow(), settings={"shutdown_grace": 30.0})
    session_id = (await pipeline.aio.start_session()).session_id
    await pipeline.aio.record(session_id, SAID)
    async with anyio.create_task_group() as group:

        async def let_go() -> None:
            while not threads.stop.is_set():
                await anyio.sleep(0.001)
            go_on.set()

        async with pipeline.aio.workers(1) as threads:
            await pipeline.aio.finalize(session_id)
            with anyio.fail_after(30):
                while not begun.is_set():
                    await anyio.sleep(0.001)
            group.start_soon(let_go)
    assert (await pipeline.aio.get(session_id)).stages["analytics"].outcome == "ok"


async def test_its_threads_are_its_own(opened: Open) -> None:
    """A host that has all of its own threads busy holds up nothing here; here as many run as there are connections."""
    pipeline = opened(settings={"pool_size": 3})
    go_on = threading.Event()
    running, most, lock = 0, 0, threading.Lock()

    def busy() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        assert go_on.wait(30)
        with lock:
            running -= 1

    async with anyio.create_task_group() as group:
        hosts = anyio.to_thread.current_default_thread_limiter()
        for _ in range(int(hosts.total_tokens)):
            group.start_soon(anyio.to_thread.run_sync, go_on.wait, 30)
        with anyio.fail_after(30):
            while hosts.available_tokens:
                await anyio.sleep(0.001)
            await pipeline.aio.start_session()  # though none of the host's is free
        for _ in range(10):
            group.start_soon(pipeline.aio.run, busy)
        with anyio.fail_after(30):
            while running < 3:
                await anyio.sleep(0.001)
        await anyio.wait_all_tasks_blocked()
        go_on.set()
    assert most == 3


async def test_a_subclass_is_asked_too(url: str) -> None:
    """What a host's own Pipeline does differently, its aio does."""

    class Ours(Pipeline):
        def touch(self, session_id: str) -> None:
            touched.append((session_id, threading.current_thread() is threading.main_thread()))

    touched: list[tuple[str, bool]] = []
    with Ours.open("memory://") as pipeline:
        await pipeline.aio.touch("x")
    assert touched == [("x", False)]


def test_one_pipeline_on_several_loops(pipeline: Pipeline) -> None:
    """A loop that has ended leaves nothing behind that the next one trips over."""
    for _ in range(3):
        session = anyio.run(pipeline.aio.start_session)
        assert pipeline.get(session.session_id).version == 1
