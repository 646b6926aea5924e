"""Text from outside, made safe to store: what every database, JSON writer and terminal takes."""

from __future__ import annotations

import re

_GAPS = re.compile(r"[\t\n\r\v\f]+")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")


def clean_text(text: str) -> str:
    """The text without what no store would give back unchanged.

    Runs of tabs and line breaks become one space, other ASCII control characters (NUL too) go, lone
    surrogates become U+FFFD. Everything else stays: no normalisation, right-to-left marks are kept.
    """
    if text.isascii() and text.isprintable():
        return text
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", _GAPS.sub(" ", text)))
