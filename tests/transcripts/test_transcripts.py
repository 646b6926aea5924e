"""What holds for every format: files, encodings, cleaning, speed, and the properties."""

from __future__ import annotations

import codecs
import json
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mina_pipeline.errors import TranscriptError
from mina_pipeline.meeting import Segment
from mina_pipeline.transcripts import clean_text, parse_transcript, read_transcript, render_webvtt
from mina_pipeline.transcripts.text import MAX_MS

DATA = Path(__file__).parent.parent / "data" / "transcripts"
DEMO = Path(__file__).parent.parent.parent / "examples" / "weekly_planning.vtt"
VTT = "WEBVTT\n\na\n00:01.000 --> 00:02.000\n<v Zoë>naïve ☕ café\n"

# No markup and no prefix characters: SRT has no way to escape them.
texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Z"], exclude_characters="<>{}[]:："),
    min_size=1,
    max_size=12,
)
PIECES = [
    "<v A>",
    "</v>",
    "<",
    ">",
    "&amp;",
    "&",
    "lt;",
    "<00:01.000>",
    " --> ",
    "Ana: ",
    " ",
    "a",
    "{",
    "e\u0301",
    "ש",
]
markup = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map(lambda parts: "".join(parts).strip() or "x")


def _segments(said: st.SearchStrategy[str]) -> st.SearchStrategy[list[Segment]]:
    """Segments as a transcript has them: sorted, each with an id of its own or none at all."""
    spans = st.tuples(st.integers(0, MAX_MS), st.integers(0, 10_000), said, st.none() | texts)

    def build(drawn: tuple[list[tuple[int, int, str, str | None]], bool]) -> list[Segment]:
        rows, named = drawn
        rows.sort(key=lambda row: row[0])
        return [
            Segment(text, start, min(start + length, MAX_MS), who, None, str(number) if named else None)
            for number, (start, length, text, who) in enumerate(rows, 1)
        ]

    return st.tuples(st.lists(spans, max_size=6), st.booleans()).map(build)


@given(_segments(markup))
def test_webvtt_round_trip(segments: list[Segment]) -> None:
    """What is rendered as WebVTT is read back, whatever markup the text resembles."""
    # One voice at least: a file without any may have its prefixes read as speakers.
    segments = [
        *segments,
        Segment("end", MAX_MS, MAX_MS, "Z", None, "z" if segments and segments[0].segment_id else None),
    ]
    assert list(parse_transcript(render_webvtt(segments).encode(), "x").segments) == segments


@given(_segments(texts))
def test_srt_round_trip(segments: list[Segment]) -> None:
    """SRT gives back texts, times and counters; it has no field for speakers."""

    def stamp(ms: int) -> str:
        return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"

    cues = [f"{number}\n{stamp(s.start_ms)} --> {stamp(s.end_ms)}\n{s.text}\n" for number, s in enumerate(segments, 1)]
    if cues:
        found = parse_transcript("\n".join(cues).encode(), "x").segments
        expected = [Segment(s.text, s.start_ms, s.end_ms, None, None, str(n)) for n, s in enumerate(segments, 1)]
        assert list(found) == expected


@given(_segments(markup), st.none() | texts)
def test_own_json_round_trip(segments: list[Segment], title: str | None) -> None:
    """Our own JSON loses nothing."""
    document = {"title": title, "segments": [asdict(segment) for segment in segments]}
    found = parse_transcript(json.dumps(document).encode(), "x")
    assert (list(found.segments), found.title) == (segments, title)


FRAGMENTS = [
    b"WEBVTT", b"\n", b"\n\n", b"00:01.000", b"00:00:01,500", b" --> ", b"1", b"<v A>", b"Ana: x", b"{", b"}",
    b'"segments":', b"[", b"]", b'{"start":0,"end":1,"text":"x"}', b",", b'"words"', b":", b"NOTE", b"\xff",
    b"\xff\xfe", b"\x00", b"\xef\xbb\xbf", b"&#0;", b"\\ud800", b"1e999", b"NaN", b'"start_ms"', b'"offsets"',
    b'"transcription":', "\u2028é".encode(),
]  # fmt: skip


@given(
    st.binary(max_size=200) | st.lists(st.sampled_from(FRAGMENTS), max_size=25).map(b"".join),
    st.sampled_from(["x", "x.vtt", "x.srt", "x.json"]),
)
@example(b"1 --> 2", "x.srt")
@example(b"\xff\xfe\x00", "x")
@example(b"WEBVTT\n\n<v", "x")
def test_any_bytes_parse_or_are_refused(data: bytes, source: str) -> None:
    """Whatever the bytes, the answer is a transcript that keeps its promises, or a TranscriptError."""
    try:
        found = parse_transcript(data, source)
    except TranscriptError:
        return
    _check(found.segments)


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
keys = st.sampled_from(
    [
        "text",
        "start",
        "end",
        "start_ms",
        "end_ms",
        "words",
        "word",
        "speaker",
        "score",
        "id",
        "offsets",
        "from",
        "to",
    ]
)
objects = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=25,
)


@given(
    st.sampled_from(["segments", "transcription"]),
    st.lists(st.dictionaries(keys, objects, max_size=7), max_size=3),
)
def test_any_json_parses_or_is_refused(key: str, segments: list[object]) -> None:
    """Whatever JSON stands where segments should, no other error comes out."""
    try:
        found = parse_transcript(json.dumps({key: segments}).encode(), "x.json")
    except TranscriptError:
        return
    _check(found.segments)


