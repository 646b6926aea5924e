"""WebVTT: what the specification has, and what files in the wild have beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mina_pipeline.errors import TranscriptError
from mina_pipeline.meeting import Segment
from mina_pipeline.transcripts import Transcript, parse_transcript, read_transcript, render_webvtt

DATA = Path(__file__).parent.parent / "data" / "transcripts"


def parse(text: str, source: str = "x.vtt") -> Transcript:
    return parse_transcript(text.encode(), source)


def test_every_construct_of_the_specification() -> None:
    """Header, settings blocks, comments, ids, cue settings, voices, tags and entities all come out right."""
    found = read_transcript(DATA / "voices.vtt")
    assert (found.format, found.title, found.language) == ("webvtt", "Bakery stand-up", "en-GB")
    assert found.segments == (
        Segment("Good morning everyone & welcome back", 1500, 4000, "Ana", None, "opening"),
        Segment("The oven is on", 3750, 6000, "Bo Lind", None, "both#1"),
        Segment("since five", 3750, 6000, "Ana", None, "both#2"),
        Segment("x < y\xa0– right", 6000, 6000, "Bo Lind", None, "cue 3"),
    )
    assert found.warnings == (
        "1 cue without text left out",
        "1 cue overlaps the one before it",
        "1 cue of several speakers split",
    )


def test_prefixes_are_speakers_only_where_the_file_has_no_voices() -> None:
    """A `Name:` habit of a file gives speakers, `Note:` is none, and voice tags switch prefixes off."""
    found = read_transcript(DATA / "prefixes.vtt")
    assert [(s.speaker, s.text) for s in found.segments] == [
        ("Ana", "the flour came late"),
        ("Bo Lind", "how late"),
        ("Ana", "two hours"),
        (None, "Note: this is not a name"),
    ]
    voiced = "WEBVTT\n\n" + "".join(f"00:0{n}.000 --> 00:0{n}.500\n<v Bo>Ana: hello\n\n" for n in range(4))
    assert {(s.speaker, s.text) for s in parse(voiced).segments} == {("Bo", "Ana: hello")}


def test_rare_prefixes_are_text() -> None:
    """Two prefixes among many cues, or three names that come up once each, are no habit."""
    texts = ["Well: yes"] * 2 + ["no prefix"] * 8
    assert all(s.speaker is None for s in parse(_vtt(texts)).segments)
    texts = ["First: yes", "Second: yes", "Third: yes"] + ["no prefix"] * 8
    assert all(s.speaker is None for s in parse(_vtt(texts)).segments)


@pytest.mark.parametrize("text", ["WEBVTT", "WEBVTT\n", "\ufeffWEBVTT - x\r\n\r\nNOTE y\r\n", "WEBVTT\rKind: captions"])
def test_no_cues_is_no_error(text: str) -> None:
    """A valid file without cues has no segments, and nothing is wrong with it."""
    found = parse(text)
    assert (found.segments, found.warnings) == ((), ())


def test_unclosed_and_nested_voices() -> None:
    """A voice lasts to the next one or to the end of its cue; text before any voice has no speaker."""
    found = parse("WEBVTT\n\n00:01.000 --> 00:02.000\noh <v A &amp; B>yes <v C>no</v> maybe")
    assert [(s.speaker, s.text) for s in found.segments] == [
        (None, "oh"),
        ("A & B", "yes"),
        ("C", "no"),
        ("A & B", "maybe"),
    ]


def test_a_less_than_sign_loses_no_text() -> None:
    """An unescaped `<` that opens no tag stays in the text."""
    found = parse("WEBVTT\n\n00:01.000 --> 00:02.000\n<v A>if a < b and 5 <")
    assert found.segments[0].text == "if a < b and 5 <"


def test_missing_blank_lines_and_stray_blocks() -> None:
    """Times inside a cue's text begin the next cue; blocks without times are counted, not parsed."""
    text = "WEBVTT\n00:01.000 --> 00:02.000\none\n00:02.000 --> 00:03.000\ntwo\n\n"
    text += "stray\n\n1:00:00.000 --> 1:00:01.000\nx"
    found = parse(text)
    assert [(s.text, s.start_ms) for s in found.segments] == [("one", 1000), ("two", 2000), ("x", 3_600_000)]
    assert found.warnings == ("1 block without times left out",)


