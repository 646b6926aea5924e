"""The tables of the state machine as one compiled fold: an event costs two look-ups. Limit and ours share it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mina_pipeline.codec import REGISTRY
from mina_pipeline.events import StageEvent
from mina_pipeline.machine import SESSION_FOLD, STAGE_FOLD
from mina_pipeline.stages.standard import WORKFLOWS

STAGES = {stage.name: stage.after for stage in WORKFLOWS[0].definition.stages}


class Node(dict[str, "Node"]):
    """A session's status and its stages'; the nodes that the stored types lead to are made when they are met."""

    def __init__(self, status: str, stages: tuple[str, ...], made: dict[Any, Node]) -> None:
        self.status, self.stages, self.made = status, stages, made

    def __missing__(self, type: str) -> Node:
        reading = REGISTRY.find(type)
        assert reading is not None, type
        kind, stages = reading.cls.kind, dict(zip(STAGES, self.stages, strict=True))
        status = SESSION_FOLD[self.status, kind]
        if issubclass(reading.cls, StageEvent):
            stage = type.rpartition("_")[0]
            stages[stage] = STAGE_FOLD[stages[stage], kind]
        if status != "recording":
            for stage, after in STAGES.items():
                if stages[stage] == "blocked" and all(stages[one] == "done" for one in after):
                    stages[stage] = STAGE_FOLD["blocked", "released"]
        key = status, tuple(stages.values())
        self[type] = node = self.made.setdefault(key, Node(*key, self.made))
        return node


def start() -> Node:
    return Node("new", ("blocked",) * len(STAGES), {})


def fold(rows: Iterable[tuple[Any, ...]], first: Node, states: dict[str, Node] | None = None) -> dict[str, Node]:
    """The node of each session after its rows (session_id, version, type), in order."""
    states = {} if states is None else states
    get = states.get
    for session_id, _, type in rows:
        states[session_id] = get(session_id, first)[type]
    return states
