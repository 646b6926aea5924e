"""What the offline summary tells: in the third person, of what was said, and of nothing else."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mina_pipeline.meeting import Segment, Task, TaskList
from mina_pipeline.stages.base import Ok
from mina_pipeline.stages.citations import with_quotes
from mina_pipeline.stages.offline import OfflineProvider
from mina_pipeline.stages.offline.narrative import Line, stretches
from mina_pipeline.stages.offline.phrases import find_nouns, find_phrases
from mina_pipeline.stages.offline.ranking import content_stems, find_broken, rank
from mina_pipeline.stages.offline.reported import indirect, named, third_person
from mina_pipeline.stages.offline.summary import clipped, summarize
from mina_pipeline.stages.offline.tasks import extract_tasks
from mina_pipeline.stages.offline.utterances import sentences, words

TALK = [
    ("Park Director", "okay so the plan for today is the budget for the garden and the new fence"),
    ("Treasurer", "the fence costs two thousand euros which is more than the budget for the garden"),
    ("Park Director", "i think we should take the wooden fence because our budget for the garden is small"),
    ("Treasurer", "yeah"),
    ("Park Director", "does the city council allow a wooden fence near the garden"),
    ("Treasurer", "they said that the fence must be lower than the hedge around the garden"),
]
NARRATOR = set(
    "the team discussed then talked about and said suggested that will work on a an they them their it was is are do "
    "not people have would should park director treasurer".split()
)
"""What the narrative may say of its own accord."""


def said(*lines: tuple[str | None, str]) -> list[Segment]:
    return [Segment(text, n * 5000, n * 5000 + 4000, who, None, f"c{n}") for n, (who, text) in enumerate(lines)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("we're gonna sell it and i think our price is fair", "the team will sell it and their price is fair"),
        ("i was late but you can ask me", "they were late but people can ask them"),
        ("it's just a fence", "it is a fence"),
        ("it's not just the price", "it is not just the price"),
        ("that isn't really good", "that is not really good"),
        ("what i think is plain", "what they think is plain"),
        ("i'll let you know", "they will let people know"),
        ("a new kind of fence", "a new kind of fence"),
        ("she is going to the garden", "she is going to the garden"),
        ("the US market is theirs", "the US market is theirs"),
        ("it is uh-huh yeah a fence", "it is a fence"),
        ("let's keep us out", "the team should keep them out"),
    ],
)
def test_words_are_turned_round(text: str, told: str) -> None:
    """Who speaks is told of as "they", hedges go where they mean nothing, and no other word changes."""
    assert third_person(text) == told


@pytest.mark.parametrize(
    ("label", "who"),
    [("Project Director", "the Project Director"), ("Ann", "Ann"), ("Mark", "Mark"), ("Speaker 2", "Speaker 2")],
)
def test_a_role_has_an_article_and_a_person_has_none(label: str, who: str) -> None:
    """A sentence names its speaker as people would."""
    assert named(label) == who
    assert indirect("the fence is too high for us", label, (), again=False).startswith(
        who[:1].upper() + who[1:] + " said"
    )


def test_the_narrative_says_nothing_that_was_not_said() -> None:
    """Each word of substance in `detailed` is the transcript's, and what was said is told in the third person."""
    segments = said(*TALK)
    detailed = summarize(segments).detailed
    heard = {word for segment in segments for word in words(segment.text)}
    told = {word.removesuffix("'s") for word in words(detailed)}
    assert told - heard - NARRATOR == set()
    assert not told & {"i", "we", "our", "you"}
    assert "the wooden fence" in detailed
    assert "Park Director suggested that the team should take the wooden fence" in detailed


def test_a_question_is_not_told_as_a_statement() -> None:
    """ "Does the council allow it" is no word of the council's."""
    assert "council" not in summarize(said(*TALK)).detailed


def test_tasks_are_told_and_cited_where_the_transcript_shows_them() -> None:
    """A task becomes what somebody will do; one that cites nothing of this transcript is not told."""
    tasks = TaskList(
        tasks=(
            Task(title="Order my wood", assigned_to="Treasurer", evidence=("c3", "gone")),
            Task(title="Paint the shed", assigned_to="Treasurer", evidence=("gone",)),
            Task(title="Water the roses", assigned_to="Treasurer"),
        )
    )
    summary = summarize(said(*TALK), tasks=tasks)
    assert summary.detailed.endswith("Treasurer will order their wood.")
    assert "c3" in summary.evidence
    assert "gone" not in summary.evidence


def test_a_stretch_is_told_by_its_voices() -> None:
    """Where one speaks nearly alone it is that one's talk, else the team's; what only one of several names is no
    discussion."""
    alone = summarize(said(*[("Ann", f"the fence by the garden has a colour {n}") for n in range(8)])).detailed
    assert alone.startswith("Ann talked about ")
    two = [("Ann", "the fence is by the pond of the garden"), ("Bob", "paint the fence and water the garden")] * 6
    detailed = summarize(said(*two)).detailed
    assert detailed.startswith("The team discussed the")
    assert "pond" not in detailed.split(".")[0]


