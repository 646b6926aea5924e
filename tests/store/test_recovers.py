"""What is made good without the caller: broken idle connections, held locks, an interrupt right after BEGIN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from mina_pipeline import Pipeline, StoreBusy

Open = Callable[..., Pipeline]


class InterruptedAfter:
    """A cursor on which a signal arrives just after one statement."""

    def __init__(self, cursor: Any, statement: str) -> None:
        self.cursor = cursor
        self.statement = statement

    def execute(self, text: str, *values: Any) -> Any:
        done = self.cursor.execute(text, *values)
        if text == self.statement:
            raise KeyboardInterrupt
        return done


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_an_interrupt_right_after_begin_leaves_no_lock(opened: Open) -> None:
    """The write lock that an interrupted writer had just taken is given up: others write, and so does it."""
    pipeline, other = opened(), opened(settings={"lock_timeout": 0.5})
    session_id = pipeline.start_session().session_id
    writer: Any = pipeline.store.shared.writer  # type: ignore[attr-defined]
    link, cursor = writer.link, writer.link.cursor
    link.cursor = InterruptedAfter(cursor, "BEGIN IMMEDIATE")
    with pytest.raises(KeyboardInterrupt):
        pipeline.finalize(session_id)
    link.cursor = cursor
    assert other.start_session().version == 1
    assert pipeline.finalize(session_id).version == 2


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_every_door_outlives_its_idle_connections(opened: Open, url: str) -> None:
    """Where the backends of idle connections were ended, starting a session goes through like any other call."""
    pipeline = opened()
    admin = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    for _ in range(3):
        pipeline.start_session()
        with admin.connect() as connection:
            connection.execute(
                sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                        " AND application_name = 'mina_pipeline'")
            )  # fmt: skip
    assert pipeline.start_session().version == 1
    admin.dispose()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_locked_table_is_said_to_be_busy(opened: Open, url: str) -> None:
    """A lock held on our tables for longer than lock_timeout is StoreBusy, with no SQL in its message."""
    pipeline = opened(settings={"lock_timeout": 0.2})
    session_id = pipeline.start_session().session_id
    host = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    table = pipeline.store.schema.sql("sessions")  # type: ignore[attr-defined]
    with host.begin() as connection:
        connection.execute(sa.text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        for call in (lambda: pipeline.get(session_id), pipeline.sessions):
            with pytest.raises(StoreBusy) as error:
                call()
            assert "SELECT" not in str(error.value)
    assert pipeline.get(session_id).version == 1
    host.dispose()
