"""Pages of the log: bounded by what events weigh, shared by who comes back to one place, and never of another log."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from live_places import PATIENCE, Faltering, frames, over, taken, until

from mina_pipeline import Pipeline, Segment, StoreUnreachable, live
from mina_pipeline import frames as pages
from mina_pipeline.frames import PAGE, Frame, FrameLog, Pages
from mina_pipeline.live import Room, Watch
from mina_pipeline.projections import Row

WEIGHT = 20_000


class Weighing(Faltering):
    """What each read of events brought, in events and in characters."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.reads_of: list[tuple[int, int]] = []

    def events(self, session_id: str, after: int = 0, limit: int | None = None) -> list[Row]:
        rows = super().events(session_id, after, limit)
        self.reads_of.append((len(rows), sum(len(row["data"]) + len(row["content"] or "") for row in rows)))
        return rows


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Weighing:
    monkeypatch.setattr(pages, "PAGE_WEIGHT", WEIGHT)
    return Weighing()


@pytest.fixture
def p(store: Weighing) -> Iterator[Pipeline]:
    with over(store) as pipeline:
        yield pipeline


def session_of(p: Pipeline, lengths: list[int]) -> str:
    session_id = p.start_session().session_id
    for length in lengths:
        p.record(session_id, [Segment("w" * length, 0, 1)])
    return session_id


def weight(of: tuple[Frame, ...]) -> int:
    return sum(frame.weight for frame in of)


def test_a_page_weighs_no_more_than_it_may(p: Pipeline, store: Weighing) -> None:
    """Heavy events come few at a time, or one, and light ones many; each read is as small, but the first heavy one."""
    session_id = session_of(p, [9_000] * 30 + [50_000] * 3 + [10] * 300)
    with p.watch(session_id, 0) as watch:
        store.reads_of.clear()
        seen, sizes = list[int](), list[int]()
        while watch.version < 334:
            page = watch.take()
            assert len(page) == 1 or weight(page) <= WEIGHT
            seen += [frame.version for frame in page]
            sizes.append(len(page))
    assert seen == list(range(1, 335))
    assert max(sizes) > 20 and max(sizes[:15]) <= 4
    heavy = [found for found in store.reads_of if found[1] > 3 * WEIGHT]
    assert len(heavy) <= 2  # where light events end and heavy ones begin
    assert all(count <= PAGE for count, _ in store.reads_of)


def test_a_room_begins_and_fills_by_the_page(p: Pipeline, store: Weighing) -> None:
    """Neither the first watch of a session nor the thread that fills its room reads all of it at once."""
    session_id = session_of(p, [15_000] * 40)
    store.reads_of.clear()
    with p.watch(session_id, 0) as watch:
        assert sum(count for count, _ in store.reads_of) <= 8
        assert weight(watch.room.frames) <= WEIGHT
        assert taken(watch, 41) == list(range(1, 42))
        store.reads_of.clear()
        with watch.room.lock:  # the room is behind
            for _ in range(30):
                p.record(session_id, [Segment("w" * 15_000, 0, 1)])
        assert taken(watch, 71) == list(range(42, 72))
    assert max(count for count, _ in store.reads_of) <= 4


def test_a_storm_from_one_place_reads_it_once(p: Pipeline, store: Weighing) -> None:
    """Clients that come back to the same version, at once and later, share one read of the log and its frames."""
    session_id = session_of(p, [3_000] * 20)
    with p.watch(session_id):
        watches = [p.watch(session_id, 9) for _ in range(40)]
        store.calls.clear()
        come, go = store.gate("events")
        with ThreadPoolExecutor(40) as pool:
            jobs = [pool.submit(watch.take) for watch in watches]
            assert come.wait(PATIENCE)
            go.set()
            found = [job.result(PATIENCE) for job in jobs]
        once = store.calls.count("events")
        assert once <= 3  # of one page: by steps
        assert [frame.version for frame in found[0]][:3] == [10, 11, 12]
        assert all(page is found[0] for page in found)
        later = [p.watch(session_id, 9) for _ in range(20)]
        assert all(watch.take() is found[0] for watch in later)
        assert store.calls.count("events") == once
        for watch in (*watches, *later):
            watch.close()


def test_what_a_room_keeps_of_pages_is_bounded(p: Pipeline) -> None:
    """However many places are read from, what is remembered of them weighs no more than a page."""
    session_id = session_of(p, [3_000] * 30)
    with p.watch(session_id) as room:
        for after in range(28):
            with p.watch(session_id, after) as watch:
                assert watch.take()[0].version == after + 1
        known = [page.result() for page in room.room.pages.known.values()]
        assert known and sum(map(weight, known)) <= WEIGHT


