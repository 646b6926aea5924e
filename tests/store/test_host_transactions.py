"""Inside a host's transaction: our events commit, or vanish, with the host's rows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
import sqlalchemy.orm

from mina_pipeline import MinaError, Pipeline, RecordedEvent
from mina_pipeline.store.memory import MemoryStore
from mina_pipeline.store.sqlite import immediate

Open = Callable[..., Pipeline]


class Host:
    """A host app's own table beside ours, in one database."""

    def __init__(self, url: str) -> None:
        if url.startswith("sqlite"):
            self.engine = immediate(sa.create_engine(url))
        else:
            self.engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        self.notes = sa.Table("host_notes", sa.MetaData(), sa.Column("text", sa.Text))
        self.notes.metadata.drop_all(self.engine)
        self.notes.metadata.create_all(self.engine)

    def count(self) -> int:
        with self.engine.connect() as connection:
            return len(connection.execute(sa.select(self.notes)).all())


def test_using_a_hosts_transaction(opened: Open, url: str) -> None:
    """Our events commit with the host's rows, vanish with them, and nobody hears of them before the commit."""
    if url == "memory://":
        pytest.skip("the memory store's transactions have a test of their own")
    pipeline, host, heard = opened(), Host(url), list[RecordedEvent]()
    session_id = pipeline.start_session().session_id
    with pipeline.subscribe(heard.append):
        with host.engine.begin() as connection:
            connection.execute(host.notes.insert(), {"text": "with"})
            assert pipeline.using(connection).finalize(session_id).state == "finalized"
            pipeline.relay.drain()
            assert heard == []
        pipeline.relay.drain()
        assert [event.type for event in heard] == ["session_finalized"]
        with pytest.raises(RuntimeError), host.engine.begin() as connection:
            connection.execute(host.notes.insert(), {"text": "without"})
            pipeline.using(connection).cancel(session_id)
            raise RuntimeError("the host thinks again")
        pipeline.relay.drain()
    assert host.count() == 1
    assert pipeline.get(session_id).state == "finalized"
    with host.engine.begin() as connection, sqlalchemy.orm.Session(connection) as orm:
        pipeline.using(orm).cancel(session_id)
    assert pipeline.get(session_id).state == "cancelled"
    assert pipeline.verify(session_id) == []
    with host.engine.connect() as connection, pytest.raises(MinaError, match="no transaction"):
        pipeline.using(connection)
    host.engine.dispose()


def test_a_host_that_autocommits_is_refused(opened: Open, url: str) -> None:
    """In AUTOCOMMIT our events would stay although the host rolls back: using() refuses, and says why."""
    if url == "memory://":
        pytest.skip("memory has no such mode")
    pipeline, host = opened(), Host(url)
    autocommit = host.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    with autocommit as connection, connection.begin(), pytest.raises(MinaError, match="AUTOCOMMIT"):
        pipeline.using(connection)
    host.engine.dispose()


def test_work_that_a_host_has_locked_is_left_alone(opened: Open, url: str) -> None:
    """A row that an open host transaction holds stops no worker, and closing the inner pipeline closes nothing."""
    if not url.startswith("postgresql"):
        pytest.skip("only PostgreSQL locks rows")
    pipeline, host = opened(), Host(url)
    session_id = pipeline.start_session().session_id
    pipeline.finalize(session_id)
    with host.engine.begin() as connection:
        with pipeline.using(connection) as inside:
            inside.cancel(session_id)
            with pytest.raises(MinaError, match="host's transaction"):
                inside.run_until_idle()
        assert pipeline.run_until_idle() == 0
    assert pipeline.get(session_id).state == "cancelled"
    host.engine.dispose()


def test_using_a_memory_transaction() -> None:
    """The memory store's transactions begin, write and commit, or roll back, like a database's."""
    with Pipeline.open("memory://") as pipeline:
        store = pipeline.store
        assert isinstance(store, MemoryStore)
        session_id = pipeline.start_session().session_id
        with store.begin() as transaction:
            assert pipeline.using(transaction).finalize(session_id).state == "finalized"
            assert pipeline.get(session_id).state == "recording"
        assert pipeline.get(session_id).state == "finalized"
        transaction = store.begin()
        pipeline.using(transaction).cancel(session_id)
        transaction.rollback()
        assert pipeline.get(session_id).state == "finalized"
