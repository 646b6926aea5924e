"""Offline refinement: what it cleans, and what it must never touch."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mina_pipeline.meeting import Refinement, Segment
from mina_pipeline.stages.offline.language import is_negation, is_number, is_question, listed, tokens
from mina_pipeline.stages.offline.refinement import refine

SOUP = sorted(
    listed(
        "the a i you we we're very no not don't never five 12 twenty-one third um uh hmm mm like know mean i'm "
        "okay Okay so Yeah button t. v. u. s. meeting Monday monday anna it's is that what do think and of to "
        "'cause \"'cause\" works works. no. right? Well but, ( ) ... e. g. 3.5 50% A B"
    )
)


def cues(*lines: str | tuple[str, str], gap: int = 0) -> list[Segment]:
    """Segments of one second each, `gap` ms apart; a line is a text of speaker A, or (speaker, text)."""
    made = []
    for at, line in enumerate(lines):
        speaker, text = ("A", line) if isinstance(line, str) else line
        start = at * (1000 + gap)
        made.append(Segment(text, start, start + 1000, speaker, 0.5, f"s{at}"))
    return made


def refined(segments: list[Segment], locale: str | None = "en") -> list[str]:
    """Every segment's text after refinement."""
    changed = {change.segment_id: change.text for change in refine(segments, locale=locale).changes}
    return [changed.get(segment.segment_id or "", segment.text) for segment in segments]


@st.composite
def meetings(draw: st.DrawFn, words: st.SearchStrategy[str]) -> list[Segment]:
    """Segments of any speakers, pauses and overlaps."""
    rows = draw(
        st.lists(
            st.tuples(
                st.lists(words, max_size=12),
                st.sampled_from(["A", "B", "Anna", None]),
                st.integers(0, 4000),
                st.integers(0, 3000),
            ),
            max_size=8,
        )
    )
    made, at = [], 0
    for number, (said, speaker, wait, length) in enumerate(rows):
        at += wait
        made.append(Segment(" ".join(said), at, at + length, speaker, None, str(number)))
    return made


def streams(segments: list[Segment], texts: list[str]) -> dict[str | None, list[str]]:
    """Each speaker's tokens in order."""
    found: dict[str | None, list[str]] = {}
    for segment, text in zip(segments, texts, strict=True):
        found.setdefault(segment.speaker, []).extend(tokens(text))
    return found


def is_subsequence(part: list[str], whole: list[str]) -> bool:
    """Whether `part` is `whole` with some left out."""
    rest = iter(whole)
    return all(word in rest for word in part)


def check_nothing_invented(segments: list[Segment]) -> None:
    """The promises that hold for any text."""
    after = streams(segments, refined(segments))
    for speaker, before in streams(segments, [s.text for s in segments]).items():
        assert is_subsequence(after[speaker], before)
        held = {word for word in before if is_number(word) or is_negation(word)}
        assert held <= set(after[speaker])
        once, left = Counter(before), Counter(after[speaker])
        assert all(left[word] == 1 for word in held if once[word] == 1)
        numbers = [word for word in before if is_number(word)]
        if len(set(numbers)) == len(numbers):
            assert [word for word in after[speaker] if is_number(word)] == numbers


@settings(deadline=None)
@given(meetings(st.sampled_from(SOUP)))
def test_word_soup_keeps_its_numbers_and_negations_and_gains_no_word(segments: list[Segment]) -> None:
    """Of English word soup only a subsequence remains, with every number and negation that it held."""
    check_nothing_invented(segments)


@settings(deadline=None)
@given(meetings(st.text(max_size=8)))
def test_arbitrary_text_gains_no_word(segments: list[Segment]) -> None:
    """Of any text whatever only a subsequence remains, with every number and negation that it held."""
    check_nothing_invented(segments)


@settings(deadline=None)
@given(meetings(st.sampled_from([word for word in SOUP if word.isalpha() or "'" in word])))
def test_a_second_pass_removes_little(segments: list[Segment]) -> None:
    """Refining refined text settles: the words of a third pass are those of the second."""
    first = refined(segments)
    again = [
        Segment(t, s.start_ms, s.end_ms, s.speaker, None, s.segment_id) for s, t in zip(segments, first, strict=True)
    ]
    second = refined(again)
    before, after = sum(map(len, map(tokens, first))), sum(map(len, map(tokens, second)))
    assert after <= before <= after + 12 * len(segments)


@given(meetings(st.text(alphabet="אבגדהשלום مرحبا كيف नमस्ते é\u0301\u200f 123", max_size=8)))
def test_other_scripts_stay_byte_equal(segments: list[Segment]) -> None:
    """Right-to-left and combining text is not changed, whatever the locale claims."""
    texts = [segment.text for segment in segments]
    for before, after in zip(texts, refined(segments), strict=True):
        if not before.isascii() and any(char in before for char in "אבגדהשלוםمرحباكيفनमस्ते\u0301\u200f"):
            assert before == after


