"""Which sentences tell the most of a meeting: centroid weight, cues and places, then variety."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .language import STOP_WORDS
from .utterances import Sentence, words

CANDIDATES = 400
_LONG_ENOUGH, _TOO_LONG = 6, 34
_BROKEN = 0.6

DECIDED = re.compile(
    r"\b(?:we(?:'ve| have)? (?:all )?(?:decided|agreed|settled)|let's (?:go (?:with|for)|say|make it|keep|use|stick)|"
    r"we(?:'re| are) going (?:with|for)|we(?:'ll| will) (?:go (?:with|for)|use|keep|stick)|"
    r"(?:that's|it's|is) (?:decided|agreed|settled)|decision is|so it(?:'ll| will) be|go ahead with)\b",
    re.IGNORECASE,
)
FIRM = re.compile(r"\b(?:decided|agreed|settled|decision)\b", re.IGNORECASE)
RISKY = re.compile(
    r"\b(?:risk\w*|problem\w*|worr(?:y|ied)|concern\w*|danger\w*|trouble|afraid|might not|won't work|too expensive|"
    r"run(?:ning)? out|late for|behind schedule)\b",
    re.IGNORECASE,
)
TELLING = re.compile(
    r"\b(?:agenda|goal|aim|purpose|plan|budget|cost|price|percent|deadline|should|have to|need(?:s)? to|important|"
    r"because|main|idea|problem|decid\w+|agree\w*|suggest\w*|propos\w*|next (?:meeting|step|week)|"
    r"going to|gonna|we want|would like)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Ranked:
    """A sentence with its content words and its weight."""

    sentence: Sentence
    stems: frozenset[str]
    score: float


def stem(word: str) -> str:
    """A crude stem, so that plural and singular count as one word."""
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    for ending in ("'s", "ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def content_stems(text: str) -> list[str]:
    """The stems of the words that carry meaning, in order."""
    return [stem(w) for w in words(text) if w not in STOP_WORDS and len(w) > 2 and not w.isdigit()]


def rank(sentences: Sequence[Sentence]) -> list[Ranked]:
    """All sentences long enough to say something, the most telling first. Ties go to the earlier one."""
    stems = [content_stems(sentence.text) for sentence in sentences]
    frequency = Counter(s for found in stems for s in set(found))
    total = max(1, len(sentences))
    # A word that a meeting keeps coming back to is its subject; one that is everywhere is nobody's.
    weight = {s: math.log1p(n) * math.log(total / n + 1) for s, n in frequency.items() if n > 1}
    found = []
    broken = find_broken(sentences)
    for sentence, own in zip(sentences, stems, strict=True):
        length = len(sentence.text.split())
        if length < _LONG_ENOUGH or len(set(own)) < 3:
            continue
        score = math.fsum(weight.get(s, 0.0) for s in dict.fromkeys(own)) / (len(set(own)) + 4) ** 0.6
        score *= 1 + 0.25 * bool(TELLING.search(sentence.text)) + 0.4 * bool(DECIDED.search(sentence.text))
        score *= 1.5 if DECIDED.search(sentence.text) and FIRM.search(sentence.text) else 1.0
        score *= 1.3 if sentence.position < 0.08 else 1.15 if sentence.position > 0.93 else 1.0
        score *= 0.8 if length > _TOO_LONG else 1.0
        score *= _BROKEN if sentence.index in broken else 1.0
        found.append(Ranked(sentence, frozenset(own), score))
    return sorted(found, key=lambda one: (-one.score, one.sentence.index))


def find_broken(sentences: Sequence[Sentence]) -> frozenset[int]:
    """Which (by index) break off, or go on from what their speaker broke off: parts of what was too long to be one."""
    broken: set[int] = set()
    before: dict[str | None, Sentence] = {}
    for sentence in sentences:
        last = before.get(sentence.speaker)
        if last is not None and not last.ends_turn and not last.text.endswith((".", "?", "!")):
            broken.update((last.index, sentence.index))
        before[sentence.speaker] = sentence
    return frozenset(broken)


def choose(ranked: Sequence[Ranked], budget: int) -> list[Sentence]:
    """Sentences for so many words: the most telling that do not repeat each other, in the meeting's order."""
    pool, chosen, covered, left = list(ranked[:CANDIDATES]), list[Ranked](), Counter[str](), budget
    while pool and left > _LONG_ENOUGH:
        best = max(pool, key=lambda one: (one.score * novelty(one, covered), -one.sentence.index))
        pool.remove(best)
        length = len(best.sentence.text.split())
        if length > left:
            continue
        chosen.append(best)
        covered.update(best.stems)
        left -= length
    return [one.sentence for one in sorted(chosen, key=lambda one: one.sentence.index)]


def novelty(one: Ranked, covered: Counter[str]) -> float:
    return math.fsum((1 + covered[s]) ** -1.5 for s in sorted(one.stems)) / len(one.stems)
