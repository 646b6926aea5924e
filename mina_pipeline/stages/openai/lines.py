"""A transcript as a model is shown it: numbered lines; and cut where the talk turns, to fit the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import sqrt

from ...llm.tokens import estimate
from ...meeting import Segment
from ..offline.language import STOP_WORDS, tokens

LONGEST = 1_500
"""Characters of a line; what one speaker says without an end becomes several."""
AROUND = 16
"""Tokens of a line's number, speaker and braces."""
LOOK_BACK = 0.4
"""The share of a chunk, at its end, in which the best border is looked for."""
NEAR = 20
"""Lines on each side of a border that tell whether the subject changes there."""


@dataclass(frozen=True)
class Line:
    """One numbered line, 1, 2, 3 … through the whole meeting: a segment, or a part of a very long one."""

    n: int
    segment_id: str
    who: str | None
    text: str
    start_ms: int

    @cached_property
    def tokens(self) -> int:
        return estimate(self.text) + estimate(self.who or "") + AROUND

    @cached_property
    def telling(self) -> tuple[str, ...]:
        """The words that carry the subject."""
        return tuple(word for word in tokens(self.text) if len(word) > 3 and word not in STOP_WORDS)


@dataclass(frozen=True)
class Chunk:
    """Lines that are asked about at once. name: stays the same as long as the transcript does."""

    name: str
    lines: tuple[Line, ...]

    def halves(self) -> tuple[Chunk, Chunk] | None:
        """The chunk as two, cut at the best border near its middle; None where it is one line."""
        if len(self.lines) < 2:
            return None
        middle = best_border(self.lines, max(1, len(self.lines) * 3 // 10), max(1, len(self.lines) * 7 // 10))
        return Chunk(f"{self.name}.1", self.lines[:middle]), Chunk(f"{self.name}.2", self.lines[middle:])


def lines_of(segments: Sequence[Segment]) -> list[Line]:
    """The lines of segments sorted by start; those without a word are left out."""
    found: list[Line] = []
    for ordinal, segment in enumerate(segments):
        for text in slices(segment.text.strip()):
            segment_id = segment.segment_id or str(ordinal)
            found.append(Line(len(found) + 1, segment_id, segment.speaker, text, segment.start_ms))
    return found


def slices(text: str) -> list[str]:
    """A text in parts of at most LONGEST characters, cut at a space where there is one."""
    found: list[str] = []
    start = 0
    while len(text) - start > LONGEST:
        space = text.rfind(" ", start + 1, start + LONGEST)
        end = space if space > start else start + LONGEST
        found.append(text[start:end].strip())
        start = end
    found.append(text[start:].strip())
    return [part for part in found if part]


def cut(name: str, lines: Sequence[Line], most: int, lead: int = 0) -> list[Chunk]:
    """Chunks of at most so many tokens, each line in one, cut where the subject or the speaker changes.

    lead: so many tokens of the lines before are shown in a chunk again, for what spans the border.
    """
    chunks: list[Chunk] = []
    start = 0
    while start < len(lines):
        first, before = start, 0
        while chunks and first > 0 and before + lines[first - 1].tokens <= lead:
            first -= 1
            before += lines[first].tokens
        end, total = start, before
        while end < len(lines) and (end == start or total + lines[end].tokens <= most):
            total += lines[end].tokens
            end += 1
        if end < len(lines) and end - start > 1:
            end = best_border(lines, end - int((end - start) * LOOK_BACK), end)
        chunks.append(Chunk(f"{name} {lines[start].n}-{lines[end - 1].n}", tuple(lines[first:end])))
        start = end
    return chunks


def best_border(lines: Sequence[Line], low: int, high: int) -> int:
    """The place from low to high (a cut is before that line) where the talk turns most; 0 < place < len(lines)."""
    places = range(max(low, 1), min(high, len(lines) - 1) + 1)
    return max(places, key=lambda at: turning(lines, at) + 2 * shift(lines, at), default=max(1, high))


def turning(lines: Sequence[Line], at: int) -> float:
    """How much of a border there is before a line: another speaker, a pause; none inside a segment."""
    before, after = lines[at - 1], lines[at]
    if before.segment_id == after.segment_id:
        return -10.0
    apart = min(max(after.start_ms - before.start_ms, 0) / 30_000, 1.0)
    return apart + (before.who != after.who)


def shift(lines: Sequence[Line], at: int) -> float:
    """0..1: how different the words before and after a place are."""
    before, after = (telling(lines[max(0, at - NEAR) : at]), telling(lines[at : at + NEAR]))
    length = sqrt(sum(n * n for n in before.values()) * sum(n * n for n in after.values()))
    return 1.0 - sum(n * after[word] for word, n in before.items()) / length if length else 0.0


def telling(lines: Sequence[Line]) -> Counter[str]:
    return Counter(word for line in lines for word in line.telling)
