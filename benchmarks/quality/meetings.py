"""Meetings with what people made of them: NAME.vtt beside NAME.reference.json."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mina_pipeline.meeting import Segment

_CUE = re.compile(r"(?m)^(\S+)\n([\d:.]+) --> ([\d:.]+)\n<v ([^>]+)>(.*?)(?:</v>)?$")


@dataclass(frozen=True)
class Meeting:
    """A recognizer's segments, sorted by start, and the human reference.

    `abstract`: its sentences as one text. `actions`: for each human action item the ordinals of the segments that
    support it; an utterance without a cue counts as the cue that starts next. `human`: the transcript's rows.
    """

    name: str
    segments: tuple[Segment, ...]
    abstract: str
    actions: tuple[frozenset[int], ...]
    human: tuple[dict[str, Any], ...]


def ms(stamp: str) -> int:
    """Milliseconds of HH:MM:SS.mmm."""
    hours, minutes, seconds = stamp.split(":")
    return round((int(hours) * 3600 + int(minutes) * 60 + float(seconds)) * 1000)


def meetings(folder: Path) -> Iterator[Meeting]:
    """Every meeting of the folder, by name."""
    for path in sorted(folder.glob("*.vtt")):
        reference = json.loads(path.with_name(f"{path.stem}.reference.json").read_text("utf-8"))
        segments = sorted(
            (
                Segment(text, ms(start), ms(end), speaker, None, cue)
                for cue, start, end, speaker, text in _CUE.findall(path.read_text("utf-8"))
            ),
            key=lambda segment: segment.start_ms,
        )
        human = tuple(sorted(reference["human_transcript"], key=lambda row: row["start"]))
        yield Meeting(
            name=path.stem,
            segments=tuple(segments),
            abstract=" ".join(map(_text, reference["summary"])),
            actions=_supported(reference["actions"], segments, human),
            human=human,
        )


def _text(sentence: str | dict[str, Any]) -> str:
    return sentence if isinstance(sentence, str) else str(sentence["text"])


def _supported(
    actions: list[dict[str, Any]], segments: list[Segment], human: tuple[dict[str, Any], ...]
) -> tuple[frozenset[int], ...]:
    ordinals = {segment.segment_id: n for n, segment in enumerate(segments)}
    starts = [segment.start_ms for segment in segments]
    spoken = {row["id"]: row["start"] for row in human}

    def ordinal(cue: str) -> int | None:
        if cue in ordinals:
            return ordinals[cue]
        return min(bisect_left(starts, round(spoken[cue] * 1000)), len(starts) - 1) if cue in spoken else None

    found = [[ordinal(cue) for cue in action["evidence"]] for action in actions]
    return tuple(frozenset(n for n in cues if n is not None) for cues in found)
