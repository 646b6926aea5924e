"""What a provider cites, held against the transcript: an id that is not in it is dropped and counted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from ..meeting import TaskList

T = TypeVar("T")


def held_against(made: T, known: Collection[str]) -> tuple[T, int]:
    """The same dataclass, and those within it, with citations of these segment ids only; how many were dropped.

    A task that cited nothing else is dropped with them.
    """
    dropped = 0

    def held(one: Any) -> Any:
        nonlocal dropped
        one, more = held_against(one, known)
        dropped += more
        return one

    now = within(made, held)
    if isinstance(made, TaskList) and isinstance(now, TaskList):
        pairs = zip(made.tasks, now.tasks, strict=True)
        now = replace(now, tasks=tuple(new for old, new in pairs if new.evidence or not old.evidence))
    evidence: tuple[str, ...] = getattr(made, "evidence", ())
    stay = [at for at, one in enumerate(evidence) if one in known]
    if len(stay) == len(evidence):
        return now, dropped
    quotes: tuple[str, ...] = getattr(made, "quotes", ())
    changes = {"evidence": tuple(evidence[at] for at in stay)}
    if quotes:
        changes["quotes"] = tuple(quotes[at] for at in stay if at < len(quotes))
    return changed(now, changes), dropped + len(evidence) - len(stay)


def with_quotes(made: T, texts: Mapping[str, str]) -> T:
    """The same, held against the transcript, and with the words of each segment that is cited as its quote.

    texts: by segment id, what was said there.
    """

    def quoted(one: Any) -> Any:
        one = within(one, quoted)
        return changed(one, {"quotes": tuple(texts[i] for i in one.evidence)}) if hasattr(one, "quotes") else one

    held, _ = held_against(made, texts)
    whole: T = quoted(held)
    return whole


def within(made: T, change: Callable[[Any], Any]) -> T:
    """The same dataclass with each that stands in a tuple of its changed."""
    values = {field.name: getattr(made, field.name) for field in fields(made)}  # type: ignore[arg-type]
    held = {name: one for name, one in values.items() if isinstance(one, tuple) and one and is_dataclass(one[0])}
    return changed(made, {name: tuple(map(change, one)) for name, one in held.items()})


def changed(made: T, changes: Mapping[str, Any]) -> T:
    return replace(made, **changes) if changes else made  # type: ignore[type-var]
