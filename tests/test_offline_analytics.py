"""Offline analytics: the counts, and what holds between them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mina_pipeline.meeting import Analytics, Segment
from mina_pipeline.stages.offline.analytics import WINDOW_MS, analyze
from mina_pipeline.stages.offline.language import listed, tokens

WORDS = sorted(listed("remote control um okay five the do you think it budget؟ plan? नमस्ते battery"))


@st.composite
def meetings(draw: st.DrawFn) -> list[Segment]:
    """Segments in order of start, overlapping as they like, some endless, some empty."""
    rows = draw(
        st.lists(
            st.tuples(
                st.lists(st.sampled_from(WORDS), max_size=20),
                st.sampled_from(["A", "B", "C", None]),
                st.integers(0, 400_000),
                st.sampled_from([0, 500, 20_000, 900_000]),
                st.none() | st.floats(0, 1),
            ),
            min_size=1,
            max_size=12,
        )
    )
    made, at = [], 0
    for number, (said, speaker, wait, length, confidence) in enumerate(rows):
        at += wait
        made.append(Segment(" ".join(said), at, at + length, speaker, confidence, str(number)))
    return made


@settings(deadline=None)
@given(meetings())
def test_the_counts_agree_with_each_other(segments: list[Segment]) -> None:
    """Shares sum to one, no part is longer than the whole, and the parts add up."""
    got = analyze(segments)
    span = max(s.end_ms for s in segments) - segments[0].start_ms
    shares = sum(row.share for row in got.speaking_time)
    assert shares == pytest.approx(1) or (shares == 0 and not any(row.talk_ms for row in got.speaking_time))
    assert all(0 <= row.talk_ms <= span and row.longest_monologue_ms <= span for row in got.speaking_time)
    assert got.balance_gini is None or 0 <= got.balance_gini <= 1
    assert got.word_count == sum(len(tokens(s.text)) for s in segments)
    assert got.word_count == sum(row.words for row in got.speaking_time)
    assert got.turn_count == sum(row.turns for row in got.speaking_time)
    assert got.question_count == sum(row.questions for row in got.speaking_time)
    assert got.filler_count == sum(row.fillers for row in got.speaking_time)
    assert got.longest_monologue_ms == max(row.longest_monologue_ms for row in got.speaking_time)
    talk = sum(row.talk_ms for row in got.speaking_time)
    assert 0 <= got.silence_ms <= span
    assert 0 <= got.overlap_ms <= span - got.silence_ms <= talk
    assert 0 <= got.overlap_share <= 1
    assert all(0 < word.score <= 1 for word in got.keywords)
    assert len(got.keywords) <= 10


@settings(deadline=None)
@given(meetings())
def test_windows_cover_the_span_and_hold_every_word(segments: list[Segment]) -> None:
    """Windows follow each other from the first start to the last end, and their words sum to the count."""
    got = analyze(segments)
    assert got.pace[0].start_ms == segments[0].start_ms
    assert got.pace[-1].end_ms == max(s.end_ms for s in segments)
    for one, two in zip(got.pace, got.pace[1:], strict=False):
        assert one.end_ms == two.start_ms == one.start_ms + WINDOW_MS
    assert all(point.words >= 0 for point in got.pace)
    assert sum(point.words for point in got.pace) == got.word_count


def test_no_segments_give_zeros() -> None:
    """An empty meeting is measured as nothing."""
    assert analyze([]) == Analytics()


def test_talk_overlap_and_silence() -> None:
    """One's own overlapping cues are merged, two speakers' overlap is counted, gaps are silence."""
    segments = [
        Segment("we start with the plan", 0, 4000, "A"),
        Segment("the plan for today", 3000, 6000, "A"),
        Segment("which plan is that", 5000, 8000, "B"),
        Segment("the new one we made", 10_000, 12_000, "A"),
    ]
    got = analyze(segments)
    assert {row.speaker: row.talk_ms for row in got.speaking_time} == {"A": 8000, "B": 3000}
    assert (got.overlap_ms, got.silence_ms) == (1000, 2000)
    assert got.overlap_share == pytest.approx(0.1)
    assert got.dominant_speaker == "A"
    assert got.total_duration_minutes == pytest.approx(0.2)
    assert got.words_per_minute == pytest.approx(got.word_count / 0.2)


def test_a_backchannel_takes_no_turn() -> None:
    """ "Yeah" in another's turn ends nothing; a real sentence does, and so does a long own pause."""
    segments = [
        Segment("i think we should start", 0, 2000, "A"),
        Segment("yeah", 2000, 2300, "B"),
        Segment("and then go on", 2500, 5000, "A"),
        Segment("that is too late", 5000, 6000, "B"),
        Segment("and again something else", 20_000, 21_000, "B"),
    ]
    got = analyze(segments)
    assert {row.speaker: row.turns for row in got.speaking_time} == {"A": 1, "B": 2}
    assert (got.longest_monologue_ms, got.longest_monologue_speaker) == (5000, "A")


def test_nobody_in_particular_is_no_participant() -> None:
    """Segments without a speaker show as Unknown in the speaking time and nowhere else."""
    got = analyze([Segment("we need a plan for this", 0, 1000), Segment("um do you think so", 1000, 1500, "A")])
    assert [row.speaker for row in got.speaking_time] == ["Unknown", "A"]
    assert (got.participant_count, got.dominant_speaker, got.balance_gini) == (1, "A", None)
    assert (got.question_count, got.filler_count) == (1, 1)


def test_balance_tells_alike_from_alone() -> None:
    """Equal talk is 0; the more one holds the floor, the nearer to 1."""
    alike = analyze([Segment("hello all", i * 1000, i * 1000 + 1000, name) for i, name in enumerate("ABCD")])
    alone = analyze([Segment("hello all", i * 1000, i * 1000 + (i == 0) * 900, n) for i, n in enumerate("ABCD")])
    assert alike.balance_gini == 0
    assert alone.balance_gini == pytest.approx(0.75)


def test_words_are_spread_over_the_windows_of_their_segment() -> None:
    """A segment over a window's border gives each side its part."""
    got = analyze([Segment("one two three four five six seven eight nine ten", 0, 2 * WINDOW_MS, "A")])
    assert [point.words for point in got.pace] == [5, 5]
    assert got.pace[0].words_per_minute == 1.0


def test_keywords_are_what_is_said_often() -> None:
    """Phrases outrank their parts, fillers and stop words are none, equal scores go by the alphabet."""
    texts = ["um the battery life is what we need", "so battery life and the casing", "um battery life okay"]
    got = analyze([Segment(text, i, i + 1, "A") for i, text in enumerate(texts)])
    assert [word.phrase for word in got.keywords] == ["battery life", "casing"]
    assert got.keywords[0].score == 1.0
    assert got.keywords[0].count == 3


def test_other_languages_are_measured_too() -> None:
    """Without English words the frequent ones are keywords, and a question is known by its mark."""
    got = analyze([Segment("كيف حالك اليوم؟", 0, 1000, "A"), Segment("اليوم جميل", 1000, 2000, "B")])
    assert got.question_count == 1
    assert got.keywords[0].phrase == "اليوم"


def test_a_long_meeting_takes_seconds() -> None:
    """100,000 words are measured without quadratic time."""
    segments = [
        Segment(
            f"so the plan number{i % 997} is good and we want battery{i % 89} life",
            i * 900,
            i * 900 + 1500,
            f"S{i % 7}",
        )
        for i in range(9000)
    ]
    began = time.process_time()
    analyze(segments)
    assert time.process_time() - began < 8
