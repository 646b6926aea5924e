"""SRT: a format without a standard, read as its writers write it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mina_pipeline.errors import TranscriptError
from mina_pipeline.meeting import Segment
from mina_pipeline.transcripts import Transcript, parse_transcript, read_transcript

DATA = Path(__file__).parent.parent / "data" / "transcripts"


def parse(text: str, source: str = "x.srt") -> Transcript:
    return parse_transcript(text.encode(), source)


def test_a_file_from_the_wild() -> None:
    """CRLF, dots for commas, markup, blank lines in a text, a lost blank line and prefixes come out right."""
    found = read_transcript(DATA / "mixed.srt")
    assert found.format == "srt"
    assert found.segments == (
        Segment("good morning still me", 1000, 2500, "ANA", None, "1"),
        Segment("the oven is on", 2500, 4000, "BO LIND", None, "2"),
        Segment("thanks", 5000, 6000, "Ana", None, "3#1"),
        Segment("any time", 5000, 6000, "BO LIND", None, "3#2"),
        Segment("flour at 9: who signs", 5500, 7000, "ANA", None, "4"),
    )


@pytest.mark.parametrize("opening", ["Ana:", "[Ana]", "[Ana]:", ">> Ana:", "- Ana:", "Ana :"])
def test_every_way_to_write_a_speaker(opening: str) -> None:
    """Each of the usual prefixes names the speaker and leaves the text."""
    found = parse("".join(f"{n}\n00:00:0{n},000 --> 00:00:0{n},900\n{opening} hello: you\n\n" for n in range(3)))
    assert {(s.speaker, s.text) for s in found.segments} == {("Ana", "hello: you")}


@pytest.mark.parametrize("text", ["[Music]", "12:30 it is", "https://a.b", "we said: no", "Note: x", "[BLANK_AUDIO]"])
def test_what_is_no_speaker(text: str) -> None:
    """Sounds, times of day, addresses and small words before a colon are text, however often they come."""
    found = parse("".join(f"{n}\n00:00:0{n},000 --> 00:00:0{n},900\n{text}\n\n" for n in range(5)))
    assert {(s.speaker, s.text) for s in found.segments} == {(None, text)}


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("00:00:01,000 --> 00:00:02,000\none\n\n00:00:02,000 --> 00:00:03,000\ntwo\n", [None, None]),
        ("a\n00:00:01,000 --> 00:00:02,000\none\n\nb\n00:00:02,000 --> 00:00:03,000\ntwo\n", ["a", "b"]),
        ("7\n00:00:01,000 --> 00:00:02,000\none\n8\n00:00:02,000 --> 00:00:03,000\ntwo\n", ["7", "8"]),
        (
            "1\n\n00:00:01,000 --> 00:00:02,000\n\none\n\n2\n\n00:00:02,000 --> 00:00:03,000\n\ntwo\n",
            ["1", "2"],
        ),
        ("\n\n1\n00:01,0 --> 00:02,0\none\n\n\n\n2\n00:02,00 --> 00:03,00 \n two", ["1", "2"]),
    ],
)
def test_counters(text: str, ids: list[str | None]) -> None:
    """Counters are ids: numbers or not, after lost or doubled blank lines, or missing altogether."""
    found = parse(text)
    assert [s.segment_id for s in found.segments] == ids
    assert [(s.text, s.start_ms, s.end_ms) for s in found.segments] == [
        ("one", 1000, 2000),
        ("two", 2000, 3000),
    ]


def test_an_arrow_in_the_text_is_text() -> None:
    """A text line with an arrow that is not a time stays in its cue."""
    found = parse("1\n00:00:01,000 --> 00:00:02,000\nfirst\na --> b\n")
    assert [s.text for s in found.segments] == ["first a --> b"]


@pytest.mark.parametrize(
    ("times", "problem"),
    [
        ("00:00:01,000 --> 00:00:xx,000", "the end time '00:00:xx,000' is malformed"),
        ("00:00:03,000 --> 00:00:02,000", "the cue ends (00:00:02,000) before it starts (00:00:03,000)"),
        ("private --> words", "the start time is malformed"),
    ],
)
def test_broken_times_name_their_line(times: str, problem: str) -> None:
    """A broken time is refused with its line, and never with text."""
    with pytest.raises(TranscriptError) as caught:
        parse(f"1\n00:00:01,000 --> 00:00:02,000\none\n\n2\n{times}\ntwo\n")
    assert (caught.value.line, caught.value.problem) == (6, problem)


def test_lines_above_the_first_cue_are_counted() -> None:
    """What stands above the first cue is left out, and said."""
    assert parse("made by hand\n\n1\n00:01,0 --> 00:02,0\none").warnings == ("1 line above the first cue left out",)
