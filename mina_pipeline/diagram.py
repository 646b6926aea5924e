"""The machine as clients see it, found by walking decide and evolve, and drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
from msgspec.structs import replace

from . import commands as ask
from .decisions import decide, start
from .definition import Definition
from .machine import draw
from .states import INITIAL, State, evolve


def public_transitions(definition: Definition) -> list[tuple[str, str, str]]:
    """Every (state, event type, state) that clients can see in a first pass, found by walking decide and evolve."""
    first = start(ask.Start(id=1, definition=definition.name, definition_version=definition.version,
                            stages=definition.stages, started_at=0))  # fmt: skip
    seen: dict[tuple[str, str, str], None] = {}
    todo, known = [evolve(INITIAL, first)], set[bytes]()
    while todo:
        state = todo.pop(0)
        for command in possible(state):
            after = state
            for event in decide(state, command, ""):
                before, after = after, evolve(after, event)
                if before.public != after.public:
                    seen[before.public, label(event.type), after.public] = None
            stages = tuple(replace(stage, kept_version=None) for stage in after.stages)
            mark = msgspec.json.encode(replace(after, version=0, stages=stages))
            if mark not in known:
                known.add(mark)
                todo.append(after)
    return list(seen)


def possible(state: State) -> list[ask.Command]:
    """What callers and workers can ask for next, for the picture."""
    if state.status == "recording":
        return [ask.Finalize(), ask.Cancel()]
    if state.status != "processing":
        return []
    wishes: list[ask.Command] = [ask.Cancel()]
    for stage in state.stages:
        if stage.status == "due":
            wishes.append(ask.Begin(stage=stage.name, run=1))
        if stage.status == "running":
            wishes.append(ask.Conclude(stage=stage.name, run=1, outcome="ok", input_version=0, duration_ms=0,
                                       completed_at=0))  # fmt: skip
    return wishes


@dataclass(frozen=True)
class Edge:
    """A step of a session from one public state to another, and the version of the event that took it."""

    before: str
    type: str
    after: str
    version: int


class Walked(Protocol):
    """A step of a replay, as far as a picture needs it."""

    @property
    def version(self) -> int: ...
    @property
    def type(self) -> str: ...
    @property
    def before(self) -> str: ...
    @property
    def after(self) -> str: ...
    @property
    def problem(self) -> str | None: ...


def path_of(steps: Iterable[Walked]) -> list[Edge]:
    """The steps that clients saw the state change by."""
    return [
        Edge(step.before, step.type, step.after, step.version)
        for step in steps
        if step.before not in (step.after, INITIAL.public) and step.problem is None
    ]


def mermaid(definition: Definition, current: str | None = None, path: Sequence[Edge] = ()) -> str:
    """The public machine of a definition as a Mermaid state diagram; `current` is marked, and the path taken.

    Mermaid can style states, but no edges of a state diagram: `linkStyle` would be read as a state of that name. So
    an edge that was taken is marked in its label, with the version of its event.
    """
    edges = public_transitions(definition)
    taken = {(edge.before, label(edge.type), edge.after): edge.version for edge in path}
    edges += [edge for edge in taken if edge not in edges]  # what no first pass does
    states = list(dict.fromkeys(name for source, _, to in edges for name in (source, to)))
    current = current or states[0]
    visited = {name for edge in path for name in (edge.before, edge.after)} - {current}
    shown = [(before, marked(kind, taken.get((before, kind, after))), after) for before, kind, after in edges]
    return draw(states, shown, current, visited, f"{definition.name}, version {definition.version}")


def label(type: str) -> str:
    """One edge stands for both ends of a stage."""
    for ending in ("_ready", "_failed"):
        if type.endswith(ending):
            return type.removesuffix(ending) + "_ready | _failed"
    return type


def marked(kind: str, version: int | None) -> str:
    return kind if version is None else f"✓ {version} {kind}"
