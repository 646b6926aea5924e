"""Forks, as under gunicorn's preload: the child gets connections, locks and threads of its own, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from running import case_from_argv, ended_well, forked, run_case, until

from mina_pipeline import Pipeline, RecordedEvent, Segment, Settings, log
from mina_pipeline.errors import StoreUnreachable

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
PREFIXES = count(1)


@pytest.fixture
def prefix() -> str:
    """Fresh tables."""
    return f"fork{os.getpid()}_{next(PREFIXES)}_"


@pytest.mark.parametrize(("workers", "exits"), [(0, "_exit"), (2, "exit")])
def test_children_of_a_busy_parent_work(url: str, prefix: str, workers: int, exits: str) -> None:
    """Three children forked in the middle of other threads' appends each finish a session, and so does the parent."""
    run_case(__file__, "busy_parent", url, prefix, workers, exits)


def test_locks_that_were_held(url: str, prefix: str) -> None:
    """A child does not wait for locks, connections or threads that the parent's threads held at the fork."""
    run_case(__file__, "locks_held", url, prefix)


def test_two_levels(url: str, prefix: str) -> None:
    """A grandchild works, and its parent and grandparent after it."""
    run_case(__file__, "two_levels", url, prefix)


def test_inherited_subscriptions(url: str, prefix: str) -> None:
    """From a child's first use of the pipeline, what was subscribed in the parent hears in the child too."""
    run_case(__file__, "inherited_subscription", url, prefix)


def test_nothing_is_lost_when_the_parent_closes(tmp_path: Path, prefix: str) -> None:
    """What an SQLite child was told is stored is on disk, also after its parent has closed, or ended, before it."""
    for how in ("close", "exit"):
        url = f"sqlite:///{tmp_path}/{how}.db"
        told = run_case(__file__, "parent_closes_first", url, prefix, how)
        assert stored(url, prefix) == int(told.split()[-1]) > 10


def test_a_file_in_use_is_refused(tmp_path: Path, prefix: str) -> None:
    """A child whose parent could not let go of the SQLite file refuses to open it, since it would lose writes."""
    run_case(__file__, "file_in_use", f"sqlite:///{tmp_path}/t.db", prefix)


def test_memory_is_copied_whole(prefix: str) -> None:
    """A memory store's copy in a child has no half of an append, and is the child's own from then on."""
    run_case(__file__, "memory_whole", "memory://", prefix)


def test_threads_of_a_cold_process() -> None:
    """A new process's threads may all begin by reading the same artefacts."""
    run_case(__file__, "cold_threads")


# --- the cases, each in a process of its own


def opened(url: str, prefix: str, **settings: Any) -> Pipeline:
    return Pipeline.open(
        url, settings=Settings(**{"table_prefix": prefix, "poll": 0.05, "lock_timeout": 5.0, **settings})
    )


