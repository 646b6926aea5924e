"""The wire view: every event under its product's name, with the fields that existing front ends read."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given

from mina_pipeline import events as did
from mina_pipeline.codec import encode, recorded
from mina_pipeline.testing.strategies import events
from mina_pipeline.wire import wire_view

AT = 1_700_000_000_000_000
COMMON = {"session_id", "trace_id", "event_id", "version", "timestamp"}
STAGE = COMMON | {"task_type", "status", "run"}
ENDED = {"input_version": 3, "duration_ms": 12, "provider": "offline"}
SUMMARY = {
    "brief": "B.", "detailed": "D.", "key_points": [{"text": "K", "evidence": ["1"]}],
    "topics": [{"text": "T", "evidence": []}],
}  # fmt: skip

# What each event must be called and carry: (event, wire name, fields beyond the common ones).
TABLE: list[tuple[did.Event, str, set[str]]] = [
    (did.SessionStarted(id=7, definition="standard", definition_version=1, stages=(), started_at=AT, title="T"),
     "session_started", COMMON | {"status", "id", "title"}),
    (did.SegmentsRecorded(first_ordinal=1, segment_ids=("1",), starts_ms=(0,), ends_ms=(1,), confidences=(None,),
                          texts=("x",), speakers=(None,)),
     "segments_recorded", COMMON | {"status", "segments"}),
    (did.SessionFinalized(reason="requested", total_segments=1, total_duration=1.0, average_confidence=0.5),
     "session_finalized", COMMON | {"status", "stats"}),
    (did.StageStarted(stage="refinement", run=1), "refinement_started", STAGE),
    (did.StageProgress(stage="summary", run=1, done=1, total=2), "summary_progress", STAGE | {"done", "total"}),
    (did.StageWaiting(stage="tasks", run=1, reason="outage", retry_at=AT), "tasks_waiting",
     STAGE | {"reason", "retry_at"}),
    (did.StageReady(stage="refinement", run=1, outcome="ok", artefact={"improvements": {}, "confidence": 1}, **ENDED),
     "refinement_ready", STAGE | {"outcome", "improvements", "confidence", "duration_ms", "refined_transcript"}),
    (did.StageReady(stage="analytics", run=1, outcome="ok", artefact={"word_count": 1}, **ENDED),
     "analytics_ready", STAGE | {"outcome", "analytics"}),
    (did.StageReady(stage="tasks", run=1, outcome="ok", artefact={"tasks": [{"title": "x"}]}, **ENDED),
     "tasks_ready", STAGE | {"outcome", "tasks", "count"}),
    (did.StageReady(stage="summary", run=1, outcome="ok", artefact=SUMMARY, **ENDED),
     "summary_ready", STAGE | {"outcome", "summary", "key_points", "topics"}),
    (did.StageFailed(stage="analytics", run=1, reason="error", error_type="KeyError", error="x", **ENDED),
     "analytics_failed", STAGE | {"outcome", "error", "error_type"}),
    (did.Revealed(outcomes={"refinement": "ok"}), "post_transcription_reveal",
     COMMON | {"status", "redirect_url", "message"}),
    (did.DashboardRefreshed(action="session_completed", status="completed", completed_at=AT, title="T"),
     "dashboard_refresh", COMMON | {"action", "session_data"}),
    (did.ArtefactUpdated(stage="tasks", run=2, outcome="ok"), "artefact_updated", STAGE | {"outcome"}),
    (did.TaskChanged(task_id="t", fields=("title",), changes={"title": "x"}), "task_changed",
     COMMON | {"task_id", "changes"}),
    (did.SessionCancelled(why="x"), "session_cancelled", COMMON | {"status"}),
    (did.SessionErased(through_version=3), "session_erased", COMMON | {"status"}),
]  # fmt: skip


def stored(event: did.Event) -> did.RecordedEvent:
    text = encode(event)
    return recorded(
        {
            "event_id": "e", "session_id": "room", "version": 4, "era": 1, "feed_xid": 0, "seq": 9, "type": text.type,
            "schema_version": 1, "skippable": text.skippable, "recorded_at": AT, "trace_id": "t", "causation_id": None,
            "command_id": None, "actor": None, "data": text.data, "content": text.content,
        }
    )  # fmt: skip


@pytest.mark.parametrize(("event", "name", "fields"), TABLE, ids=[row[1] for row in TABLE])
def test_names_and_fields(event: did.Event, name: str, fields: set[str]) -> None:
    """Each event goes out under its product's name with every field that front ends read."""
    found, payload = wire_view(stored(event), refined_transcript="Hello.")
    assert found == name
    assert fields <= set(payload)
    assert payload["timestamp"] == "2023-11-14T22:13:20.000Z"
    assert (payload["session_id"], payload["version"]) == ("room", 4)


