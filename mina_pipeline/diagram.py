"""The machine as clients see it, found by walking decide and evolve, and drawn."""

from __future__ import annotations

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
                    kind = event.type.removesuffix("_ready") + "_ready | _failed" * event.type.endswith("_ready")
                    seen[before.public, kind, after.public] = None
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


def mermaid(definition: Definition, current: str | None = None) -> str:
    """The public machine of a definition as a Mermaid state diagram; `current` is marked."""
    edges = public_transitions(definition)
    states = list(dict.fromkeys(name for source, _, to in edges for name in (source, to)))
    return draw(states, edges, current or states[0], f"{definition.name}, version {definition.version}")
