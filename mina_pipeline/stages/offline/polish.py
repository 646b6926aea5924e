"""A sentence as it is shown: without small talk at its ends and words said twice, capitalised, closed."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .language import FILLERS, is_number
from .utterances import norm

_OPENING = re.compile(
    r"^(?:(?:(?:good|great)(?=,? (?:so|then)\b)|okay|ok|so|well|and|but|yeah|yes|right|alright|now|then|oh|no|because|"
    r"like|actually|basically|i mean|you know|i think|i guess|i suppose|um|uh|'kay|\"'kay\")[,.]?\s+)+",
    re.IGNORECASE,
)
_TRAILING = re.compile(
    r"(?:[,.]?\s+(?:and|but|so|or|because|the|a|an|to|of|if|that|which|um|uh|like|you know|i mean|is|it's|with|in|for|"
    r"we|i|they|you))+[.,?!]?$",
    re.IGNORECASE,
)


def polished(text: str) -> str:
    """The sentence without leading and trailing small talk."""
    return closed(re.sub(r"\bi(?='|\b)", "I", trimmed(text)))


def trimmed(text: str) -> str:
    """The words without small talk at either end, fillers and doubles; as they are where nothing would be left."""
    out = _OPENING.sub("", text.strip())
    out = " ".join(without_stutter(word for word in out.split() if norm(word) not in FILLERS))
    return (_TRAILING.sub("", out) or text).strip(" ,;-")


def closed(text: str) -> str:
    """The words as a sentence: a capital first, a mark last."""
    text = text[:1].upper() + text[1:]
    return text if text[-1:] in ".?!…" else text + "."


def without_stutter(said: Iterable[str]) -> Iterable[str]:
    """Words that are not said twice in a row; numbers and emphasis are."""
    before = ""
    for word in said:
        now = norm(word)
        if now != before or is_number(now) or now in ("very", "no", "really"):
            yield word
        before = now


def listing(items: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""