def test_a_foreign_locale_changes_nothing() -> None:
    """What is declared, or looks, as another language than English is left alone."""
    german = cues("wir haben um acht uhr den den termin", "und er kommt um neun")
    assert refine(german, locale="de_DE").changes == ()
    assert refine(german).changes == ()
    assert refine(cues("okay so this is the the plan"), locale=None).changes != ()


def test_no_segments_give_an_empty_refinement() -> None:
    """Nothing in, nothing out, and no confidence."""
    assert refine([]) == Refinement()


def test_confidence_is_the_mean_of_what_is_known() -> None:
    """Segments without a confidence do not count into the mean."""
    segments = [Segment("okay", 0, 1, "A", 0.5), Segment("okay", 2, 3, "B"), Segment("okay", 4, 5, "B", 1.0)]
    assert refine(segments).confidence == 0.75


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("um so i think uh we should go", "So I think we should go."),
        ("okay", "Okay."),
        ("Mm-hmm", "Mm-hmm."),
        ("um uh", ""),
        ("i i like the the colour", "I like the colour."),
        ("this is what we're this is what we're gonna do", "This is what we're gonna do."),
        ("it is very very good", "It is very very good."),
        ("no no no", "No, no, no."),
        ("press five five", "Press five five."),
        ("we sell in the u. s. on monday", "We sell in the U.S. on Monday."),
        ("do you think so", "Do you think so?"),
        ("how many of them are there", "How many of them are there?"),
        ("what we need is a plan", "What we need is a plan."),
        ('"\'cause" it works', "'Cause it works."),
        ("it is five mm wide", "It is five mm wide."),
        ("i'm sure we'll manage", "I'm sure we'll manage."),
    ],
)
def test_a_single_cue_is_cleaned(raw: str, clean: str) -> None:
    """Fillers and stumbles go, capitals and marks come, what carries meaning stays."""
    assert refined(cues(raw)) == [clean]


def test_a_cue_cut_in_mid_sentence_goes_on() -> None:
    """No period before, and no capital after, the border of a cue that cuts a sentence."""
    assert refined(cues("i think we should use the", "rubber case for this")) == [
        "I think we should use the",
        "rubber case for this.",
    ]


def test_words_doubled_over_the_border_are_said_once() -> None:
    """What the recogniser repeats at the start of the next cue is left out of the first."""
    assert refined(cues("he lives in the u. s. and doing", "in the u. s. and doing a show")) == [
        "He lives",
        "in the U.S. and doing a show.",
    ]


def test_backchannels_of_two_cues_are_not_doubled_words() -> None:
    """Two replies with a pause between them are two replies."""
    assert refined(cues("yeah", "yeah", gap=300)) == ["Yeah.", "Yeah."]


def test_a_pause_and_a_turn_end_a_sentence() -> None:
    """After another's turn and a pause a speaker's next cue is a new sentence."""
    segments = cues("we could use plastic", ("B", "that would be cheaper"), "the case is nice", gap=1000)
    assert refined(segments) == ["We could use plastic.", "That would be cheaper.", "The case is nice."]


def test_clean_prose_is_left_alone() -> None:
    """Text with marks and capitals of its own comes back as it is."""
    prose = [
        "Well, this is the plan that we discussed on Monday, isn't it?",
        "Yes. I think the iPhone app comes first, e.g. the login, and then the rest.",
        "Dr. Smith said that we had no budget for that.",
    ]
    assert refined(cues(*prose)) == prose


def test_speaker_names_are_cased_and_roles_are_not() -> None:
    """A speaker label that is a name is one in the text too; a role is a common word."""
    segments = cues(("Anna Lopez", "it is me"), ("Project Director", "so anna has the project now"))
    assert refined(segments) == ["It is me.", "So Anna has the project now."]


def test_improvements_are_counted() -> None:
    """Each kind of correction is counted apart."""
    got = refine(cues("um i think the the plan is good"), locale="en").improvements
    assert (got.fillers_removed, got.grammar_fixes, got.punctuation_fixes) == (1, 1, 1)
    assert got.capitalization_fixes == 1


@pytest.mark.parametrize(
    ("text", "asks"),
    [("what do we need", True), ("what we need", False), ("it works", False), ("ok?", True), ("كيف؟", True)],
)
def test_questions_are_told_by_form_or_mark(text: str, asks: bool) -> None:
    """A question is known by its mark, and without one by its form."""
    assert is_question(text) is asks


def test_a_long_meeting_takes_seconds() -> None:
    """100,000 words in 10,000 segments need no quadratic time."""
    segments = cues(*["so i i think the the plan um is good and we want it"] * 8000)
    began = time.process_time()
    refine(segments)
    assert time.process_time() - began < 15
