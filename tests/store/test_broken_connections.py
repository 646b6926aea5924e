"""PostgreSQL connections that break under a statement: each command takes effect once, nothing acknowledged is lost."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from cutting_proxy import CuttingProxy
from soak import dice, share

from mina_pipeline import Pipeline, Segment, Settings
from mina_pipeline.errors import SessionBusy, StoreUnreachable

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
NUMBERS = count(1)
KEY = 7_777_001  # of the advisory lock that holds statements up
ACTS: dict[str, tuple[Callable[[Pipeline, str], Any], str]] = {
    "record": (lambda p, s: p.record(s, [Segment("canary", 0, 1)]), "segments_recorded"),
    "record by id": (lambda p, s: p.record(s, [Segment("canary", 0, 1)], "canary"), "segments_recorded"),
    "finalize": (lambda p, s: p.finalize(s, actor="canary"), "session_finalized"),
    "start": (lambda p, s: p.start_session("canary", s + "-new"), "session_started"),
}
"""What is done to a session, all with the word canary in its statement, and the event that it leaves once."""


@pytest.fixture
def settings() -> Settings:
    return Settings(table_prefix=f"broken{os.getpid()}_{next(NUMBERS)}_", poll=0.05)


@pytest.fixture
def admin(postgres_url: str) -> Iterator[Any]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def pipeline(postgres_url: str, settings: Settings) -> Iterator[Pipeline]:
    with Pipeline.open(postgres_url, settings=settings) as opened:
        yield opened


@pytest.fixture
def holding(admin: Any, settings: Settings) -> Callable[[str], Callable[[], None]]:
    """Hold up every append, in its insert or in its commit, until the function that comes back is called."""

    def hold(where: str) -> Callable[[], None]:
        table, name = f"{settings.table_prefix}events", f"{settings.table_prefix}hold"
        admin.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS"
            f" $$ BEGIN PERFORM pg_advisory_xact_lock_shared({KEY}); RETURN NEW; END $$"
        )
        kind = "TRIGGER" if where == "insert" else "CONSTRAINT TRIGGER"
        moment = "BEFORE INSERT" if where == "insert" else "AFTER INSERT"
        late = "" if where == "insert" else "DEFERRABLE INITIALLY DEFERRED"
        admin.execute(f"CREATE {kind} hold {moment} ON {table} {late} FOR EACH ROW EXECUTE FUNCTION {name}()")
        admin.execute("SELECT pg_advisory_lock(%s)", (KEY,))
        return lambda: admin.execute("SELECT pg_advisory_unlock(%s)", (KEY,))

    return hold


def waiting(admin: Any, many: int) -> list[int]:
    """The backends that wait for a lock, once there are so many."""
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    for _ in range(500):
        found = [pid for (pid,) in admin.execute(query)]
        if len(found) == many:
            return found
        time.sleep(0.01)
    raise AssertionError(f"{found} wait, not {many}")


def took_effect_once(pipeline: Pipeline, session_id: str, kind: str) -> None:
    """Of the two sessions that an act may be about, together: one event of its kind more than at the start."""
    ids = [session_id, session_id + "-new"] if kind == "session_started" else [session_id]
    for one in ids:
        types = [event.type for event in pipeline.events(one)]
        assert types.count(kind) == 1
        assert [event.version for event in pipeline.events(one)] == list(range(1, len(types) + 1))
        assert pipeline.verify(one) == []


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("where", ["insert", "commit"])
def test_a_backend_ended_before_or_in_its_commit(
    pipeline: Pipeline, admin: Any, holding: Callable[[str], Callable[[], None]], where: str, act: str
) -> None:
    """A backend ended in an append, or in its commit, is made good by another; the caller sees success."""
    session_id = pipeline.start_session().session_id
    release = holding(where)
    do, kind = ACTS[act]
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(do, pipeline, session_id)
        (first,) = waiting(admin, 1)
        admin.execute("SELECT pg_terminate_backend(%s)", (first,))
        while waiting(admin, 1) == [first]:
            time.sleep(0.01)
        release()
        assert answer.result(20).version in (1, 2)
    took_effect_once(pipeline, session_id, kind)


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("when", ["after reply", "at once"])
def test_a_connection_cut_after_the_commit(postgres_url: str, settings: Settings, act: str, when: str) -> None:
    """Where the server has committed and the answer is lost on the way, the caller sees success, and one effect."""
    do, kind = ACTS[act]
    with CuttingProxy(postgres_url) as proxy, Pipeline.open(proxy.url, settings=settings) as pipeline:
        session_id = pipeline.start_session().session_id
        proxy.cut("canary", when)
        assert do(pipeline, session_id).version in (1, 2)
        assert proxy.cuts == 1
        took_effect_once(pipeline, session_id, kind)


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("where", ["insert", "commit"])
def test_a_connection_cut_while_the_server_is_at_work(
    postgres_url: str,
    settings: Settings,
    admin: Any,
    holding: Callable[[str], Callable[[], None]],
    where: str,
    act: str,
) -> None:
    """A statement that goes on without its client commits, and the one sent again waits for it and adds nothing."""
    do, kind = ACTS[act]
    with CuttingProxy(postgres_url) as proxy, Pipeline.open(proxy.url, settings=settings) as pipeline:
        session_id = pipeline.start_session().session_id
        release = holding(where)
        proxy.cut("canary", "at once")
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(do, pipeline, session_id)
            waiting(admin, 2)  # the first for us, the second for the first
            release()
            assert answer.result(20).version in (1, 2)
        took_effect_once(pipeline, session_id, kind)


def test_an_unknown_outcome_is_not_called_busy(
    postgres_url: str, settings: Settings, admin: Any, holding: Callable[[str], Callable[[], None]]
) -> None:
    """Where the cut statement is at work for longer than the next may wait, the caller hears that it is unknown."""
    impatient = replace(settings, lock_timeout=0.3)
    with CuttingProxy(postgres_url) as proxy, Pipeline.open(proxy.url, settings=impatient) as pipeline:
        session_id = pipeline.start_session().session_id
        release = holding("insert")
        proxy.cut("canary", "at once")
        with pytest.raises(StoreUnreachable):
            pipeline.record(session_id, [Segment("canary", 0, 1)], "canary")
        with pytest.raises(SessionBusy):
            pipeline.record(session_id, [Segment("canary", 0, 1)], "canary")
        release()
        pipeline.record(session_id, [Segment("canary", 0, 1)], "canary")
        took_effect_once(pipeline, session_id, "segments_recorded")


@pytest.mark.parametrize("mark", ["refinement_started", "refinement_ready", "post_transcription_reveal"])
def test_a_workers_append_whose_answer_is_lost(postgres_url: str, settings: Settings, mark: str) -> None:
    """A worker whose outcome was committed unseen takes it for its own, and goes on: the session reaches the reveal."""
    with CuttingProxy(postgres_url) as proxy, Pipeline.open(proxy.url, settings=settings) as pipeline:
        session_id = pipeline.start_session().session_id
        pipeline.record(session_id, [Segment("We will meet on Friday.", 0, 900, "A", 0.9)])
        pipeline.finalize(session_id)
        proxy.cut(mark, "after reply")
        pipeline.run_until_idle()
        assert proxy.cuts == 1
        types = Counter(event.type for event in pipeline.events(session_id))
        assert set(types.values()) == {1}
        assert pipeline.get(session_id).state == "revealed"
        assert pipeline.verify(session_id) == []


def test_reads_are_read_again(pipeline: Pipeline, admin: Any) -> None:
    """A read whose backend is gone is run on another connection, and its caller sees nothing of it."""
    session_id = pipeline.start_session().session_id
    for read in (pipeline.get, pipeline.events, pipeline.verify, pipeline.result) * 2:
        ended = end(admin, backends(admin))
        while ended & backends(admin):
            time.sleep(0.01)
        read(session_id)


def backends(admin: Any) -> set[int]:
    """Our pipelines' backends."""
    ours = "datname = current_database() AND application_name = 'mina_pipeline'"
    return {pid for (pid,) in admin.execute(f"SELECT pid FROM pg_stat_activity WHERE {ours}")}


