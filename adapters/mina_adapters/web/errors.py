"""Errors as JSON: which status, which fields, which words. What was said in a meeting is in none of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from mina_pipeline import MinaError
from mina_pipeline.log import logger
from mina_pipeline.text import clean_text

from .replies import PLAIN, Reply

LONGEST = 500
"""Characters of an error's words, or of one of its fields."""

Field = str | int | None


class WebError(Exception):
    """A refusal of the web doors themselves. `fields` go into the JSON body beside `error` and `error_type`."""

    def __init__(
        self,
        status: int,
        error: str,
        error_type: str,
        headers: Mapping[str, str] | None = None,
        fields: Mapping[str, Field] | None = None,
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.error_type = error_type
        self.headers = dict(headers or {})
        self.fields = dict(fields or {})


class Answer(NamedTuple):
    """How a MinaError is answered. words: instead of its own; retry: seconds of Retry-After."""

    status: int
    fields: tuple[str, ...] = ()
    words: str | None = None
    retry: int | None = None


UNKNOWN = "There is no such session."
BROKEN = "Something went wrong here; it was logged."

ANSWERS: dict[str, Answer] = {
    "SessionNotFound": Answer(404, ("session_id",), UNKNOWN),
    "TaskNotFound": Answer(404, ("session_id", "task_id"), "There is no such task."),
    "IllegalTransition": Answer(409, ("session_id", "state", "command")),
    "ConcurrencyError": Answer(409, ("session_id", "expected", "actual")),
    "CommandIdReused": Answer(409, ("session_id", "command_id")),
    "SegmentIdReused": Answer(409, ("session_id", "segment_id")),
    "InvalidInput": Answer(422, ("field", "problem")),
    "TranscriptError": Answer(422, ("line", "problem", "remedy")),
    "SessionBusy": Answer(503, ("session_id", "attempts"), retry=1),
    "RetryTransaction": Answer(503, (), "The database gave this up; send it again.", 1),
    "StoreBusy": Answer(503, (), "The database is busy; send it again.", 1),
    "StoreUnreachable": Answer(503, (), "The database does not answer; send it again.", 5),
    "UpgradeNeeded": Answer(503, ("what",), "This session needs a newer release than the one that runs here."),
}
"""By the error's class name; a MinaError that is not here is a fault of the server's: 500."""

OWN: dict[str, tuple[int, str]] = {
    "Unauthenticated": (401, "It is not known who asks."),
    "OriginRefused": (403, "Requests from this origin are not let in."),
    "Forbidden": (403, "This is not allowed."),
    "BodyTooLarge": (413, "The body is too large."),
    "TooManyRequests": (429, "Too many requests; wait a little."),
    "TooManyWatches": (429, "Too many streams are open; close one."),
    "InternalError": (500, BROKEN),
}
"""What the doors themselves refuse: error_type to status and words."""


def refusal(error_type: str, *, retry: int | None = None, **fields: Field) -> WebError:
    """A refusal of `OWN`; retry: whole seconds of Retry-After."""
    status, words = OWN[error_type]
    return WebError(status, words, error_type, {} if retry is None else {"Retry-After": str(retry)}, fields)


def unknown(session_id: str | int) -> WebError:
    """The one refusal for a session that is not there, is another tenant's, or may not be read."""
    return WebError(404, UNKNOWN, "SessionNotFound", fields={"session_id": short(session_id)})


def as_web_error(error: Exception) -> WebError:
    """Any error as a refusal; one that nobody foresaw is logged by its type, and its text is told to nobody."""
    if isinstance(error, WebError):
        return error
    for cls in type(error).__mro__ if isinstance(error, MinaError) else ():
        if answer := ANSWERS.get(cls.__name__):
            fields = {name: short(getattr(error, name, None)) for name in answer.fields}
            headers = {} if answer.retry is None else {"Retry-After": str(answer.retry)}
            return WebError(answer.status, answer.words or shown(str(error)), cls.__name__, headers, fields)
    logger(__name__).error("a web door failed", error_type=type(error).__name__)
    return refusal("InternalError")


def short(value: object) -> Field:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    return shown(str(value))


def shown(text: str) -> str:
    """As much as goes into an answer, without what JSON could not hold."""
    return clean_text(text[:LONGEST])


def error_reply(error: Exception) -> Reply:
    """The reply to an error: {"error": words, "error_type": …, and its fields}."""
    told = as_web_error(error)
    body = {"error": told.error, "error_type": told.error_type, **told.fields}
    return Reply(told.status, body, {**PLAIN, **told.headers})
