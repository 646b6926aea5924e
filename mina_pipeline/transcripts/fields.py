"""Reading one field of a JSON transcript; every refusal names the path, never the value of a text."""

from __future__ import annotations

import math
from typing import Any

from mina_pipeline.errors import TranscriptError
from mina_pipeline.transcripts.assembly import optional
from mina_pipeline.transcripts.text import MAX_MS

_KINDS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
}


def refuse(source: str, path: str, problem: str, remedy: str) -> TranscriptError:
    """The error for a field."""
    return TranscriptError(source, None, f"{path}: {problem}" if path else problem, remedy)


def _wrong(source: str, path: str, value: object, wanted: str) -> TranscriptError:
    return refuse(source, path, f"is {_KINDS.get(type(value), 'null')}", f"It must be {wanted}")


def as_object(value: Any, path: str, source: str) -> dict[str, Any]:
    """A JSON object, or a refusal."""
    if not isinstance(value, dict):
        raise _wrong(source, path, value, "an object")
    return value


def as_list(value: Any, path: str, source: str) -> list[Any]:
    """A JSON list, or a refusal."""
    if not isinstance(value, list):
        raise _wrong(source, path, value, "a list")
    return value


def text_of(holder: dict[str, Any], key: str, path: str, source: str) -> str:
    """A text that must be there; it may be empty."""
    if key not in holder:
        raise refuse(source, path, "is missing", "Every segment needs a text")
    value = holder[key]
    if not isinstance(value, str):
        raise _wrong(source, path, value, "a text")
    return value


def optional_text(holder: dict[str, Any], key: str, path: str, source: str) -> str | None:
    """A text that may be absent, null or blank: then None."""
    value = holder.get(key)
    if value is not None and not isinstance(value, str):
        raise _wrong(source, path, value, "a text")
    return optional(value)


def time_of(holder: dict[str, Any], key: str, path: str, source: str, *, scale: int) -> int:
    """A time as whole milliseconds; `scale` 1000 reads seconds with fractions, 1 whole milliseconds."""
    if key not in holder:
        raise refuse(source, path, "is missing", "Every segment needs its start and its end")
    value = holder[key]
    unit = "a number of seconds" if scale == 1000 else "a whole number of milliseconds"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(source, path, value, unit)
    if isinstance(value, float) and not math.isfinite(value):
        raise refuse(source, path, "is not finite", f"It must be {unit}")
    if isinstance(value, float) and scale == 1 and not value.is_integer():
        raise refuse(source, path, "has a fraction", f"It must be {unit}")
    if value < 0 or value * scale > MAX_MS:
        problem = "is negative" if value < 0 else "is past 596 hours"
        raise refuse(source, path, problem, "Times count from the start of the recording")
    return round(value * scale)


def check_order(start: int, end: int, path: str, source: str) -> None:
    """Refuse a segment that ends before it starts."""
    if end < start:
        raise refuse(source, path, f"ends ({end} ms) before it starts ({start} ms)", "Correct its times")


def number_or_none(value: Any) -> float | None:
    """A finite number, or None for anything else: recognizers write NaN where they do not know."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e300 else None