def stored(url: str, prefix: str) -> int:
    """How many events a process that had no part in it finds in an SQLite file."""
    query = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone())"
    command = [sys.executable, "-c", query, url.removeprefix("sqlite:///"), f"SELECT count(*) FROM {prefix}events"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def a_life(p: Pipeline) -> str:
    """A session from its start to the reveal, heard of by a subscription made here."""
    heard: list[RecordedEvent] = []
    with p.subscribe(heard.append):
        session_id = p.start_session("A meeting").session_id
        p.record(session_id, [Segment("I will send the report by Friday.", 0, 4_000, speaker="Ada")])
        p.finalize(session_id)
        p.run_until_idle()  # a parent's workers may have some of it in hand
        until(lambda: p.get(session_id).state == "revealed")
        until(lambda: any(e.session_id == session_id and e.type == "dashboard_refresh" for e in heard))
    assert p.verify(session_id) == []
    versions = [event.version for event in heard if event.session_id == session_id]
    assert versions == list(range(1, len(versions) + 1))
    return session_id


class Busy:
    """Threads that append and read all the time."""

    def __init__(self, p: Pipeline, writers: int = 4) -> None:
        self.p = p
        self.pid = os.getpid()
        self.stop = threading.Event()
        self.acknowledged: dict[str, int] = {}
        self.errors: list[Exception] = []
        self.threads = [threading.Thread(target=self.write, args=(f"busy{n}",), daemon=True) for n in range(writers)]
        self.threads.append(threading.Thread(target=self.read, daemon=True))

    def write(self, session_id: str) -> None:
        try:
            self.p.start_session(session_id=session_id)
            for n in count():
                if self.stop.is_set():
                    return
                session = self.p.record(session_id, [Segment(f"Word {n}", n, n + 1)])
                self.acknowledged[session_id] = session.version
        except Exception as error:
            self.errors.append(error)

    def read(self) -> None:
        try:
            while not self.stop.is_set():
                self.p.sessions()
        except Exception as error:
            self.errors.append(error)

    def __enter__(self) -> Busy:
        for thread in self.threads:
            thread.start()
        until(lambda: len(self.acknowledged) == len(self.threads) - 1 or bool(self.errors))
        return self

    def __exit__(self, *_: object) -> None:
        if os.getpid() != self.pid:
            return  # a child that ends as an interpreter does: the threads are its parent's
        self.stop.set()
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive()
        assert self.errors == []
        for session_id, version in self.acknowledged.items():
            assert self.p.get(session_id).version == version
            assert self.p.verify(session_id) == []


def backends(p: Pipeline) -> set[int]:
    """The PostgreSQL backends of this process's idle connections; on other stores nothing."""
    shared = getattr(p.store, "shared", None)
    if shared is None or shared.writer is not None:
        return set()
    return {link.driver.info.backend_pid for link in list(shared.lender.free)}


def alive(p: Pipeline, pids: set[int]) -> bool:
    store: Any = p.store
    found = store.rows_of("SELECT pid FROM pg_stat_activity WHERE pid = ANY(%s)", (list(pids),)) if pids else []
    return {pid for (pid,) in found} == pids


def busy_parent(url: str, prefix: str, workers: str, exits: str) -> None:
    p, heard = opened(url, prefix), list[RecordedEvent]()
    p.subscribe(heard.append)
    p.run_until_idle()
    with ExitStack() as stack:
        if int(workers):
            stack.enter_context(p.workers(int(workers)))
        stack.enter_context(Busy(p))
        for _ in range(3):
            before = backends(p)

            def child(before: set[int] = before) -> None:
                a_life(p)
                assert not backends(p) & before
                if exits != "exit":
                    p.close()

            pid = forked(child, exits=exits == "exit")
            a_life(p)
            ended_well(pid)
        known = {session.session_id for session in p.sessions()}
        assert len(known) == 4 + 3 + (0 if url == "memory://" else 3)
    seen = backends(p)
    ended_well(forked(lambda: None, exits=True))  # the connections that it inherited are nothing to it
    assert alive(p, seen)
    a_life(p)
    until(lambda: {event.session_id for event in heard} >= known)
    p.close()


def locks_held(url: str, prefix: str) -> None:
    p = opened(url, prefix, pool_size=1, pool_timeout=3.0)
    p.subscribe(lambda event: None)
    threads = p.workers(1)
    a_life(p)
    locks: list[Any] = [p.relay.changed, threads.idle.changed, log.fallback("test")._logger._lock]
    shared = getattr(p.store, "shared", None)
    if shared is not None and shared.notifier is not None:
        locks += [shared.notifier.changed, shared.lender.lend()]
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            held.set()
            release.wait(30)

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    assert held.wait(10)

    def child() -> None:
        log.logger("test").warning("heard of")
        a_life(p)
        with p.workers(1):
            a_life(p)
        p.close()

    pid = forked(child)
    ended_well(pid)
    release.set()
    holder.join()
    a_life(p)
    p.close()


def two_levels(url: str, prefix: str) -> None:
    p = opened(url, prefix)
    a_life(p)

    def grandchild() -> None:
        a_life(p)
        p.close()

    def child() -> None:
        a_life(p)
        with Busy(p, writers=2):
            pid = forked(grandchild, exits=True)
            a_life(p)
            ended_well(pid)
        p.close()

    pid = forked(child)
    a_life(p)
    ended_well(pid)
    a_life(p)
    p.close()


def inherited_subscription(url: str, prefix: str) -> None:
    on_postgresql = url.startswith("postgresql")
    p, heard = opened(url, prefix, poll=30 if on_postgresql else 0.05), list[RecordedEvent]()
    p.subscribe(heard.append)
    p.start_session(session_id="early")
    until(lambda: len(heard) == 1)
    ready_read, ready_write = os.pipe()

    def child() -> None:
        assert threading.active_count() == 1
        if url == "memory://":
            p.start_session(session_id="late")
        else:
            p.get("early")  # all that this child does
            time.sleep(0.5)
            os.write(ready_write, b"x")
        until(lambda: [event.session_id for event in heard] == ["early", "late"], within=15)

    pid = forked(child)
    if url != "memory://":
        assert os.read(ready_read, 1) == b"x"
        p.start_session(session_id="late")
    ended_well(pid)
    p.close()


def parent_closes_first(url: str, prefix: str, how: str) -> None:
    p = opened(url, prefix)
    p.start_session(session_id="shared")
    parent_pid = os.getpid()
    read, write = os.pipe()
    done_read, done_write = os.pipe()

    def child() -> None:
        os.close(write)
        session = p.record("shared", [Segment("before", 0, 1)])
        os.read(read, 1)  # the parent has closed, or is gone
        if how == "exit":
            until(lambda: os.getppid() != parent_pid)
        for n in range(10):
            session = p.record("shared", [Segment(f"after {n}", n, n + 1)])
        print(session.version, flush=True)
        os.write(done_write, b"x")
        # killed, as it were: it closes nothing

    forked(child)
    until(lambda: p.get("shared").version == 2)
    if how == "exit":
        sys.exit(0)
    p.close()
    os.write(write, b"x")
    assert os.read(done_read, 1) == b"x"


def file_in_use(url: str, prefix: str) -> None:
    p = opened(url, prefix, lock_timeout=0.5)
    p.start_session(session_id="s")
    held, release = threading.Event(), threading.Event()
    store: Any = p.store

    def hold() -> None:
        with store.shared.lender.lend():
            held.set()
            release.wait(30)

    threading.Thread(target=hold, daemon=True).start()
    assert held.wait(10)

    def child() -> None:
        for act in (lambda: p.get("s"), lambda: p.record("s", [Segment("lost", 0, 1)])):
            with pytest.raises(StoreUnreachable, match="parent process"):
                act()

    ended_well(forked(child))
    p.record("s", [Segment("kept", 0, 1)])
    release.set()
    a_life(p)
    ended_well(forked(lambda: a_life(p)))
    p.close()


def memory_whole(url: str, prefix: str) -> None:
    p = opened(url, prefix)
    store: Any = p.store
    apply, begun = store.tables.apply, threading.Event()

    def slowly(op: Any) -> None:
        apply(op)
        begun.set()
        time.sleep(0.2)

    p.start_session(session_id="s")
    store.tables.apply = slowly
    writer = threading.Thread(target=lambda: p.record("s", [Segment("one", 0, 1)]))
    writer.start()
    assert begun.wait(10)

    def child() -> None:
        assert p.verify("s") == []
        assert p.get("s").version == 2
        store.tables.apply = apply
        a_life(p)

    pid = forked(child)
    writer.join()
    ended_well(pid)
    assert len(p.sessions()) == 1
    p.close()


def cold_threads() -> None:
    from mina_pipeline.codec import typed
    from mina_pipeline.contexts import SHAPES

    sys.setswitchinterval(1e-6)

    def child() -> None:
        start = threading.Barrier(8)

        def read() -> None:
            start.wait(10)
            for shape in SHAPES.values():
                typed({}, shape)

        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    for _ in range(30):
        ended_well(forked(child))


if __name__ == "__main__":
    case_from_argv({name: found for name, found in list(globals().items()) if callable(found)})