def test_a_missing_header_is_forgiven_to_a_vtt_file() -> None:
    """With the ending .vtt the WEBVTT line may be missing, which is said."""
    found = parse("00:01.000 --> 00:02.000\none")
    assert (found.format, found.warnings) == ("webvtt", ("the WEBVTT line is missing",))


def test_order_and_ids() -> None:
    """Late cues are sorted, stable; ids partly missing or used twice are all dropped, with a count."""
    text = "WEBVTT\n\na\n00:05.000 --> 00:06.000\none\n\nb\n00:01.000 --> 00:02.000\ntwo\n\n"
    text += "b\n00:01.000 --> 00:01.500\nthree"
    found = parse(text)
    assert [s.text for s in found.segments] == ["two", "three", "one"]
    assert [s.segment_id for s in found.segments] == [None] * 3
    assert found.warnings == (
        "1 cue began before the one before it; sorted",
        "1 cue overlaps the one before it",
        "1 cue id used before; no id is used",
    )
    partly = parse(text.replace("b\n", "", 1))
    assert "1 of 3 cues have no id; the other ids are not used" in partly.warnings


@pytest.mark.parametrize(
    ("times", "problem"),
    [
        ("00:02.000 --> 00:01.000", "the cue ends (00:01.000) before it starts (00:02.000)"),
        ("00:xx.000 --> 00:01.000", "the start time '00:xx.000' is malformed"),
        ("00:01.000 -->", "the end time is malformed"),
        ("-00:01.000 --> 00:01.000", "the start time '-00:01.000' is malformed"),
        ("00:61.000 --> 00:62.000", "the start time '00:61.000' is malformed"),
        ("00:01.000 --> 9999:00:00.000", "the end time '9999:00:00.000' is malformed"),
        ("1" * 5000 + ":00:00.000 --> 00:01.000", "the start time '" + "1" * 40 + "' is malformed"),
        ("my secret words --> 00:01.000", "the start time is malformed"),
    ],
)
def test_broken_times_name_their_line(times: str, problem: str) -> None:
    """Broken times are refused with line and clipped time; words that are no time are not repeated."""
    with pytest.raises(TranscriptError) as caught:
        parse(f"WEBVTT\n\nid\n{times}\ntext")
    assert (caught.value.line, caught.value.problem) == (4, problem)


def test_rendering_keeps_what_webvtt_can_hold() -> None:
    """Ids, speakers, markup characters and the title survive writing and reading."""
    segments = (
        Segment("a <b> & c --> d", 0, 3_600_001, "X <Y>", None, "1"),
        Segment("e", 3_600_001, 3_700_000),
    )
    found = parse(render_webvtt(segments[:1], title="A - B"))
    assert (found.segments, found.title) == (segments[:1], "A - B")
    assert parse(render_webvtt(segments[1:])).segments == segments[1:]


@pytest.mark.skipif("MINA_AMI_DIR" not in os.environ, reason="MINA_AMI_DIR does not name the AMI transcripts")
def test_real_meetings_lose_no_cue() -> None:
    """Every cue of every AMI transcript becomes one segment, with speaker and id, in order."""
    files = sorted(Path(os.environ["MINA_AMI_DIR"]).glob("*.vtt"))
    assert files
    for file in files:
        segments = read_transcript(file).segments
        assert len(segments) == sum("-->" in line for line in file.read_text("utf-8").splitlines())
        assert all(segment.speaker and segment.segment_id for segment in segments)
        assert [s.start_ms for s in segments] == sorted(s.start_ms for s in segments)


def _vtt(texts: list[str]) -> str:
    return "WEBVTT\n\n" + "\n\n".join(f"00:{n:02}.000 --> 00:{n:02}.900\n{text}" for n, text in enumerate(texts))
