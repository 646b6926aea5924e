"""WebVTT (https://www.w3.org/TR/webvtt1/): cues, voices, and writing it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from mina_pipeline.meeting import Segment
from mina_pipeline.text import clean_text
from mina_pipeline.transcripts.assembly import Cue, Transcript, assemble, optional
from mina_pipeline.transcripts.speakers import split_by_prefixes
from mina_pipeline.transcripts.text import TIMING, counted, timing

_HEADER = re.compile(r"WEBVTT(?:[ \t]+(?:[-–—:][ \t]*(?P<title>[^\n]*)|[^\n]*))?(?:\n|$)")
_COMMENT = re.compile(r"NOTE(?:[ \t]|$)")
_SETTINGS_BLOCK = re.compile(r"(?:STYLE|REGION)[ \t]*")
# A "<" that opens no tag is kept as text: recognizers do not escape, and a lost sentence is worse.
_TAG = re.compile(r"<(?P<end>/?)(?P<name>[A-Za-z0-9][^\s<>.]*)(?:\.[^\s<>]*)?(?:\s(?P<annotation>[^<>]*))?>")
_VOICE = re.compile(r"<v[.\s]")

Block = tuple[int, str | None, list[str]]
"""The number of its line of times, its id, its times and text lines."""


def has_header(text: str) -> bool:
    """Whether the text opens as WebVTT does."""
    return _HEADER.match(text) is not None


def parse(text: str, source: str) -> Transcript:
    """Parse WebVTT. A missing WEBVTT line is a warning: the caller knows that this is WebVTT."""
    lines = text.split("\n")
    first = next(number for number, line in enumerate(lines) if line.strip())
    header = _HEADER.match(lines[first].lstrip())
    title = optional(header["title"]) if header else None
    language: str | None = None
    position = first
    if header:
        position += 1
        while position < len(lines) and lines[position] and "-->" not in lines[position]:
            key, colon, value = lines[position].partition(":")
            if colon and key.strip().lower() == "language":
                language = optional(value)
            elif colon and key.strip().lower() == "title":
                title = optional(value) or title
            position += 1
    blocks, strays = _blocks(lines, position)
    segments, warnings = assemble(_cues(blocks, source))
    if strays:
        warnings += (f"{counted(strays, 'block')} without times left out",)
    if not header:
        warnings = ("the WEBVTT line is missing", *warnings)
    return Transcript(
        source=source, format="webvtt", segments=segments, warnings=warnings, title=title, language=language
    )


def _blocks(lines: list[str], position: int) -> tuple[list[Block], int]:
    """Cut the lines into cues, and count the blocks that are neither a cue, a comment nor settings."""
    blocks: list[Block] = []
    strays = 0
    size = len(lines)
    while position < size:
        line = lines[position]
        if not line.strip():
            position += 1
            continue
        following = lines[position + 1] if position + 1 < size else ""
        if _COMMENT.match(line) or (_SETTINGS_BLOCK.fullmatch(line) and "-->" not in following):
            while position < size and lines[position]:
                position += 1
            continue
        opening = position
        while position < size and lines[position].strip() and "-->" not in lines[position]:
            position += 1
        if position == size or not lines[position].strip():
            strays += 1
            continue
        # The id is the line right above the times; more lines above belong to nothing.
        cue_id = lines[position - 1] if position > opening else None
        strays += position - opening > 1
        times = position
        position += 1
        # A line of times inside the text is the next cue, its blank line forgotten; other arrows are text.
        while position < size and lines[position] and not TIMING.match(lines[position]):
            position += 1
        blocks.append((times + 1, cue_id, lines[times:position]))
    return blocks, strays


def _cues(blocks: list[Block], source: str) -> list[Cue]:
    timed = [(*timing(lines[0], number, source), cue_id, lines[1:]) for number, cue_id, lines in blocks]
    parts: list[list[tuple[str | None, str]]]
    if any(_VOICE.search("\n".join(lines)) for _, _, _, lines in timed):
        parts = [_voices("\n".join(lines)) for _, _, _, lines in timed]
    else:
        plain = [
            [html.unescape(line).strip() for line in _TAG.sub("", "\n".join(lines)).split("\n")]
            for _, _, _, lines in timed
        ]
        parts = split_by_prefixes([[line for line in lines if line] for lines in plain])
    return [
        Cue(start, end, cue_id, tuple(Segment(text, start, end, speaker) for speaker, text in of_cue))
        for (start, end, cue_id, _), of_cue in zip(timed, parts, strict=True)
    ]


def _voices(payload: str) -> list[tuple[str | None, str]]:
    """Cut a cue's text at its voice tags; text of one voice that only other tags interrupt stays whole."""
    runs: list[tuple[str | None, str]] = []
    open_voices: list[str | None] = []
    position = 0
    for tag in _TAG.finditer(payload):
        _say(runs, open_voices, payload[position : tag.start()])
        position = tag.end()
        if tag["name"] != "v":
            continue
        if tag["end"]:
            del open_voices[-1:]
        else:
            open_voices.append(optional(html.unescape(tag["annotation"] or "")))
    _say(runs, open_voices, payload[position:])
    return [(speaker, " ".join(text.split("\n"))) for speaker, text in runs]


def _say(runs: list[tuple[str | None, str]], voices: list[str | None], raw: str) -> None:
    speaker = voices[-1] if voices else None
    text = html.unescape(raw)
    if runs and (runs[-1][0] == speaker or not text.strip()):
        runs[-1] = (runs[-1][0], runs[-1][1] + text)
    elif text.strip():
        runs.append((speaker, text))


def render_webvtt(segments: Iterable[Segment], *, title: str | None = None) -> str:
    """Write segments as WebVTT: cue ids, voice tags, escaped text. Confidence has no place in it."""
    heading = _one_line(title or "")
    blocks = [f"WEBVTT - {heading}" if heading else "WEBVTT"]
    for segment in segments:
        lines = [f"{_stamp(segment.start_ms)} --> {_stamp(segment.end_ms)}"]
        cue_id = _one_line(segment.segment_id or "")
        if cue_id and "-->" not in cue_id:
            lines.insert(0, cue_id)
        text = html.escape(_one_line(segment.text), quote=False)
        speaker = html.escape(_one_line(segment.speaker or ""), quote=False)
        lines.append(f"<v {speaker}>{text}</v>" if speaker else text)
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _one_line(text: str) -> str:
    return clean_text(text).strip()


def _stamp(ms: int) -> str:
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}.{ms:03}"
