"""Words a model wrote, held against words that were said: quotes found in a line, prose kept plain, doubles seen."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from ...text import clean_text
from ..offline.language import STOP_WORDS, is_number, tokens

SHORTEST = 8
"""Letters that a quote has at least, unless it is most of its line: "the" is said in every line."""
MOST_OF = 0.6
WIDE = 3
"""Letters that a character of East Asian writing stands for."""

_TAG = re.compile(r"<(?![\s\d=])[^<>]*>?")  # what may be one: "3 < 4" is none
_C1 = re.compile(r"[\x80-\x84\x86-\x9f]")  # terminals take U+009B for an escape; U+0085 is white space


def plain(text: str) -> str:
    """Text that a model wrote on one line, without control characters, those of eight bits included."""
    return " ".join(_C1.sub("", clean_text(text)).split())


def prose(text: str, most: int) -> str:
    """Text that a model wrote, as plain as it was asked for: no tags, no control characters, at most so long."""
    # Control characters first: without them a tag may appear.
    text = " ".join(_TAG.sub("", plain(text)).split())
    if len(text) <= most:
        return text
    return text[:most].rsplit(" ", 1)[0].rstrip() + "…"


@lru_cache(maxsize=512)
def letters(text: str) -> tuple[str, tuple[int, ...]]:
    """A text as quotes are compared (letters and digits, case and width folded, one space between words), and for each
    character of that the place in the text it came from."""
    found: list[str] = []
    places: list[int] = []
    for at, char in enumerate(text):
        for folded in unicodedata.normalize("NFKD", char.casefold()).casefold():
            if folded.isalnum() or unicodedata.category(folded).startswith("M"):
                found.append(folded)
                places.append(at)
            elif found and found[-1] != " " and folded not in "'’":
                found.append(" ")
                places.append(at)
    while found and found[-1] == " ":
        found.pop()
        places.pop()
    return "".join(found), tuple(places)


def find_quote(quote: str, text: str) -> str | None:
    """The words of `text` that the quote repeats, as they stand there; None where it does not, or says too little."""
    wanted = letters(quote)[0].strip()
    have, places = letters(text)
    size = sum(WIDE if char > "\u2e80" else 1 for char in wanted)
    if not wanted or (size < SHORTEST and len(wanted) < MOST_OF * len(have)):
        return None
    at = have.find(wanted)
    while at >= 0:
        end = at + len(wanted)
        if is_border(have, at) and is_border(have, end):
            stop = places[end - 1] + 1
            while stop < len(text) and unicodedata.category(text[stop]).startswith("M"):
                stop += 1
            return text[places[at] : stop]
        at = have.find(wanted, at + 1)
    return None


def is_border(text: str, at: int) -> bool:
    """Whether no word goes on over a place; scripts without letter case are written without spaces, or may be."""
    if at in (0, len(text)):
        return True
    before, after = text[at - 1], text[at]
    if " " in (before, after):
        return True
    return unicodedata.category(before) == "Lo" or unicodedata.category(after) == "Lo"


def content(text: str) -> frozenset[str]:
    """The words of a text that carry its subject."""
    found = frozenset(tokens(text))
    return frozenset(word for word in found if word not in STOP_WORDS) or found


def alike(a: frozenset[str], b: frozenset[str], share: float = 0.7) -> bool:
    """Whether two texts say the same, by the words they have in common; of two numbers they never do."""
    numbers = any(is_number(word) for word in a ^ b)
    return bool(a | b) and not numbers and len(a & b) >= share * len(a | b)


def said_in(name: str, texts: Sequence[str]) -> bool:
    """Whether the words of a name occur in one of the texts, side by side."""
    wanted = f" {letters(name)[0].strip()} "
    return wanted != "  " and any(wanted in f" {letters(text)[0]} " for text in texts)
