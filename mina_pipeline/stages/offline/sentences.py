"""Where a speaker's sentences end, judged from pauses, turns, the recogniser's capitals and the words around."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .language import AUXILIARIES, BACKCHANNELS, STOP_WORDS, asks
from .words import Word

_NEVER_LAST = frozenset(
    "a an the i i'm i've i'd i'll we're we've we'll they're they've they'll you're you've you'll my your our "
    "their his its and or but if because of with from than very every whose he's she's there's "
    "let's who's what's cause 'cause is are was were am".split()
)
_RARELY_LAST = frozenset(
    "to for at by as that this when where which who what how so can could would should will "
    "in on it's that's we they he she not don't be have has just into about".split()
)
_STARTERS = frozenset("okay ok so well but and yeah yes no right alright now then oh anyway".split())
_STRONG_STARTERS = frozenset("okay ok alright well oh anyway yeah yes".split())
_AFFIRM = frozenset("yeah yes yep okay ok right alright sure exactly mm-hmm uh-huh no".split())

LONG_PAUSE_MS = 1_500
SHORT_PAUSE_MS = 500


def find_ends(words: Sequence[Word], turns: Collection[int], cased: bool) -> list[bool]:
    """For each kept word of one speaker, whether a sentence ends with it.

    `turns`: the segments that come after another speaker's say; `cased`: whether capitals tell sentence starts.
    """
    ends: list[bool] = []
    length = 0
    for at, word in enumerate(words):
        length += 1
        if at + 1 == len(words):
            ends.append(True)
            break
        end = _ends(word, words[at + 1], length, turns, cased)
        ends.append(end)
        if end:
            length = 0
    return ends


def _ends(word: Word, after: Word, length: int, turns: Collection[int], cased: bool) -> bool:
    border = word.segment != after.segment
    gap = after.start_ms - word.end_ms if border else 0
    capital = (
        cased and after.core[:1].isupper() and after.low in STOP_WORDS and after.low.split("'")[0] != "i"
    )
    score = 0.0
    if border:
        score += 0.5
        if gap >= SHORT_PAUSE_MS:
            score += 1.0
        if gap >= LONG_PAUSE_MS:
            score += 1.0
        if after.segment in turns:
            score += 1.0 if gap > 0 else 0.5
        if cased:
            score += 1.0 if after.core[:1].isupper() else -0.5
    elif capital:
        score += 2.0
    if word.low in _NEVER_LAST:
        score -= 2.5
    elif word.low in _RARELY_LAST:
        score -= 1.0
    if after.low in _STRONG_STARTERS:
        score += 1.0
    elif after.low in _STARTERS:
        score += 0.5
    if length <= 2 and word.low in _AFFIRM and after.low not in _AFFIRM:
        score += 0.5 if border else 0.0
    if length > 30 and after.low in _STARTERS:
        score += 0.5
    return score >= 1.5


def mark_of(sentence: Sequence[Word], dangling: bool) -> str:
    """The mark a finished sentence gets: "?" where its words ask, else "."; none where it breaks off."""
    lows = [word.low for word in sentence]
    if asks(lows) and not (len(lows) > 25):
        return "?"
    if dangling and lows[-1] in _NEVER_LAST and lows[-1] not in AUXILIARIES:
        return ""
    return "."


def is_reply(sentence: Sequence[Word]) -> bool:
    """Whether a sentence is nothing but assent or the like."""
    return all(word.low in BACKCHANNELS for word in sentence)
