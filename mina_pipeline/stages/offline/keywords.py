"""The phrases that a meeting is about: frequent runs of words that are no stop words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from mina_pipeline.meeting import Keyword

from .language import BACKCHANNELS, FILLERS, STOP_WORDS, is_number, looks_english, tokens

TOP = 10
LONGEST = 3

_LENGTH_WEIGHT = (1.0, 1.7, 2.2)
_BREAK = re.compile(r"[,;:?!؟،()\"…]|\.(?=\s|$)")
_COMMON_IN = 0.15


def find_keywords(texts: Sequence[str], top: int = TOP) -> tuple[Keyword, ...]:
    """The `top` phrases of one to three words, best first; scores are relative to the best, which has 1.0.

    A phrase counts by how often it is said and how long it is; a shorter one that is mostly said as part of a
    longer one gives way to it. In another language than English the words of many texts count as stop words.
    """
    said = [[tokens(part) for part in _BREAK.split(text)] for text in texts]
    english = looks_english(word for parts in said for part in parts for word in part)
    common = frozenset[str]() if english else _common(said)
    counts: Counter[tuple[str, ...]] = Counter()
    for parts in said:
        for part in parts:
            run: list[str] = []
            for word in part:
                if _tells(word, common):
                    run.append(word)
                    for size in range(1, min(LONGEST, len(run)) + 1):
                        counts[tuple(run[-size:])] += 1
                else:
                    run = []
    return _rank(counts, top)


def _tells(word: str, common: frozenset[str]) -> bool:
    if word in STOP_WORDS or word in FILLERS or word in BACKCHANNELS or word in common:
        return False
    return not is_number(word) and (len(word) > 2 or not word.isascii())


def _common(said: Sequence[Sequence[Sequence[str]]]) -> frozenset[str]:
    if len(said) < 10:
        return frozenset()
    within: Counter[str] = Counter()
    for parts in said:
        within.update({word for part in parts for word in part})
    return frozenset(word for word, count in within.items() if count > _COMMON_IN * len(said))


def _rank(counts: Counter[tuple[str, ...]], top: int) -> tuple[Keyword, ...]:
    part_of: dict[tuple[str, ...], int] = {}
    for phrase, count in counts.items():
        if count < 2:
            continue
        for size in range(1, len(phrase)):
            for at in range(len(phrase) - size + 1):
                part = phrase[at : at + size]
                part_of[part] = max(part_of.get(part, 0), count)
    scored: list[tuple[float, int, tuple[str, ...]]] = []
    for phrase, count in counts.items():
        if len(phrase) > 1 and (count < 2 or len(set(phrase)) < len(phrase)):
            continue
        own = count - 0.7 * part_of.get(phrase, 0)
        if part_of.get(phrase, 0) < 0.6 * count:
            scored.append((own * _LENGTH_WEIGHT[len(phrase) - 1], count, phrase))
    scored.sort(key=lambda item: (-item[0], item[2]))
    best = scored[0][0] if scored else 1.0
    return tuple(
        Keyword(phrase=" ".join(phrase), score=round(score / best, 4), count=count)
        for score, count, phrase in scored[:top]
    )
