"""Appends that are committed together: a fault in one is not the others'."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from mina_pipeline import Pipeline, Segment, Settings, StoreUnreachable
from mina_pipeline.commands import Record
from mina_pipeline.decisions import decide
from mina_pipeline.errors import SessionBusy
from mina_pipeline.ports import Append
from mina_pipeline.projections import Op
from mina_pipeline.sessions import load
from mina_pipeline.store.tickets import Ticket

PREFIXES = count(1)


@pytest.fixture(params=["sqlite", "postgresql"])
def pipeline(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pipeline]:
    on_sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/group.db" if on_sqlite else request.getfixturevalue("postgres_url")
    settings = Settings(table_prefix=f"group{next(PREFIXES)}_", lock_timeout=2.0)
    with Pipeline.open(url, settings=settings) as opened:
        yield opened


def turns(pipeline: Pipeline) -> Any:
    """What has appends wait for each other."""
    shared: Any = pipeline.store.shared
    return shared.writer or shared.pipelined


@contextmanager
def held(pipeline: Pipeline) -> Iterator[deque[Ticket]]:
    """Nobody leads meanwhile; who waits."""
    found = turns(pipeline)
    with found.lock:
        yield found.waiting
    found.rouse_first()


def commits(pipeline: Pipeline, ids: list[str]) -> int:
    """In how many transactions of PostgreSQL's the last events of these sessions were committed."""
    return len({pipeline.events(session_id)[-1].position.feed_xid for session_id in ids})


def next_append(pipeline: Pipeline, session_id: str, text: str) -> Append:
    """A record of one segment as a value, decided on the session as it is now."""
    now = load(pipeline.store, session_id)
    events = decide(now.state, Record(segments=(Segment(text, 0, 1, segment_id=text),)), session_id)
    return pipeline.handler.compose(session_id, now, events, None, None, None, None)[0]


def spoilt(append: Append, **columns: object) -> Append:
    """The same append with something in its segment's row that the table refuses."""
    ops = (Op("insert", "segments", tuple({**row, **columns} for row in op.rows)) for op in append.ops)
    return replace(append, ops=tuple(ops))


def in_one_commit(pipeline: Pipeline, appends: list[Append]) -> list[bool | Exception]:
    """What became of each of these appends, all of which waited when one leader came."""

    def append(one: Append) -> bool | Exception:
        try:
            return pipeline.store.append(one)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(appends)) as pool:
        with held(pipeline) as waiting:
            answers = [pool.submit(append, one) for one in appends]
            while len(waiting) < len(appends):
                time.sleep(0.001)
        return [answer.result(20) for answer in answers]


@pytest.mark.parametrize("place", [0, 2, 4])
@pytest.mark.parametrize("fault", [{"text": None}, {"segment_id": "there"}, {"ordinal": 1}])
def test_a_fault_of_one_is_not_the_others(pipeline: Pipeline, fault: dict[str, object], place: int) -> None:
    """One append that the database refuses fails with its error and writes nothing; those beside it are committed."""
    ids = [pipeline.start_session().session_id for _ in range(5)]
    for session_id in ids:
        pipeline.record(session_id, [Segment("first", 0, 1, segment_id="there")])
    appends = [next_append(pipeline, session_id, "second") for session_id in ids]
    appends[place] = spoilt(appends[place], **fault)
    answers = in_one_commit(pipeline, appends)
    assert "IntegrityError" in [kind.__name__ for kind in type(answers.pop(place)).__mro__]
    assert answers == [True] * 4
    assert [pipeline.get(session_id).version for session_id in ids] == [2 if n == place else 3 for n in range(5)]
    assert [pipeline.verify(session_id) for session_id in ids] == [[]] * 5
    assert pipeline.record(ids[place], [Segment("third", 0, 1)]).version == 3


def test_two_on_one_version_in_one_commit(pipeline: Pipeline) -> None:
    """Of several appends in one commit that were decided on one version, one is written and the others are told."""
    session_id, other = (pipeline.start_session().session_id for _ in range(2))
    rivals = [next_append(pipeline, session_id, f"rival {n}") for n in range(4)]
    answers = in_one_commit(pipeline, [*rivals, next_append(pipeline, other, "beside")])
    assert sorted(answers[:4]) == [False, False, False, True]
    assert answers[4] is True
    assert pipeline.get(session_id).total_segments == 1
    assert pipeline.verify(session_id) == pipeline.verify(other) == []


