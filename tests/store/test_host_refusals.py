"""Inside a host's transaction: what is refused, what the host is told to run again, and what leaves it unharmed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
import sqlalchemy.orm

from mina_pipeline import (
    CommandIdReused,
    IllegalTransition,
    MinaError,
    Pipeline,
    RetryTransaction,
    Segment,
    Settings,
    StoreBusy,
)
from mina_pipeline.store.memory import MemoryStore
from mina_pipeline.store.sqlite import immediate

Open = Callable[..., Pipeline]
SQL = pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
POSTGRESQL = pytest.mark.parametrize("url", ["postgresql"], indirect=True)


@pytest.fixture
def host(url: str) -> sa.Engine:
    """A host's engine as a host would make it; on SQLite with the IMMEDIATE helper."""
    if url.startswith("sqlite"):
        engine = immediate(sa.create_engine(url))
    else:
        engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    yield engine  # type: ignore[misc]
    engine.dispose()


@SQL
def test_a_whole_recording_in_one_transaction(opened: Open, host: sa.Engine) -> None:
    """Start, record, finalize and a result of the host's own commit together, or none of them."""
    pipeline = opened()
    for name, commits in (("kept", True), ("gone", False)):
        with host.connect() as connection, connection.begin() as transaction:
            inside = pipeline.using(connection)
            inside.start_session("t", session_id=name)
            inside.record(name, [Segment("hello", 0, 1), Segment("there", 1, 2)])
            assert inside.finalize(name, command_id="f").version == 3
            assert inside.finalize(name, command_id="f").version == 3
            if not commits:
                transaction.rollback()
    assert pipeline.run_until_idle() == 4
    assert pipeline.get("kept").state == "revealed"
    assert pipeline.verify("kept") == []
    assert [session.session_id for session in pipeline.sessions()] == ["kept"]


@SQL
def test_a_refusal_leaves_the_hosts_transaction_usable(opened: Open, host: sa.Engine) -> None:
    """A conflict is no rows and a refusal is ours: the host's transaction is not aborted by either."""
    pipeline = opened()
    session_id = pipeline.start_session().session_id
    with host.begin() as connection:
        inside = pipeline.using(connection)
        inside.record(session_id, [Segment("x", 0, 1)], "c")
        with pytest.raises(CommandIdReused):
            inside.finalize(session_id, command_id="c")
        inside.cancel(session_id)
        with pytest.raises(IllegalTransition):
            inside.finalize(session_id)
        assert connection.execute(sa.select(1)).scalar() == 1
    assert pipeline.get(session_id).state == "cancelled"


def test_a_second_door_is_refused(opened: Open, url: str, request: pytest.FixtureRequest) -> None:
    """A writer beside the thread's own open host transaction is told so at once; other threads go on."""
    pipeline = opened(settings={"lock_timeout": 0.4})
    mine, other = pipeline.start_session().session_id, pipeline.start_session().session_id
    memory = isinstance(pipeline.store, MemoryStore)
    opened_by = pipeline.store.begin() if isinstance(pipeline.store, MemoryStore) else None
    with opened_by or request.getfixturevalue("host").begin() as connection:
        pipeline.using(connection).finalize(mine)
        for door in (
            lambda: pipeline.finalize(mine),
            lambda: pipeline.record(other, [Segment("x", 0, 1)]),
            lambda: pipeline.start_session(),
        ):
            with pytest.raises(MinaError, match="using"):
                door()
        assert pipeline.get(other).state == "recording"  # reading is no door
        if url.startswith("postgresql"):
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(pipeline.finalize, other).result().state == "finalized"
    assert memory or pipeline.get(mine).state == "finalized"
    assert pipeline.cancel(other).state == "cancelled"


@SQL
def test_sessions_and_scoped_sessions(opened: Open, host: sa.Engine) -> None:
    """An ORM Session and a scoped_session are taken like a connection."""
    pipeline = opened()
    session_id = pipeline.start_session().session_id
    scoped = sqlalchemy.orm.scoped_session(sqlalchemy.orm.sessionmaker(host))
    pipeline.using(scoped).finalize(session_id)
    scoped.rollback()
    assert pipeline.get(session_id).state == "recording"
    pipeline.using(scoped()).finalize(session_id)
    scoped.commit()
    scoped.remove()
    assert pipeline.get(session_id).state == "finalized"
    with pytest.raises(MinaError, match="takes a SQLAlchemy"):
        pipeline.using("a string")


