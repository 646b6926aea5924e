"""Due dates as they are said."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mina_pipeline.stages.offline.dates import parse_due

BASE = date(2026, 11, 24)
"""A Tuesday."""


@pytest.mark.parametrize(
    ("words", "day", "text"),
    [
        ("i'll do that today", "2026-11-24", "today"),
        ("tonight", "2026-11-24", "tonight"),
        ("send it by tomorrow morning please", "2026-11-25", "by tomorrow morning"),
        ("the day after tomorrow", "2026-11-26", "the day after tomorrow"),
        ("By Friday", "2026-11-27", "By Friday"),
        ("this friday", "2026-11-27", "this friday"),
        ("next friday", "2026-12-04", "next friday"),
        ("on tuesday", "2026-11-24", "on tuesday"),
        ("next tuesday", "2026-12-01", "next tuesday"),
        ("until monday", "2026-11-30", "until monday"),
        ("before wednesday", "2026-11-25", "before wednesday"),
        ("by the end of the week", "2026-11-27", "by the end of the week"),
        ("by end of week", "2026-11-27", "by end of week"),
        ("end of next week", "2026-12-04", "end of next week"),
        ("at the end of the month", "2026-11-30", "at the end of the month"),
        ("end of quarter", "2026-12-31", "end of quarter"),
        ("end of the year", "2026-12-31", "end of the year"),
        ("next week", "2026-12-01", "next week"),
        ("next month", "2026-12-24", "next month"),
        ("in 3 days", "2026-11-27", "in 3 days"),
        ("in two weeks", "2026-12-08", "in two weeks"),
        ("in a couple of weeks", "2026-12-08", "in a couple of weeks"),
        ("in three months", "2027-02-24", "in three months"),
        ("by the fifteenth", "2026-12-15", "by the fifteenth"),
        ("the fifteenth of december", "2026-12-15", "the fifteenth of december"),
        ("december the fifteenth", "2026-12-15", "december the fifteenth"),
        ("december fifteenth", "2026-12-15", "december fifteenth"),
        ("march 3rd", "2027-03-03", "march 3rd"),
        ("3rd of march", "2027-03-03", "3rd of march"),
        ("3rd of March 2028", "2028-03-03", "3rd of March 2028"),
        ("may the twenty first", "2027-05-21", "may the twenty first"),
        ("february twenty-ninth", "2028-02-29", "february twenty-ninth"),
        ("by 2027-01-31", "2027-01-31", "by 2027-01-31"),
    ],
)
def test_a_date_is_read_with_the_words_that_say_it(words: str, day: str, text: str) -> None:
    """Every form of the grammar gives its day and the very words."""
    due = parse_due(words, BASE)
    assert due is not None
    assert (due.date.isoformat(), due.text) == (day, text)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "we may second that motion",
        "you may go",
        "they march first and then stop",
        "on the second page of the slides",
        "the first thing to do",
        "the third option",
        "just a second",
        "last friday we met",
        "every monday",
        "tomorrow's weather",
        "2026-13-45",
        "february thirtieth",
        "in half an hour",
        "the weekend",
        "three weeks of work",
    ],
)
def test_plain_words_are_no_dates(words: str) -> None:
    """Words that only look like dates, dates that do not exist and days past give nothing."""
    assert parse_due(words, BASE) is None


def test_the_first_date_said_counts() -> None:
    """Of two dates the one said first is the due date."""
    due = parse_due("by friday or maybe tomorrow", BASE)
    assert due is not None and due.text == "by friday"


def test_a_short_month_ends_earlier() -> None:
    """A month on from the thirty-first is the last day of a shorter month."""
    due = parse_due("next month", date(2027, 1, 31))
    assert due is not None and due.date == date(2027, 2, 28)


@given(
    st.text()
    | st.lists(st.sampled_from("next in the 3 second may of march friday 999 months week".split())).map(" ".join),
    st.dates(),
)
def test_nothing_raises_and_the_words_are_quoted(words: str, base: date) -> None:
    """Whatever is said on whatever day, the answer is None or words of the text itself."""
    due = parse_due(words, base)
    assert due is None or ((due.text in words and due.date >= base) or "20" in due.text)
