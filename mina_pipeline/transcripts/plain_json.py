"""The library's own JSON: what a host writes that has its transcript in its own tables."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from mina_pipeline.meeting import Segment
from mina_pipeline.transcripts.assembly import Cue, Transcript, assemble
from mina_pipeline.transcripts.fields import (
    check_order,
    number_or_none,
    optional_text,
    refuse,
    text_of,
    time_of,
)
from mina_pipeline.transcripts.text import counted

_TOP = frozenset({"title", "started_at", "timezone", "language", "segments"})
_EACH = frozenset({"text", "start_ms", "end_ms", "speaker", "confidence", "segment_id"})


def parse(document: dict[str, Any], segments: list[dict[str, Any]], source: str) -> Transcript:
    """Parse `{title?, started_at?, timezone?, language?, segments: [{text, start_ms, end_ms, …}]}`."""
    cues = [_cue(item, f"segments[{number}]", source) for number, item in enumerate(segments)]
    found, warnings = assemble(cues)
    unknown = sum(key not in _TOP for key in document)
    unknown += len({key for item in segments for key in item} - _EACH)
    if unknown:
        warnings += (f"{counted(unknown, 'unknown field')} ignored",)
    return Transcript(
        source=source,
        format="mina",
        segments=found,
        warnings=warnings,
        title=optional_text(document, "title", "title", source),
        language=optional_text(document, "language", "language", source),
        started_at=_iso(document, source),
        timezone=optional_text(document, "timezone", "timezone", source),
    )


def _cue(item: dict[str, Any], path: str, source: str) -> Cue:
    start = time_of(item, "start_ms", f"{path}.start_ms", source, scale=1)
    end = time_of(item, "end_ms", f"{path}.end_ms", source, scale=1)
    check_order(start, end, path, source)
    part = Segment(
        text_of(item, "text", f"{path}.text", source),
        start,
        end,
        optional_text(item, "speaker", f"{path}.speaker", source),
        _confidence(item, f"{path}.confidence", source),
    )
    return Cue(start, end, optional_text(item, "segment_id", f"{path}.segment_id", source), (part,))


def _confidence(item: dict[str, Any], path: str, source: str) -> float | None:
    value = item.get("confidence")
    if value is None:
        return None
    number = number_or_none(value)
    if number is None or not 0 <= number <= 1:
        raise refuse(source, path, "is not a number from 0 to 1", "Leave it out where it is unknown")
    return number


def _iso(document: dict[str, Any], source: str) -> str | None:
    text = optional_text(document, "started_at", "started_at", source)
    if text is not None:
        try:
            datetime.fromisoformat(text)
        except ValueError:
            raise refuse(
                source, "started_at", "is no ISO 8601 date and time", "Write it as 2025-03-14T09:30:00+01:00"
            ) from None
    return text
