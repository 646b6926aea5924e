"""Every error of the library has its answer, and none tells what was said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mina_adapters.web.errors import ANSWERS, OWN, as_web_error, error_reply, refusal, unknown

import mina_pipeline
from mina_pipeline import (
    CommandIdReused,
    ConcurrencyError,
    IllegalTransition,
    InvalidInput,
    MinaError,
    RetryTransaction,
    SchemaOutdated,
    SegmentIdReused,
    SessionBusy,
    SessionNotFound,
    StoreBusy,
    StoreUnreachable,
    TranscriptError,
    UpgradeNeeded,
)
from mina_pipeline.errors import TaskNotFound

SERVERS_FAULT = {
    "MinaError", "ProviderUnavailable", "LeaseLost", "DefinitionError", "SchemaOutdated", "ForeignSchema",
    "MissingExtra",
}  # fmt: skip


def test_every_error_has_an_answer_or_is_a_fault_of_the_servers() -> None:
    """A new class must be put in one list or the other."""
    public = {name for name in mina_pipeline.__all__ if isinstance(getattr(mina_pipeline, name), type)}
    errors = {name for name in public if issubclass(getattr(mina_pipeline, name), MinaError)}
    assert errors == set(ANSWERS) | SERVERS_FAULT


@pytest.mark.parametrize(
    ("error", "status", "fields"),
    [
        (SessionNotFound("s"), 404, {"session_id": "s"}),
        (TaskNotFound("s", "t"), 404, {"session_id": "s", "task_id": "t"}),
        (IllegalTransition("s", "revealed", "cancel"), 409,
         {"session_id": "s", "state": "revealed", "command": "cancel"}),
        (ConcurrencyError("s", 1, 2), 409, {"session_id": "s", "expected": 1, "actual": 2}),
        (CommandIdReused("s", "c"), 409, {"session_id": "s", "command_id": "c"}),
        (SegmentIdReused("s", "1"), 409, {"session_id": "s", "segment_id": "1"}),
        (InvalidInput("title", "too long"), 422, {"field": "title", "problem": "too long"}),
        (TranscriptError("body", 3, "no times", "Write them"), 422,
         {"line": 3, "problem": "no times", "remedy": "Write them"}),
        (SessionBusy("s", 9), 503, {"session_id": "s", "attempts": 9}),
        (RetryTransaction("secret"), 503, {}),
        (StoreBusy("secret", 5.0), 503, {}),
        (StoreUnreachable("postgresql://secret", "secret"), 503, {}),
        (UpgradeNeeded("definition", "secret 2", "secret 1"), 503, {"what": "definition"}),
        (refusal("Unauthenticated"), 401, {}),
        (refusal("OriginRefused"), 403, {}),
        (refusal("Forbidden", action="record"), 403, {"action": "record"}),
        (refusal("BodyTooLarge", limit=5), 413, {"limit": 5}),
        (refusal("TooManyRequests", retry=3), 429, {}),
        (unknown(5), 404, {"session_id": 5}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)  # fmt: skip
def test_an_error_is_status_words_and_fields(error: Exception, status: int, fields: dict[str, Any]) -> None:
    """{"error", "error_type", …its fields}; what may be tried again says when."""
    reply = error_reply(error)
    body = json.loads(reply.content)
    assert reply.status == status
    assert body == {"error": body["error"], "error_type": body["error_type"], **fields}
    assert body["error"] and b"secret" not in reply.content
    assert reply.headers["Content-Type"] == "application/json"
    again = status in (429, 503) and not isinstance(error, UpgradeNeeded)
    assert ("Retry-After" in reply.headers) is again


def test_an_unknown_session_is_one_refusal() -> None:
    """Whether the store or the rights say it."""
    assert error_reply(SessionNotFound("s")) == error_reply(unknown("s"))


@pytest.mark.parametrize("error", [RuntimeError("secret"), KeyError("secret"), SchemaOutdated("secret", "1", "2")])
def test_what_nobody_foresaw_is_logged_by_its_type(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    """500; its text goes nowhere."""
    reply = error_reply(error)
    logged = capsys.readouterr().err
    assert reply.status == 500 and json.loads(reply.content)["error_type"] == "InternalError"
    assert type(error).__name__ in logged
    assert "secret" not in logged and b"secret" not in reply.content


def test_a_subclass_is_answered_as_its_class() -> None:
    class Odd(InvalidInput):
        pass

    assert as_web_error(Odd("a", "b")).error_type == "InvalidInput"


def test_words_are_bounded_and_encodable() -> None:
    """However long or odd what was asked is."""
    for name in ("x" * 100_000, "\ud800", "a\r\nb"):
        for error in (unknown(name), SessionNotFound(name), IllegalTransition(name, "s", "c"), InvalidInput(name, "x")):
            reply = error_reply(error)
            assert len(reply.content) < 2_000 and json.loads(reply.content)


def test_own_refusals_have_words() -> None:
    """Each a status of 4xx, or 500."""
    assert all(400 <= status <= 500 and words.endswith(".") for status, words in OWN.values())
