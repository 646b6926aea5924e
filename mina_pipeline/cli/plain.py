"""Text that others wrote, for a terminal: as text, whatever is in it."""

from __future__ import annotations

import unicodedata
from typing import Any

from rich.text import Text

DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""What turns the text after it around, up to the end of the line and further."""


def plain(text: object) -> str:
    """Without what steers a terminal or turns the text around."""
    kept = (" " if c in "\n\t\u2028\u2029" else c for c in str(text) if c not in DIRECTIONS)
    return "".join(c for c in kept if unicodedata.category(c) != "Cc")


def said(text: object, **style: Any) -> Text:
    return Text(plain(text), **style)


def cell(value: object, style: str = "") -> Text:
    return said("–" if value is None or value in ("", ()) else value, style=style)
