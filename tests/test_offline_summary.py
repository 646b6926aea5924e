"""The offline summary: cited, bounded, honest about what is open, and never in the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mina_pipeline import Segment
from mina_pipeline.meeting import Task, TaskList
from mina_pipeline.stages.offline.summary import summarize

TALK = [
    ("Ann", "okay so the plan today is the budget for the garden and the new fence"),
    ("Bob", "the fence costs two thousand euros which is more than the budget for the garden"),
    ("Ann", "then let's go with the wooden fence because the budget for the garden is small"),
    ("Bob", "yeah"),
    ("Ann", "does the city council allow a wooden fence near the garden"),
    ("Bob", "i don't know let's leave that open"),
    ("Ann", "how many visitors does the garden have on a sunday"),
    ("Bob", "around three hundred visitors come on a normal sunday"),
]


def said(*lines: tuple[str | None, str]) -> list[Segment]:
    return [Segment(text, n * 5000, n * 5000 + 4000, who, None, f"c{n}") for n, (who, text) in enumerate(lines)]


def test_a_meeting_is_told() -> None:
    """Brief, detail, key points and the decision are there, and each cites segments that exist."""
    segments = said(*TALK)
    summary = summarize(segments, tasks=TaskList(tasks=(Task(title="Order wood", assigned_to="Bob"),)))
    known = {segment.segment_id for segment in segments}
    assert summary.brief
    assert summary.detailed
    assert any("wooden fence" in decision.text for decision in summary.decisions)
    for item in (*summary.key_points, *summary.decisions, *summary.questions, *summary.topics):
        assert item.evidence
        assert set(item.evidence) <= known
    assert set(summary.evidence) <= known
    assert [step.text for step in summary.next_steps] == ["Bob: Order wood"]


def test_an_open_question_is_open_and_an_answered_one_answered() -> None:
    """Where nobody knows the question stays open; where somebody answers, the answer is given."""
    questions = {q.question: q for q in summarize(said(*TALK)).questions}
    (open_,) = [q for q in questions.values() if not q.answered]
    assert "city council" in open_.question
    (answered,) = [q for q in questions.values() if q.answered]
    assert answered.answer is not None
    assert "three hundred" in answered.answer


@pytest.mark.parametrize("text", ["", "um", "hello", "שלום לכולם", "今日は良い天気です", "??? !!! ...", "a" * 5000])
def test_odd_meetings_do_no_harm(text: str) -> None:
    """One odd segment, or none, gives a summary without an error."""
    summarize(said((None, text)))
    summarize([])


@given(st.lists(st.tuples(st.sampled_from(["A", "B", None]), st.text(max_size=80)), max_size=20))
def test_any_words_stay_within_bounds(lines: list[tuple[str | None, str]]) -> None:
    """Whatever is said, the detail has at most 350 words and nothing cites what is not there."""
    segments = said(*lines)
    summary = summarize(segments)
    assert len(summary.detailed.split()) <= 350
    assert set(summary.evidence) <= {segment.segment_id for segment in segments}


def test_words_doubled_over_a_border_are_not_lost_twice() -> None:
    """Where refinement took the doubled words from one cue, the sentence still has them from the other."""
    segments = [
        Segment("we saw in the trial that about eighteen percent", 0, 3000, "Ann", None, "a"),
        Segment("about eighteen percent of the downloads just stop halfway", 3000, 6000, "Ann", None, "b"),
    ]
    refined = {"a": "We saw in the trial that", "b": "about eighteen percent of the downloads just stop halfway."}
    for texts in (refined, None):
        detailed = summarize(segments, refined=texts).detailed
        assert detailed.count("about eighteen percent of the downloads") == 1
        assert detailed.count("eighteen") == 1
