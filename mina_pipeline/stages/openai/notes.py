"""What is known of a part of a meeting, each point cited: what chunks are summarized to, and notes reduced to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...llm.tokens import estimate
from ...meeting import Cited, Question, Summary, Task
from .citations import Evidence, check, united, whole
from .lines import Line
from .shapes import Joined, JoinedQuestion, Reduced, Summarized
from .words import alike, content, prose

BRIEF = 500
TEXT = 400
STEPS = 10
DETAILED = 350
"""Words of the account, at most."""
MOST = {"key_points": 10, "decisions": 15, "risks": 8, "questions": 10, "topics": 10}
KINDS = tuple(MOST)
TOLD = "detailed"


@dataclass(frozen=True)
class Point:
    """One statement. kind: one of KINDS, or `detailed` for a sentence of the account, which quotes whole lines."""

    kind: str
    text: str
    evidence: Evidence
    answered: bool = False
    answer: str | None = None


@dataclass(frozen=True)
class Notes:
    """In the order of the meeting. dropped: citations that were not true."""

    brief: str
    points: tuple[Point, ...]
    sentiment: str | None = None
    dropped: int = 0

    def of(self, kind: str) -> list[Point]:
        return [point for point in self.points if point.kind == kind]


def noted(answer: Summarized, lines: Mapping[int, Line]) -> Notes:
    """A chunk's summary, without what it cannot cite."""
    points: list[Point] = []
    dropped = 0
    for told in answer.detailed:
        known = [lines[n] for n in told.lines if n in lines]
        dropped += len(told.lines) - len(known)
        ids = tuple(dict.fromkeys(line.segment_id for line in known))
        points.append(Point(TOLD, prose(told.text, TEXT), whole(ids, {line.segment_id: line.text for line in known})))
    for kind in KINDS:
        for one in getattr(answer, kind):
            evidence = check(one.evidence, lines)
            dropped += evidence.dropped
            points.append(point(kind, one, evidence))
    kept = tuple(one for one in points if one.evidence and one.text)
    return Notes(prose(answer.brief, BRIEF), kept, answer.sentiment, dropped)


def point(kind: str, one: Any, evidence: Evidence) -> Point:
    if kind != "questions":
        return Point(kind, prose(one.text, TEXT), evidence)
    answer = prose(one.answer or "", TEXT) or None
    return Point(kind, prose(one.question, TEXT), evidence, one.answered, answer if one.answered else None)


def counted(summary: Summary, texts: Mapping[str, str]) -> Notes:
    """The offline provider's summary of a part, as notes. texts: by segment id, as recorded."""
    points = [Point(TOLD, summary.detailed[:TEXT], whole(summary.evidence, texts))] if summary.detailed else []
    for kind in KINDS:
        for one in getattr(summary, kind):
            points.append(point(kind, one, whole(one.evidence, texts)))
    return Notes(summary.brief, tuple(one for one in points if one.evidence and one.text))


def reduced(answer: Reduced, numbered: Mapping[int, Point]) -> Notes:
    """Notes on all of it: each point with the evidence of the notes that it names; one that names none is dropped."""
    points: list[Point] = []
    dropped = 0
    for kind in (TOLD, *KINDS):
        entries: Iterable[Joined | JoinedQuestion] = getattr(answer, kind)
        for one in entries:
            named = [numbered[n] for n in dict.fromkeys(one.notes) if n in numbered]
            dropped += len(set(one.notes)) - len(named)
            # What is quoted rests on quotes; an account may rest on anything.
            basis = [p.evidence for p in named if kind == TOLD or p.kind != TOLD]
            evidence = united(basis)
            points.append(point(kind, one, replace(evidence, dropped=0)))
    kept = tuple(one for one in points if one.evidence and one.text)
    return Notes(prose(answer.brief, BRIEF), kept, answer.sentiment, dropped)


