"""The wire view: a recorded event as the (name, payload) that front ends read. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from .codec import decode
from .errors import UpgradeNeeded
from .events import (
    ArtefactUpdated,
    DashboardRefreshed,
    Event,
    RecordedEvent,
    Revealed,
    SegmentsRecorded,
    SessionCancelled,
    SessionErased,
    SessionFinalized,
    SessionStarted,
    StageDropped,
    StageEvent,
    StageFailed,
    StageProgress,
    StageReady,
    StageRequested,
    StageStarted,
    StageWaiting,
    TaskChanged,
    Unread,
)

Payload = dict[str, Any]

LATER = "session_event"
"""The one name for runs after the first, and for what this release cannot read: clients still see every version."""


def wire_view(recorded: RecordedEvent, refined_transcript: str | None = None) -> tuple[str, Payload]:
    """The name and payload for clients.

    `refined_transcript` is the rendered text for a `refinement_ready` (the event holds only the changes);
    without it the field is left out and `href` says where to fetch it. Never an answer or a checkpoint.
    An event of a type or version that this release does not know goes out by its envelope alone.
    """
    payload: Payload = {
        "session_id": recorded.session_id,
        "trace_id": recorded.trace_id,
        "event_id": recorded.event_id,
        "version": recorded.version,
        "timestamp": iso(recorded.recorded_at),
    }
    try:
        event = decode(recorded)
    except (UpgradeNeeded, ValueError):  # ValueError: a later release's type that ends as a stage's does
        event = Unread(stored_type=recorded.type)
    if isinstance(event, Unread):
        return LATER, {**payload, "type": recorded.type}
    payload |= fields(event, recorded, refined_transcript)
    later = isinstance(event, StageDropped) or (isinstance(event, StageEvent) and event.run > 1)
    if later and not isinstance(event, ArtefactUpdated):
        return LATER, {**payload, "type": recorded.type}
    return recorded.type, payload


def iso(micros: int) -> str:
    """µs since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(micros / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def fields(event: Event, recorded: RecordedEvent, refined_transcript: str | None) -> Payload:
    match event:
        case SessionStarted():
            return {"status": "recording", "id": event.id, "title": event.title}
        case SegmentsRecorded():
            return {"status": "recording", "segments": segments(event)}
        case SessionFinalized():
            stats = {name: getattr(event, name) for name in ("total_segments", "total_duration", "average_confidence")}
            return {"status": "finalized", "reason": event.reason, "stats": stats}
        case StageEvent() if not isinstance(event, ArtefactUpdated):
            return {
                "task_type": event.stage,
                "run": event.run,
                **stage_fields(event, recorded, refined_transcript),
            }
        case ArtefactUpdated():
            return {
                "task_type": event.stage,
                "run": event.run,
                "status": "completed",
                "outcome": event.outcome,
            }
        case Revealed():
            return {
                "status": "completed",
                "redirect_url": page(recorded.session_id, "refined"),
                "message": message(event.outcomes),
                "outcomes": event.outcomes,
            }
        case DashboardRefreshed():
            data = {"title": event.title, "status": event.status, "completed_at": iso(event.completed_at)}
            return {"action": event.action, "session_data": data}
        case TaskChanged():
            return {"status": "completed", "task_id": event.task_id, "changes": event.changes}
        case SessionCancelled():
            return {"status": "cancelled", "why": event.why}
        case SessionErased():
            return {"status": "erased", "through_version": event.through_version}
        case _:
            return {}


def segments(event: SegmentsRecorded) -> list[Payload]:
    return [
        {
            "segment_id": segment_id,
            "start_ms": event.starts_ms[n],
            "end_ms": event.ends_ms[n],
            "confidence": event.confidences[n],
            "speaker": event.speakers[n] if event.speakers else None,
            "text": event.texts[n] if event.texts else None,
        }
        for n, segment_id in enumerate(event.segment_ids)
    ]


def stage_fields(event: StageEvent, recorded: RecordedEvent, refined_transcript: str | None) -> Payload:
    match event:
        case StageStarted():
            return {"status": "processing", "provider": event.provider}
        case StageProgress():
            return {"status": "processing", "done": event.done, "total": event.total}
        case StageWaiting():
            return {"status": "waiting", "reason": event.reason, "retry_at": iso(event.retry_at)}
        case StageRequested():
            return {"status": "requested"}
        case StageDropped():
            return {"status": "completed", "reason": event.reason}
        case StageFailed():
            return {
                "status": "failed",
                "outcome": "failed",
                "error": event.error,
                "error_type": event.error_type,
                "duration_ms": event.duration_ms,
            }
        case StageReady():
            return {
                "status": "completed",
                "outcome": event.outcome,
                "reason": event.reason,
                "provider": event.provider,
                "duration_ms": event.duration_ms,
                **artefact_fields(event, recorded, refined_transcript),
            }
        case _:
            return {}


def artefact_fields(event: StageReady, recorded: RecordedEvent, refined_transcript: str | None) -> Payload:
    made = event.artefact if isinstance(event.artefact, dict) else {}
    match event.stage:
        case "refinement":
            out: Payload = {"improvements": made.get("improvements"), "confidence": made.get("confidence")}
            if refined_transcript is None:
                return {**out, "href": page(recorded.session_id, "refined")}
            return {**out, "refined_transcript": refined_transcript}
        case "analytics":
            return {"analytics": made}
        case "tasks":
            tasks = made.get("tasks") or []
            return {"tasks": tasks, "count": len(tasks)}
        case "summary":
            return {
                "summary": made.get("brief"),
                "detailed": made.get("detailed"),
                "key_points": [point["text"] for point in made.get("key_points") or []],
                "topics": [topic["text"] for topic in made.get("topics") or []],
            }
        case _:
            return {"artefact": event.artefact}


def page(session_id: str, name: str) -> str:
    """The address of what the detail page of a session shows; a client may have chosen the id."""
    return f"/sessions/{quote(session_id, safe='')}/{name}"


CONTENT = (
    "refined_transcript improvements confidence analytics tasks summary detailed key_points topics artefact segments "
    "changes title error why".split()
)
"""Fields of payloads that may be long: what was said, and what was made of it."""
PAGES = {
    "refinement_ready": "refined", "analytics_ready": "analytics", "tasks_ready": "tasks", "summary_ready": "insights",
}  # fmt: skip
"""Where the detail page fetches what these events bring; all else is in the log."""
WORTH = 64  # bytes: to leave out what is smaller makes no payload smaller


def thin(name: str, payload: Payload, limit: int) -> Payload:
    """The payload of an event, or where its JSON is longer than `limit` bytes, one without its longest content.

    `left_out` names the fields, longest first ("session_data.title": of the object, the title), and `href` says where
    to fetch them. What is no content always stays; it is under 2,000 bytes where the session's id is an ordinary one.
    """
    if size(payload) <= limit:
        return payload
    out, left_out = dict(payload), list[str]()
    fields = [field for field in CONTENT if size(payload.get(field)) > WORTH]
    nested = payload.get("session_data") or {}
    if size(nested.get("title")) > WORTH:
        fields.append("session_data")
    for field in sorted(fields, key=lambda field: size(payload[field]), reverse=True):
        if field == "session_data":
            out[field] = {key: value for key, value in nested.items() if key != "title"}
            left_out.append("session_data.title")
        else:
            del out[field]
            left_out.append(field)
        out |= {"left_out": left_out, "href": href(name, payload)}
        if size(out) <= limit:
            break
    return out


def size(value: Any) -> int:
    return len(msgspec.json.encode(value))


def href(name: str, payload: Payload) -> str:
    found = PAGES.get(payload["type"] if name == LATER else name)
    if found is not None:
        return page(payload["session_id"], found)
    return f"/api/sessions/{quote(payload['session_id'], safe='')}/events?after={payload['version'] - 1}&limit=1"


def message(outcomes: dict[str, str]) -> str:
    """The reveal in words, honest about what is missing."""
    failed = [stage for stage, outcome in outcomes.items() if outcome == "failed"]
    if failed:
        return f"Your meeting is ready, but without {' and '.join(failed)}."
    if any(outcome == "degraded" for outcome in outcomes.values()):
        return "Your meeting is ready; parts of it were made in a simpler way."
    if all(outcome == "empty" for outcome in outcomes.values()):
        return "Nothing was said in this meeting."
    return "Your meeting is ready."
