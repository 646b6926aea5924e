"""Tasks found by rules in speech as a recognizer writes it."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mina_pipeline.meeting import Segment, TaskList
from mina_pipeline.stages.offline.tasks import extract_tasks

DAY = date(2026, 11, 24)
"""A Tuesday."""


def meeting(*lines: tuple[str, str]) -> list[Segment]:
    """Segments of (speaker, text), five seconds each, a second apart, with ids "s0", "s1", ..."""
    return [
        Segment(text, n * 6_000, n * 6_000 + 5_000, speaker, 0.9, f"s{n}") for n, (speaker, text) in enumerate(lines)
    ]


def found(*lines: tuple[str, str]) -> TaskList:
    return extract_tasks(meeting(*lines), meeting_date=DAY)


def test_who_says_i_will_gets_the_task() -> None:
    """A self-commitment is the speaker's task, with its due date and its segment."""
    (task,) = found(
        ("Priya", "so the numbers look fine to me"),
        ("Tomas", "okay i'll send the budget report to everyone by friday"),
        ("Priya", "great thanks"),
    )
    assert task.title == "Send the budget report to everyone by friday"
    assert task.assigned_to == "Tomas"
    assert (task.due_date, task.due_text) == ("2026-11-27", "by friday")
    assert task.evidence[0] == "s1"
    assert 0.5 <= task.confidence_score <= 1


def test_who_is_asked_by_name_gets_the_task() -> None:
    """A request that names a speaker is that speaker's task, whoever speaks before and after."""
    (task,) = found(
        ("Tomas", "morning all"),
        ("Ana", "the tests are red again"),
        ("Priya", "tomas can you check the build server please"),
        ("Ana", "mm-hmm"),
    )
    assert (task.assigned_to, task.title) == ("Tomas", "Check the build server please")


def test_who_spoke_last_is_asked() -> None:
    """A request without a name goes to the one who spoke before."""
    (task,) = found(
        ("Ana", "i have the slides on my machine"),
        ("Priya", "could you email the slides to the whole team"),
    )
    assert task.assigned_to == "Ana"


def test_a_third_person_is_named_by_a_role() -> None:
    """A sentence about a speaker's label is that speaker's task."""
    (task,) = found(
        ("Lead Engineer", "yeah"),
        ("Account Manager", "the lead engineer will work on the prototype of the pump"),
    )
    assert task.assigned_to == "Lead Engineer"


def test_somebody_absent_can_have_a_task() -> None:
    """A name nobody in the meeting carries is taken as it is written."""
    (task,) = found(("Ana", "then Miriam is going to prepare the contract tomorrow"), ("Bo", "good"))
    assert (task.assigned_to, task.due_date) == ("Miriam", "2026-11-25")


def test_a_recap_repeats_no_task() -> None:
    """What the closing words repeat is one task, not two."""
    tasks = found(
        ("Tomas", "i'll send the budget report to the board by friday"),
        ("Priya", "and the venue is booked"),
        ("Priya", "anything else"),
        ("Tomas", "so next steps i'll send the budget report to the board"),
    )
    assert [task.assigned_to for task in tasks] == ["Tomas"]


def test_kind_and_priority_follow_the_words() -> None:
    """Urgent words make a task urgent, finding out makes it research."""
    (task,) = found(("Ana", "i will investigate the outage as soon as possible"), ("Bo", "okay"))
    assert (task.task_type, task.priority) == ("research", "urgent")


@pytest.mark.parametrize(
    "words",
    [
        "let me see where that was",
        "i'll just say that this was a good year",
        "i'll be honest that was hard",
        "you press the button and then it will open",
        "we sent the report last week",
        "",
        "...",
        "wir werden das morgen besprechen und dann den bericht schreiben",
        "明日までにレポートを送ります",
        "İİİ i'll send ß \u0000 \ud800",
    ],
)
def test_talk_is_no_task(words: str) -> None:
    """Figures of speech, descriptions, the past, other languages and nonsense hold no task."""
    assert len(found(("Ana", words))) == 0


def test_refined_text_is_what_is_shown() -> None:
    """Tasks are found in the raw words and shown with the corrected ones' capitals; emptied segments are silent."""
    segments = meeting(("Ana", "i'll send paris the report by friday"), ("Ana", "i'll email the client tomorrow"))
    refined = {"s0": "I'll send Paris the report by Friday.", "s1": ""}
    (task,) = extract_tasks(segments, meeting_date=DAY, refined=refined)
    assert (task.title, task.description) == ("Send Paris the report by Friday", refined["s0"])
    assert task.evidence == ("s0",)


LINES = st.lists(
    st.tuples(
        st.sampled_from(["Ana", "Lead Engineer", "", "(*", "the"]),
        st.text(max_size=20)
        | st.lists(
            st.sampled_from("i'll you will can send the lead engineer next steps report by friday um Ana".split())
        ).map(" ".join),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(LINES)
def test_nothing_raises_and_evidence_is_real(lines: list[tuple[str, str]]) -> None:
    """Whatever is said, tasks cite segments of the meeting, have short titles, and come the surest first."""
    segments = meeting(*lines)
    tasks = list(extract_tasks(segments, meeting_date=DAY))
    ids = {segment.segment_id for segment in segments}
    for task in tasks:
        assert task.evidence and set(task.evidence) <= ids
        assert 0 < len(task.title) <= 80
        assert 0 <= task.confidence_score <= 1
    scores = [task.confidence_score for task in tasks]
    assert scores == sorted(scores, reverse=True)
