"""Two sessions' results side by side, as data. Pure: `compare` is given what the sessions have come to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, NamedTuple, TypeVar

import msgspec

from ..codec import builtins
from ..meeting import Cited, Made, Result, Summary, Task, TranscriptLine
from ..views import Session, StageView

TASK_FIELDS = tuple(name for name in Task.__dataclass_fields__ if name != "task_id")
POINTS = ("key_points", "decisions")
Citing = TypeVar("Citing", Task, Cited)
WORDS = 1_500
"""So many words of each summary are held against each other: what compares them takes the product of both."""


class Side(NamedTuple):
    """A session with its results. lines: its transcript, refined where that is done; parent: what it was forked of."""

    session: Session
    parent: str | None
    made: Result
    lines: Sequence[TranscriptLine]


@dataclass(frozen=True)
class StageSides:
    """One stage in both; None where a session has none of that name."""

    stage: str
    a: StageView | None
    b: StageView | None


@dataclass(frozen=True)
class LineSides:
    """A line of the transcript whose text differs, as refined; None where a session has no such segment."""

    segment_id: str
    start_ms: int
    speaker: str | None
    a: str | None
    b: str | None


@dataclass(frozen=True)
class TaskSides:
    """One task as both have it, and the names of the fields in which they differ."""

    a: Task
    b: Task
    fields: tuple[str, ...]


@dataclass(frozen=True)
class FieldSides:
    """One value in both, by its name; None where a session has none."""

    field: str
    a: Any
    b: Any

    @property
    def same(self) -> bool:
        return bool(self.a == self.b)


@dataclass(frozen=True)
class Diff:
    """How the results of A and B differ.

    lines: how many were compared; changed_lines: those whose text differs. Tasks and points are the same one where
    their titles or texts are (whatever the case), or else where they cite a segment in common; same_tasks counts those
    without a difference. summary: brief and detailed, `points`: key points and decisions, also where they are alike;
    likeness: 0..1, how much of the wording brief and detailed share; None without two summaries. analytics and others
    (a host's own stages): only what differs.
    """

    a: Session
    b: Session
    a_parent: str | None
    b_parent: str | None
    stages: tuple[StageSides, ...]
    lines: int
    changed_lines: tuple[LineSides, ...]
    same_tasks: int
    changed_tasks: tuple[TaskSides, ...]
    tasks_only_a: tuple[Task, ...]
    tasks_only_b: tuple[Task, ...]
    summary: tuple[FieldSides, ...]
    points: tuple[FieldSides, ...]
    likeness: float | None
    analytics: tuple[FieldSides, ...] = field(default=())
    others: tuple[FieldSides, ...] = field(default=())

    @property
    def same(self) -> bool:
        """Whether the results are alike, whoever made them and however long that took."""
        tasks = self.changed_tasks or self.tasks_only_a or self.tasks_only_b
        summary = all(one.same for one in (*self.summary, *self.points))
        return summary and not (self.changed_lines or tasks or self.analytics or self.others)

    def as_dict(self) -> dict[str, Any]:
        """By the attributes' names, for JSON."""
        out: dict[str, Any] = msgspec.to_builtins(self)
        return {"same": self.same, **out}


def compare(a: Side, b: Side) -> Diff:
    """What differs between the two, in the order of A."""
    changed_lines, lines = compared_lines(a.lines, b.lines)
    paired, only_a, only_b = paired_tasks(tasks_of(a.made), tasks_of(b.made))
    changed = [one for one in paired if one.fields]
    one, other = a.made.summary, b.made.summary
    return Diff(
        a=a.session,
        b=b.session,
        a_parent=a.parent,
        b_parent=b.parent,
        stages=tuple(
            StageSides(name, a.session.stages.get(name), b.session.stages.get(name))
            for name in dict.fromkeys([*a.session.stages, *b.session.stages])
        ),
        lines=lines,
        changed_lines=tuple(changed_lines),
        same_tasks=len(paired) - len(changed),
        changed_tasks=tuple(changed),
        tasks_only_a=tuple(only_a),
        tasks_only_b=tuple(only_b),
        summary=tuple(
            FieldSides(name, one and getattr(one, name), other and getattr(other, name))
            for name in ("brief", "detailed")
        ),
        points=tuple(point for name in POINTS for point in compared_points(name, one, other)),
        likeness=None if one is None or other is None else alike(one, other),
        analytics=tuple(fields_that_differ(a.made.analytics, b.made.analytics)),
        others=tuple(compared_others(a.made, b.made)),
    )


def compared_lines(a: Sequence[TranscriptLine], b: Sequence[TranscriptLine]) -> tuple[list[LineSides], int]:
    """The lines that differ, by start time, and how many there are in all."""
    mine, theirs = ({line.segment_id: line for line in lines} for lines in (a, b))
    every = sorted({**theirs, **mine}.values(), key=lambda line: line.start_ms)
    found = []
    for line in every:
        one, other = mine.get(line.segment_id), theirs.get(line.segment_id)
        text, its = (None if side is None else side.refined_text for side in (one, other))
        if text != its:
            found.append(LineSides(line.segment_id, line.start_ms, line.speaker, text, its))
    return found, len(every)


def tasks_of(made: Result) -> list[Task]:
    return list(made.tasks) if made.tasks else []


def paired_tasks(a: Sequence[Task], b: Sequence[Task]) -> tuple[list[TaskSides], list[Task], list[Task]]:
    """(tasks that are in both, only in A, only in B)."""
    pairs, free = paired(a, b, lambda task: task.title)
    both = [TaskSides(a[n], pairs[n], differing(a[n], pairs[n])) for n in sorted(pairs)]
    return both, [task for n, task in enumerate(a) if n not in pairs], free


def paired(
    a: Sequence[Citing], b: Sequence[Citing], said: Callable[[Citing], str]
) -> tuple[dict[int, Citing], list[Citing]]:
    """(for places in A what is the same in B, the rest of B). The same words first: evidence is the weaker sign."""

    def same_words(one: Citing, other: Citing) -> bool:
        return said(one).casefold() == said(other).casefold()

    def shared_evidence(one: Citing, other: Citing) -> bool:
        return not set(one.evidence).isdisjoint(other.evidence)

    free, pairs = list(b), dict[int, Citing]()
    for same in (same_words, shared_evidence):
        for n, one in enumerate(a):
            match = None if n in pairs else next((other for other in free if same(one, other)), None)
            if match is not None:
                free = [other for other in free if other is not match]
                pairs[n] = match
    return pairs, free


def differing(one: Task, other: Task) -> tuple[str, ...]:
    return tuple(name for name in TASK_FIELDS if getattr(one, name) != getattr(other, name))


def compared_points(name: str, a: Summary | None, b: Summary | None) -> Iterable[FieldSides]:
    mine, theirs = (list[Cited](getattr(side, name)) if side else [] for side in (a, b))
    pairs, free = paired(mine, theirs, lambda point: point.text)
    for n, point in enumerate(mine):
        yield FieldSides(name, point.text, pairs[n].text if n in pairs else None)
    yield from (FieldSides(name, None, point.text) for point in free)


def alike(a: Summary, b: Summary) -> float:
    mine, theirs = (f"{one.brief} {one.detailed}".casefold().split()[:WORDS] for one in (a, b))
    return round(SequenceMatcher(None, mine, theirs, autojunk=False).ratio(), 4)


def fields_that_differ(a: Any, b: Any) -> Iterable[FieldSides]:
    """The fields of two dataclasses of one class, but for how they came about; against None all of them."""
    fields = (a or b).__dataclass_fields__ if a or b else ()
    for name in fields:
        one, other = (None if side is None else getattr(side, name) for side in (a, b))
        if name not in Made.__dataclass_fields__ and one != other:
            yield FieldSides(name, builtins(one), builtins(other))


def compared_others(a: Result, b: Result) -> Iterable[FieldSides]:
    for name in dict.fromkeys([*a.others, *b.others]):
        one, other = (made.others[name].artefact if name in made.others else None for made in (a, b))
        if one != other:
            yield FieldSides(name, one, other)
