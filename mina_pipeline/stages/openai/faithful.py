"""Refinement may not invent: a line's new text is held against the one that was recorded. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby, pairwise

from ..offline.casing import speaker_names
from ..offline.language import BACKCHANNELS, FILLERS, NUMBER_WORDS, STOP_WORDS, is_negation, listed

KEPT_SHARE = 0.7
"""At least so many of the new words were said, in this order."""
LOST_SHARE = 0.25
"""At most so many of the words that were said may go, beside fillers and what is said twice."""
LONGER = 1.3
LONGEST_STUTTER = 5

_NEGATIONS = listed(
    "dont cant wont didnt isnt wasnt doesnt couldnt shouldnt wouldnt arent werent havent hasnt hadnt aint "
    "nicht kein keine keinen keinem keiner nie niemals niemand nichts ne pas jamais rien aucun aucune ni sin nunca "
    "nada nadie ningún ninguna não nem ninguém non mai niente nessuno niet geen nooit ikke inte aldrig не нет ни "
    "никогда ничего никто нельзя без nie nigdy nic לא אין لا لم لن ليس ما नहीं नही मत değil hayır yok 不 没 沒 無 无 非 "
    "未 別 别 勿 否 아니 안 못 없"
)
_LITTLE = BACKCHANNELS | FILLERS | listed("so like well you know i mean just actually basically kind sort of and but")
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"\d+(?:[.,:/–-]\d+)*|[$€£¥₹%‰°]|[{_UNSPACED}]|[^\W\d_{_UNSPACED}]+(?:['’-][^\W\d_{_UNSPACED}]+)*")
_CONTRACTED = (
    (re.compile(r"\b(?:cannot|can't)"), "can not"),
    (re.compile(r"\bwon't\b"), "will not"),
    (re.compile(r"\b(\w+)n't\b"), r"\1 not"),
)
_SYMBOLS = frozenset("$€£¥₹%‰°")
_ENDS = (".", "?", "!", "…", ":")


@dataclass(frozen=True)
class Names:
    """Words, in lower case, that are names in this meeting."""

    words: frozenset[str]

    @classmethod
    def of(cls, speakers: Iterable[str | None], texts: Iterable[str]) -> Names:
        """Those of the speakers, and what is written with a capital inside sentences and never without."""
        raised: set[str] = set()
        low: set[str] = set()
        for text in texts:
            words = text.split()
            low.update(tokens(words[0]) if words and words[0][:1].islower() else ())
            for before, word in pairwise(words):
                if word[:1].isupper() and not before.endswith(_ENDS):
                    raised.update(tokens(word)[:1])
                elif word[:1].islower():
                    low.update(tokens(word))
        return cls((frozenset(raised) - low - STOP_WORDS) | speaker_names(speakers))

    def order(self, said: Iterable[str]) -> list[str]:
        """The names that are said, one that is said twice in a row once."""
        return [name for name, _ in groupby(word for word in said if word in self.words)]


def tokens(text: str) -> list[str]:
    """Words, numbers and signs of amounts, folded; a character each in scripts that set no spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    for short, long in _CONTRACTED:
        folded = short.sub(long, folded)
    return _TOKEN.findall(folded)


def is_number(token: str) -> bool:
    if token in _SYMBOLS or any(char.isnumeric() for char in token):
        return True
    return any(part in NUMBER_WORDS for part in token.split("-"))


def is_denial(token: str) -> bool:
    return token in _NEGATIONS or is_negation(token)


def unstuttered(said: Sequence[str]) -> list[str]:
    """Without fillers, and what is said twice in a row only once; numbers stay as often as they are said."""
    out: list[str] = []
    for token in said:
        if token in FILLERS:
            continue
        out.append(token)
        for size in range(1, LONGEST_STUTTER + 1):
            again = out[-size:]
            if again == out[-2 * size : -size] and not any(map(is_number, again)):
                del out[-size:]
                break
    return out


def why_not(raw: str, new: str, names: Names) -> str | None:
    """Why the new text may not stand for the raw one: number | negation | name | markup | length | words; None: it may.

    Numbers and amounts are the same, in the same order; the negations are as many, each at its place; the meeting's
    names that were said are there, in their order, and no capitalised word that was not said; the rest is a small edit
    of what was said.
    """
    if any(new.count(sign) > raw.count(sign) for sign in "<>") or new.casefold().count("://") > raw.count("://"):
        return "markup"
    said, now = unstuttered(tokens(raw)), unstuttered(tokens(new))
    if list(filter(is_number, said)) != list(filter(is_number, now)):
        return "number"
    matcher = SequenceMatcher(None, said, now, autojunk=False)
    if any(denials(said[a:b]) != denials(now[c:d]) for _, a, b, c, d in matcher.get_opcodes()):
        return "negation"
    if names.order(said) != names.order(now) or not named(tokens(raw), new):
        return "name"
    return edited(said, now, matcher)


def denials(words: Sequence[str]) -> int:
    return sum(map(is_denial, words))


def named(said: Sequence[str], new: str) -> bool:
    """Whether each capitalised word was said, be it in pieces or run together."""
    run = "".join(said)
    for word in new.split():
        if not any(char.isupper() for char in word):
            continue
        for token in tokens(word):
            if token not in said and token not in STOP_WORDS and not (len(token) > 3 and token in run):
                return False
    return True


def edited(said: Sequence[str], now: Sequence[str], matcher: SequenceMatcher[str]) -> str | None:
    """Whether it is a small edit: few words added, few lost, none moved."""
    if len(now) > LONGER * len(said) + 2:
        return "length"
    blocks = matcher.get_matching_blocks()
    kept = sum(block.size for block in blocks)
    if kept < KEPT_SHARE * len(now):
        return "words"
    matched = {at for block in blocks for at in range(block.a, block.a + block.size)}
    lost = [token for at, token in enumerate(said) if at not in matched and token not in _LITTLE]
    return "words" if len(lost) > LOST_SHARE * len(said) else None
