"""The HTTP doors that read: a session, its events, the list, what the stages have made."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from mina_pipeline import InvalidInput, Session
from mina_pipeline.text import clean_text

from .bodies import NAME, version
from .pages import PAGES, MakePage
from .replies import Asked, Principal, Reply, as_json
from .telling import placed

if TYPE_CHECKING:
    from .doors import Doors

EVENTS = 500
"""Events in one answer, at most."""
SESSIONS = 200
"""Sessions in one answer, at most."""
LOOKED_AT = 1_000
"""Sessions that are looked at for one answer, where some may not be read."""
ARTEFACTS = ("transcript", "analytics", "tasks", "summary")


def sessions(doors: Doors, principal: Principal, asked: Asked) -> Reply:
    """The tenant's sessions that may be read, newest first. `before`: to go on after the last that was looked at."""
    doors.rights.require(principal, None, "watch_dashboard")
    state = asked.query.get("state") or None
    if state is not None and (clean_text(state) != state or len(state) > NAME):
        raise InvalidInput("state", "a state's name")
    limit = max(1, min(asked_for(asked, "limit", 50), SESSIONS))
    before = version(asked.query.get("before"), "before")
    found: list[Session] = []
    looked = 0
    size = max(limit, 50)
    while True:
        page = doors.pipeline.sessions(state, principal.tenant, before=before, limit=size)
        for session in page:
            before = session.id
            looked += 1
            if doors.rights.allows(principal, session, "read"):
                found.append(session)
            if len(found) == limit or looked == LOOKED_AT:
                return Reply(200, {"sessions": [one.as_dict() for one in found], "before": before})
        if len(page) < size:
            return Reply(200, {"sessions": [one.as_dict() for one in found], "before": None})


def session(doors: Doors, principal: Principal, asked: Asked) -> Reply:
    return Reply(200, doors.rights.find(principal, asked.path["session_id"], "read").as_dict())


def events(doors: Doors, principal: Principal, asked: Asked) -> Reply:
    """A page of events as clients see them, whole, as many as weigh some 2 MB, and one at least. `version`: what to ask
    after next."""
    session = doors.rights.find(principal, asked.path["session_id"], "read")
    after = asked_for(asked, "after", 0)
    limit = max(1, min(asked_for(asked, "limit", EVENTS), EVENTS))
    frames, _ = doors.pipeline.live.log.page(session.session_id, after, limit)
    version = frames[-1].version if frames else min(after, session.version)
    return Reply(
        200,
        {
            "session_id": session.session_id,
            "version": version,
            "events": [{"event": frame.name, "data": placed(frame.payload, doors.settings.prefix)} for frame in frames],
            "more": version < session.version,
        },
    )


def result(doors: Doors, principal: Principal, asked: Asked) -> Reply:
    session = doors.rights.find(principal, asked.path["session_id"], "read")
    return Reply(200, {**head(session), **as_json(doors.pipeline.result(session.session_id))})


def artefact(name: str, doors: Doors, principal: Principal, asked: Asked) -> Reply:
    """One of the artefacts under its name; null where its stage has no outcome yet."""
    session = doors.rights.find(principal, asked.path["session_id"], "read")
    made = getattr(doors.pipeline.result(session.session_id), name)
    return Reply(200, {**head(session), name: as_json(made)})


def page(make: MakePage, doors: Doors, principal: Principal, asked: Asked) -> Reply:
    session = doors.rights.find(principal, asked.path["session_id"], "read", integer_first=True)
    return Reply(200, make(session, doors.pipeline.result(session.session_id)))


def asked_for(asked: Asked, name: str, default: int) -> int:
    """A whole number of the query; 422 for anything else that is written there."""
    found = version(asked.query.get(name), name)
    return default if found is None else found


def head(session: Session) -> dict[str, str | int]:
    """Which session, and from which version on its events may say more than this."""
    return {"session_id": session.session_id, "state": session.state, "version": session.version}


READERS: dict[str, Callable[[Doors, Principal, Asked], Reply]] = {
    "sessions": sessions,
    "session": session,
    "events": events,
    "result": result,
    **{name: partial(artefact, name) for name in ARTEFACTS},
    **{f"page_{name}": partial(page, make) for name, make in PAGES.items()},
}
