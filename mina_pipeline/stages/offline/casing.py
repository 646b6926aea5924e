"""Which words take a capital wherever they stand, and how a word takes or loses one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from .language import STOP_WORDS, listed
from .words import Word

CALENDAR = listed(
    "monday tuesday wednesday thursday friday saturday sunday january february april june july september "
    "october november december english french german spanish italian portuguese dutch russian chinese "
    "japanese korean arabic hebrew hindi swedish norwegian danish finnish greek turkish european american "
    "british europe america africa asia germany france spain italy japan china india russia canada "
    "australia mondays tuesdays wednesdays thursdays fridays saturdays sundays christmas"
)
"""Left out: what is a common word too (may, march, august, polish)."""

_PRONOUN = frozenset({"i", "i'm", "i've", "i'd", "i'll"})
_ROLES = listed(
    "speaker host guest moderator facilitator participant person unknown agent customer client caller interviewer "
    "interviewee director president chair chairman chairwoman head chief officer secretary treasurer clerk "
    "coordinator assistant lead team product sales support admin engineer developer architect "
    "analyst consultant specialist scientist researcher doctor nurse patient teacher student professor "
    "lawyer judge witness operator channel room male female"
)
_WORDS_TOO = listed(
    "mark bill rob grant will may frank grace hope joy faith rose jack drew chase pat ray sue dean guy art"
)
_NO_NAMES = _ROLES | _WORDS_TOO


def is_role(speaker: str) -> bool:
    """Whether a speaker label says what somebody is ("Vice Chair"), not who."""
    parts = speaker.lower().split()
    return any(part in _ROLES for part in parts) and all(len(part) > 1 and part.isalpha() for part in parts)


def speaker_names(speakers: Iterable[str | None]) -> frozenset[str]:
    """The lower-cased words of speaker labels that are names of people, not roles or common words."""
    found: set[str] = set()
    for speaker in speakers:
        parts = (speaker or "").lower().split()
        if parts and len(parts) <= 3 and not any(part in _NO_NAMES for part in parts):
            found.update(part for part in parts if len(part) > 2 and part.isalpha() and part not in STOP_WORDS)
    return frozenset(found)


def seen_names(streams: Iterable[Sequence[Word]]) -> tuple[frozenset[str], frozenset[str]]:
    """(names, common): words cased inside segments time and again, and words that were seen in lower case."""
    upper: Counter[str] = Counter()
    lower: Counter[str] = Counter()
    for words in streams:
        before: Word | None = None
        for word in words:
            if before is not None and before.segment == word.segment and not before.trail.endswith((".", "?", "!")):
                (upper if word.core[:1].isupper() else lower)[word.low] += 1
            elif word.core[:1].islower():
                lower[word.low] += 1
            before = word
    names = {low for low, count in upper.items() if low not in STOP_WORDS and count > 3 * lower[low] and count > 1}
    return frozenset(names), frozenset(lower)


def is_name(low: str, names: Collection[str]) -> bool:
    """Whether a word, or what its possessive is made from, always takes a capital."""
    base = low[:-2] if low.endswith("'s") else low
    return low in _PRONOUN or base in names or base in CALENDAR


def capital(core: str) -> str:
    """The word with its first letter raised; a word with capitals of its own ("iPhone") stays."""
    if not core[:1].islower():
        if core[:1] in "'’" and core[1:2].islower() and core[1:].islower():
            return core[0] + core[1].upper() + core[2:]
        return core
    raised = core[0].upper()
    return raised + core[1:] if core.islower() and len(raised) == 1 else core


def small(core: str) -> str:
    """The word in lower case where only its first letter was raised."""
    return (
        core[0].lower() + core[1:] if len(core) > 1 and core[1:].islower() else core.lower() if core in "AI" else core
    )
