"""Transcripts that come in by a door: files, and plain text."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from mina_pipeline import InvalidInput, Segment
from mina_pipeline.transcripts import parse_transcript
from mina_pipeline.transcripts.speakers import split_by_prefixes

SOURCES = {"text/vtt": "body.vtt", "application/x-subrip": "body.srt", "application/json": "body.json"}
"""What a Content-Type says of a body, as the name of a file; else its content alone decides."""


def uploaded_segments(body: bytes, content_type: str | None) -> list[Segment]:
    """A body's segments. Those without an id of their own are named after the whole body, so that the same body
    sent twice is recorded once. TranscriptError; InvalidInput for plain text that is not UTF-8 or empty."""
    kind = (content_type or "").partition(";")[0].strip().lower()
    mark = hashlib.sha256(body).hexdigest()[:12]
    if kind not in SOURCES and is_plain(body):
        try:
            spoken = plain_segments(body.decode("utf-8-sig"), mark)
        except UnicodeDecodeError:
            raise InvalidInput("body", "is not UTF-8") from None
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
