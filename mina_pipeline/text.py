"""Text from outside, made safe to store: what every database, JSON writer and terminal takes."""

from __future__ import annotations

import re

_GAPS = re.compile(r"[\t\n\r\v\f\x85]+")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LATE_CONTROLS = re.compile(r"[\x7f-\x9f]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")


def storable(session_id: str | int) -> bool:
    """Whether a session could have this id at all; the stores need not be asked for one that nothing can hold."""
    if isinstance(session_id, int):
        return abs(session_id) < 2**63
    return clean_text(session_id) == session_id


def clean_text(text: str) -> str:
    """The text without what no store would give back unchanged.

    Runs of tabs and line breaks become one space, other control characters go (NUL, and those of eight bits that some
    terminals obey), lone surrogates become U+FFFD. Everything else stays: no normalisation, right-to-left marks are
    kept.
    """
    if text.isascii() and text.isprintable():
        return text
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", _GAPS.sub(" ", text)))


def has_late_controls(text: str) -> bool:
    """Whether there are controls in it that JSON does not escape: DEL, and those of eight bits."""
    return _LATE_CONTROLS.search(text) is not None
