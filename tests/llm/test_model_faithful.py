"""Refinement may not invent: what is accepted, and what keeps the raw text."""

from __future__ import annotations

import pytest
from asked import asking, context, meeting
from hypothesis import example, given
from hypothesis import strategies as st

from mina_pipeline.meeting import Segment
from mina_pipeline.stages.base import Ok
from mina_pipeline.stages.openai.faithful import Names, why_not
from mina_pipeline.stages.openai.refinement import corrections

NAMES = Names(frozenset({"anna", "zalando"}))


@pytest.mark.parametrize(
    ("raw", "new"),
    [
        ("um so i think we we should uh ship it", "So I think we should ship it."),
        ("hello everybody", "Hello, everybody."),
        ("i don't i don't know", "I don't know."),
        ("i cannot come", "I can not come."),
        ("i don't want it", "I do not want it."),
        ("we dont have three of them", "We don't have three of them."),
        ("anna sent it at 10:30 to zalando", "Anna sent it at 10:30 to Zalando."),
        ("uh um", ""),
        ("we use open ai for that every day now", "We use OpenAI for that every day now."),
        ("their is a problem with the new parking lot there", "There is a problem with the new parking lot there."),
        ("es sind nicht drei sondern vier", "Es sind nicht drei, sondern vier."),
        ("我们不需要三台服务器", "我们不需要三台服务器。"),
        ("мы не готовы к пятнице", "Мы не готовы к пятнице."),
        ("نحن لا نحتاج إلى ذلك", "نحن لا نحتاج إلى ذلك."),
        ("we need 1,000 units at 5%", "We need 1,000 units at 5%."),
        ("you know i mean we ship on friday", "We ship on Friday."),
    ],
)
def test_small_edits_are_accepted(raw: str, new: str) -> None:
    assert why_not(raw, new, NAMES) is None


@pytest.mark.parametrize(
    ("raw", "new", "why"),
    [
        ("we need five servers", "We need six servers.", "number"),
        ("we need 5 servers", "We need 50 servers.", "number"),
        ("we need 3-5 days", "We need 3.5 days.", "number"),
        ("from 5 to 7 people", "From 7 to 5 people.", "number"),
        ("we need servers", "We need 10 servers.", "number"),
        ("it costs 5", "It costs $5.", "number"),
        ("call 5 5 5 1 2", "Call 5 1 2.", "number"),
        ("我们需要三台服务器", "我们需要四台服务器", "number"),
        ("we do not ship", "We do ship.", "negation"),
        ("we ship on friday as planned", "We never ship on Friday as planned.", "negation"),
        ("no", "", "negation"),
        ("es ist nicht fertig", "Es ist fertig.", "negation"),
        ("我们不需要服务器", "我们需要服务器", "negation"),
        ("anna will send it tomorrow then", "She will send it tomorrow then.", "name"),
        ("he will send it tomorrow then", "Carol will send it tomorrow then.", "name"),
        ("the client agreed to that plan yesterday", "The client, Siemens, agreed to that plan yesterday.", "name"),
        ("we ship", "We ship it to the customer as soon as the tests are green and all is well.", "length"),
        ("we look at it", "We look at it very badly here.", "words"),
        ("the red car was fast and loud", "The blue bike seems slow or quiet.", "words"),
        ("the board approved the whole plan for the new office building yesterday", "The board approved.", "words"),
        ("anna pays ben the whole money for it tomorrow", "", "name"),
        ("bring the boxes", "", "words"),
        ("we look at the page", "We look at the <b>page</b>.", "markup"),
        ("we look at the page", "We look at http://evil.example/page.", "markup"),
    ],
)
def test_what_invents_or_loses_is_refused(raw: str, new: str, why: str) -> None:
    assert why_not(raw, new, NAMES) == why


@example("ÄH", "")
@given(st.text(max_size=200), st.text(max_size=200))
def test_any_texts_are_judged_and_the_same_text_is_always_fine(raw: str, new: str) -> None:
    why_not(raw, new, NAMES)
    assert why_not(raw, raw, NAMES) is None


def test_names_are_the_speakers_and_what_is_always_raised() -> None:
    said = ["we met Zalando and the Plan", "the plan of Zalando. Then"]
    names = Names.of(["Anna Kern", "Project Director", None], said)
    assert {"anna", "kern", "zalando"} <= names.words
    assert not {"plan", "then", "project", "we"} & names.words


def test_refused_lines_keep_their_raw_text_and_are_marked() -> None:
    said = meeting("we need five servers", "that is fine with me", "say hello to everybody here")

    def inventive(request: object) -> object:
        return {
            "lines": [
                {"line": 1, "text": "We need nine servers."},
                {"line": 2, "text": "That is fine with me."},
                {"line": 2, "text": "That is a second answer."},
                {"line": 77, "text": "Nobody asked."},
            ]
        }

    with asking(inventive) as (_, provider):
        made = provider.refine(context(said))
    assert isinstance(made, Ok)
    assert [(one.segment_id, one.text) for one in made.artefact.changes] == [("seg-2", "That is fine with me.")]
    assert getattr(made.artefact, "kept_raw", ("seg-1",)) == ("seg-1",)


def test_a_very_long_segment_is_refined_in_parts_and_put_together() -> None:
    text = " ".join(f"word{at} is said" for at in range(2_000))
    with asking() as (server, provider):
        made = provider.refine(context([Segment(text, 0, 9, "Anna", None, "long")]))
        (change,) = made.artefact.changes
        assert change.text.casefold().replace(".", "") == text
        assert server.counts().requests > 1


def test_corrections_are_counted_by_kind() -> None:
    assert corrections("um i think so", "I think so.") == {
        "grammar_fixes": 0,
        "punctuation_fixes": 1,
        "capitalization_fixes": 1,
        "fillers_removed": 1,
    }
