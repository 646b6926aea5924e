"""From the cues of a file, in its order, to the segments of a transcript; what every format shares."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from mina_pipeline.meeting import Segment
from mina_pipeline.text import clean_text
from mina_pipeline.transcripts.text import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """A transcript as read. `segments` are sorted by start_ms; equal starts keep the file's order.

    `format` is webvtt | srt | whisper | whisperx | mina. Segments have ids where every cue of the file has
    its own; else none has one, and a warning says so. A cue of several speakers becomes several segments,
    `id#1`, `id#2`, …: with a part's own times where the file has word times, else all with the cue's.
    `warnings` hold counts, never text. `started_at` is ISO 8601 as given, `timezone` an IANA name as given.
    """

    source: str
    format: str
    segments: tuple[Segment, ...]
    warnings: tuple[str, ...] = ()
    title: str | None = None
    language: str | None = None
    started_at: str | None = None
    timezone: str | None = None


@dataclass(frozen=True, slots=True)
class Cue:
    """One cue of a file; its parts are segments still without ids, one a speaker."""

    start_ms: int
    end_ms: int
    cue_id: str | None
    parts: tuple[Segment, ...]


def optional(text: str | None) -> str | None:
    """Clean and strip; None where nothing is left."""
    return (clean_text(text).strip() or None) if text is not None else None


def assemble(cues: list[Cue]) -> tuple[tuple[Segment, ...], tuple[str, ...]]:
    """Clean, drop empty cues, sort and name: the segments, and warnings about what that changed."""
    warnings: list[str] = []
    kept = [cue for cue in map(_cleaned, cues) if cue.parts]
    if empty := len(cues) - len(kept):
        warnings.append(f"{counted(empty, 'cue')} without text left out")
    if late := sum(after.start_ms < before.start_ms for before, after in pairwise(kept)):
        warnings.append(f"{counted(late, 'cue')} began before the one before {_them(late)}; sorted")
        kept.sort(key=lambda cue: cue.start_ms)
    if overlaps := sum(after.start_ms < before.end_ms for before, after in pairwise(kept)):
        verb = "overlaps" if overlaps == 1 else "overlap"
        warnings.append(f"{counted(overlaps, 'cue')} {verb} the one before {_them(overlaps)}")
    if crowds := sum(len(cue.parts) > 1 for cue in kept):
        warnings.append(f"{counted(crowds, 'cue')} of several speakers split")
    named = [replace(part, segment_id=name) for cue in kept for name, part in _names(cue)]
    if problem := _ids_problem(kept, named):
        warnings.append(problem)
        named = [replace(segment, segment_id=None) for segment in named]
    # Parts with times of their own may reach past the start of the next cue.
    named.sort(key=lambda segment: segment.start_ms)
    return tuple(named), tuple(warnings)


def _them(number: int) -> str:
    return "it" if number == 1 else "them"


def _cleaned(cue: Cue) -> Cue:
    parts = [
        replace(part, text=text, speaker=optional(part.speaker))
        for part in cue.parts
        if (text := clean_text(part.text).strip())
    ]
    return replace(cue, cue_id=optional(cue.cue_id), parts=tuple(parts))


def _names(cue: Cue) -> list[tuple[str | None, Segment]]:
    if cue.cue_id is None or len(cue.parts) == 1:
        return [(cue.cue_id, part) for part in cue.parts]
    return [(f"{cue.cue_id}#{number}", part) for number, part in enumerate(cue.parts, 1)]


def _ids_problem(cues: list[Cue], segments: list[Segment]) -> str | None:
    # All or none: a cue id that is a number could be the ordinal that the session gives to another segment.
    missing = sum(cue.cue_id is None for cue in cues)
    if missing == len(cues):
        return None
    if missing:
        return f"{missing} of {len(cues)} cues have no id; the other ids are not used"
    repeated = len(segments) - len({segment.segment_id for segment in segments})
    return f"{counted(repeated, 'cue id')} used before; no id is used" if repeated else None