def test_stretches_hold_every_sentence_once() -> None:
    """Stretches are in order, without a gap, and of about the same length."""
    lines = [("Ann" if n % 2 else "Bob", " ".join([f"fence{n}"] * (5 + n % 7))) for n in range(700)]
    whole = sentences(said(*lines))
    parts = stretches(whole)
    assert [s.index for part in parts for s in part] == [s.index for s in whole]
    sizes = [sum(len(s.marks) for s in part) for part in parts]
    assert 3 < len(parts) <= 6
    assert max(sizes) < 1.2 * min(sizes)


def test_phrases_are_nouns_with_the_article_that_people_give_them() -> None:
    """What stands like a verb or an adjective is no theme; a longer phrase is preferred to its last word."""
    lines = [
        ("Ann", "we paint the garden fence with a brush"),
        ("Bob", "they paint a brush and the garden fence quickly"),
        ("Ann", "we paint the garden fence and look for water"),
        ("Bob", "quickly paint it and bring water with a brush"),
    ]
    whole = sentences(said(*lines * 10))
    found = [phrase.text for phrase in find_phrases(whole, find_nouns(whole), 4)]
    assert found == ["the garden fence", "a brush", "water"]


def test_a_vowel_takes_an_and_what_was_told_counts_half() -> None:
    """The article fits the sound, and a new theme goes before one that was told."""
    whole = sentences(said(*[("Ann", "bring an apple and a pear and an apple and a pear and an apple now")] * 20))
    nouns = find_nouns(whole)
    assert [phrase.text for phrase in find_phrases(whole, nouns, 2)] == ["an apple", "a pear"]
    assert [phrase.text for phrase in find_phrases(whole, nouns, 2, {"apple"})] == ["a pear", "an apple"]


def test_a_name_keeps_its_capital_and_a_day_is_no_theme() -> None:
    """What is written large where no sentence begins stays so; when something is to be is not what it is."""
    whole = sentences(
        said(*[("Ann", "Bring the Lyon draft and the plan by monday of the year to the Lyon draft.")] * 20)
    )
    assert [phrase.text for phrase in find_phrases(whole, find_nouns(whole), 4)] == [
        "the Lyon draft",
        "the plan",
        "the year",
    ]


def test_what_was_settled_is_told() -> None:
    """A firm decision is told, though much else is said of what the meeting keeps coming back to."""
    talk = [
        ("Ann", f"the fence of the garden needs wood and the gate of the garden needs paint {n}.") for n in range(60)
    ]
    lines = [*talk[:30], ("Bob", "good so we agreed on the lantern for the western path."), *talk[30:]]
    same = said(*talk, ("Cy", "so we should say let's go with the lantern for the western path."), lines[30], *talk)
    order = [one.sentence.speaker for one in rank(sentences(same)) if one.sentence.speaker != "Ann"]
    assert order == ["Bob", "Cy"]
    assert "Bob said that the team agreed on the lantern for the western path." in summarize(said(*lines)).detailed


def test_plural_and_singular_are_one_theme() -> None:
    """ "Batteries" after "battery" says nothing new."""
    assert content_stems("the batteries") == content_stems("a battery")


def test_what_becomes_a_task_is_told_once() -> None:
    """The sentence that shows a task is not told beside it."""
    lines = [*TALK[:2], ("Treasurer", "i will order the green paint for the fence of the garden")]
    tasks = TaskList(tasks=(Task(title="Order the green paint", assigned_to="Treasurer", evidence=("c2",)),))
    assert summarize(said(*lines), tasks=tasks).detailed.count("green paint") == 1


def test_the_brief_is_in_the_third_person() -> None:
    """It names who took part, and tells the most telling sentence as another would."""
    brief = summarize(said(*TALK)).brief
    assert brief.startswith("The Park Director and the Treasurer talked about the ")
    assert not set(words(brief)) & {"i", "we", "our", "you"}


def test_a_longer_meeting_is_told_at_more_length_but_not_as_much_more() -> None:
    """Four times the talk gets more words, and far from four times as many."""
    lines = [(who, f"{text} {'abcdefghijklmnop'[n % 16] * 5}") for n in range(40) for who, text in TALK]
    short, long = (len(summarize(said(*lines[:count])).detailed.split()) for count in (50, 200))
    assert short < 180
    assert short < long < 2.5 * short


def test_what_breaks_off_gives_way_to_whole_sentences() -> None:
    """Of two that say the same, the one goes first that is not part of a sentence too long to be one."""
    endless = "the fence of the garden needs wood and paint where the pond is low and then " * 4 + "the rest"
    (part, *more) = sentences(said(("Ann", endless)))
    around = [("Cy", "the weather is fine")] * 20
    whole = sentences(said(*around, ("Ann", endless), ("Bob", f"{part.text}."), *around))
    assert more
    assert find_broken(whole) == {s.index for s in whole if s.speaker == "Ann"}
    assert rank(whole)[0].sentence.speaker == "Bob"