def test_values_that_front_ends_show() -> None:
    """The values are what the pages show: texts as strings, counts, the redirect to the refined page."""
    by_name = {name: wire_view(stored(event), "Hello.")[1] for event, name, _ in TABLE}
    assert by_name["session_finalized"]["stats"] == {
        "total_segments": 1, "total_duration": 1.0, "average_confidence": 0.5,
    }  # fmt: skip
    assert by_name["tasks_ready"]["count"] == 1
    assert (by_name["summary_ready"]["summary"], by_name["summary_ready"]["key_points"]) == ("B.", ["K"])
    assert by_name["post_transcription_reveal"]["redirect_url"] == "/sessions/room/refined"
    assert by_name["dashboard_refresh"]["action"] == "session_completed"
    assert set(by_name["dashboard_refresh"]["session_data"]) == {"title", "status", "completed_at"}
    assert by_name["refinement_ready"]["refined_transcript"] == "Hello."


def test_every_class_is_in_the_table() -> None:
    """No event class is missing above but two that are always of later runs, and go out as session_event."""
    later = {did.StageRequested, did.StageDropped}
    assert {type(event) for event, _, _ in TABLE} == {*did.SESSION_EVENTS, *did.STAGE_EVENTS} - later
    for event in (did.StageRequested(stage="tasks", run=2), did.StageDropped(stage="tasks", run=1, reason="asked")):
        assert wire_view(stored(event))[0] == "session_event"


def test_later_runs_go_out_under_one_name() -> None:
    """Events of run 2 and later are `session_event` with their type inside, so that nobody redirects twice."""
    name, payload = wire_view(stored(did.StageStarted(stage="tasks", run=2)))
    assert (name, payload["type"], payload["run"]) == ("session_event", "tasks_started", 2)
    assert wire_view(stored(did.StageRequested(stage="tasks", run=2)))[0] == "session_event"


def test_checkpoints_never_leave() -> None:
    """A progress event carries done and total, never its key or its value."""
    progress = did.StageProgress(stage="summary", run=1, done=1, total=2, key="chunk", value={"answer": "secret"})
    _, payload = wire_view(stored(progress))
    assert "secret" not in msgspec.json.encode(payload).decode()
    assert not {"key", "value"} & set(payload)


def test_without_the_text_there_is_a_link() -> None:
    """A refinement_ready that is sent without its rendered text says where to fetch it."""
    ready = did.StageReady(stage="refinement", run=1, outcome="ok", artefact={}, **ENDED)
    _, payload = wire_view(stored(ready))
    assert payload["href"] == "/sessions/room/refined"
    assert "refined_transcript" not in payload


@given(events())
def test_every_event_has_a_json_payload(event: did.Event) -> None:
    """Whatever an event holds, its payload is JSON."""
    if isinstance(event, did.StageReady) and isinstance(event.artefact, dict):
        event = msgspec.structs.replace(event, artefact=None)
    if isinstance(event, (did.StageWaiting, did.DashboardRefreshed)):
        return  # times beyond the calendar
    msgspec.json.encode(wire_view(stored(event))[1])
