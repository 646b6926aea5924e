"""Tasks by a model: cited, dated by our own reading of the words, once each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from ...meeting import Task
from ..offline.dates import parse_due
from .citations import Evidence, check, united
from .lines import Line
from .shapes import FoundTask
from .words import alike, content, prose, said_in

TITLE = 120
DESCRIPTION = 600


@dataclass(frozen=True)
class Cited:
    """A task with its evidence."""

    task: Task
    evidence: Evidence


def checked(found: Iterable[FoundTask], lines: Mapping[int, Line], meeting_date: date) -> tuple[list[Cited], int]:
    """The tasks that cite what was said, and how many citations were dropped."""
    speakers = {line.who.casefold(): line.who for line in lines.values() if line.who}
    texts = [line.text for line in lines.values()]
    out: list[Cited] = []
    dropped = 0
    for one in found:
        evidence = check(one.evidence, lines)
        dropped += evidence.dropped
        title = prose(one.title, TITLE)
        if not evidence or not title:
            continue
        due_text = prose(one.due_text or "", TITLE)
        due_text = due_text if said_in(due_text, texts) else ""
        due = parse_due(due_text, meeting_date) if due_text else None
        owner = prose(one.assigned_to or "", TITLE)
        owner = speakers.get(owner.casefold(), owner if said_in(owner, texts) else "")
        task = Task(
            title=title,
            description=prose(one.description, DESCRIPTION),
            task_type=one.task_type,
            priority=one.priority,
            assigned_to=owner or None,
            due_date=due.date.isoformat() if due else None,
            due_text=due_text or None,
            confidence_score=round(max(0.0, min(1.0, one.confidence)), 2),
            evidence=evidence.ids,
            quotes=evidence.quotes,
        )
        out.append(Cited(task, evidence))
    return out, dropped


def merged(found: Sequence[Cited]) -> list[Task]:
    """Each task once, the surest first: chunks overlap, and people say things twice."""
    kept: list[tuple[Cited, frozenset[str]]] = []
    for one in sorted(found, key=lambda cited: -cited.task.confidence_score):
        words = content(one.task.title)
        for at, (other, theirs) in enumerate(kept):
            if same(one, words, other, theirs):
                kept[at] = (joined(other, one), theirs)
                break
        else:
            kept.append((one, words))
    return [cited.task for cited, _ in kept]


def same(one: Cited, words: frozenset[str], other: Cited, theirs: frozenset[str]) -> bool:
    a, b = one.task, other.task
    if a.assigned_to and b.assigned_to and a.assigned_to.casefold() != b.assigned_to.casefold():
        return False
    if a.title.casefold() == b.title.casefold() or alike(words, theirs):
        return True
    shown = set(zip(a.evidence, one.evidence.quotes, strict=False)) & set(
        zip(b.evidence, other.evidence.quotes, strict=False)
    )
    return bool(shown) and alike(words, theirs, 0.3)


def joined(first: Cited, second: Cited) -> Cited:
    """The surer one, with what the other knows beyond it."""
    evidence = united([first.evidence, second.evidence])
    a, b = first.task, second.task
    task = replace(
        a,
        assigned_to=a.assigned_to or b.assigned_to,
        due_date=a.due_date or b.due_date,
        due_text=a.due_text if a.due_date or not b.due_date else b.due_text,
    )
    return requoted(Cited(task, evidence))


def requoted(cited: Cited) -> Cited:
    """The task itself with its evidence."""
    task = replace(cited.task, evidence=cited.evidence.ids, quotes=cited.evidence.quotes)
    return Cited(task, cited.evidence)
