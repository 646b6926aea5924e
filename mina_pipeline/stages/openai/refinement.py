"""Refinement by a model: each line's new text, where it is faithful, else what was recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...meeting import Improvements, RefinedSegment, Refinement, Segment
from ..offline.language import FILLERS
from .faithful import Names, tokens, why_not
from .lines import Line
from .shapes import Refined
from .words import plain


@dataclass
class Checked:
    """New texts by line number, and why others were refused. unknown: lines that were not asked about."""

    texts: dict[int, str] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    unknown: int = 0

    def add(self, answer: Refined, lines: Mapping[int, Line], names: Names) -> None:
        for one in answer.lines:
            line = lines.get(one.line)
            if line is None or one.line in self.texts or one.line in self.refused:
                self.unknown += 1
                continue
            new = plain(one.text)
            if new == line.text:
                continue
            why = why_not(line.text, new, names)
            if why is None:
                self.texts[one.line] = new
            else:
                self.refused[one.line] = why


def names_of(segments: Sequence[Segment]) -> Names:
    return Names.of((segment.speaker for segment in segments), (segment.text for segment in segments))


def assemble(
    segments: Sequence[Segment], lines: Sequence[Line], checked: Checked, instead: Mapping[str, str]
) -> Refinement:
    """The refinement of all segments. instead: text by segment id, for those about which no answer could be used."""
    texts: dict[str, list[str]] = {}
    refused: set[str] = set()
    for line in lines:
        texts.setdefault(line.segment_id, []).append(checked.texts.get(line.n, line.text))
        if line.n in checked.refused:
            refused.add(line.segment_id)
    changes: list[RefinedSegment] = []
    counts = Counter[str]()
    for ordinal, segment in enumerate(segments):
        segment_id = segment.segment_id or str(ordinal)
        parts = texts.get(segment_id)
        if parts is None:
            continue
        new = instead.get(segment_id, " ".join(part for part in parts if part))
        if new != segment.text and segment_id not in refused:
            changes.append(RefinedSegment(segment_id, new))
            counts.update(corrections(segment.text, new))
    known = [segment.confidence for segment in segments if segment.confidence is not None]
    return Refinement(
        changes=tuple(changes),
        improvements=Improvements(**counts),
        confidence=sum(known) / len(known) if known else None,
        kept_raw=tuple(sorted(refused)),
    )


def corrections(raw: str, new: str) -> dict[str, int]:
    """How many corrections of each kind lie between two texts, counted by their words."""
    before, after = tokens(raw), tokens(new)
    fillers = sum(word in FILLERS for word in before) - sum(word in FILLERS for word in after)
    ours, theirs = Counter(raw.split()), Counter(new.split())
    cased = sum((lowered(ours) & lowered(theirs)).values()) - sum((bare(ours) & bare(theirs)).values())
    changed = sum((Counter(before) - Counter(after)).values()) + sum((Counter(after) - Counter(before)).values())
    marks = abs(sum(map(new.count, ".,?!;:…")) - sum(map(raw.count, ".,?!;:…")))
    return {
        "grammar_fixes": max(0, changed - max(0, fillers)),
        "punctuation_fixes": marks,
        "capitalization_fixes": max(0, cased),
        "fillers_removed": max(0, fillers),
    }


def bare(words: Counter[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for word, n in words.items():
        found[word.strip(".,?!;:…\"'")] += n
    return found


def lowered(words: Counter[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for word, n in bare(words).items():
        found[word.casefold()] += n
    return found
