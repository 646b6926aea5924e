"""The two tables, and the machines and folds built from them. Everything that is legal stands here.

A row for every state; the `transitions` machines (legality on the write path, diagrams) and the compiled folds
(replay) are built from the same data, and a test holds them equal.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING

from . import events as did

if TYPE_CHECKING:
    from transitions import Machine

Table = Mapping[str, Mapping[str, str]]

WORKING = {
    kind.kind: "processing" for kind in did.STAGE_EVENTS
}  # while stages run, what they report changes only their own row below

# What a reader skips is counted in any state and changes none.
SKIPPED = did.Unread.kind

SESSION: Table = {
    "new": {"session_started": "recording", SKIPPED: "new"},
    "recording": {
        SKIPPED: "recording",
        "segments_recorded": "recording",
        "session_finalized": "processing",
        "session_cancelled": "cancelled",
        "session_erased": "recording",
    },
    "processing": {
        **WORKING,
        SKIPPED: "processing",
        "segments_recorded": "processing",  # late ones, where the host lets them in
        "task_changed": "processing",
        "post_transcription_reveal": "revealed",
        "session_cancelled": "cancelled",
        "session_erased": "processing",
    },
    "revealed": {
        **dict.fromkeys(WORKING, "revealed"),
        SKIPPED: "revealed",
        "segments_recorded": "revealed",
        "artefact_updated": "revealed",
        "dashboard_refresh": "revealed",
        "task_changed": "revealed",
        "session_erased": "revealed",
    },
    "cancelled": {"session_erased": "cancelled", SKIPPED: "cancelled"},
}

STAGE: Table = {
    # blocked: a stage that comes before it is not done. due: a worker may claim it.
    "blocked": {"released": "due"},
    "due": {"stage_started": "running"},
    "running": {
        "stage_progress": "running",
        "stage_waiting": "waiting",
        "stage_ready": "done",
        "stage_failed": "done",
    },
    # The end of a wait is no event: whatever the run reports next says that it goes on.
    "waiting": {
        "stage_progress": "running",
        "stage_waiting": "waiting",
        "stage_ready": "done",
        "stage_failed": "done",
    },
    # A checkpoint may arrive after the outcome. `stale`: what this one read was replaced. A degraded result that is
    # made again starts only when there is a better one, or is dropped.
    "done": {
        "stage_progress": "done",
        "stage_requested": "due",
        "stage_started": "running",
        "stage_dropped": "done",
        "stale": "blocked",
    },
}


def compiled(table: Table) -> dict[tuple[str, str], str]:
    """The table as one dict, (state, trigger) -> state: what replay runs on."""
    return {(state, trigger): to for state, row in table.items() for trigger, to in row.items()}


SESSION_FOLD = compiled(SESSION)
STAGE_FOLD = compiled(STAGE)


@cache
def session_machine() -> Machine:
    """The session table as a `transitions` machine; shared, holds no model."""
    return build_machine(SESSION)


@cache
def stage_machine() -> Machine:
    """The stage table as a `transitions` machine; shared, holds no model."""
    return build_machine(STAGE)


def build_machine(table: Table) -> Machine:
    from transitions import Machine

    return Machine(
        model=None,
        states=list(table),
        initial=next(iter(table)),
        transitions=[[t, source, to] for source, row in table.items() for t, to in row.items()],
        auto_transitions=False,
    )


@cache
def fire(machine: Machine, state: str, trigger: str) -> str | None:
    """The state that `trigger` leads to by the machine, or None where it is not allowed. The machine never changes,
    so it is asked once for each pair: a trigger of its costs more than all the rest of a decision."""
    from transitions import MachineError

    if trigger not in machine.events:
        return None
    model = SimpleNamespace(state=state)
    try:
        machine.events[trigger].trigger(model)
    except MachineError:
        return None
    return str(model.state)


VISITED = "  classDef s_visited color:black,fill:lightblue\n"


def draw(
    states: list[str], edges: Iterable[tuple[str, str, str]], current: str, visited: Collection[str], title: str
) -> str:
    """A Mermaid state diagram of (state, trigger, state) edges from the first state on, two kinds of states marked."""
    from transitions.extensions import GraphMachine

    machine = GraphMachine(
        states=list(dict.fromkeys([*states, current])),
        initial=states[0],
        transitions=[[kind, source, to] for source, kind, to in edges],
        auto_transitions=False,
        graph_engine="mermaid",
        title=f"title: {title}",
        show_conditions=False,
    )
    text = str(machine.get_graph().source).replace("  classDef", VISITED + "  classDef", 1)
    for name in {*states, current}:
        style = "active" if name == current else "visited" if name in visited else "default"
        text = re.sub(rf"^(  Class {re.escape(name)}) s_\w+$", rf"\1 s_{style}", text, flags=re.MULTILINE)
    return text
