"""How the talk sounds, in the windows that its pace is measured in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ...meeting import Sentiment
from ..offline.analytics import WINDOW_MS
from .lines import Line
from .shapes import WindowMood


def window_of(line: Line, start_ms: int) -> int:
    """1, 2, 3 … from the start of the meeting."""
    return (line.start_ms - start_ms) // WINDOW_MS + 1


def weighed(found: Iterable[tuple[WindowMood, Mapping[int, int]]], start_ms: int, end_ms: int) -> tuple[Sentiment, ...]:
    """A point for each window that was asked about; where two chunks share one, the mean by their words.

    found: what was answered, with the words that the chunk it was answered for has in each window.
    """
    moods: defaultdict[int, list[tuple[WindowMood, int]]] = defaultdict(list)
    for mood, words in found:
        if words.get(mood.window):
            moods[mood.window].append((mood, words[mood.window]))
    points: list[Sentiment] = []
    for window in sorted(moods):
        parts = moods[window]
        total = sum(words for _, words in parts)
        score = sum(max(-1.0, min(1.0, mood.score)) * words for mood, words in parts) / total
        opens = start_ms + (window - 1) * WINDOW_MS
        label = max(parts, key=lambda part: part[1])[0].label
        points.append(
            Sentiment(start_ms=opens, end_ms=min(end_ms, opens + WINDOW_MS), score=round(score, 2), label=label)
        )
    return tuple(points)


def words_by_window(lines: Sequence[Line], start_ms: int) -> dict[int, int]:
    found: defaultdict[int, int] = defaultdict(int)
    for line in lines:
        found[window_of(line, start_ms)] += len(line.text.split())
    return dict(found)