def test_who_is_interrupted_holds_up_nobody(pipeline: Pipeline) -> None:
    """An append that is interrupted while it waits is not written, and the next in the queue does not wait for it."""
    ids = [pipeline.start_session().session_id for _ in range(2)]
    first, second = (next_append(pipeline, session_id, "waits") for session_id in ids)
    waiting = turns(pipeline).waiting

    def after_the_first() -> bool:
        while not waiting:
            time.sleep(0.001)
        return pipeline.store.append(second)

    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    with ThreadPoolExecutor(1) as pool:
        try:
            with held(pipeline):
                answer = pool.submit(after_the_first)
                signal.setitimer(signal.ITIMER_REAL, 0.3)
                with pytest.raises(KeyboardInterrupt):
                    pipeline.store.append(first)
        finally:
            signal.signal(signal.SIGALRM, before)
        assert answer.result(5)
    assert [pipeline.get(session_id).version for session_id in ids] == [1, 2]


def test_a_first_event_and_its_rival_in_one_commit(pipeline: Pipeline) -> None:
    """Starts of one session by many threads at once leave one session_started."""
    with ThreadPoolExecutor(8) as pool:
        views = list(pool.map(lambda _: pipeline.start_session("one", "the-one"), range(8)))
    assert len({view.id for view in views}) == 1
    assert [event.type for event in pipeline.events("the-one")] == ["session_started"]
    assert pipeline.verify("the-one") == []


def test_what_waits_is_committed_in_one_transaction(postgres_url: str) -> None:
    """PostgreSQL: eight appends that wait become one transaction; the positions keep each session's order."""
    with on_postgresql(postgres_url) as pipeline:
        ids = [pipeline.start_session().session_id for _ in range(8)]
        assert in_one_commit(pipeline, [next_append(pipeline, one, "a") for one in ids]) == [True] * 8
        assert commits(pipeline, ids) == 1
        assert [pipeline.verify(one) for one in ids] == [[]] * 8
        # One that brings much does not keep the others waiting.
        wide = next_append(pipeline, ids[0], "wide")
        many = (Op("delete", "tasks", ({"session_id": "x", "task_id": str(n)},)) for n in range(40))
        wide = replace(wide, ops=(*wide.ops, *many))
        with held(pipeline):
            assert pipeline.store.append(wide)


def test_a_locked_session_holds_up_nobody_else(postgres_url: str) -> None:
    """A session's row that a host has locked: those who were to be committed with it are, long before it times out."""
    with on_postgresql(postgres_url) as pipeline:
        ids = [pipeline.start_session().session_id for _ in range(4)]
        appends = [next_append(pipeline, one, "a") for one in ids]
        done: dict[str, float] = {}

        def timed(one: Append) -> bool:
            try:
                return pipeline.store.append(one)
            finally:
                done[one.session_id] = time.monotonic()

        sessions = pipeline.store.schema.sql("sessions")
        host = sa.create_engine(pipeline.store.engine.url)
        with host.begin() as other, ThreadPoolExecutor(4) as pool:
            lock = sa.text(f"SELECT 1 FROM {sessions} WHERE session_id = :id FOR UPDATE")
            other.execute(lock, {"id": ids[1]})
            with held(pipeline) as waiting:
                answers = [pool.submit(timed, one) for one in appends]
                while len(waiting) < len(appends):
                    time.sleep(0.001)
            began = time.monotonic()
            assert [answers[n].result(20) for n in (0, 2, 3)] == [True] * 3
            with pytest.raises(SessionBusy):
                answers[1].result(20)
            assert max(done[ids[n]] for n in (0, 2, 3)) < began + 1.0 < done[ids[1]]
        host.dispose()
        assert pipeline.store.append(appends[1])


