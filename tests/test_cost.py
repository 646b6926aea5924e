"""What an append costs, counted in statements instead of timed; and that it does not grow with the session."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from mina_pipeline import Pipeline, Segment
from mina_pipeline.store.sql import SqlStore


def counted(pipeline: Pipeline, act: Callable[[], object]) -> list[str]:
    """The statements that an action sends to the database."""
    store = pipeline.store
    assert isinstance(store, SqlStore)
    sent: list[str] = []

    def count(_c: object, _cursor: object, statement: str, *rest: object) -> None:
        sent.append(statement)

    sa.event.listen(store.engine, "before_cursor_execute", count)
    try:
        act()
    finally:
        sa.event.remove(store.engine, "before_cursor_execute", count)
    return sent


def test_statements_of_one_append(pipeline: Pipeline) -> None:
    """PostgreSQL: one to load, one to append, each its own round trip. SQLite: one guarded batch."""
    if not isinstance(pipeline.store, SqlStore):
        return
    session_id = pipeline.start_session().session_id
    sent = counted(pipeline, lambda: pipeline.finalize(session_id))
    if pipeline.store.engine.dialect.name == "postgresql":
        assert [text.split()[0] for text in sent] == ["SELECT", "WITH"]
    else:
        # BEGIN and the read; BEGIN IMMEDIATE, the guard, the event, the work row. COMMITs are the driver's.
        assert [text.split()[0] for text in sent] == ["BEGIN", "SELECT", "BEGIN", "UPDATE", "INSERT", "INSERT"]


def test_the_thousandth_segment_costs_what_the_first_did(pipeline: Pipeline) -> None:
    """Recording sends the same statements whatever is recorded already."""
    if not isinstance(pipeline.store, SqlStore):
        return
    session_id = pipeline.start_session().session_id
    first = counted(pipeline, lambda: pipeline.record(session_id, [Segment("x", 0, 1, segment_id="a")]))
    pipeline.record(session_id, [Segment("x", n, n) for n in range(1000)])
    last = counted(pipeline, lambda: pipeline.record(session_id, [Segment("x", 0, 1, segment_id="b")]))
    assert len(first) == len(last)
