"""Few connections and taken locks: callers wait a bounded time, hear why, and leak nothing."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mina_pipeline import MinaError, Pipeline, Segment, Settings
from mina_pipeline.errors import SessionBusy, StoreBusy
from mina_pipeline.store.tables import build_schema

NUMBERS = count(1)
SLOW = 5.0  # seconds of grace for a machine that is busy


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/pool.db"
    return str(request.getfixturevalue("postgres_url"))


def settings(**given: Any) -> Settings:
    return Settings(table_prefix=f"pool{os.getpid()}_{next(NUMBERS)}_", poll=0.05, **given)


BESIDE: dict[str, int] = {}
"""`now`: connections to the database that were there before the pipeline: of a host app that other tests use, say."""


def connections(url: Any) -> int:
    ours = "datname = current_database() AND application_name = 'mina_pipeline'"
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as other:
        return int(other.exec_driver_sql(f"SELECT count(*) FROM pg_stat_activity WHERE {ours}").scalar_one())


@pytest.fixture
def pipeline(url: str) -> Iterator[Pipeline]:
    """A pipeline of two connections."""
    if url.startswith("postgresql"):
        BESIDE["now"] = connections(url.replace("postgresql:", "postgresql+psycopg:"))
    with Pipeline.open(url, settings=settings(pool_size=2, pool_timeout=0.5, lock_timeout=5.0)) as opened:
        yield opened


def not_leaked(pipeline: Pipeline) -> None:
    """Every connection is back, and there are no more than there may be."""
    lender = pipeline.store.shared.lender
    together = pipeline.store.shared.pipelined
    kept = int(together is not None and together.link is not None)
    wait_for(lambda: lender.opened == len(lender.free) + kept)  # the notifier's thread may have one for a moment
    assert lender.opened <= lender.size
    assert lender.waiting == 0
    if pipeline.store.postgresql:
        assert lender.engine.pool.checkedout() == lender.opened
        assert connections(lender.engine.url) - BESIDE["now"] <= lender.size
    else:
        assert lender.engine.pool.checkedout() <= lender.opened + 1  # and the one that writes


def wait_for(holds: Callable[[], bool]) -> None:
    for _ in range(500):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to be")


def test_fifty_callers_share_two_connections(pipeline: Pipeline) -> None:
    """Fifty callers on two connections all succeed or hear StoreBusy, soon, and every success is there."""
    ids = [pipeline.start_session().session_id for _ in range(5)]

    def call(n: int) -> tuple[str, bool, float]:
        began = time.monotonic()
        try:
            pipeline.record(ids[n % 5], [Segment(f"{n}", n, n)], command_id=f"{n}")
            assert pipeline.get(ids[n % 5]).total_segments > 0
        except StoreBusy:
            return f"{n}", False, time.monotonic() - began
        return f"{n}", True, time.monotonic() - began

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(call, range(200)))
    assert max(took for _, _, took in answers) < SLOW
    succeeded = {word for word, ok, _ in answers if ok}
    recorded = [row["text"] for session_id in ids for row in pipeline.store.rows("segments", session_id)]
    assert succeeded <= set(recorded)
    assert len(recorded) == len(set(recorded)) > 0
    assert [pipeline.verify(session_id) for session_id in ids] == [[]] * 5
    not_leaked(pipeline)


def test_no_connection_within_the_time(pipeline: Pipeline) -> None:
    """Where all connections stay lent, a caller hears StoreBusy after pool_timeout, and succeeds when one is back."""
    session_id = pipeline.start_session().session_id
    lender = pipeline.store.shared.lender
    with lender.lend():
        with lender.lend():
            began = time.monotonic()
            with pytest.raises(StoreBusy, match="all 2 are in use"):
                pipeline.get(session_id)
            assert 0.4 < time.monotonic() - began < 0.5 + SLOW
        assert pipeline.get(session_id).version == 1
    not_leaked(pipeline)


def raising(error: type[BaseException]) -> Callable[[object], None]:
    """A caller's own fault, in the middle of a transaction."""

    def act(_link: object) -> None:
        raise error

    return act


def test_a_failed_statement_gives_its_connection_back(pipeline: Pipeline) -> None:
    """Statements that fail, time and again, and callers that raise, cost no connection."""
    store, session_id = pipeline.store, pipeline.start_session().session_id
    for _ in range(5):
        with pytest.raises(Exception, match="nowhere"):
            store.rows_of("SELECT 1 FROM nowhere")
        with pytest.raises(Exception, match="nowhere"):
            store.fetch(sa.text("SELECT 1 FROM nowhere"))
        for error in (ZeroDivisionError, KeyboardInterrupt):
            with pytest.raises(error):
                store.writing(raising(error))
        pipeline.record(session_id, [Segment("on it goes", 0, 1)])
    assert pipeline.get(session_id).total_segments == 5
    not_leaked(pipeline)


