"""Sentiment by window: only of windows that were asked about, bounded, and weighed where two chunks share one."""

from __future__ import annotations

from asked import asking, context, long_meeting

from mina_pipeline.meeting import Analytics
from mina_pipeline.stages.base import Ok
from mina_pipeline.stages.openai.lines import lines_of
from mina_pipeline.stages.openai.sentiment import Sentiment, weighed, words_by_window
from mina_pipeline.stages.openai.shapes import WindowMood

WINDOW = 300_000


def test_windows_are_those_that_were_asked_about() -> None:
    moods = [(WindowMood(window=w, score=0.25, label="neutral"), {1: 10, 2: 20}) for w in (0, 1, 2, 3, -7, 10**9)]
    assert weighed(moods, 1_000, 500_000) == (
        Sentiment(start_ms=1_000, end_ms=301_000, score=0.25, label="neutral"),
        Sentiment(start_ms=301_000, end_ms=500_000, score=0.25, label="neutral"),
    )


def test_a_score_is_bounded() -> None:
    moods = [(WindowMood(window=1, score=score, label="positive"), {1: 1}) for score in (1e300, -5.0)]
    assert weighed(moods[:1], 0, 10)[0].score == 1
    assert weighed(moods[1:], 0, 10)[0].score == -1


def test_two_chunks_of_one_window_count_by_their_words() -> None:
    moods = [
        (WindowMood(window=1, score=1.0, label="positive"), {1: 30}),
        (WindowMood(window=1, score=-1.0, label="negative"), {1: 10}),
    ]
    assert weighed(moods, 0, 10) == (Sentiment(start_ms=0, end_ms=10, score=0.5, label="positive"),)


def test_words_are_counted_by_window_from_the_meetings_start() -> None:
    lines = lines_of(long_meeting(0.5))
    words = words_by_window(lines, 0)
    assert sorted(words) == [1, 2, 3, 4, 5, 6]
    assert sum(words.values()) == sum(len(line.text.split()) for line in lines)
    assert sorted(words_by_window(lines, -WINDOW)) == [2, 3, 4, 5, 6, 7]


def test_ten_hours_are_asked_about_in_chunks() -> None:
    with asking() as (server, provider):
        made = provider.analyze(context(long_meeting(10)))
        assert isinstance(made, Ok)
        assert isinstance(made.artefact, Analytics)
        assert server.counts().requests > 5
        points = getattr(made.artefact, "sentiment", None)
        assert points is None or len(points) == 120
