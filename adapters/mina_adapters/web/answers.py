"""The HTTP doors that change something: a body to a door's fields, a session to the answer that clients read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mina_pipeline import Session

from .bodies import read_object
from .reading import READERS
from .replies import Asked, Principal, Reply, as_json

if TYPE_CHECKING:
    from .doors import Doors

Answerer = Callable[["Doors", Principal, Asked], Reply]


def start(doors: Doors, principal: Principal, asked: Asked) -> Reply:
    session, new = doors.started(principal, read_object(asked.body))
    return Reply(201 if new else 200, session.as_dict())


def segments(doors: Doors, principal: Principal, asked: Asked) -> Reply:
    fields = read_object(asked.body)
    session = doors.record(principal, asked.path["session_id"], fields.get("segments"), fields)
    return Reply(200, session.as_dict())


def upload(doors: Doors, principal: Principal, asked: Asked) -> Reply:
    session = doors.upload(principal, asked.path["session_id"], asked.body, asked.content_type)
    return Reply(200, session.as_dict())


def complete(doors: Doors, principal: Principal, asked: Asked) -> Reply:
    session = doors.finalize(principal, asked.path["session_id"], read_object(asked.body))
    return Reply(
        200,
        {
            "message": "The recording is complete.",
            "session_id": session.id,
            "external_id": session.session_id,
            **numbers(session),
            "status": session.state,
        },
    )


def finalize(doors: Doors, principal: Principal, asked: Asked) -> Reply:
    fields = read_object(asked.body)
    session = doors.finalize(principal, asked.path["session_id"], fields, integer_first=True)
    return Reply(
        200,
        {
            "message": "The recording is finalized.",
            "finalized_segments": numbers(session)["total_segments"],
            "status": session.state,
            "external_id": session.session_id,
        },
    )


def numbers(session: Session) -> dict[str, Any]:
    """The statistics of the one session_finalized."""
    of = session.stats
    return {
        "total_segments": of.total_segments if of else session.total_segments,
        "average_confidence": of.average_confidence if of else None,
        "total_duration": of.total_duration if of else 0.0,
    }


def cancel(doors: Doors, principal: Principal, asked: Asked) -> Reply:
    return Reply(200, doors.cancel(principal, asked.path["session_id"], read_object(asked.body)).as_dict())


def touch(doors: Doors, principal: Principal, asked: Asked) -> Reply:
    return Reply(200, doors.touch(principal, asked.path["session_id"]).as_dict())


def retry(doors: Doors, principal: Principal, asked: Asked) -> Reply:
    return Reply(200, doors.retry(principal, asked.path["session_id"], read_object(asked.body)).as_dict())


def change_task(doors: Doors, principal: Principal, asked: Asked) -> Reply:
    task_id, fields = asked.path["task_id"], read_object(asked.body)
    session = doors.change_task(principal, asked.path["session_id"], task_id, fields)
    made = doors.pipeline.result(session.session_id).tasks
    task = next((task for task in made or () if task.task_id == task_id), None)
    return Reply(200, {"session_id": session.session_id, "version": session.version, "task": as_json(task)})


ANSWERERS: dict[str, Answerer] = {
    "start": start,
    "segments": segments,
    "upload": upload,
    "complete": complete,
    "finalize": finalize,
    "cancel": cancel,
    "touch": touch,
    "retry": retry,
    "change_task": change_task,
    **READERS,
}
"""By the door's name in routes.ROUTES: all but the streams."""
