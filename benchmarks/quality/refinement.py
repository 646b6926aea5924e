"""Offline refinement against the human transcript: casing, sentence ends, fillers left, word errors."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from mina_pipeline.stages.offline.language import FILLERS
from mina_pipeline.stages.offline.refinement import refine

from .measures import f1
from .meetings import Meeting

_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
_LETTERS = re.compile(r"\b(?:[A-Za-z]\. ?){2,}|\b(?:[A-Z]_)+")


@dataclass
class Token:
    """A word with what is measured of it."""

    word: str
    capital: bool
    ends: bool


def tokenise(text: str) -> list[Token]:
    """Words without fillers; spelled-out letters are one word; a mark counts for the word before it."""
    text = _LETTERS.sub(lambda m: re.sub(r"[._ ]", "", m.group()) + (" " if m.group()[-1] == " " else ""), text)
    text = text.replace("\"'", "'").replace("'\"", "'")
    found: list[Token] = []
    for match in _WORD.finditer(text):
        word = match.group()
        mark = text[match.end() : match.end() + 3].lstrip(" '\"")[:1]
        if word.lower() in FILLERS:
            if found and mark and mark in ".?!":
                found[-1].ends = True
            continue
        found.append(Token(word.lower(), word[0].isupper(), bool(mark) and mark in ".?!"))
    return found


def measure(texts: dict[str, str], human: dict[str, str]) -> tuple[float, float, float, float, float]:
    """(sentence-end F1, its precision, its recall, casing F1, word error rate) over speakers' streams."""
    hits = ours = theirs = case_hits = case_ours = case_theirs = errors = total = 0
    for speaker, reference in human.items():
        left, right = tokenise(texts.get(speaker, "")), tokenise(reference)
        matcher = difflib.SequenceMatcher(None, [t.word for t in left], [t.word for t in right], autojunk=False)
        total += len(right)
        for kind, a0, a1, b0, b1 in matcher.get_opcodes():
            if kind != "equal":
                errors += max(a1 - a0, b1 - b0)
                continue
            for one, two in zip(left[a0:a1], right[b0:b1], strict=True):
                hits += one.ends and two.ends
                ours += one.ends
                theirs += two.ends
                case_hits += one.capital and two.capital
                case_ours += one.capital
                case_theirs += two.capital
    return (
        f1(hits, ours, theirs),
        hits / ours if ours else 0.0,
        hits / theirs if theirs else 0.0,
        f1(case_hits, case_ours, case_theirs),
        errors / total if total else 0.0,
    )


def joined(rows: list[tuple[str, str]]) -> dict[str, str]:
    """Each speaker's texts as one."""
    streams: dict[str, list[str]] = {}
    for speaker, text in rows:
        streams.setdefault(speaker, []).append(text)
    return {speaker: " ".join(parts) for speaker, parts in streams.items()}


def fillers(texts: dict[str, str]) -> float:
    """Fillers per 1,000 words."""
    words = [word.lower() for text in texts.values() for word in _WORD.findall(text)]
    return 1000 * sum(word in FILLERS for word in words) / max(1, len(words))


def figures(meeting: Meeting) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(raw, refined), each `measure`'s figures and the fillers per 1,000 words."""
    changed = {change.segment_id: change.text for change in refine(meeting.segments).changes}
    human = joined([(row["speaker"], row["text"]) for row in meeting.human])
    raw = joined([(s.speaker or "", s.text) for s in meeting.segments])
    ours = joined([(s.speaker or "", changed.get(s.segment_id or "", s.text)) for s in meeting.segments])
    return (*measure(raw, human), fillers(raw)), (*measure(ours, human), fillers(ours))
