"""What needs no thought: the start of the meeting, its longest turns, TextRank, and tasks by keyword."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import groupby

from mina_pipeline.meeting import Segment, Task, TaskList

WORDS = 350
_KEYWORDS = re.compile(r"\b(?:will|need to|needs to|should|have to|must|going to|action item|to-?do|task)\b", re.I)
_DAMPING, _ROUNDS = 0.85, 40


def lead(segments: Sequence[Segment]) -> str:
    """The first 350 words."""
    return " ".join(" ".join(segment.text for segment in segments).split()[:WORDS])


def longest_turns(segments: Sequence[Segment]) -> str:
    """The longest turns that fit 350 words, in the meeting's order."""
    turns = [" ".join(s.text for s in run) for _, run in groupby(segments, key=lambda segment: segment.speaker)]
    return _fitted(turns, [float(len(turn.split())) for turn in turns])


def textrank(segments: Sequence[Segment]) -> str:
    """Segments by PageRank over shared words (Mihalcea and Tarau 2004), as many as fit 350 words."""
    texts = [segment.text for segment in segments]
    bags = [frozenset(re.findall(r"[a-z']+", text.lower())) for text in texts]
    size = len(bags)
    edges: list[list[tuple[int, float]]] = [[] for _ in bags]
    for one in range(size):
        for two in range(one + 1, size):
            shared = len(bags[one] & bags[two])
            if shared and min(len(bags[one]), len(bags[two])) > 1:
                weight = shared / (math.log(len(bags[one])) + math.log(len(bags[two])))
                edges[one].append((two, weight))
                edges[two].append((one, weight))
    sums = [math.fsum(weight for _, weight in row) for row in edges]
    rank = [1.0] * size
    for _ in range(_ROUNDS):
        rank = [
            1 - _DAMPING + _DAMPING * math.fsum(weight / sums[other] * rank[other] for other, weight in row)
            for row in edges
        ]
    return _fitted(texts, rank)


def keyword_tasks(segments: Sequence[Segment]) -> TaskList:
    """A task wherever somebody says "will", "should", "have to" and the like."""
    return TaskList(
        tasks=tuple(
            Task(title=segment.text, evidence=(segment.segment_id or str(n),))
            for n, segment in enumerate(segments)
            if _KEYWORDS.search(segment.text)
        )
    )


def _fitted(texts: Sequence[str], scores: Sequence[float]) -> str:
    chosen: list[int] = []
    left = WORDS
    for at in sorted(range(len(texts)), key=lambda n: (-scores[n], n)):
        length = len(texts[at].split())
        if length <= left:
            chosen.append(at)
            left -= length
    return " ".join(texts[at] for at in sorted(chosen))
