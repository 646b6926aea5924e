"""Transcript files -> segments: WebVTT, SRT, Whisper and WhisperX JSON, and the library's own JSON."""

from __future__ import annotations

import os
from pathlib import Path

from mina_pipeline.errors import TranscriptError
from mina_pipeline.text import clean_text
from mina_pipeline.transcripts import json_formats, srt, webvtt
from mina_pipeline.transcripts.assembly import Transcript
from mina_pipeline.transcripts.text import decode
from mina_pipeline.transcripts.webvtt import render_webvtt

__all__ = ["Transcript", "clean_text", "parse_transcript", "read_transcript", "render_webvtt"]


def read_transcript(path: str | os.PathLike[str]) -> Transcript:
    """Read a transcript file; the format is told from its content. Raises TranscriptError."""
    source = os.fsdecode(path)
    try:
        data = Path(source).read_bytes()
    except FileNotFoundError:
        raise TranscriptError(source, None, "there is no such file", "Check the name and the folder") from None
    except IsADirectoryError:
        raise TranscriptError(source, None, "this is a directory", "Name the transcript file in it") from None
    except PermissionError:
        raise TranscriptError(source, None, "permission denied", "Make the file readable") from None
    except (OSError, ValueError) as error:
        # ValueError: a NUL in the path.
        problem = getattr(error, "strerror", None) or "this is not a file name"
        raise TranscriptError(source, None, f"cannot be read: {problem}", "Check the name and the disk") from None
    return parse_transcript(data, source)


def parse_transcript(data: bytes, source: str) -> Transcript:
    """Parse a transcript's bytes: UTF-8, or UTF-16 with a byte order mark.

    The content decides the format; the ending of `source` only where the content leaves it open. A file
    without cues gives no segments. Raises TranscriptError for whatever cannot be read as it stands.
    """
    text = decode(data, source)
    start = text.lstrip()
    if not start:
        raise TranscriptError(source, None, "the file is empty", "Export the transcript again")
    ending = os.path.splitext(source)[1].lower()
    if webvtt.has_header(start):
        return webvtt.parse(text, source)
    if start[0] == "{":
        return json_formats.parse(text, source)
    if srt.has_times(text):
        return webvtt.parse(text, source) if ending == ".vtt" else srt.parse(text, source)
    if start[0] == "[" or ending == ".json":
        return json_formats.parse(text, source)
    if ending == ".vtt":
        remedy = "A WebVTT file begins with a line WEBVTT"
    elif ending == ".srt":
        remedy = "An SRT cue has a line such as 00:00:01,000 --> 00:00:02,500"
    else:
        remedy = "Known are WebVTT, SRT, Whisper JSON, WhisperX JSON and Mina JSON"
    raise TranscriptError(source, None, "this is no transcript format known here", remedy)
