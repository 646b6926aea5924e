"""Transcripts that come in by a door: files, and plain text."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

from mina_pipeline import InvalidInput, Segment
from mina_pipeline.transcripts import parse_transcript
from mina_pipeline.transcripts.speakers import split_by_prefixes

SOURCES = {"text/vtt": "body.vtt", "application/x-subrip": "body.srt", "application/json": "body.json"}
"""What a Content-Type says of a body, as the name of a file; else its content alone decides."""
UNSAID = ("", "application/octet-stream", "application/x-www-form-urlencoded")
"""Content-Types that say nothing of what a program sends; the last is what curl says of any body."""
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
"""What no text has: C0 but tabs and line ends."""


def uploaded_segments(body: bytes, content_type: str | None) -> list[Segment]:
    """A body's segments. Those without an id of their own are named after the whole body, so that the same body
    sent twice is recorded once. TranscriptError; InvalidInput for plain text that is not UTF-8, is empty or has
    control characters, and for bodies that by their Content-Type are no text: forms with files, documents, pictures.
    """
    kind = (content_type or "").partition(";")[0].strip().lower()
    if not kind.startswith("text/") and kind not in SOURCES and kind not in UNSAID:
        raise InvalidInput(
            "content_type", "is not a transcript's: send the file itself as the body, as text/plain, text/vtt or JSON"
        )
    mark = hashlib.sha256(body).hexdigest()[:12]
    if kind not in SOURCES and is_plain(body):
        try:
            text = body.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InvalidInput("body", "is not UTF-8") from None
        if CONTROL.search(text):
            raise InvalidInput("body", "has control characters: it is no plain text")
        spoken = plain_segments(text, mark)
        if not spoken:
            raise InvalidInput("body", "has no words")
        return spoken
    found = parse_transcript(body, SOURCES.get(kind, "body")).segments
    return [
        segment if segment.segment_id else replace(segment, segment_id=f"{mark}-{n}")
        for n, segment in enumerate(found, 1)
    ]


def is_plain(body: bytes) -> bool:
    """Whether there is nothing of a transcript format in it: no header, no JSON object, no times with an arrow."""
    start = body.removeprefix(b"\xef\xbb\xbf").lstrip()
    return bool(start) and b"\0" not in body and b"-->" not in body and not start.startswith((b"{", b"WEBVTT"))


def plain_segments(text: str, mark: str) -> list[Segment]:
    """A segment a line, named `mark-1`, `mark-2`, …; names before the words are speakers where that is the text's
    habit. Nothing is known of times: all are 0."""
    lines = [line.strip() for line in text.splitlines()]
    spoken = split_by_prefixes([[line] for line in lines if line])
    parts = [part for line in spoken for part in line if part[1].strip()]
    return [Segment(words, 0, 0, speaker, None, f"{mark}-{n}") for n, (speaker, words) in enumerate(parts, 1)]