def test_connections_that_break_lose_and_double_nothing(postgres_url: str) -> None:
    """While its connections are ended again and again every acknowledged append is there, once."""
    with on_postgresql(postgres_url) as pipeline:
        ids = [pipeline.start_session().session_id for _ in range(8)]
        stop, kept = False, dict.fromkeys(ids, 0)
        killer = sa.create_engine(pipeline.store.engine.url, isolation_level="AUTOCOMMIT")

        def write(session_id: str) -> None:
            for n in range(40):
                segment = Segment("word", n, n + 1, segment_id=f"{n}")
                while True:  # the same again, until it is acknowledged
                    try:
                        pipeline.record(session_id, [segment], command_id=f"{n}")
                        break
                    except StoreUnreachable:
                        continue
                kept[session_id] += 1

        def kill() -> None:
            with killer.connect() as connection:
                while not stop:
                    connection.exec_driver_sql(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ="
                        " 'mina_pipeline' AND datname = current_database() AND pid <> pg_backend_pid()"
                    )
                    time.sleep(0.03)

        with ThreadPoolExecutor(9) as pool:
            killing = pool.submit(kill)
            try:
                list(pool.map(write, ids))
            finally:
                stop = True
            killing.result(20)
        killer.dispose()
        assert set(kept.values()) == {40}
        for session_id in ids:
            assert [event.version for event in pipeline.events(session_id)] == list(range(1, 42))
            assert pipeline.verify(session_id) == []


def on_postgresql(url: str) -> Pipeline:
    return Pipeline.open(url, settings=Settings(table_prefix=f"group{next(PREFIXES)}_", lock_timeout=2.0))


def test_a_commit_whose_answer_was_lost(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection breaks after the commit: the log says that it took effect, and nobody is told otherwise."""
    with on_postgresql(postgres_url) as pipeline:
        together = turns(pipeline)
        ids = [pipeline.start_session().session_id for _ in range(4)]
        appends = [next_append(pipeline, one, "a") for one in ids]
        written = together.written

        def lost(link: Any, batch: list[Append]) -> list[bool]:
            written(link, batch)
            link.driver.close()
            link.driver.execute("SELECT 1")
            raise AssertionError("a closed connection answered")

        monkeypatch.setattr(together, "written", lost)
        assert in_one_commit(pipeline, appends) == [True] * 4
        monkeypatch.undo()
        assert [pipeline.get(one).version for one in ids] == [2] * 4
        assert pipeline.record(ids[0], [Segment("b", 2, 3)]).version == 3


class Cut(Exception):
    """What a host interrupts a thread with."""


def test_who_is_interrupted_in_a_pipeline_leaves_nothing_in_doubt(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leader is interrupted after the commit, and psycopg complains over that without a word of the server's: the
    others' appends are found in the log, not made again; the leader hears of what interrupted it."""
    with on_postgresql(postgres_url) as pipeline:
        together = turns(pipeline)
        ids = [pipeline.start_session().session_id for _ in range(4)]
        appends = [next_append(pipeline, one, "a") for one in ids]
        written = together.written

        def cut(link: Any, batch: list[Append]) -> list[bool]:
            written(link, batch)
            try:
                raise Cut
            except Cut:
                raise psycopg.OperationalError("cannot exit pipeline mode while busy")  # noqa: B904

        monkeypatch.setattr(together, "written", cut)
        answers = in_one_commit(pipeline, appends)
        monkeypatch.undo()
        assert sorted(map(str, map(type, answers))) == sorted(map(str, [bool, bool, bool, Cut]))
        assert [answer for answer in answers if isinstance(answer, bool)] == [True] * 3
        assert [pipeline.get(one).version for one in ids] == [2] * 4
        assert [pipeline.record(one, [Segment("b", 2, 3)]).total_segments for one in ids] == [2] * 4


def test_a_connection_in_the_middle_of_a_statement_is_not_lent_again(postgres_url: str) -> None:
    """Who was interrupted by an exception of the host's leaves the server at work: that connection goes."""
    with on_postgresql(postgres_url) as pipeline:
        lender: Any = pipeline.store.shared.lender  # type: ignore[attr-defined]
        with pytest.raises(Cut), lender.lend() as link:
            link.driver.pgconn.send_query(b"SELECT pg_sleep(0.5)")
            raise Cut
        session_id = pipeline.start_session().session_id
        assert pipeline.record(session_id, [Segment("a", 0, 1)]).version == 2
