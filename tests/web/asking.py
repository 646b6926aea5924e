"""A host with two tenants, whose rights can be taken away, and requests to its doors as values."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from mina_adapters.web.doors import Asked, Doors, Reply
from mina_adapters.web.routes import ROUTES

from mina_pipeline import Pipeline, Segment, Session

ACTIONS = ("start", "record", "finalize", "read", "retry", "cancel", "change_task", "watch_dashboard")
PLAIN_ROUTES = [route for route in ROUTES if not route.stream]
OF_A_SESSION = [route for route in PLAIN_ROUTES if "{session_id}" in route.template]


@dataclass(frozen=True)
class Person:
    """A principal."""

    id: str
    tenant: str | None = "red"


ANN = Person("ann")
BOB = Person("bob", "blue")


@dataclass
class Host:
    """What people may do: all of ACTIONS but those that are `taken`. `asked` keeps each question."""

    taken: set[str] = field(default_factory=set)
    asked: list[tuple[str, str | None, str]] = field(default_factory=list)

    def authorize(self, principal: Any, session: Session | None, action: str) -> bool:
        self.asked.append((principal.id, session and session.session_id, action))
        return action in ACTIONS and action not in self.taken


BODIES: dict[str, Any] = {
    "segments": {"segments": [{"text": "more words", "start_ms": 9000, "end_ms": 9500, "segment_id": "more"}]},
    "upload": "WEBVTT\n\n1\n00:00:10.000 --> 00:00:11.000\nwords in a file\n",
    "finalize": {"final_text": "the words of all"},
    "cancel": {"why": "no need"},
    "retry": {"stage": "summary"},
    "change_task": {"completed": True},
}
"""What each door that wants a body is given."""


def asked(
    principal: Any, path: dict[str, str] | None = None, body: Any = None, query: dict[str, str] | None = None
) -> Asked:
    raw = body if isinstance(body, bytes) else b"" if body is None else encoded(body)
    return Asked(principal, path or {}, query or {}, raw, None)


def encoded(body: Any) -> bytes:
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


def ask(
    doors: Doors,
    door: str,
    session_id: str | None = None,
    body: Any = None,
    by: Any = ANN,
    task_id: str = "task",
    **query: str,
) -> tuple[int, Any]:
    """(status, decoded body) of a door."""
    reply = reply_of(doors, door, session_id, body, by, task_id, **query)
    return reply.status, json.loads(reply.content)


def reply_of(
    doors: Doors,
    door: str,
    session_id: str | None = None,
    body: Any = None,
    by: Any = ANN,
    task_id: str = "task",
    **query: str,
) -> Reply:
    path = {} if session_id is None else {"session_id": session_id, "task_id": task_id}
    return doors.answer(door, asked(by, path, body, query))


def told(pipeline: Pipeline, session_id: str = "meeting", tenant: str | None = "red") -> Session:
    """A recorded session in which something is to be done."""
    pipeline.start_session("Weekly <b>sync</b>", session_id, tenant=tenant)
    return pipeline.record(
        session_id,
        [
            Segment("okay so um the budget is done", 0, 2400, "Ann", 0.9),
            Segment("Bob can you send the <i>budget</i> to the board by friday?", 2500, 5200, "Ann", 0.8),
            Segment("sure i will send it tomorrow", 5300, 7000, "Bob", 0.7),
        ],
    )


def revealed(pipeline: Pipeline, session_id: str = "meeting", tenant: str | None = "red") -> Session:
    told(pipeline, session_id, tenant)
    pipeline.finalize(session_id)
    pipeline.run_until_idle()
    return pipeline.get(session_id)