def end(admin: Any, pids: set[int]) -> set[int]:
    return {pid for pid in pids if admin.execute("SELECT pg_terminate_backend(%s)", (pid,)).fetchone()[0]}


@pytest.mark.soak
@pytest.mark.parametrize("storm", [False, True], ids=["one by one", "all at once"])
def test_backends_ended_at_random(pipeline: Pipeline, admin: Any, storm: bool) -> None:
    """Four threads lose backends at random: each command takes effect once, unknown ones by sending them again.

    One by one nobody notices. In a storm, where new connections are ended at once, callers see StoreUnreachable.
    """
    random, wanted = dice(), share(20, 500)
    own = [pipeline.start_session().session_id for _ in range(4)]
    shared = pipeline.start_session().session_id
    stop = threading.Event()
    done: list[tuple[str, str]] = []
    unknown: list[tuple[str, str]] = []
    again: list[int] = []
    reads: list[int] = []

    def write(thread: int) -> None:
        for n in count():
            if stop.is_set():
                return
            session_id = shared if n % 4 == 0 else own[thread]
            word = f"{thread}-{n}"
            said = [Segment(word, n, n)]  # without an id of its own: the next ordinal
            if n % 2:
                try:
                    pipeline.record(session_id, said)
                except StoreUnreachable:
                    unknown.append((session_id, word))
                    continue
            else:
                for times in count(1):
                    try:
                        pipeline.record(session_id, said, command_id=word)
                    except StoreUnreachable:
                        continue
                    again.append(times - 1)
                    break
            done.append((session_id, word))

    def read() -> None:
        while not stop.is_set():
            try:
                reads.append(pipeline.get(shared).version)
            except StoreUnreachable:
                assert storm

    with ThreadPoolExecutor(5) as pool:
        threads = [*(pool.submit(write, n) for n in range(4)), pool.submit(read)]
        ended: set[int] = set()
        try:
            while len(ended) < wanted and not any(thread.done() for thread in threads):
                found = backends(admin)
                if found and not storm:
                    time.sleep(random.uniform(0.002, 0.1))
                    found = {random.choice(sorted(found))}
                ended |= end(admin, found)
        finally:
            stop.set()
        for thread in threads:
            thread.result(60)
    assert storm or not unknown
    assert reads == sorted(reads)
    print(f"{len(ended)} ended, {len(done)} done, {len(unknown)} unknown, {sum(again)} sent again, {len(reads)} reads")
    recorded = Counter(
        (session_id, row["text"])
        for session_id in (*own, shared)
        for row in pipeline.store.rows("segments", session_id)
    )
    assert set(recorded.values()) == {1}
    assert set(done) <= set(recorded) <= {*done, *unknown}
    for session_id in (*own, shared):
        versions = [event.version for event in pipeline.events(session_id)]
        assert versions == list(range(1, len(versions) + 1))
        assert pipeline.verify(session_id) == []
