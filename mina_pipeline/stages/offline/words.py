"""A speaker's words, taken from the segments, and cut where they say nothing new."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from .language import BACKCHANNELS, FILLERS, STOP_WORDS, is_number, listed

LONGEST_REPEAT = 12
OVERLAP_GAP_MS = 1_000

_QUOTED = re.compile(r"\"('\w+)\"")
_SPELLED = re.compile(r"(?<!\S)(?:[A-Za-z]\. )+[A-Za-z]\.(?![^\s,;:?!])")
_PARTS = re.compile(r"^([^\w'’]*)(.*?)([^\w]*)$", re.DOTALL)
_LOWER_SPELLED = frozenset({"e.g.", "i.e.", "a.m.", "p.m."})
_PLAIN_MARKS = frozenset(",.?!;:…-—–")

_STUMBLES = listed(
    "a an the i you he she it we they i'm i've i'd i'll you're we're we've they're it's that's there's "
    "he's she's my your our their his and or but if because of to in on at for with from by as is are was "
    "were can could would should will what how when where who why this these those which be have has"
)
_KNOW_BEFORE = listed("do did if as that what how when don't didn't because like would could will let")


@dataclass(slots=True)
class Word:
    """One word of a segment: `lead` + `core` + `trail` is its text, `low` the core to compare by.

    `raised`: the recogniser gave it, or a filler cut right before it, a capital.
    """

    lead: str
    core: str
    trail: str
    low: str
    segment: int
    start_ms: int
    end_ms: int
    cut: bool = False
    raised: bool = False

    @property
    def text(self) -> str:
        return self.lead + self.core + self.trail

    @property
    def plain(self) -> bool:
        """Whether nothing but ordinary marks surrounds it: others may open or close something."""
        return not self.lead and all(char in _PLAIN_MARKS for char in self.trail)

    @property
    def spelled(self) -> bool:
        """Whether it is letters spelled out ("U.S.")."""
        return len(self.core) > 2 and self.core[1] == "." and self.core.endswith(".")


def is_safe(text: str) -> bool:
    """Whether every letter is Latin and nothing combines or runs right to left."""
    if text.isascii():
        return True
    for char in text:
        if char.isascii():
            continue
        kind = unicodedata.category(char)
        if kind[0] in "MC" or (kind[0] == "L" and not unicodedata.name(char, "").startswith("LATIN ")):
            return False
        # Letters whose other case is longer or another letter would not survive casing.
        if kind[0] == "L" and char.lower() != char.casefold():
            return False
    return True


def split(text: str, segment: int, start_ms: int, end_ms: int) -> list[Word]:
    """The words of a segment's text, spelled-out letters as one word."""
    text = _SPELLED.sub(_spell, _QUOTED.sub(r"\1", text))
    found: list[Word] = []
    for piece in text.split():
        parts = _PARTS.match(piece)
        lead, core, trail = parts.groups() if parts else ("", piece, "")
        if len(core) > 2 and core[1] == "." and trail.startswith("."):
            core, trail = core + ".", trail[1:]
        low = core.lower().replace("’", "'")
        found.append(Word(lead, core, trail, low, segment, start_ms, end_ms))
    return found


def _spell(match: re.Match[str]) -> str:
    letters = match.group().replace(" ", "")
    return letters.lower() if letters.lower() in _LOWER_SPELLED else letters.upper()


def cut_fillers(words: Sequence[Word]) -> int:
    """Mark the fillers as cut; how many there were."""
    count = 0
    for at, word in enumerate(words):
        if word.low not in FILLERS or not word.plain or (word.core.isupper() and len(word.core) > 1):
            continue
        if word.low in {"mm", "hm"} and at and is_number(words[at - 1].low):
            continue  # millimetres
        word.cut = True
        count += 1
        if any(mark in ".?!" for mark in word.trail) and at:
            before = words[at - 1]
            if before.segment == word.segment and not before.cut and before.trail in {"", ","}:
                before.trail = word.trail
    return count + _cut_you_know(words)


def _cut_you_know(words: Sequence[Word]) -> int:
    """ "you know" and "i mean" go only where hesitation stands right after them, in the same segment."""
    count = 0
    for at in range(len(words) - 2):
        one, two, after = words[at], words[at + 1], words[at + 2]
        if (one.low, two.low) not in {("you", "know"), ("i", "mean")} or not after.cut:
            continue
        if one.segment != after.segment or not (one.plain and two.plain) or one.trail or two.trail not in {"", ","}:
            continue
        if at and words[at - 1].low in _KNOW_BEFORE:
            continue
        one.cut = two.cut = True
        count += 2
    return count


def note_capitals(words: Sequence[Word]) -> None:
    """Set `raised` for every word, the capital of a cut filler passed on to what follows it."""
    carried = False
    for word in words:
        upper = word.core[:1].isupper()
        if word.cut:
            carried = carried or upper
            continue
        known = word.low in STOP_WORDS and word.low.split("'")[0] != "i"
        word.raised = carried or (upper and known)
        carried = False


def cut_repeats(words: Sequence[Word]) -> int:
    """Mark the first of two equal spans that follow each other as cut; how many spans went.

    A span over a segment border is the recogniser's doubling, and any words count; inside a segment only what
    a speaker stumbles on does. A repetition that may mean something (numbers, "very very", "no no") stays.
    """
    kept = [word for word in words if not word.cut and word.low]
    count, at = 0, 0
    while at < len(kept) - 1:
        step = 1
        for size in range(min(LONGEST_REPEAT, (len(kept) - at) // 2), 0, -1):
            if kept[at].low == kept[at + size].low and _is_repeat(kept, at, size):
                for word in kept[at : at + size]:
                    word.cut = True
                count, step = count + 1, size
                break
        at += step
    return count


def _is_repeat(kept: Sequence[Word], at: int, size: int) -> bool:
    first, second = kept[at : at + size], kept[at + size : at + 2 * size]
    if any(one.low != two.low for one, two in zip(first, second, strict=True)):
        return False
    if not all(word.plain and word.trail in {"", ",", "-", "—", "–", "..."} for word in first):
        return False
    if not all(word.plain for word in second) or any(word.trail for word in second[:-1]):
        return False
    lows = [word.low for word in first]
    numbers = sum(map(is_number, lows))
    if numbers and size - numbers < 2:
        return False
    border = first[-1].segment != second[0].segment
    gap = second[0].start_ms - first[-1].end_ms
    if second[-1].segment - first[0].segment and gap > OVERLAP_GAP_MS:
        return False
    if border:
        return not (gap > 0 and all(low in BACKCHANNELS for low in lows))
    if size == 1:
        return lows[0] in _STUMBLES
    if all(low in BACKCHANNELS for low in lows):
        return False
    return any(low in _STUMBLES for low in lows) or (size > 2 and len(set(lows)) > 2)
