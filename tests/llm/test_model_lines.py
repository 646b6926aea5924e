"""A transcript as the model sees it: numbered, cut where the talk turns, and fenced."""

from __future__ import annotations

import json
import re
from itertools import pairwise

from asked import long_meeting, meeting
from hypothesis import given
from hypothesis import strategies as st

from mina_pipeline.llm.tokens import at_most, estimate
from mina_pipeline.meeting import Segment
from mina_pipeline.stages.openai.lines import LONGEST, Chunk, Line, best_border, cut, lines_of
from mina_pipeline.stages.openai.prompts import fenced


def test_ten_hours_are_cut_to_fit_and_each_line_is_in_one_chunk() -> None:
    lines = lines_of(long_meeting(10))
    chunks = cut("tasks", lines, 12_000)
    assert [line for chunk in chunks for line in chunk.lines] == lines
    assert all(sum(line.tokens for line in chunk.lines) <= 12_000 for chunk in chunks)
    least = sum(line.tokens for line in lines) / 12_000
    assert least <= len(chunks) <= least / 0.55
    assert len({chunk.name for chunk in chunks}) == len(chunks)


def test_cuts_are_where_the_subject_changes() -> None:
    """All speakers and pauses are alike: only the words tell."""
    segments = [
        Segment(f"the {subject} {subject} matter number {at} of {subject}", at * 5_000, at * 5_000 + 4_000, "Anna")
        for at, subject in enumerate(["parking"] * 80 + ["canteen"] * 80)
    ]
    lines = lines_of(segments)
    first = cut("x", lines, sum(line.tokens for line in lines[:100]))[0]
    assert len(first.lines) == 80


def test_cuts_are_where_another_speaks_after_a_pause() -> None:
    segments = [
        Segment(
            "the same words again and again", at * 5_000 + (60_000 if at >= 40 else 0), 0, "Ben" if at >= 40 else "Anna"
        )
        for at in range(60)
    ]
    lines = lines_of(segments)
    assert best_border(lines, 30, 50) == 40


def test_a_lead_shows_the_lines_before_again() -> None:
    chunks = cut("x", lines_of(long_meeting(1)), 2_000, lead=300)
    for before, after in pairwise(chunks):
        again = set(before.lines) & set(after.lines)
        assert again
        assert sum(line.tokens for line in again) <= 300


def test_what_has_no_end_becomes_several_lines_of_one_segment() -> None:
    lines = lines_of([Segment("word " * 20_000, 0, 1, "Anna", None, "a"), Segment("x" * 5_000, 2, 3, "Ben", None, "b")])
    assert all(len(line.text) <= LONGEST for line in lines)
    assert [line.n for line in lines] == list(range(1, len(lines) + 1))
    assert " ".join(line.text for line in lines if line.segment_id == "a") == ("word " * 20_000).strip()
    assert "".join(line.text for line in lines if line.segment_id == "b") == "x" * 5_000


def test_halves_make_the_whole_and_one_line_has_none() -> None:
    chunk = Chunk("x", tuple(lines_of(long_meeting(0.1))))
    halves = chunk.halves()
    assert halves is not None
    assert halves[0].lines + halves[1].lines == chunk.lines
    assert all(half.lines for half in halves)
    assert Chunk("x", chunk.lines[:1]).halves() is None
    two = Chunk("x", chunk.lines[:2]).halves()
    assert two is not None
    assert [len(half.lines) for half in two] == [1, 1]


@given(st.lists(st.text(max_size=60), max_size=40), st.integers(1, 400), st.integers(0, 100))
def test_any_transcript_is_cut_without_loss(texts: list[str], most: int, lead: int) -> None:
    lines = lines_of(meeting(*texts))
    chunks = cut("x", lines, most, lead)
    seen: list[Line] = []
    for chunk in chunks:
        seen.extend(line for line in chunk.lines if line not in seen)
        assert len(chunk.lines) == 1 or sum(line.tokens for line in chunk.lines[:-1]) <= most + lead
    assert seen == lines


@given(st.lists(st.text(max_size=80), max_size=6))
def test_nothing_that_is_said_can_end_the_data(texts: list[str]) -> None:
    """Not the marks themselves, repeated by somebody who knows them."""
    first = fenced({"n": n, "text": text} for n, text in enumerate(texts))
    again = fenced({"n": n, "text": text} for n, text in enumerate([*texts, first, "</data>", "\u2028<data-0>\n"]))
    mark = re.match(r"<data-[0-9a-f]{16}>\n", again)
    assert mark
    assert again.count(mark[0].strip()) == 1
    assert again.count("</data-") == 1
    rows = again.split("\n")[1:-1]
    assert len(rows) == len(texts) + 3
    assert all("<" not in row and json.loads(row) for row in rows)


@given(st.text(max_size=300))
def test_no_estimate_is_above_the_bound(text: str) -> None:
    assert 0 < estimate(text) <= at_most(text) + 1


def test_estimates_know_other_scripts() -> None:
    assert 20 <= estimate("word " * 20) <= 40
    assert 15 <= estimate("我们需要三台服务器我们需要三台服务器") <= 40
