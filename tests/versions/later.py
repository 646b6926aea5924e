"""What a later release wrote, and sessions to write it into."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from mina_pipeline import Pipeline, Segment
from mina_pipeline.codec import chain, recorded
from mina_pipeline.events import Event, RecordedEvent
from mina_pipeline.projections import READ_MODELS
from mina_pipeline.sessions import load
from mina_pipeline.states import FOLD_VERSION
from mina_pipeline.system import SystemClock


def stored(type: str, version: int, data: str, content: str | None = None, skippable: bool = False) -> RecordedEvent:
    return recorded(
        {
            "event_id": "e", "session_id": "s", "version": 4, "era": 1, "feed_xid": 0, "seq": 9, "type": type,
            "schema_version": version, "skippable": skippable, "recorded_at": 1_700_000_000_000_000, "trace_id": "t",
            "causation_id": None, "command_id": None, "actor": None, "data": data, "content": content,
        }
    )  # fmt: skip


class Noted(Event, frozen=True, kw_only=True):
    """An event of a later release, for the tests to dress up as any other."""

    kind: ClassVar[str] = "session_noted"
    skippable: ClassVar[bool] = True
    note: str | None = "from a later release"


def later_release_writes(
    pipeline: Pipeline, session_id: str, type: str = "session_split", *, skippable: bool = False, **columns: Any
) -> None:
    """Append as a later release would: an event of its own; one that cannot be skipped raises the fold version."""
    now = load(pipeline.store, session_id)
    append, _ = pipeline.handler.compose(session_id, now, [Noted()], None, None, None, None)
    row = {**append.events[0], "type": type, "skippable": skippable}
    row["hash"] = chain(now.row["hash"], row)
    session = {**append.session, "hash": row["hash"], **columns}
    if not skippable:
        session |= {"fold_version": FOLD_VERSION + 1, "snapshot": '{"shape":"of a later release"}'}
    assert pipeline.store.append(replace(append, events=(row,), session=session))


class Clock(SystemClock):
    """The host's clock, which a test can put forward."""

    ahead = 0

    def now(self) -> int:
        return super().now() + self.ahead


def begun(pipeline: Pipeline, session_id: str) -> str:
    pipeline.start_session("A title", session_id)
    pipeline.record(session_id, [Segment("hello there", 0, 900, "Ann", 0.5)])
    pipeline.finalize(session_id)
    return session_id


def everything(pipeline: Pipeline, session_id: str) -> list[Any]:
    """All that is stored for a session."""
    store = pipeline.store
    return [store.load(session_id), store.events(session_id), *(store.rows(table, session_id) for table in READ_MODELS)]
