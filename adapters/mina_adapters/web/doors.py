"""The doors: one method for each thing that may be asked, the same for HTTP and for sockets. They block; no framework.

Everything here asks the rights first. A session that is started gets its principal's tenant, and every command has
the principal's id as its actor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid5

from mina_pipeline import (
    NO_STREAM,
    CommandIdReused,
    ConcurrencyError,
    InvalidInput,
    Pipeline,
    Segment,
    SegmentIdReused,
    Session,
    SessionBusy,
    TaskNotFound,
)
from mina_pipeline.inputs import CHANGEABLE, identifier
from mina_pipeline.live import Wake, Watch

from . import bodies
from .answers import ANSWERERS
from .bounds import bounds_of
from .errors import error_reply, refusal, unknown
from .pages import escaped
from .replies import Asked, Principal, Reply
from .rights import Authorize, Rights
from .routes import BY_DOOR
from .settings import WebSettings
from .uploads import plain_segments, uploaded_segments

__all__ = ["Asked", "Doors", "Principal", "Reply"]

STARTED = UUID("0b3c7bb0-6e9c-4d0e-9d2b-5f4c4f6a1d57")
"""Names the sessions that are started by a command id alone."""
ATTEMPTS = 20
"""Looks at a session that others keep changing between a look and a write."""


class Doors:
    """The doors of one pipeline. `authorize` is a plain function here: see rights.Authorize.

    watches counts the open streams of each principal: `acquire` one before a stream or socket opens, `release` it once
    it is closed.
    """

    def __init__(self, pipeline: Pipeline, authorize: Authorize, settings: WebSettings | None = None) -> None:
        self.pipeline = pipeline
        self.settings = settings or WebSettings()
        self.rights = Rights(pipeline, authorize, self.settings)
        self.rates, self.watches = bounds_of(pipeline, self.settings)

    def answer(self, door: str, asked: Asked, *, admitted: bool = False) -> Reply:
        """The reply of an HTTP door of `routes.ROUTES` that is no stream. Raises nothing: errors are replies too.

        admitted: the principal was admitted before the body was read.
        """
        try:
            principal = self.rights.known(asked.principal) if admitted else self.admit(asked.principal)
            if len(asked.body) > self.settings.max_body:
                raise refusal("BodyTooLarge", limit=self.settings.max_body)
            reply = ANSWERERS[door](self, principal, asked)
        except Exception as error:
            reply = error_reply(error)
        route = BY_DOOR.get(door)
        if route is not None and route.page and self.settings.html_safe:
            return replace(reply, body=escaped(reply.body))
        return reply

    def admit(self, principal: Principal | None) -> Principal:
        """Somebody, who does not ask too often: 401, 429. For each HTTP request, streams included."""
        known = self.rights.known(principal)
        self.rates.check(known)
        return known

    # --- commands

    def start(self, principal: Principal, fields: Mapping[str, Any], session_id: str | None = None) -> Session:
        """Begin a session; a known id of one's own tenant gives its session. See bodies.beginning for the fields.

        A command_id without a session_id makes the id, so that sent again it finds the session: one for each tenant.
        """
        return self.started(principal, fields, session_id)[0]

    def started(
        self, principal: Principal, fields: Mapping[str, Any], session_id: str | None = None
    ) -> tuple[Session, bool]:
        """The session, and whether it is new."""
        if session_id is None:
            session_id = bodies.text(fields, "session_id")
        if session_id is not None:
            session_id = bodies.path_id(identifier("session_id", session_id))
        given = {**bodies.beginning(fields), "tenant": principal.tenant, "actor": principal.id}
        given["command_id"] = command_id = bodies.text(fields, "command_id")
        if session_id is None and command_id is not None:
            session_id = str(uuid5(STARTED, json.dumps([principal.tenant, identifier("command_id", command_id)])))
        for _ in range(ATTEMPTS):
            known = None if session_id is None else self.rights.look(session_id)
            if known is not None and session_id is not None:
                self.require_start(principal, known, session_id)
                return self.pipeline.start_session(session_id=session_id, **given), False
            self.rights.require(principal, None, "start")
            try:
                session = self.pipeline.start_session(session_id=session_id, expected=NO_STREAM, **given)
            except (ConcurrencyError, CommandIdReused):
                continue  # somebody else started it between the look and the start: then it is a known one
            if session.tenant != principal.tenant:  # NO_STREAM and the command's fingerprint see to it; still
                raise unknown(session.session_id)
            return session, True
        raise SessionBusy(session_id or "", ATTEMPTS)

    def require_start(self, principal: Principal, known: Session, session_id: str) -> None:
        """The right to a session by starting it again; without it, the same words as for one that may not be known."""
        if known.tenant == principal.tenant:
            if self.rights.allows(principal, known, "start"):
                return
            if self.rights.allows(principal, known, "read"):
                raise refusal("Forbidden", action="start")
        self.rights.require(principal, None, "start")  # who may start nothing learns nothing of ids by trying
        raise unknown(session_id)

    def record(
        self, principal: Principal, session_id: str | int, segments: Any, fields: Mapping[str, Any] | None = None
    ) -> Session:
        """Add segments, a list of objects as in bodies.segments, all or none. fields: command_id, expected."""
        session = self.rights.find(principal, session_id, "record")
        return self.pipeline.record(
            session.session_id, bodies.segments(segments), actor=principal.id, **bodies.repeatable(fields or {})
        )

    def upload(self, principal: Principal, session_id: str | int, body: bytes, content_type: str | None) -> Session:
        """Record a transcript: WebVTT, SRT, Whisper or our JSON, or plain text, a segment a line. The same file again
        changes nothing. TranscriptError where it cannot be read."""
        session = self.rights.find(principal, session_id, "record")
        return self.pipeline.record(session.session_id, uploaded_segments(body, content_type), actor=principal.id)

    def finalize(
        self,
        principal: Principal,
        session_id: str | int,
        fields: Mapping[str, Any] | None = None,
        *,
        integer_first: bool = False,
    ) -> Session:
        """End the recording; asked again, it gives the same numbers.

        fields: final_text, the text of the whole meeting, which is recorded first where nothing else was; command_id,
        expected.
        """
        session = self.rights.find(principal, session_id, "finalize", integer_first=integer_first)
        again = bodies.repeatable(fields or {})
        final_text = bodies.text(fields or {}, "final_text", self.settings.max_body)
        if whole := plain_segments(final_text or "", "final"):
            if again["expected"] is not None:
                raise InvalidInput("expected", "cannot be combined with final_text, which makes a version of its own")
            self.record_whole(principal, session, whole, again["command_id"])
        return self.pipeline.finalize(session.session_id, actor=principal.id, **again)

    def record_whole(
        self, principal: Principal, session: Session, whole: list[Segment], command_id: str | None
    ) -> None:
        """Record a meeting's whole text, unless something is recorded; of callers at once, one is the first.

        command_id: of the finalize that follows, which would be refused where it was used for something else: then
        nothing is recorded either.
        """
        for _ in range(ATTEMPTS):
            if session.state != "recording" or session.total_segments:
                return
            self.rights.require(principal, session, "record")
            if command_id is not None:  # the log is short: nothing was said yet
                identifier("command_id", command_id)
                if any(event.command_id == command_id for event in self.pipeline.events(session.session_id)):
                    raise CommandIdReused(session.session_id, command_id)
            try:
                self.pipeline.record(session.session_id, whole, expected=session.version, actor=principal.id)
            except (ConcurrencyError, SegmentIdReused):  # the latter where the other text was seen before its version
                session = self.pipeline.get(session.session_id)
            else:
                return
        raise SessionBusy(session.session_id, ATTEMPTS)

    def cancel(self, principal: Principal, session_id: str | int, fields: Mapping[str, Any] | None = None) -> Session:
        """Stop for good. fields: why, command_id, expected."""
        session = self.rights.find(principal, session_id, "cancel")
        why = bodies.text(fields or {}, "why", bodies.WHY)
        return self.pipeline.cancel(session.session_id, why, actor=principal.id, **bodies.repeatable(fields or {}))

    def touch(self, principal: Principal, session_id: str | int) -> Session:
        """A sign of life of the recorder."""
        session = self.rights.find(principal, session_id, "record")
        self.pipeline.touch(session.session_id)
        return session

    def retry(self, principal: Principal, session_id: str | int, fields: Mapping[str, Any]) -> Session:
        """Run a stage again. fields: stage, run, drop, command_id, expected."""
        session = self.rights.find(principal, session_id, "retry")
        stage = bodies.text(fields, "stage")
        if stage is None:
            raise InvalidInput("stage", f"is missing; one of {', '.join(session.stages)}")
        run, drop = bodies.number(fields, "run"), bodies.flag(fields, "drop")
        return self.pipeline.retry(
            session.session_id, stage, run=run, drop=drop, actor=principal.id, **bodies.repeatable(fields)
        )

    def change_task(
        self, principal: Principal, session_id: str | int, task_id: str, fields: Mapping[str, Any]
    ) -> Session:
        """Change a task's fields; TaskNotFound. fields: the task's that can be changed, command_id, expected."""
        session = self.rights.find(principal, session_id, "change_task")
        again = bodies.repeatable(fields)
        changes = {name: value for name, value in fields.items() if name in CHANGEABLE}
        if not could_be(task_id):
            raise TaskNotFound(session.session_id, task_id)
        return self.pipeline.change_task(session.session_id, task_id, changes, actor=principal.id, **again)

    # --- watching

    def watch(self, principal: Principal, session_id: str | int, after: Any = None, wake: Wake | None = None) -> Watch:
        """A place in a session's events: those after a version (a number, or digits; None: from now on)."""
        session = self.rights.find(principal, session_id, "read")
        return self.pipeline.watch(session.session_id, bodies.version(after), wake)

    def watch_dashboard(self, principal: Principal, wake: Wake | None = None) -> Watch:
        """The hints of the principal's own tenant."""
        self.rights.require(principal, None, "watch_dashboard")
        return self.pipeline.watch_dashboard(principal.tenant, wake)


def could_be(name: str) -> bool:
    """Whether anything could have this id at all."""
    try:
        identifier("id", name)
    except InvalidInput:
        return False
    return True
