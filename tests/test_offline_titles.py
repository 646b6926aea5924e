"""A task's title says what is to be done, and a task cites its own words first."""

from __future__ import annotations

from datetime import date

import pytest

from mina_pipeline.meeting import Segment, Task
from mina_pipeline.stages.offline.tasks import extract_tasks
from mina_pipeline.stages.offline.titles import base_form, from_verb, title_of

DAY = date(2026, 11, 24)


def found(*lines: tuple[str, str], pause_ms: int = 6_000) -> list[Task]:
    segments = [
        Segment(text, n * pause_ms, n * pause_ms + 5_000, who, None, f"s{n}") for n, (who, text) in enumerate(lines)
    ]
    return list(extract_tasks(segments, meeting_date=DAY))


@pytest.mark.parametrize(
    ("words", "title"),
    [
        ("working on you know the casing", "Work on the casing"),
        ("send the the report and then we'll see", "Send the report"),
        ("type up the minutes because nobody did", "Type up the minutes"),
        ("work on that's a new draft", "Work on a new draft"),
        ("look into the price I guess it's high", "Look into the price"),
        ("email your slides to the", "Email your slides"),
        ("um", ""),
    ],
)
def test_a_title_ends_where_the_talk_turns(words: str, title: str) -> None:
    """Hesitations, what comes after the task, and a broken-off end are no part of the title."""
    assert title_of(words.split()) == title


@pytest.mark.parametrize(
    ("verb", "base"),
    [("working", "work"), ("writing", "write"), ("getting", "get"), ("looks", "look"), ("nothing", "nothing")],
)
def test_a_verb_is_shown_in_its_base_form(verb: str, base: str) -> None:
    """ "Work on" reads as a task where "working on" does not; other words stay."""
    assert base_form(verb) == base


def test_a_title_begins_at_the_verb_of_work() -> None:
    """Words before what is to be done go, where they are few."""
    assert list(from_verb("you're gonna be working on it".split())) == ["working", "on", "it"]
    assert list(from_verb("the casing of the pump".split())) == "the casing of the pump".split()


def test_work_handed_out_is_the_named_ones_and_says_what() -> None:
    """At the end of a meeting, whoever is named with something to do has it to do; the title has neither the name nor
    "you'll be"."""
    tasks = found(
        *[("Sales Lead", "the pump is loud")] * 8,
        ("Sales Lead", "so for the next meeting the pump engineer you're gonna be working on the casing"),
        ("Pump Engineer", "okay"),
        *[("Sales Lead", "the pump is loud")] * 2,
    )
    assert [(task.assigned_to, task.title) for task in tasks] == [("Pump Engineer", "Work on the casing")]


def test_a_title_has_nothing_of_a_long_name() -> None:
    """However many words name somebody, the title begins after them."""
    (task,) = found(
        ("Head of the Northern Garden Department", "yes"),
        ("Ana", "then the head of the northern garden department will send the report to the council"),
    )
    assert (task.assigned_to, task.title) == (
        "Head of the Northern Garden Department",
        "Send the report to the council",
    )


def test_who_is_named_last_is_asked() -> None:
    """Of two that a request names, it goes to the one right before it."""
    tasks = found(("Tomas", "morning"), ("Ana", "hello"), ("Priya", "ana is away so tomas can you check the server"))
    assert [task.assigned_to for task in tasks] == ["Tomas"]


def test_even_a_meeting_of_nothing_but_promises_has_a_list_to_read() -> None:
    """At most 30 tasks are kept, the surest."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    lines = [("Ana Bo Cy Di".split()[n % 4], f"i'll send the {a * 3}{b * 3} {b * 4}{a * 4}") for n, (a, b) in
             enumerate((a, b) for _ in range(5) for a in letters for b in letters)]  # fmt: skip
    assert len(found(*lines)) == 30


def test_a_verb_alone_is_no_task() -> None:
    """Who says "I'll send" and turns to something else has promised nothing that can be told."""
    assert found(("Ana", "and i'll send because i guess the report on the garden is long")) == []


def test_a_task_cites_its_own_words_first() -> None:
    """Where a sentence runs over many segments, those with the task come before how it began."""
    lines = [
        ("Ana", "so the numbers of the garden that we saw in march and"),
        ("Ana", "the numbers of the pond that came in later and"),
        ("Ana", "that is why i'll send the report to"),
        ("Ana", "the council by friday"),
    ]
    (task,) = found(*lines, pause_ms=5_100)
    assert task.evidence == ("s2", "s3", "s0", "s1")
