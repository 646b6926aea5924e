"""SubRip (SRT): no standard, so read generously; only its times must be right."""

from __future__ import annotations

import re

from mina_pipeline.meeting import Segment
from mina_pipeline.transcripts.assembly import Cue, Transcript, assemble
from mina_pipeline.transcripts.speakers import split_by_prefixes
from mina_pipeline.transcripts.text import TIMING, counted, timing

_MARKUP = re.compile(r"</?(?:b|c|em|font|i|s|span|strong|u|v)\b[^<>]*>|\{\\[^{}]*\}|\{/?[bius]\}", re.IGNORECASE)
_ARROW_LINE = re.compile(rf"^{TIMING.pattern}", re.MULTILINE)


def has_times(text: str) -> bool:
    """Whether any line is meant as a line of times."""
    return _ARROW_LINE.search(text) is not None


def parse(text: str, source: str) -> Transcript:
    """Parse SRT. The counter, a number or not, is the cue's id; blank lines inside a text are skipped."""
    lines = text.split("\n")
    at = [number for number in range(len(lines)) if _is_times(lines, number)]
    ids: list[str | None] = []
    heads: list[int] = []
    for number in at:
        head, counter = _counter(lines, number, ids[-1] if ids else "0")
        heads.append(head)
        ids.append(counter)
    ends = [*heads[1:], len(lines)]
    texts = [
        [line for raw in lines[number + 1 : end] if (line := _MARKUP.sub("", raw).strip())]
        for number, end in zip(at, ends, strict=True)
    ]
    cues: list[Cue] = []
    for number, cue_id, parts in zip(at, ids, split_by_prefixes(texts), strict=True):
        start, end = timing(lines[number], number + 1, source)
        cues.append(Cue(start, end, cue_id, tuple(Segment(said, start, end, who) for who, said in parts)))
    segments, warnings = assemble(cues)
    if strays := sum(bool(line.strip()) for line in lines[: heads[0]]):
        warnings += (f"{counted(strays, 'line')} above the first cue left out",)
    return Transcript(source=source, format="srt", segments=segments, warnings=warnings)


def _is_times(lines: list[str], number: int) -> bool:
    """A line with an arrow that begins as a time does, or stands where times must stand."""
    if "-->" not in lines[number]:
        return False
    if TIMING.match(lines[number]):
        return True
    above = lines[number - 1].strip() if number else ""
    return above.isdecimal() and (number < 2 or not lines[number - 2].strip())


def _counter(lines: list[str], number: int, last: str | None) -> tuple[int, str | None]:
    """Where the cue of these times begins, and its counter: a line alone in its block, or the next in turn.

    Blank lines between the counter and the times are passed over only to a number that is both.
    """
    place = number - 1
    while place >= 0 and not lines[place].strip():
        place -= 1
    if place < 0:
        return number, None
    above = lines[place].strip()
    alone = place == 0 or not lines[place - 1].strip()
    in_turn = last is not None and last.isdecimal() and len(last) < 20 and above == str(int(last) + 1)
    adjacent = place == number - 1
    if (adjacent and (in_turn or (alone and not _is_times(lines, place)))) or (alone and in_turn):
        return place, above
    return number, None
