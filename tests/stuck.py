"""Sessions that are stuck in one way or another, planted behind the pipeline's back, on any store."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from click.testing import Result

from mina_pipeline import Pipeline, Segment, Settings
from mina_pipeline.opening import known_workflows
from mina_pipeline.projections import READ_MODELS, Op
from mina_pipeline.store.sql import SqlStore
from mina_pipeline.work_shapes import Claimed, Wanted

MINUTE = 60_000_000


def recording(p: Pipeline) -> str:
    session_id = p.start_session("Weekly").session_id
    p.record(session_id, [Segment("i'll send it by friday", 0, 900, "Ann", 0.5)])
    return session_id


def due(p: Pipeline) -> str:
    session_id = recording(p)
    p.finalize(session_id)
    return session_id


def finished(p: Pipeline) -> str:
    session_id = due(p)
    p.run_until_idle()
    return session_id


def write(p: Pipeline, session_id: str, *ops: Op) -> None:
    """Change rows, on any store."""
    assert p.store.correct(p.clock.now(), session_id, p.get(session_id).version, ops)


def later(p: Pipeline, session_id: str, kind: str, name: str, minutes: float) -> None:
    """A row of work is due since so many minutes."""
    row = {"session_id": session_id, "kind": kind, "stage": name, "due_at": p.clock.now() - int(minutes * MINUTE)}
    write(p, session_id, Op("update", "work", (row,)))


def silent(p: Pipeline, session_id: str, minutes: float = 45) -> None:
    """The recording's last sign of life was so long ago."""
    row = {"session_id": session_id, "touched_at": p.clock.now() - int(minutes * MINUTE)}
    write(p, session_id, Op("update", "sessions", (row,)))


def abandoned(p: Pipeline) -> str:
    session_id = recording(p)
    silent(p, session_id)
    return session_id


def forged(p: Pipeline) -> str:
    session_id = due(p)
    row = {**p.store.rows("segments", session_id)[0], "text": "forged"}
    write(p, session_id, Op("update", "segments", (row,)))
    return session_id


def upgrade_due(p: Pipeline, session_id: str, minutes: float) -> None:
    """A row of work that makes a degraded summary again, due since so many minutes."""
    now = p.clock.now()
    row = {
        "session_id": session_id, "kind": "upgrade", "stage": "summary", "run": 2, "definition": "standard",
        "definition_version": 1, "due_at": now - int(minutes * MINUTE), "attempts": 0, "tries": 0, "created_at": now,
        "owner": None, "token": None, "until": None,
    }  # fmt: skip
    write(p, session_id, Op("insert", "work", (row,)))


def claimed(p: Pipeline, owner: str = "gone:1:1", lease: int = 1, token: str | None = None) -> Claimed:
    """A claim whose worker is not heard of again; the lease in µs."""
    found = p.store.claim(p.clock.now(), owner, token or p.ids.uuid(), lease, Wanted(list(p.code)))
    assert found is not None
    return found


def worker_seen(p: Pipeline, name: str, definitions: list[str], minutes: int = 0) -> None:
    """A worker process whose last sign of life is so long ago."""
    now = p.clock.now()
    p.store.worker_seen(now, name, now, {"definitions": definitions})
    if minutes and isinstance(p.store, SqlStore):
        table = p.store.schema.sql("workers")
        with p.store.engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE {table} SET seen_at = seen_at - {minutes * MINUTE}")
    elif minutes:
        seen = p.store.workers_seen(now)[0]
        p.store.tables.workers[name] = replace(seen, seen_at=now - minutes * MINUTE)  # type: ignore[attr-defined]


def another(p: Pipeline, definition: Any = "standard", settings: Settings | None = None) -> Pipeline:
    """A process of its own on the same store, also where that is in memory."""
    return Pipeline(p.store, known_workflows(definition), p.provider, settings or p.settings, p.clock, p.ids)


def everything(p: Pipeline) -> list[Any]:
    """All that is stored."""
    found: list[Any] = [p.store.breakers(0), p.store.workers_seen(0)]
    for session in p.sessions():
        one = session.session_id
        found += [p.store.load(one), p.store.events(one), *(p.store.rows(table, one) for table in READ_MODELS)]
    return found


def lines(result: Result) -> list[dict[str, Any]]:
    """What a command printed with --json."""
    return [json.loads(line) for line in result.stdout.splitlines()]
