"""Where a speaker's sentences end, judged from pauses, turns, capitals and the words around."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .language import AUXILIARIES, asks, listed
from .words import Word

_NEVER_LAST = listed(
    "a an the i i'm i've i'd i'll we're we've we'll they're they've they'll you're you've you'll my your "
    "our their his its and or but if because of with from than very every whose he's she's there's let's "
    "who's what's cause 'cause is are was were am"
)
_RARELY_LAST = listed(
    "to for at by as that this when where which who what how so can could would should will in on it's "
    "that's we they he she not don't be have has just into about"
)
_STARTERS = listed("okay ok so well but and yeah yes no right alright now then oh anyway")
_STRONG_STARTERS = listed("okay ok alright well oh anyway yeah yes")
_ASKED = listed("you we they he she it i this that there these those anybody anyone")
_WH = listed("what how where when why who")
_LEADS_QUESTION = _WH | listed("so and but or if as that which because like then well not i you we they he she it this")
_AFFIRM = listed("yeah yes yep okay ok right alright sure exactly mm-hmm uh-huh no")

LONG_PAUSE_MS = 1_500
SHORT_PAUSE_MS = 500
_LONGEST_QUESTION = 25


def find_ends(words: Sequence[Word], turns: Collection[int], cased: bool) -> list[bool]:
    """For each kept word of one speaker, whether a sentence ends with it.

    `turns`: the segments that come after another's say; `cased`: whether capitals tell sentence starts.
    """
    ends: list[bool] = []
    length = 0
    for at, word in enumerate(words):
        length += 1
        if at + 1 == len(words):
            ends.append(True)
            break
        end = _ends(word, words[at + 1], length, turns, cased, _opens_question(words, at + 1))
        ends.append(end)
        if end:
            length = 0
    return ends


def _opens_question(words: Sequence[Word], at: int) -> bool:
    """Whether "do you", "what are we" or "what about" stands there: few statements go on like that."""
    lows = [word.low for word in words[at : at + 3]]
    if len(lows) < 3:
        return False
    if lows[0] in _WH:
        return lows[:2] in (["what", "about"], ["how", "about"]) or (lows[1] in AUXILIARIES and lows[2] in _ASKED)
    return lows[0] in AUXILIARIES and lows[1] in _ASKED and lows[1] in {"you", "we", "they"}


def _ends(word: Word, after: Word, length: int, turns: Collection[int], cased: bool, question: bool) -> bool:
    border = word.segment != after.segment
    gap = after.start_ms - word.end_ms if border else 0
    score = 0.0
    if border:
        score += 0.5
        if gap >= SHORT_PAUSE_MS:
            score += 1.0
        if gap >= LONG_PAUSE_MS:
            score += 1.0
        if after.segment in turns:
            score += 1.0 if gap > 0 else 0.5
        if cased and (after.raised or (after.core[:1].isupper() and after.low[:1] != "i")):
            score += 1.0
    elif cased and after.raised:
        score += 0.5
    if word.low in _NEVER_LAST:
        score -= 2.5
    elif word.low in _RARELY_LAST:
        score -= 1.5
    if question and border and word.low not in _LEADS_QUESTION and length > 1:
        score += 1.5
    if after.low in _STRONG_STARTERS:
        score += 1.0
    elif after.low in _STARTERS:
        score += 1.0 if border else 0.5
    if length <= 2 and word.low in _AFFIRM and after.low not in _AFFIRM:
        score += 0.5 if border else 0.0
    if length > 30 and after.low in _STARTERS:
        score += 0.5
    return score >= 1.5


def mark_of(sentence: Sequence[Word]) -> str:
    """The mark a finished sentence gets: "?" where its words ask, else "."; none where it breaks off."""
    lows = [word.low for word in sentence]
    if len(lows) <= _LONGEST_QUESTION and asks(lows):
        return "?"
    if lows[-1] in _NEVER_LAST and lows[-1] not in AUXILIARIES:
        return ""
    return "."
