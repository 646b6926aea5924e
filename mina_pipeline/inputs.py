"""What callers hand in, checked and cleaned; InvalidInput says which argument is wrong. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .codec import clean
from .errors import InvalidInput
from .meeting import Segment

MAX_MS = 2**31 - 1  # 596 hours, as in transcript files: a corrupt time must not become a year of windows


def identifier(field: str, text: str) -> str:
    if not isinstance(text, str):
        raise InvalidInput(field, f"a str, not {type(text).__name__}")
    if not text or len(text) > 200 or clean(text) != text or text != text.strip():
        raise InvalidInput(field, "1 to 200 characters, no control characters, no blanks at the ends")
    return text


def optional_identifier(field: str, text: str | None) -> str | None:
    return None if text is None else identifier(field, text)


def page_size(limit: int | None) -> int | None:
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        raise InvalidInput("limit", f"a whole number from 0, or None, not {limit!r}")
    return limit


def check_timezone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInput("timezone", f"{name!r} is no IANA time zone, such as Europe/Berlin") from None


def micros(moment: datetime, timezone: str | None) -> int:
    """A datetime as µs since the epoch; a naive one is in the session's time zone, else in UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(timezone or "UTC"))
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


def checked_segment(n: int, segment: Segment) -> Segment:
    where = f"segments[{n}]"
    if not isinstance(segment, Segment):
        raise InvalidInput(where, f"a Segment, not {type(segment).__name__}")
    start, end, confidence = segment.start_ms, segment.end_ms, segment.confidence
    for name, value in (("start_ms", start), ("end_ms", end)):
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_MS:
            raise InvalidInput(f"{where}.{name}", f"a whole number of milliseconds, 0 to {MAX_MS}")
    if end < start:
        raise InvalidInput(f"{where}.end_ms", f"{end} is before start_ms {start}")
    if confidence is not None and not 0 <= confidence <= 1:
        raise InvalidInput(f"{where}.confidence", "0 to 1, or None")
    for name, text in (("text", segment.text), ("speaker", segment.speaker or "")):
        if not isinstance(text, str):
            raise InvalidInput(f"{where}.{name}", "a str")
    segment_id = None if segment.segment_id is None else identifier(f"{where}.segment_id", segment.segment_id)
    confidence = None if confidence is None else float(confidence)
    return Segment(clean(segment.text), start, end, clean(segment.speaker), confidence, segment_id)


def checked_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """What a person changes on a task, by field in a fixed order; texts are cleaned and trimmed."""
    if not isinstance(changes, Mapping):
        raise InvalidInput("changes", f"a mapping of fields to new values, not {type(changes).__name__}")
    known = ", ".join(CHANGEABLE)
    for field in changes:
        if field not in CHANGEABLE:
            raise InvalidInput(clean(str(field))[:100], f"no field of a task that can be changed; those are {known}")
    if not changes:
        raise InvalidInput("changes", f"empty: name at least one of {known}")
    return {field: check(field, changes[field]) for field, check in CHANGEABLE.items() if field in changes}


def trimmed(field: str, text: Any, most: int) -> str:
    if not isinstance(text, str):
        raise InvalidInput(field, f"a str, not {type(text).__name__}")
    out: str = clean(text).strip()
    if len(out) > most:
        raise InvalidInput(field, f"at most {most} characters, not {len(out)}")
    return out


def a_title(field: str, text: Any) -> str:
    title = trimmed(field, text, 500)
    if not title:
        raise InvalidInput(field, "must not be empty")
    return title


def a_description(field: str, text: Any) -> str:
    return trimmed(field, text, 5_000)


def a_person(field: str, name: Any) -> str | None:
    """Nobody is None; a blank name is nobody's."""
    return None if name is None else trimmed(field, name, 200) or None


def a_date(field: str, day: Any) -> str | None:
    if day is None:
        return None
    try:
        if isinstance(day, str) and date.fromisoformat(day).isoformat() == day:
            return day
    except ValueError:
        pass
    raise InvalidInput(field, "a date as YYYY-MM-DD, or None")


def a_truth(field: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(field, f"True or False, not {type(value).__name__}")
    return value


def one_of(*words: str) -> Callable[[str, Any], str]:
    def check(field: str, word: Any) -> str:
        if not isinstance(word, str) or word not in words:
            raise InvalidInput(field, f"one of {', '.join(words)}")
        return word

    return check


CHANGEABLE: dict[str, Callable[[str, Any], Any]] = {
    "title": a_title,
    "description": a_description,
    "task_type": one_of("action_item", "follow_up", "decision", "research"),
    "priority": one_of("low", "medium", "high", "urgent"),
    "assigned_to": a_person,
    "due_date": a_date,
    "completed": a_truth,
}
"""The fields of a task that people change, and what makes a value of each."""
