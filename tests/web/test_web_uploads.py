"""Transcripts that come in by a door: of any known kind, once; and nothing that is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asking import ANN, ask
from mina_adapters.web.doors import Asked, Doors

from mina_pipeline import Pipeline

SRT = "1\n00:00:01,000 --> 00:00:02,000\nAnn: hello\n\n2\n00:00:03,000 --> 00:00:04,000\nBob: hi\n"
WHISPER = {"text": "hello hi", "segments": [{"id": 0, "start": 0.0, "end": 1.0, "text": "hello"},
                                            {"id": 1, "start": 1.0, "end": 2.0, "text": "hi"}]}  # fmt: skip
OURS = {"segments": [{"text": "hello", "start_ms": 0, "end_ms": 1}, {"text": "hi", "start_ms": 1, "end_ms": 2}]}
VTT = "WEBVTT\n\n00:01.000 --> 00:02.000\nhello\n\n00:03.000 --> 00:04.000\nhi\n"


@pytest.mark.parametrize(
    "body",
    [VTT, SRT, WHISPER, OURS, "hello\n\n  hi  \n", "Ann: hello\r\nBob: hi", "[Ann] hello\n[Bob] hi", "\ufeffhello\nhi"],
    ids=["vtt", "srt", "whisper", "ours", "lines", "named", "bracketed", "with a mark"],
)
def test_a_transcript_is_recorded_once(body: Any, doors: Doors, memory: Pipeline) -> None:
    """Of any known kind, or plain text, a segment a line; sent twice, it is there once."""
    memory.start_session("t", "s", tenant="red")
    for _ in range(2):
        status, session = ask(doors, "upload", "s", body)
        assert (status, session["total_segments"]) == (200, 2)
    memory.finalize("s")
    memory.run_until_idle()
    transcript = ask(doors, "transcript", "s")[1]["transcript"]
    assert [line["text"] for line in transcript["lines"]] == ["hello", "hi"]
    named = not isinstance(body, dict) and "Bob" in body
    assert [line["speaker"] for line in transcript["lines"]] == (["Ann", "Bob"] if named else [None, None])


@pytest.mark.parametrize(
    ("body", "kind", "field"),
    [
        ("", None, "problem"),
        ("WEBVTT\n\n00:05.000 --> 00:01.000\nsecret words\n", None, "line"),
        ("secret words", "application/json", "line"),
        ("secret words", "text/vtt; charset=utf-8", "problem"),
        ('{"segments": [{"text": "secret words"}]}', "text/plain", "problem"),
        ('{"text": "secret words"}', None, "problem"),
        (b"\xff\xfe\xfd", None, "problem"),
        (b"secret \xff words", None, "field"),
        ("secret\x1b[2J words", None, "field"),
        ("<p>secret\x07 words</p>", "text/html", "field"),
        ("secret\x00 words", "text/plain", "problem"),
        ("secret\fwords", "application/octet-stream", "field"),
        ("--x\r\n\r\nsecret words\r\n--x--", "multipart/form-data; boundary=x", "field"),
        ("%PDF-1.7 secret words", "application/pdf", "field"),
        ("secret words", "Image/PNG", "field"),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\nsecret\n", "multipart/mixed", "field"),
    ],
)
def test_a_transcript_that_cannot_be_read_is_refused(
    body: Any, kind: str | None, field: str, doors: Doors, memory: Pipeline
) -> None:
    """422 that says what is wrong, and where, and none of its words."""
    memory.start_session("t", "s", tenant="red")
    raw = body.encode() if isinstance(body, str) else body
    reply = doors.answer("upload", Asked(ANN, {"session_id": "s"}, {}, raw, kind))
    told_back = json.loads(reply.content)
    assert reply.status == 422 and field in told_back
    assert b"secret" not in reply.content
    assert memory.get("s").version == 1


@pytest.mark.parametrize(
    "kind",
    [None, "", "text/plain; charset=utf-8", "TEXT/Markdown", "application/octet-stream",
     "application/x-www-form-urlencoded"],
)  # fmt: skip
def test_a_transcript_of_no_stated_kind_is_text(kind: str | None, doors: Doors, memory: Pipeline) -> None:
    """Nothing, any text, or what curl says of any body; tabs and line ends of any system are fine in it."""
    memory.start_session("t", "s", tenant="red")
    reply = doors.answer("upload", Asked(ANN, {"session_id": "s"}, {}, b"one\ttwo\r\nthree\rfour", kind))
    assert (reply.status, reply.body["total_segments"]) == (200, 3)