def test_lines_are_kept_whole() -> None:
    """What would pass the limit is left out, with all that follows."""
    lines = [Line("one two", ("a",)), Line("three four", ("b",)), Line("five", ("c",))]
    assert clipped(lines, 3) == lines[:1]


def test_a_summary_that_waits_for_no_tasks_finds_its_own() -> None:
    """Where a workflow makes both at once, the offline summary tells the offline tasks."""
    segments = said(*TALK, ("Treasurer", "i'll send the report on the hedge to the council by friday"))
    ctx: Any = SimpleNamespace(
        segments=segments, refined={}, results={}, session=SimpleNamespace(date=date(2026, 11, 24))
    )
    outcome = OfflineProvider().summarize(ctx)
    assert isinstance(outcome, Ok)
    assert "Treasurer will send the report on the hedge" in outcome.artefact.detailed
    gone = SimpleNamespace(**vars(ctx))
    gone.results = {"tasks": TaskList(tasks=(Task(title="Order wood", evidence=("gone", "c1")),))}
    (step,) = OfflineProvider().summarize(cast(Any, gone)).artefact.next_steps
    assert step.evidence == ("c1",)


@dataclass(frozen=True)
class Quoted:
    """A shape that cites with quotes."""

    evidence: tuple[str, ...] = ()
    quotes: tuple[str, ...] = ()
    parts: tuple[Quoted, ...] = ()


def test_citations_are_real_and_quoted_in_parallel() -> None:
    """An id that is not in the transcript goes; each other has its words beside it, also further in."""
    made = Quoted(("a", "gone", "b"), parts=(Quoted(("gone", "b")),))
    assert with_quotes(made, {"a": "one", "b": "two"}) == Quoted(
        ("a", "b"), ("one", "two"), (Quoted(("b",), ("two",)),)
    )


def test_another_language_is_not_told_in_english() -> None:
    """Of a meeting in another language only its own words are shown."""
    lines = [
        ("Anna", "wir müssen den zaun im garten bis freitag streichen und die farbe kaufen"),
        ("Bernd", "der zaun kostet zweitausend euro und das ist mehr als wir für den garten haben"),
    ]
    segments = said(*lines * 5)
    heard = {word for segment in segments for word in words(segment.text)}
    assert set(words(summarize(segments).detailed)) <= heard


def test_the_same_meeting_gives_the_same_summary_in_any_process() -> None:
    """No figure or word depends on the order of a set."""
    code = (
        "from mina_pipeline.meeting import Segment\n"
        "from datetime import date\n"
        "from mina_pipeline.stages.offline.summary import clipped, summarize\n"
        "from mina_pipeline.stages.offline.tasks import extract_tasks\n"
        "lines = [('ABCDE'[n % 5] * 3, f'we will send the report on fence {n % 7} to the garden council and the pond') "
        "for n in range(90)]\n"
        "s = [Segment(t, n * 5000, n * 5000 + 4000, w, None, str(n)) for n, (w, t) in enumerate(lines)]\n"
        "tasks = extract_tasks(s, meeting_date=date(2026, 1, 5))\n"
        "print(summarize(s, tasks=tasks), tasks)"
    )
    made = [
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert made[0] == made[1]
    assert "Summary" in made[0]


def test_a_long_meeting_and_a_crowd_cost_no_more_than_their_words() -> None:
    """100,000 words, and thousands of speakers, take seconds."""
    lines = [
        f"i'll send the report {n} on the garden fence and the pond number {n} to the council" for n in range(6000)
    ]
    few = said(*[("AB"[n % 2] * 3, text) for n, text in enumerate(lines)])
    crowd = said(*[(f"Person {n}", text) for n, text in enumerate(lines[:4000])])
    for segments in (few, crowd):
        began = time.process_time()
        summarize(segments, tasks=extract_tasks(segments, meeting_date=date(2026, 1, 5)))
        assert time.process_time() - began < 6


HOSTILE = [
    "<script>alert(1)</script> we will send the <b>report</b> to {{7*7}} ${x} </v>",
    "i i'm i'll " * 2000,
    "'" * 20_000 + " we'll",
    "the fence, " * 5000,
    "you know i mean just " * 3000,
    "İstanbul'da ß ŉ i'll send \u202e \u0000 the report",
    "a" * 100_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_words_do_no_harm(text: str) -> None:
    """Whatever a segment holds, the detail stays within its bounds and cites what is there."""
    segments = said(("<b>x</b>", text), (None, text), ("Ann", "the fence in the garden is low"))
    summary = summarize(segments)
    assert len(summary.detailed.split()) <= 350
    assert set(summary.evidence) <= {"c0", "c1", "c2"}