def test_a_listener_and_a_full_pool_leave_room_for_a_host(postgres_url: str) -> None:
    """A host's transaction is looked at on a lent connection: beside a listener one is enough."""
    with Pipeline.open(postgres_url, settings=settings(pool_size=1)) as pipeline:
        session_id, host = pipeline.start_session().session_id, sa.create_engine(pipeline.store.engine.url)
        with pipeline.subscribe(lambda _: None):
            wait_for(lambda: pipeline.store.engine.pool.checkedout() == 2)
            began = time.monotonic()
            with host.begin() as connection:
                pipeline.using(connection).finalize(session_id)
            assert time.monotonic() - began < SLOW
        assert pipeline.get(session_id).state == "finalized"
        host.dispose()


def test_a_locked_session_row(postgres_url: str) -> None:
    """A session's row that another holds for longer than lock_timeout gives SessionBusy; then it goes on."""
    given = settings(lock_timeout=0.3)
    with Pipeline.open(postgres_url, settings=given) as pipeline:
        session_id, free = pipeline.start_session().session_id, pipeline.start_session().session_id
        host = sa.create_engine(pipeline.store.engine.url)
        with host.begin() as other:
            sessions = build_schema(given.table_prefix).sql("sessions")
            other.execute(sa.text(f"SELECT 1 FROM {sessions} WHERE session_id = :id FOR UPDATE"), {"id": session_id})
            began = time.monotonic()
            with pytest.raises(SessionBusy):
                pipeline.finalize(session_id)
            assert 0.2 < time.monotonic() - began < 0.3 + SLOW
            assert pipeline.get(session_id).state == "recording"
            assert pipeline.finalize(free).state == "finalized"
        assert pipeline.finalize(session_id).state == "finalized"
        not_leaked(pipeline)
        host.dispose()


class Holder:
    """Another connection, as another process's, that holds the file's write lock."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.connection.execute("BEGIN IMMEDIATE")

    def release(self) -> None:
        self.connection.execute("COMMIT")
        self.connection.close()


@pytest.mark.parametrize("arrival", ["together", "one after another"])
def test_a_write_lock_held_too_long(tmp_path: Path, arrival: str) -> None:
    """While another process holds the write lock each of eight threads hears StoreBusy after its own lock_timeout."""
    lock_timeout = 0.8
    with Pipeline.open(f"sqlite:///{tmp_path}/held.db", settings=settings(lock_timeout=lock_timeout)) as pipeline:
        ids = [pipeline.start_session().session_id for _ in range(8)]
        holder = Holder(tmp_path / "held.db")

        def record(n: int) -> tuple[MinaError | None, float]:
            time.sleep(0 if arrival == "together" else n * 0.1)
            began = time.monotonic()
            try:
                pipeline.record(ids[n], [Segment("late", 0, 1)])
            except MinaError as error:
                return error, time.monotonic() - began
            return None, time.monotonic() - began

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(record, range(8)))
        for error, took in answers:
            assert isinstance(error, StoreBusy)
            assert took < lock_timeout + 0.5
        holder.release()
        assert [pipeline.get(session_id).version for session_id in ids] == [1] * 8
        with ThreadPoolExecutor(8) as pool:
            assert [error for error, _ in pool.map(record, range(8))] == [None] * 8
        assert [pipeline.verify(session_id) for session_id in ids] == [[]] * 8


def test_a_write_lock_held_for_a_while(tmp_path: Path) -> None:
    """When the other process lets go in time all eight threads succeed, and nobody notices more than the wait."""
    with Pipeline.open(f"sqlite:///{tmp_path}/held.db", settings=settings(lock_timeout=10.0)) as pipeline:
        ids = [pipeline.start_session().session_id for _ in range(8)]
        holder = Holder(tmp_path / "held.db")
        timer = threading.Timer(0.5, holder.release)
        timer.start()
        with ThreadPoolExecutor(8) as pool:
            began = time.monotonic()
            views = list(pool.map(lambda session_id: pipeline.record(session_id, [Segment("late", 0, 1)]), ids))
        assert [view.version for view in views] == [2] * 8
        assert 0.4 < time.monotonic() - began < SLOW
        timer.join()
        not_leaked(pipeline)