def joined(parts: Sequence[Notes]) -> Notes:
    """All parts' notes as one, doubles merged: what is left where no model reduces them."""
    kept: list[tuple[Point, frozenset[str]]] = []
    for one in (point for part in parts for point in part.points):
        words = content(one.text)
        for at, (other, theirs) in enumerate(kept):
            if one.kind == other.kind and (one.text.casefold() == other.text.casefold() or alike(words, theirs)):
                kept[at] = (replace(other, evidence=united([other.evidence, one.evidence])), theirs)
                break
        else:
            kept.append((one, words))
    moods = [part.sentiment for part in parts if part.sentiment]
    mood = max(moods, key=lambda one: (moods.count(one), -moods.index(one)), default=None)
    brief = " ".join(part.brief for part in parts[:1])
    return Notes(brief, tuple(one for one, _ in kept), mood, sum(part.dropped for part in parts))


@dataclass(frozen=True)
class Group:
    """Notes that are reduced at once. name: what the receipt is kept under."""

    name: str
    parts: tuple[Notes, ...]

    @property
    def numbered(self) -> dict[int, Point]:
        return dict(enumerate((point for part in self.parts for point in part.points), 1))

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [{"n": n, "kind": one.kind, "text": one.text, "answer": one.answer} for n, one in self.numbered.items()]

    def halves(self) -> tuple[Group, Group] | None:
        if len(self.parts) < 2:
            return None
        middle = len(self.parts) // 2
        return Group(f"{self.name}.1", self.parts[:middle]), Group(f"{self.name}.2", self.parts[middle:])


def groups(level: int, parts: Sequence[Notes], most: int) -> list[Group]:
    """Parts in order, together as far as they fit into so many tokens, two at least."""
    found: list[list[Notes]] = []
    room = 0
    for part in parts:
        size = sum(estimate(one.text) + estimate(one.answer or "") + 16 for one in part.points)
        if not found or (room < size and len(found[-1]) > 1):
            found.append([])
            room = most
        found[-1].append(part)
        room -= size
    return [Group(f"reduce {level}.{at}", tuple(group)) for at, group in enumerate(found, 1)]


def as_summary(notes: Notes, next_steps: tuple[Cited, ...], model: str | None) -> Summary:
    """The summary that is stored: points once each, the account within its bounds."""
    merged = joined([notes])
    told: list[Point] = []
    left = DETAILED
    for one in merged.of(TOLD):
        left -= len(one.text.split())
        if left < 0:
            break
        told.append(one)
    cited = {kind: tuple(map(statement, merged.of(kind)[: MOST[kind]])) for kind in KINDS if kind != "questions"}
    kept = sum(len(one.evidence.ids) for one in merged.points)
    basis: dict[str, str] = {}
    for one in told:
        for segment_id, quote in zip(one.evidence.ids, one.evidence.quotes, strict=True):
            basis.setdefault(segment_id, quote)
    return Summary(
        **cited,
        brief=notes.brief,
        detailed=" ".join(one.text for one in told),
        questions=tuple(map(question, merged.of("questions")[: MOST["questions"]])),
        next_steps=next_steps,
        sentiment=notes.sentiment,
        model=model,
        confidence_score=round(kept / (kept + notes.dropped), 2) if kept else None,
        evidence=tuple(basis),
        quotes=tuple(basis.values()),
        dropped_citations=notes.dropped,
    )


def step(task: Task) -> Cited:
    """A task as a next step: who does what, until when."""
    until = f" ({task.due_text})" if task.due_text else ""
    who = f"{task.assigned_to}: " if task.assigned_to else ""
    text = f"{who}{task.title}{until}"
    return Cited(text=text, evidence=task.evidence, quotes=task.quotes)


def statement(one: Point) -> Cited:
    return Cited(text=one.text, evidence=one.evidence.ids, quotes=one.evidence.quotes)


def question(one: Point) -> Question:
    return Question(
        question=one.text,
        answered=one.answered,
        answer=one.answer,
        evidence=one.evidence.ids,
        quotes=one.evidence.quotes,
    )
