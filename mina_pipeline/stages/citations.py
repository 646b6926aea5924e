"""What a provider cites, held against the transcript: an id that is not in it is dropped and counted."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from ..meeting import TaskList

T = TypeVar("T")


def held_against(made: T, known: Collection[str]) -> tuple[T, int]:
    """The same dataclass, and those within it, with citations of these segment ids only; how many were dropped.

    A task that cited nothing else is dropped with them.
    """
    changes: dict[str, Any] = {}
    dropped = 0
    for field in fields(made):  # type: ignore[arg-type]
        value = getattr(made, field.name)
        if isinstance(value, tuple) and value and is_dataclass(value[0]):
            held = [held_against(one, known) for one in value]
            dropped += sum(count for _, count in held)
            pairs = zip(value, (one for one, _ in held), strict=True)
            changes[field.name] = tuple(
                now for was, now in pairs if not (isinstance(made, TaskList) and was.evidence and not now.evidence)
            )
    evidence: tuple[str, ...] = getattr(made, "evidence", ())
    stay = [at for at, one in enumerate(evidence) if one in known]
    if len(stay) < len(evidence):
        dropped += len(evidence) - len(stay)
        changes["evidence"] = tuple(evidence[at] for at in stay)
        quotes: tuple[str, ...] = getattr(made, "quotes", ())
        if quotes:
            changes["quotes"] = tuple(quotes[at] for at in stay if at < len(quotes))
    return replace(made, **changes) if changes else made, dropped  # type: ignore[type-var]
