"""Bodies and queries, read strictly: what does not fit is InvalidInput with the field's name, and nothing is stored."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import msgspec

from mina_pipeline import InvalidInput, Segment

DEPTH = 32
"""Levels of lists and objects in a body."""
LARGEST = 2**53 - 1
"""The largest whole number that every JSON reader keeps."""
TITLE = 1_000
NAME = 200
WHY = 2_000
"""Characters that a title, a short name and a reason may have."""


def read_object(body: bytes) -> dict[str, Any]:
    """A JSON object; an empty body is an empty one, whatever it says it is.

    Refused: other JSON, text that is not UTF-8, repeated names, NaN and numbers past the range, lone surrogates (no
    database takes them), deeper than `DEPTH`.
    """
    if not body.strip():
        return {}
    try:
        text = body.decode("utf-8-sig")
        found = json.loads(text, object_pairs_hook=once, parse_constant=refuse_constant, parse_float=finite)
        msgspec.json.encode(found)  # UnicodeEncodeError: lone surrogates
    except InvalidInput:
        raise
    except UnicodeDecodeError:
        refuse("body", "is not UTF-8")
    except UnicodeEncodeError:
        refuse("body", "has half of a surrogate pair")
    except RecursionError:
        refuse("body", f"is nested deeper than {DEPTH} levels")
    except ValueError:  # broken JSON, or a number of thousands of digits
        refuse("body", "is not JSON")
    if not isinstance(found, dict):
        refuse("body", "must be a JSON object")
    check_depth(found)
    return found


def refuse(field: str, problem: str) -> NoReturn:
    raise InvalidInput(field, problem) from None


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        refuse("body", "names a field twice")
    return found


def refuse_constant(_: str) -> NoReturn:
    refuse("body", "has a number that JSON does not know")


def finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else refuse("body", "has a number that is too large")


def check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEPTH):
        level = [
            child
            for one in level
            if isinstance(one, (dict, list))
            for child in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return
    refuse("body", f"is nested deeper than {DEPTH} levels")


def text(fields: Mapping[str, Any], name: str, most: int = NAME) -> str | None:
    """A text, or None where it is absent or null."""
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > most:
        refuse(name, f"a text of at most {most} characters, or null")
    return value


def flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        refuse(name, "true or false")
    return bool(value)


def number(fields: Mapping[str, Any], name: str) -> int | None:
    """A whole number from 0, or None where it is absent or null."""
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST:
        refuse(name, "a whole number from 0")
    return value


def version(value: Any, name: str = "after") -> int | None:
    """A version to go on after, as a socket message (a number) or a query (digits) names it; None: from now on."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 16:
        value = int(value)
    return number({name: value}, name)


def repeatable(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a command repeatable, or conditional: `command_id`, `expected`."""
    return {"command_id": text(fields, "command_id"), "expected": number(fields, "expected")}


def moment(fields: Mapping[str, Any], name: str) -> datetime | None:
    """An ISO 8601 date and time, from 1970 on; without an offset it is in the session's time zone."""
    given = text(fields, name)
    if given is None:
        return None
    try:
        found = datetime.fromisoformat(given)
    except ValueError:
        refuse(name, "an ISO 8601 date and time, such as 2025-03-14T09:30:00+01:00")
    if not 1970 < found.year < 9999:
        refuse(name, "a year from 1971 to 9998")
    return found


def beginning(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What `start_session` takes, of a body: title, meeting_id (text or number), started_at, timezone, locale,
    metadata. The rest is not ours."""
    meeting = fields.get("meeting_id")
    if isinstance(meeting, int) and not isinstance(meeting, bool):
        fields = {**fields, "meeting_id": str(meeting)}
    metadata = fields.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        refuse("metadata", "a JSON object")
    return {
        "title": text(fields, "title", TITLE),
        "meeting_id": text(fields, "meeting_id"),
        "started_at": moment(fields, "started_at"),
        "timezone": text(fields, "timezone"),
        "locale": text(fields, "locale"),
        "metadata": metadata,
    }


def path_id(session_id: str) -> str:
    """A new session's id must be one that the URLs of its pages can hold."""
    if "/" in session_id or "\\" in session_id or session_id in (".", ".."):
        refuse("session_id", "no slashes, and not a dot or two: it is part of URLs")
    return session_id


def segments(given: Any) -> list[Segment]:
    """[{text, start_ms, end_ms, speaker, confidence, segment_id}]; the pipeline checks times and ids."""
    if not isinstance(given, Sequence) or isinstance(given, (str, bytes)):
        refuse("segments", "a list of segments")
    return [segment(f"segments[{n}]", one) for n, one in enumerate(given)]


def segment(where: str, given: Any) -> Segment:
    if not isinstance(given, Mapping):
        refuse(where, "an object with text, start_ms and end_ms")
    for name in ("text", "start_ms", "end_ms"):
        if given.get(name) is None:
            refuse(f"{where}.{name}", "is missing")
    for name in ("text", "speaker", "segment_id"):
        if given.get(name) is not None and not isinstance(given[name], str):
            refuse(f"{where}.{name}", "a text")
    confidence = given.get("confidence")
    if confidence is not None and (isinstance(confidence, bool) or not isinstance(confidence, (int, float))):
        refuse(f"{where}.confidence", "a number from 0 to 1, or null")
    return Segment(
        given["text"], given["start_ms"], given["end_ms"], given.get("speaker"), confidence, given.get("segment_id")
    )
