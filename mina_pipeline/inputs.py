"""What callers hand in, checked and cleaned; InvalidInput says which argument is wrong. Pure."""

from __future__ import annotations

from datetime import datetime
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
