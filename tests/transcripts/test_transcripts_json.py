"""Whisper, WhisperX and our own JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from mina_pipeline.errors import TranscriptError
from mina_pipeline.meeting import Segment
from mina_pipeline.transcripts import Transcript, parse_transcript, read_transcript

DATA = Path(__file__).parent.parent / "data" / "transcripts"


def parse(document: Any) -> Transcript:
    return parse_transcript(json.dumps(document).encode(), "x.json")


def test_whisper() -> None:
    """Seconds become milliseconds; confidence is the words' mean, else exp of the mean log probability."""
    found = read_transcript(DATA / "whisper.json")
    assert (found.format, found.language, found.warnings) == ("whisper", "en", ())
    assert found.segments == (
        Segment("Good morning.", 0, 1840, None, round(math.exp(-0.25), 6), "0"),
        Segment("The oven is on.", 1840, 3500, None, 0.75, "1"),
    )


def test_whisper_cpp() -> None:
    """whisper.cpp's offsets are milliseconds already, and decoder marks do not count as words."""
    found = read_transcript(DATA / "whisper_cpp.json")
    assert (found.format, found.language) == ("whisper", "en")
    assert found.segments == (
        Segment("Good morning.", 0, 1500, None, 0.7, "0"),
        Segment("The oven is on.", 1500, 3000, None, None, "1"),
    )


def test_whisperx_is_split_where_the_words_change_speaker() -> None:
    """A change of speaker inside a segment makes two, with the words' times, and no word is lost."""
    found = read_transcript(DATA / "whisperx.json")
    assert (found.format, found.language) == ("whisperx", "en")
    assert found.segments == (
        Segment("Good morning.", 100, 1900, "SPEAKER_00", 0.8, "0"),
        Segment("Is it on?", 2000, 2900, "SPEAKER_00", 0.7, "1#1"),
        Segment("Since 5 sharp.", 3100, 4800, "SPEAKER_01", 0.8, "1#2"),
    )
    assert found.warnings == ("1 cue of several speakers split",)


def test_split_parts_without_word_times_stay_in_order() -> None:
    """Words without times or out of order still give parts that neither overlap nor run backwards."""
    words = [
        {"word": "a", "speaker": "A", "start": 1.0, "end": 1.5},
        {"word": "b", "speaker": "B"},
        {"word": "c", "speaker": "A", "start": 1.2, "end": 1.1},
    ]
    found = parse({"segments": [{"start": 1.0, "end": 2.0, "text": "spelled otherwise", "words": words}]})
    assert [(s.text, s.start_ms, s.end_ms) for s in found.segments] == [
        ("a", 1000, 1500),
        ("b", 1500, 1500),
        ("c", 1500, 1500),
    ]


def test_split_parts_are_sorted_among_their_neighbours() -> None:
    """A part that starts after the next segment does comes after it, and keeps its id."""
    words = [{"word": "a", "start": 0, "speaker": "A"}, {"word": "b", "start": 5, "end": 6, "speaker": "B"}]
    long = {"start": 0, "end": 6, "text": "a b", "words": words}
    found = parse({"segments": [long, {"start": 2, "end": 3, "text": "c"}]})
    assert [(s.segment_id, s.start_ms) for s in found.segments] == [("0#1", 0), ("1", 2000), ("0#2", 5000)]


def test_whisper_without_a_usable_confidence() -> None:
    """NaN, absent or odd probabilities mean unknown, never an error; values past the ends are clipped."""
    base = {"start": 0, "end": 1, "text": "x"}
    given = [{"avg_logprob": math.nan}, {}, {"avg_logprob": "x"}, {"avg_logprob": 3.0}, {"words": 7}]
    found = parse({"text": "", "segments": [base | more for more in given]})
    assert [s.confidence for s in found.segments] == [None, None, None, 1.0, None]