@SQL
def test_what_could_not_be_part_of_it_is_refused(opened: Open, url: str, host: sa.Engine) -> None:
    """No transaction, AUTOCOMMIT by option or by engine: refused with what to do."""
    pipeline = opened()
    with host.connect() as connection, pytest.raises(MinaError, match="no transaction is open"):
        pipeline.using(connection)
    automatic = sa.create_engine(host.url, isolation_level="AUTOCOMMIT")
    with automatic.begin() as connection, pytest.raises(MinaError, match="AUTOCOMMIT"):
        pipeline.using(connection)
    automatic.dispose()


@SQL
def test_another_database_is_refused(opened: Open, url: str, host: sa.Engine, tmp_path: object) -> None:
    """A connection on which our tables are not to be seen is refused, and its transaction goes on."""
    pipeline = opened()
    elsewhere = f"sqlite:///{tmp_path}/other.db" if url.startswith("sqlite") else host.url.set(database="postgres")
    other = sa.create_engine(elsewhere)
    with other.begin() as connection:
        with pytest.raises(MinaError, match="another database"):
            pipeline.using(connection)
        assert connection.execute(sa.select(1)).scalar() == 1
    other.dispose()


@POSTGRESQL
def test_serialization_failures_reach_the_host(opened: Open, host: sa.Engine) -> None:
    """At REPEATABLE READ a session that moved on is RetryTransaction, and the run after it succeeds."""
    pipeline = opened()
    session_id = pipeline.start_session().session_id
    strict = host.execution_options(isolation_level="REPEATABLE READ")

    def attempt(first: bool) -> None:
        with strict.begin() as connection:
            connection.execute(sa.text("SELECT 1"))
            if first:
                with ThreadPoolExecutor(1) as pool:
                    pool.submit(pipeline.record, session_id, [Segment("x", 0, 1)]).result()
            pipeline.using(connection).finalize(session_id)

    with pytest.raises(RetryTransaction, match="roll it back and run it again"):
        attempt(first=True)
    attempt(first=False)
    assert pipeline.get(session_id).version == 3


@POSTGRESQL
def test_deadlocks_and_lock_timeouts_reach_the_host(opened: Open, host: sa.Engine) -> None:
    """Two hosts that take two sessions in opposite order: one is told RetryTransaction, the other commits."""
    pipeline = opened()
    one, two = pipeline.start_session().session_id, pipeline.start_session().session_id
    met = threading.Barrier(2)

    def take(first: str, second: str) -> str:
        try:
            with host.begin() as connection:
                inside = pipeline.using(connection)
                inside.finalize(first)
                met.wait()
                inside.finalize(second)
        except RetryTransaction:
            return "retry"
        return "done"

    with ThreadPoolExecutor(2) as pool:
        ends = [pool.submit(take, one, two), pool.submit(take, two, one)]
        assert sorted(end.result() for end in ends) == ["done", "retry"]
    with host.begin() as holder, host.begin() as connection:
        pipeline.using(holder).cancel(one)
        connection.execute(sa.text("SET LOCAL lock_timeout = '100ms'"))
        with pytest.raises(RetryTransaction):
            pipeline.using(connection).cancel(one)
        connection.rollback()


@SQLITE
def test_a_host_that_read_first_is_told_of_the_helper(opened: Open, url: str) -> None:
    """A deferred transaction whose snapshot is behind cannot write: RetryTransaction names the IMMEDIATE helper."""
    pipeline = opened()
    session_id = pipeline.start_session().session_id
    deferred = sa.create_engine(url)

    @sa.event.listens_for(deferred, "connect")
    def ours(connection: object, _record: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]

    @sa.event.listens_for(deferred, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    with deferred.connect() as connection, connection.begin():
        connection.execute(sa.text("SELECT count(*) FROM sqlite_master")).scalar()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(pipeline.record, session_id, [Segment("x", 0, 1)]).result()
        with pytest.raises(RetryTransaction, match="immediate"):
            pipeline.using(connection)
        connection.rollback()
    deferred.dispose()


@SQLITE
def test_a_plain_host_needs_no_helper_if_it_wrote_first(opened: Open, url: str) -> None:
    """With SQLAlchemy's own way of beginning on SQLite our first statement takes the write lock."""
    pipeline = opened()
    session_id = pipeline.start_session().session_id
    plain = sa.create_engine(url)
    with plain.begin() as connection:
        inside = pipeline.using(connection)
        with (
            ThreadPoolExecutor(1) as pool,
            Pipeline.open(url, settings=impatient(pipeline)) as beside,
            pytest.raises(StoreBusy),
        ):
            pool.submit(beside.finalize, session_id).result()
        inside.cancel(session_id)
    assert pipeline.get(session_id).state == "cancelled"
    plain.dispose()


def impatient(pipeline: Pipeline) -> Settings:
    return Settings(table_prefix=pipeline.settings.table_prefix, lock_timeout=0.2)
