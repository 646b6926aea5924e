"""Sessions that were open when a release with timers came: the migration gives them theirs."""

from __future__ import annotations

from importlib import import_module

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations

from mina_pipeline import Pipeline
from mina_pipeline.store.sql import SqlStore

REVISION = import_module("mina_pipeline.store.migrations.versions.0002_workers")


def test_open_sessions_get_their_timers(pipeline: Pipeline) -> None:
    """A recording, and a session whose stages have begun; those that need none get none."""
    store = pipeline.store
    if not isinstance(store, SqlStore):
        pytest.skip("memory has no migrations")
    recording, finalized, begun, cancelled = (pipeline.start_session().session_id for _ in range(4))
    pipeline.cancel(cancelled)
    pipeline.finalize(begun)
    worker = pipeline.worker()
    worker.ending = True
    worker.step(pipeline.clock.now())
    pipeline.finalize(finalized)
    store.writing(lambda link: link.count(f"DELETE FROM {store.schema.sql('work')} WHERE kind = 'timer'"))
    assert [bool(pipeline.verify(one)) for one in (recording, finalized, begun, cancelled)] == [
        True,
        False,
        True,
        False,
    ]
    with store.engine.connect() as connection:
        REVISION.timers(Operations(MigrationContext.configure(connection)), store.schema.prefix, None)
    assert all(pipeline.verify(one) == [] for one in (recording, finalized, begun, cancelled))
    pipeline.run_until_idle()
    assert pipeline.get(begun).state == "revealed"