def test_our_own() -> None:
    """All fields are read; unknown ones are counted and otherwise ignored."""
    found = read_transcript(DATA / "plain.json")
    assert (found.format, found.title, found.language) == ("mina", "Bakery stand-up", "en")
    assert (found.started_at, found.timezone) == ("2025-03-14T09:30:00+01:00", "Europe/Copenhagen")
    assert found.segments == (
        Segment("good morning", 0, 1500, "Ana", 0.9, "a"),
        Segment("the oven is on", 1500, 1500, None, None, "b"),
    )
    assert found.warnings == ("2 unknown fields ignored",)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"start_ms": "1"}, "segments[1].start_ms: is a text"),
        ({"start_ms": True}, "segments[1].start_ms: is true or false"),
        ({"start_ms": 1.5}, "segments[1].start_ms: has a fraction"),
        ({"start_ms": -1}, "segments[1].start_ms: is negative"),
        ({"end_ms": math.nan}, "segments[1].end_ms: is not finite"),
        ({"end_ms": 10**400}, "segments[1].end_ms: is past 596 hours"),
        ({"end_ms": 0, "start_ms": 5}, "segments[1]: ends (0 ms) before it starts (5 ms)"),
        ({"end_ms": None}, "segments[1].end_ms: is null"),
        ({"text": 3}, "segments[1].text: is a number"),
        ({"speaker": []}, "segments[1].speaker: is a list"),
        ({"confidence": 1.1}, "segments[1].confidence: is not a number from 0 to 1"),
        ({"segment_id": 4}, "segments[1].segment_id: is a number"),
    ],
)
def test_wrong_fields_are_named_by_path(change: dict[str, Any], problem: str) -> None:
    """A field of the wrong type or range is refused with its path."""
    good = {"text": "x", "start_ms": 0, "end_ms": 1}
    with pytest.raises(TranscriptError) as caught:
        parse({"segments": [good, good | change]})
    assert caught.value.problem == problem


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({}, "segments: is missing"),
        ({"text": "words"}, "segments: is missing"),
        ({"segments": {}}, "segments: is an object"),
        ({"segments": [1]}, "segments[0]: is a number"),
        ({"segments": [{"text": "x"}]}, "segments[0].start_ms: is missing"),
        ({"segments": [{"start": 1, "text": "x"}]}, "segments[0].end: is missing"),
        ({"segments": [{"start": math.nan, "end": 1, "text": "x"}]}, "segments[0].start: is not finite"),
        ({"segments": [], "started_at": "soon"}, "started_at: is no ISO 8601 date and time"),
        ([], "the file holds no JSON object"),
        ({"transcription": [{"text": "x"}]}, "transcription[0].offsets: is null"),
    ],
)
def test_documents_of_another_shape(document: Any, problem: str) -> None:
    """JSON that is no transcript is refused, saying what is missing or wrong."""
    with pytest.raises(TranscriptError) as caught:
        parse(document)
    assert caught.value.problem == problem


def test_broken_json_names_the_line() -> None:
    """Broken JSON is refused with its line; endless nesting and endless numbers are refused too."""
    with pytest.raises(TranscriptError, match=r"x\.json:2: broken JSON") as caught:
        parse_transcript(b'{"segments": [\n{"text" "secret"}]}', "x.json")
    assert "secret" not in str(caught.value)
    with pytest.raises(TranscriptError, match="nested too deep"):
        parse_transcript(b'{"a":' + b"[" * 200_000, "x.json")
    with pytest.raises(TranscriptError, match="too many digits"):
        parse_transcript(b'{"a":' + b"1" * 5000 + b"}", "x.json")


def test_no_segments_is_no_error() -> None:
    """An empty list of segments is an empty transcript."""
    assert (parse({"segments": []}).format, parse({"segments": []}).segments) == ("mina", ())
    assert parse({"text": "", "segments": [], "language": "en"}).format == "whisper"


def test_surrogates_and_controls_are_cleaned() -> None:
    """Lone surrogates and NULs that JSON escapes smuggle in do not reach a segment."""
    segment = rb'{"text":"a\ud800b\u0000c\td","start_ms":0,"end_ms":1,"speaker":"x\udfff","segment_id":"\u0000"}'
    data = b'{"segments":[' + segment + b"]}"
    assert parse_transcript(data, "x").segments == (Segment("a\ufffdbc d", 0, 1, "x\ufffd"),)
