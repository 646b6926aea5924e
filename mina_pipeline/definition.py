"""A definition: which stages a session goes through, and in what order. Data only."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from .errors import DefinitionError
from .events import StageShape

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")
SESSION_STATES = ("recording", "finalized", "revealed", "cancelled")
# Names whose events would read like a session's own (session_started, task_changed …).
RESERVED = frozenset({"session", "segments", "stage", "task", "artefact", "dashboard", "post_transcription"})
TRIAL = "_trial_"
"""In the name of a definition that a fork pins: it is known to nobody but the process that runs it."""


@dataclass(frozen=True)
class Definition:
    """The stages in declared order. A session pins `name` and `version` in its first event.

    Change the stages, raise the version: sessions in flight finish under the one they pinned.
    DefinitionError says what is wrong with the stages.
    """

    name: str
    stages: tuple[StageShape, ...]
    version: int = 1

    def __post_init__(self) -> None:
        if not NAME.match(self.name):
            raise DefinitionError(f"definition name {self.name!r}: lower-case letters, digits and _ only")
        check_stages(self.stages)


def check_stages(stages: Iterable[StageShape]) -> None:
    """Refuse stages that no session could go through: no stage, doubles, unknown or circular `after`."""
    stages = tuple(stages)
    names = [stage.name for stage in stages]
    if not names:
        raise DefinitionError("a definition needs at least one stage")
    seen: set[str] = set()
    for stage in stages:
        if not NAME.match(stage.name) or stage.name in RESERVED:
            raise DefinitionError(
                f"stage name {stage.name!r}: lower-case letters, digits and _, and none of {sorted(RESERVED)}"
            )
        if stage.name in seen:
            raise DefinitionError(f"stage {stage.name!r} is declared twice")
        if not NAME.match(stage.running) or stage.running in SESSION_STATES:
            raise DefinitionError(f"stage {stage.name!r}: {stage.running!r} cannot name its running state")
        for other in (*stage.after, *stage.reads):
            if other not in names:
                raise DefinitionError(f"stage {stage.name!r} comes after {other!r}, which is not a stage here")
        seen.add(stage.name)
    if len({stage.running for stage in stages}) != len(stages):
        raise DefinitionError("two stages share one running state; clients could not tell them apart")
    try:
        TopologicalSorter({stage.name: stage.after for stage in stages}).prepare()
    except CycleError as error:
        raise DefinitionError(f"the stages wait for each other in a circle: {error.args[1]}") from None
    try:  # else each better result would make the other run again, for ever
        TopologicalSorter({stage.name: (*stage.after, *stage.reads) for stage in stages}).prepare()
    except CycleError as error:
        raise DefinitionError(f"the stages read each other in a circle: {error.args[1]}") from None


REFINEMENT = StageShape("refinement", (), (), "refining")
ANALYTICS = StageShape("analytics", ("refinement",), (), "analyzing")
TASKS = StageShape("tasks", ("analytics",), ("refinement",), "extracting_tasks")
SUMMARY = StageShape("summary", ("tasks",), ("refinement", "tasks"), "summarizing")

STANDARD = Definition("standard", (REFINEMENT, ANALYTICS, TASKS, SUMMARY))
PARALLEL = Definition(
    "parallel",
    (
        REFINEMENT,
        StageShape("analytics", ("refinement",), (), "analyzing"),
        StageShape("tasks", ("refinement",), ("refinement",), "extracting_tasks"),
        StageShape("summary", ("refinement",), ("refinement",), "summarizing"),
    ),
)