def test_a_read_that_fails_fails_for_all_and_is_not_kept(p: Pipeline, store: Weighing) -> None:
    """Those who wait for it are told; the next read is a new one. One whose thread is told to end fails for nobody."""
    session_id = session_of(p, [10] * 5)
    with p.watch(session_id), p.watch(session_id, 1) as one, p.watch(session_id, 1) as two:
        come, go = store.gate("events")
        store.failing["events"] = 1
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(one.take)
            assert come.wait(PATIENCE)
            second = pool.submit(two.take)
            until(lambda: bool(one.room.pages.known) and second.running())
            go.set()
            for job in (first, second):
                error = job.exception(PATIENCE)
                assert error is None or isinstance(error, StoreUnreachable)
            assert isinstance(first.exception(), StoreUnreachable)
        assert one.take()[0].version == 2

    gate, begun = threading.Event(), threading.Event()

    def read(version: int) -> tuple[Frame, ...]:
        begun.set()
        assert gate.wait(PATIENCE)
        raise KeyboardInterrupt

    told = Pages(read)
    with ThreadPoolExecutor(2) as pool:
        ends = pool.submit(told.after, 3)
        assert begun.wait(PATIENCE)
        waits = pool.submit(told.after, 3)
        until(waits.running)
        known = told.known[3]
        gate.set()
        assert isinstance(ends.exception(PATIENCE), KeyboardInterrupt)
        assert known.result(PATIENCE) == ()
        waits.exception(PATIENCE)
    assert not told.known


def test_what_was_erased_is_not_told_from_memory(p: Pipeline) -> None:
    """A room forgets what it keeps from before an erasure: the log no longer has the content."""
    room = Room("s", False, FrameLog(p.store))
    old, gone, new = (Frame(n, name, {}) for n, name in enumerate(("segments_recorded", "session_erased", "x"), 1))
    room.pages = Pages(lambda version: (old,))
    room.pages.after(0)
    room.add((old,))
    room.add((gone, new))
    assert (room.frames, room.after(0), room.after(1), room.reached) == ((gone, new), None, (gone, new), 3)
    assert not room.pages.known


@pytest.fixture
def restored(tmp_path: Path) -> Iterator[tuple[Pipeline, Callable[[], None]]]:
    """A session "s" of 5 events, and what puts the database back to where it is now. Nothing polls meanwhile."""
    file = tmp_path / "live.db"
    with Pipeline.open(f"sqlite:///{file}") as pipeline:
        pipeline.live.poll = 1e9
        pipeline.start_session(session_id="s")
        say(pipeline, 4)
        backup = sqlite3.connect(tmp_path / "backup.db")
        with sqlite3.connect(file) as source:
            source.backup(backup)
        source.close()

        def restore() -> None:
            target = sqlite3.connect(file)
            backup.backup(target)
            target.close()

        yield pipeline, restore
        backup.close()


def say(p: Pipeline, times: int) -> None:
    for _ in range(times):
        p.record("s", [Segment("x", 0, 1)])


def told(watch: Watch, last: int) -> list[tuple[str, int]]:
    return [(frame.name, frame.version) for frame in frames(watch, last)]


@pytest.mark.parametrize("found", ["by a client that comes back", "by a look"])
def test_a_restored_database_is_told(
    restored: tuple[Pipeline, Callable[[], None]], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients past what is left get a reset, and then all that is new, also under versions that they have seen."""
    monkeypatch.setattr(live, "KEPT", 2)
    p, restore = restored
    with p.watch("s", 0) as ahead, p.watch("s", 0) as behind, p.watch("s", 2) as between:
        assert len(told(behind, 5)) == 5
        say(p, 5)
        told(ahead, 10)
        with p.watch("s", 2) as other:
            assert len(other.take()) == 8  # from the log: it is remembered
        restore()
        if found == "by a look":
            p.live.look()
        else:
            with p.watch("s", 10) as back:
                assert (back.reset, back.version) == (True, 5)
        assert [(frame.name, frame.version, frame.payload) for frame in ahead.take()] == [("reset", 5, {"version": 5})]
        assert ahead.take() == behind.take() == ()
        assert told(between, 5) == [("segments_recorded", n) for n in (3, 4, 5)]
        say(p, 6)
        new = [("segments_recorded", n) for n in range(6, 12)]
        assert [told(watch, 11) for watch in (ahead, behind, between)] == [new] * 3
        ids = [event.event_id for event in p.events("s", 5)]
        with p.watch("s", 5) as late:
            assert [frame.payload["event_id"] for frame in frames(late, 11)] == ids
