"""The things that people talk about, as phrases that can stand in a sentence: "the garden fence", "a budget"."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from .casing import capital
from .language import BACKCHANNELS, STOP_WORDS, is_number, listed
from .ranking import content_stems
from .utterances import Sentence, norm, words

LONGEST = 3
_LENGTH_WEIGHT = (1.0, 1.7, 2.2)
_NOUN_SHARE, _LED = 0.25, 2
_FEW = 60
"""Among fewer sentences than this, once is often."""
_ARTICLE_SHARE = 0.4
_DEFINITE = listed("the this that these those my your our their his her its")
_INDEFINITE = listed("a an")
_BEFORE_NOUNS = (
    _DEFINITE | _INDEFINITE | listed("of for with in on about without from into by at some any no each every")
)
# Nouns of every meeting, and words that stand like nouns: none is what a meeting is about.
_VAGUE = listed(
    "time times example examples mind end point points hour hours minute minutes day days week weeks another better "
    "best big part parts kind way ways idea ideas problem problems reason reasons word words number case cases people "
    "person guy everyone together top bottom side middle front moment stage nowadays today tomorrow yesterday morning "
    "afternoon evening good bad new old nice simple whole rest matter fact question questions answer set add place "
    "places name names round half couple bunch amount list next last other others meeting meetings help need left "
    "start stop begin finish back job one ones thing things monday tuesday wednesday thursday friday saturday sunday "
    "january february march april may june july august september october november december eleventh twelfth thirteenth "
    "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth thirtieth"
)
_NO_ADVERBS = listed("family assembly supply reply fly july italy butterfly jelly belly bully monopoly anomaly")
_SAYS_LITTLE = STOP_WORDS | BACKCHANNELS


@dataclass(frozen=True, slots=True)
class Phrase:
    """Something talked about. `text` has its article; `where`: the sentences that say it, in order."""

    text: str
    stems: frozenset[str]
    where: tuple[Sentence, ...]


@dataclass(frozen=True, slots=True)
class _Run:
    """Words in a row that carry meaning, with the word before them."""

    before: str
    said: tuple[str, ...]


def telling(word: str) -> bool:
    """Whether a word, as compared, carries a subject."""
    if len(word) < 3 or not word.isalpha() or is_number(word) or word in _SAYS_LITTLE:
        return False
    return not word.endswith("ly") or word in _NO_ADVERBS


def runs(text: str) -> list[_Run]:
    """The runs of telling words of a sentence."""
    found: list[_Run] = []
    before, run = "", list[str]()
    last = ""
    for word in (*words(text), ""):
        if telling(word):
            if not run:
                before = last
            run.append(word)
        elif run:
            found.append(_Run(before, tuple(run)))
            run = []
        last = word
    return found


def find_nouns(said: Sequence[Sentence]) -> frozenset[str]:
    """The words that stand where nouns do: last of a run that an article or a preposition leads in."""
    total, led = Counter[str](), Counter[str]()
    for sentence in said:
        for run in runs(sentence.text):
            total.update(run.said)
            if run.before in _BEFORE_NOUNS:
                led[run.said[-1]] += 1
    least = min(_LED, 1 + len(said) // _FEW)
    return frozenset(word for word, n in led.items() if n >= max(least, _NOUN_SHARE * total[word]))


def find_phrases(
    said: Sequence[Sentence], nouns: Collection[str], count: int, told: Collection[str] = ()
) -> list[Phrase]:
    """The `count` phrases that these sentences come back to most; what is `told` already (stems) counts half."""
    counts = Counter[tuple[str, ...]]()
    led: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    where: defaultdict[tuple[str, ...], list[Sentence]] = defaultdict(list)
    for sentence in said:
        for run in runs(sentence.text):
            if run.said[-1] not in nouns or run.said[-1] in _VAGUE:
                continue
            for size in range(1, min(LONGEST, len(run.said)) + 1):
                phrase = run.said[-size:]
                counts[phrase] += 1
                where[phrase].append(sentence)
                if size == len(run.said):
                    led[phrase][run.before] += 1
    names = _names(said)
    scored = [
        (
            n * _LENGTH_WEIGHT[len(phrase) - 1] * (0.5 if set(content_stems(" ".join(phrase))) <= set(told) else 1.0),
            phrase,
        )
        for phrase, n in counts.items()
        if len(set(phrase)) == len(phrase) and n >= (1 if len(phrase) == 1 and len(said) < _FEW // 2 else 2)
    ]
    found: list[Phrase] = []
    used: set[str] = set()
    for _, phrase in sorted(scored, key=lambda item: (-item[0], item[1])):
        stems = frozenset(content_stems(" ".join(phrase)))
        if not stems or stems & used:
            continue
        used |= stems
        shown = " ".join(capital(word) if word in names else word for word in phrase)
        found.append(Phrase(_article(phrase, led[phrase]) + shown, stems, tuple(where[phrase])))
        if len(found) == count:
            break
    return found


def _names(said: Sequence[Sentence]) -> frozenset[str]:
    """The words that have a capital wherever they stand, and also where no sentence begins."""
    upper, lower = set[str](), set[str]()
    for sentence in said:
        for word in sentence.text.split()[1:]:
            (upper if word[:1].isupper() else lower).add(norm(word))
    return frozenset(upper - lower)


def _article(phrase: tuple[str, ...], led: Counter[str]) -> str:
    """The article that people give the phrase, as a rule."""
    total = sum(led.values())
    definite = sum(n for word, n in led.items() if word in _DEFINITE)
    indefinite = sum(n for word, n in led.items() if word in _INDEFINITE)
    if not total or definite + indefinite < _ARTICLE_SHARE * total:
        return ""
    if definite >= indefinite:
        return "the "
    return "an " if phrase[0][0] in "aeiou" else "a "
