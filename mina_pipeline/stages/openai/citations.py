"""Citations, held against the transcript: what is not in it is dropped and counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .lines import Line
from .shapes import Cite
from .words import find_quote

MOST = 5
"""Citations of one statement."""


@dataclass(frozen=True)
class Evidence:
    """Segment ids and, in parallel, the words of each that are quoted. dropped: citations that were not true."""

    ids: tuple[str, ...] = ()
    quotes: tuple[str, ...] = ()
    dropped: int = 0

    def __bool__(self) -> bool:
        return bool(self.ids)


def check(cites: Iterable[Cite], lines: Mapping[int, Line]) -> Evidence:
    """The citations whose line the model was shown, and whose quote is in that line; the quotes as they stand there."""
    found: dict[str, str] = {}
    dropped = 0
    for cite in cites:
        line = lines.get(cite.line)
        quote = find_quote(cite.quote, line.text) if line else None
        if line is None or quote is None:
            dropped += 1
        elif len(found) < MOST:
            found.setdefault(line.segment_id, quote)
    return Evidence(tuple(found), tuple(found.values()), dropped)


def whole(ids: Iterable[str], texts: Mapping[str, str]) -> Evidence:
    """Segments that were found without a model, each quoted as it stands."""
    known = tuple(one for one in dict.fromkeys(ids) if texts.get(one))[:MOST]
    return Evidence(known, tuple(texts[one] for one in known))


def united(evidences: Sequence[Evidence]) -> Evidence:
    """One for what several showed, in their order."""
    found: dict[str, str] = {}
    for evidence in evidences:
        for segment_id, quote in zip(evidence.ids, evidence.quotes, strict=True):
            found.setdefault(segment_id, quote)
    ids = tuple(found)[:MOST]
    return Evidence(ids, tuple(found[one] for one in ids), sum(one.dropped for one in evidences))