def _check(segments: tuple[Segment, ...]) -> None:
    starts = [segment.start_ms for segment in segments]
    assert starts == sorted(starts)
    ids = [segment.segment_id for segment in segments]
    assert set(ids) == {None} or len(set(ids)) == len(ids)
    for segment in segments:
        assert 0 <= segment.start_ms <= segment.end_ms <= MAX_MS
        assert segment.text.strip() == segment.text == clean_text(segment.text) != ""
        assert segment.confidence is None or 0 <= segment.confidence <= 1


@given(st.text(st.characters()))
@example("a\r\n\tb\x00\ud800\x7fש\u200f e\u0301")
def test_cleaning(text: str) -> None:
    """Cleaned text has no controls and no surrogates, encodes, and cleaning it again changes nothing."""
    cleaned = clean_text(text)
    cleaned.encode()
    assert not any(ord(char) < 32 or ord(char) == 127 for char in cleaned)
    assert clean_text(cleaned) == cleaned


def test_cleaning_leaves_writing_alone() -> None:
    """Combining marks and right-to-left text stay as they are, without normalisation."""
    assert clean_text("e\u0301 שלום\u200f\tx\r\ny\x00z\ud83d") == "e\u0301 שלום\u200f x yz\ufffd"


@pytest.mark.parametrize(
    "data",
    [
        VTT.encode(),
        codecs.BOM_UTF8 + VTT.encode(),
        codecs.BOM_UTF16_LE + VTT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + VTT.encode("utf-16-be"),
        VTT.replace("\n", "\r\n").encode(),
        VTT.replace("\n", "\r").encode(),
        VTT.replace("\n", "\0\n").encode(),
    ],
)
def test_encodings_and_line_ends(data: bytes) -> None:
    """UTF-8 with or without its mark, UTF-16 with one, and all three line ends read the same."""
    assert parse_transcript(data, "x").segments == (Segment("naïve ☕ café", 1000, 2000, "Zoë", None, "a"),)


@pytest.mark.parametrize(
    ("data", "line", "problem"),
    [
        (VTT.encode("utf-8").replace("é".encode(), b"\xe9"), 5, "byte 0xe9 at offset 56 is not UTF-8"),
        (b"\xff\xfeW\x00E", 1, "byte 0x45 at offset 4 is not UTF-16-LE"),
        (VTT.encode("utf-16-le"), 1, "the file begins with NUL bytes (UTF-16 without a byte order mark?)"),
        (b"", None, "the file is empty"),
        (codecs.BOM_UTF8 + b" \r\n", None, "the file is empty"),
        (b"just words", None, "this is no transcript format known here"),
    ],
)
def test_unreadable_bytes_are_refused(data: bytes, line: int | None, problem: str) -> None:
    """Bytes that are no text, no content or no transcript are refused with the place and the reason."""
    with pytest.raises(TranscriptError) as caught:
        parse_transcript(data, "x")
    assert (caught.value.line, caught.value.problem) == (line, problem)


def test_the_content_decides_the_format() -> None:
    """A wrong file ending does not mislead, and the ending chooses the remedy where nothing is recognised."""
    for name, format_ in {
        "mixed.srt": "srt",
        "plain.json": "mina",
        "whisperx.json": "whisperx",
        "voices.vtt": "webvtt",
    }.items():
        for ending in (".vtt", ".srt", ".json", ""):
            if (format_, ending) != ("srt", ".vtt"):
                assert parse_transcript((DATA / name).read_bytes(), f"x{ending}").format == format_
    for source, word in {
        "x.vtt": "WEBVTT",
        "x.srt": "00:00:01,000",
        "x.json": "Export",
        "x": "Whisper",
    }.items():
        with pytest.raises(TranscriptError) as caught:
            parse_transcript(b"just words", source)
        assert word in caught.value.remedy


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, a directory and an impossible name are refused, with the name as given."""
    for path in (tmp_path / "none.vtt", tmp_path, "a\0b", tmp_path / ("x" * 300), DATA / "plain.json" / "x"):
        with pytest.raises(TranscriptError) as caught:
            read_transcript(path)
        assert caught.value.source == str(path)


def test_ten_hours_parse_whole() -> None:
    """A hundred thousand words, ten hours."""
    segments = [Segment("word " * 9 + "end", n * 3600, n * 3600 + 3500, "S", None, f"c{n}") for n in range(10_000)]
    data = render_webvtt(segments).encode()
    found = parse_transcript(data, "x")
    assert found.segments == tuple(segments)


@pytest.mark.parametrize(
    "hostile",
    ["<" + "a" * 50_000, "<v" + " " * 50_000, "1" + ":" * 50_000, "A" * 50_000, "&" * 50_000, "[A " * 20_000],
)
def test_hostile_lines_take_linear_time(hostile: str) -> None:
    """No line, however long, makes a pattern run away."""
    begun = time.perf_counter()
    for frame in ("WEBVTT\n\n00:01.000 --> 00:02.000\n{}", "1\n00:00:01,000 --> 00:00:02,000\nx\n{}\n"):
        parse_transcript(frame.format(hostile).encode(), "x")
    assert time.perf_counter() - begun < 2


def test_the_example_meeting() -> None:
    """The example that ships is a meeting of four named speakers, every cue named, spoken at a human pace."""
    found = read_transcript(DEMO)
    assert 180 <= len(found.segments) <= 240
    assert len({segment.speaker for segment in found.segments}) == 4
    assert all(segment.segment_id for segment in found.segments)
    assert 16 <= found.segments[-1].end_ms / 60_000 <= 20
