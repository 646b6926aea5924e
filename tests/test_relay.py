"""The relay: nothing is lost where a read fails, and waiting for it ends although others go on writing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from mina_pipeline import Pipeline, RecordedEvent, Segment, Settings, StoreUnreachable
from mina_pipeline.opening import find_provider, known_workflows
from mina_pipeline.projections import Row
from mina_pipeline.store.memory import MemoryStore
from mina_pipeline.system import SystemClock, SystemIds


class Faltering(MemoryStore):
    """A store whose reads of a session fail as often as it is told to."""

    failures = 0

    def events(self, session_id: str, after: int = 0, limit: int | None = None) -> list[Row]:
        if self.failures:
            self.failures -= 1
            raise StoreUnreachable("memory://", "away for a moment")
        return super().events(session_id, after, limit)


@pytest.fixture
def store() -> Faltering:
    return Faltering()


@pytest.fixture
def pipeline(store: Faltering) -> Iterator[Pipeline]:
    workflows, settings = known_workflows("standard"), Settings(poll=0.02)
    with Pipeline(store, workflows, find_provider("offline"), settings, SystemClock(), SystemIds()) as pipeline:
        yield pipeline


def test_a_failed_read_is_made_again(pipeline: Pipeline, store: Faltering) -> None:
    """Where reading a session failed it is read again, and who waits for delivery waits for that."""
    heard: list[RecordedEvent] = []
    session_id = pipeline.start_session().session_id
    with pipeline.subscribe(heard.append):
        store.failures = 3
        pipeline.finalize(session_id)
        pipeline.relay.drain()
    assert store.failures == 0
    assert [event.type for event in heard] == ["session_finalized"]


def test_waiting_ends_although_others_write(pipeline: Pipeline) -> None:
    """drain() returns when what was committed before it is delivered, also while writers go on and on."""
    stop, heard = threading.Event(), list[RecordedEvent]()

    def hear(event: RecordedEvent) -> None:
        heard.append(event)
        time.sleep(0.001)

    def write() -> None:
        session_id = pipeline.start_session().session_id
        for n in range(1_000):
            if stop.is_set():
                return
            pipeline.record(session_id, [Segment("x", n, n)])
            time.sleep(0.002)

    with pipeline.subscribe(hear):
        writers = [threading.Thread(target=write) for _ in range(3)]
        for writer in writers:
            writer.start()
        mine = pipeline.start_session().session_id
        waiter = threading.Thread(target=pipeline.relay.drain)
        waiter.start()
        waiter.join(10)
        ended = not waiter.is_alive()
        stop.set()
        for writer in writers:
            writer.join()
    assert ended
    assert mine in {event.session_id for event in heard}
