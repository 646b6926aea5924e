"""A session's state, and evolve and replay over the machine's tables. Pure.

`evolve` says what an event does to the state, `replay` folds a log; `decisions.decide` says which events a command
causes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import fsum
from typing import Any

import msgspec
from msgspec.structs import replace

from . import events as did
from .errors import InvalidInput, MinaError
from .machine import SESSION_FOLD, STAGE_FOLD

FOLD_VERSION = 3
"""The version of this release's fold, written beside every snapshot. Raise it by one

- when evolve comes to another state from the same log, or State's stored shape changes: older snapshots are then
  folded anew from their logs. (The golden logs hold what it may not come to: another value of a field they record.)
- when this release begins to write an event that older ones cannot read and may not skip: a new type, or a new
  version of one, with `skippable` False.

A release that meets a snapshot of a larger fold version folds the log itself to read the session, and refuses
commands on it with UpgradeNeeded: it would decide on a state that it only half knows, and write over a newer one.
"""

FINISHED = ("revealed", "cancelled")
"""The public states that nothing is due in, but for runs that a person asks for."""

RANK = {"failed": 0, "empty": 1, "degraded": 2, "ok": 3}


class StageState(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where one stage of one session stands. `run` is the current run; `kept_*` the one in the read model.

    waits: how often the run was put off, `waiting_since` when first (µs). upgrade: the last result was degraded for an
    outage, and is to be made again. kept_version: the version of the log that brought the kept result.
    """

    name: str
    after: tuple[str, ...]
    reads: tuple[str, ...]
    running: str
    status: str = "blocked"
    run: int = 1
    asked: bool = False
    outcome: str | None = None
    reason: str | None = None
    provider: str | None = None
    duration_ms: int | None = None
    input_version: int | None = None
    retry_at: int | None = None
    kept_run: int | None = None
    kept_outcome: str | None = None
    kept_version: int | None = None
    waits: int = 0
    waiting_since: int | None = None
    upgrade: bool = False


class Spent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the answers of one model for one run of a stage cost together; cost None where it has no price."""

    stage: str
    run: int
    provider: str
    model: str
    answers: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None
    in_doubt: int = 0


class Stats(msgspec.Struct, frozen=True):
    """What finalize answers: total_duration in seconds, average_confidence 0..1 or None."""

    total_segments: int
    total_duration: float
    average_confidence: float | None

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """A session, folded: small, and of kept fields only, so that it outlives an erasure.

    segments_version: the version that brought the last segments.
    """

    status: str = "new"
    version: int = 0
    id: int = 0
    definition: str = ""
    definition_version: int = 0
    meeting_id: str | None = None
    segments: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    confidence_sum: float = 0.0
    confidence_count: int = 0
    stats: Stats | None = None
    begun: bool = False
    segments_version: int = 0
    stages: tuple[StageState, ...] = ()
    changed_tasks: dict[str, tuple[str, ...]] = {}
    usage: tuple[Spent, ...] = ()

    @property
    def public(self) -> str:
        """The state that clients see: while processing, the earliest stage in declared order that is not done."""
        if self.status != "processing":
            return self.status
        if not self.begun:
            return "finalized"
        return next((s.running for s in self.stages if s.status != "done"), self.stages[-1].running)

    def stage(self, name: str) -> StageState:
        """The stage of that name; InvalidInput where the session has none such."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise InvalidInput("stage", f"{name!r} is no stage of this session; it has {self.stage_names}")

    @property
    def stage_names(self) -> list[str]:
        return [stage.name for stage in self.stages]


INITIAL = State()


class EventRefused(MinaError):
    """An event that no table allows in this state: the log was not written by decide, or is damaged."""

    def __init__(self, state: str, kind: str) -> None:
        super().__init__(f"event {kind} cannot follow in state {state}")
        self.state = state
        self.kind = kind


# --- evolve: what an event does to the state --------------------------------------------------------------


def evolve(state: State, event: did.Event) -> State:
    """The state after the event; EventRefused where the tables do not allow it. Reads kept fields only."""
    status = SESSION_FOLD.get((state.status, event.kind))
    if status is None:
        raise EventRefused(state.status, event.kind)
    apply = APPLY.get(event.kind)
    if apply is not None:
        state = apply(state, event)
    return replace(state, status=status, version=state.version + 1)


def replay(events: Iterable[did.Event], state: State = INITIAL) -> State:
    """Fold events onto a state."""
    for event in events:
        state = evolve(state, event)
    return state


def started(state: State, event: did.SessionStarted) -> State:
    return replace(
        state,
        id=event.id,
        definition=event.definition,
        definition_version=event.definition_version,
        meeting_id=event.meeting_id,
        stages=tuple(StageState(s.name, s.after, s.reads, s.running) for s in event.stages),
    )


def recorded(state: State, event: did.SegmentsRecorded) -> State:
    heard = [c for c in event.confidences if c is not None]
    first, last = min(event.starts_ms), max(event.ends_ms)
    state = replace(
        state,
        segments_version=state.version + 1,
        segments=state.segments + len(event.segment_ids),
        first_ms=first if state.first_ms is None else min(first, state.first_ms),
        last_ms=last if state.last_ms is None else max(last, state.last_ms),
        # Rounded once: `sum` adds up otherwise from Python 3.12 on, and a log has one fold.
        confidence_sum=fsum((state.confidence_sum, *heard)),
        confidence_count=state.confidence_count + len(heard),
    )
    return catch_up(state) if state.status == "revealed" else state


def finalized(state: State, event: did.SessionFinalized) -> State:
    stats = Stats(event.total_segments, event.total_duration, event.average_confidence)
    return release(replace(state, stats=stats))


def revealed(state: State, event: did.Revealed) -> State:
    return catch_up(state)  # with what was recorded late, while the stages ran


def stage_reported(state: State, event: did.StageEvent) -> State:
    stage = state.stage(event.stage)
    if isinstance(event, did.StageProgress):
        state = state if event.usage is None else spent(state, event, event.usage)
        if event.run != stage.run:
            return state  # a late one of an earlier run, or the receipt of one that begins with its outcome
    # A run that a person asks for is announced; one that makes a degraded result better begins with its outcome.
    begins = isinstance(event, did.StageRequested) or (isinstance(event, did.StageStarted) and stage.status == "done")
    status = STAGE_FOLD.get((stage.status, event.kind))
    if status is None or event.run != stage.run + begins:
        raise EventRefused(f"{stage.name} run {stage.run} {stage.status}", f"{event.type} of run {event.run}")
    match event:
        case did.StageStarted():
            stage = next_run(stage, status) if begins else replace(stage, status=status)
            state = with_stage(state, replace(stage, provider=event.provider))
            return replace(state, begun=True)
        case did.StageWaiting():
            since = event.since if stage.waiting_since is None else stage.waiting_since
            waits = stage.waits + 1
            stage = replace(
                stage, status=status, reason=event.reason, retry_at=event.retry_at, waits=waits, waiting_since=since
            )
        case did.StageRequested():
            stage = replace(next_run(stage, status), asked=True)
        case did.StageDropped():
            stage = replace(stage, upgrade=False)
        case did.StageReady() | did.StageFailed():
            return concluded(state, stage, event)
        case _:
            stage = replace(stage, status=status, retry_at=None)
    return with_stage(state, stage)


def spent(state: State, event: did.StageProgress, usage: did.Usage) -> State:
    key = (event.stage, event.run, usage.provider, usage.model)
    old = next((one for one in state.usage if (one.stage, one.run, one.provider, one.model) == key), None)
    one = old or Spent(*key)
    one = replace(
        one,
        answers=one.answers + 1,
        tokens_in=one.tokens_in + usage.tokens_in,
        tokens_out=one.tokens_out + usage.tokens_out,
        cost=one.cost if usage.cost is None else (one.cost or 0.0) + usage.cost,
        in_doubt=one.in_doubt + usage.in_doubt,
    )
    others = tuple(one if each is old else each for each in state.usage)
    return replace(state, usage=others if old else (*others, one))


def concluded(state: State, stage: StageState, event: did.StageReady | did.StageFailed) -> State:
    outcome = event.outcome if isinstance(event, did.StageReady) else "failed"
    kept = replaces(stage, outcome)
    stage = replace(
        stage,
        status="done",
        outcome=outcome,
        reason=event.reason,
        provider=event.provider,
        duration_ms=event.duration_ms,
        input_version=event.input_version,
        retry_at=None,
        waits=0,
        waiting_since=None,
    )
    # Also a result that is not kept: it may have read more than the better one that is.
    degraded_for_now = isinstance(event, did.StageReady) and event.upgrade
    stage = replace(stage, upgrade=degraded_for_now or (stage.upgrade and not kept))
    if kept:
        stage = replace(stage, kept_run=event.run, kept_outcome=outcome, kept_version=state.version + 1)
    state = with_stage(state, stage)
    if kept and stage.run > 1:
        state = make_stale(state, stage.name)
    if outdated(state, stage):
        state = with_stage(state, next_run(stage, "blocked"))
    return release(state)


def outdated(state: State, stage: StageState) -> bool:
    """Whether what the stage's last run read has been replaced since, or segments came to a revealed session."""
    replaced = any(s.name in stage.reads and reads_less(stage, s.kept_version or 0) for s in state.stages)
    return replaced or (state.status == "revealed" and reads_less(stage, state.segments_version))


def reads_less(stage: StageState, version: int) -> bool:
    """Whether the stage's last run read a log that did not reach this version; False where it does not say (0)."""
    return 0 < (stage.input_version or 0) < version


def catch_up(state: State) -> State:
    """Whoever is done and has not read the last segments runs again, once."""
    stages = tuple(
        next_run(stage, "blocked") if stage.status == "done" and reads_less(stage, state.segments_version) else stage
        for stage in state.stages
    )
    return release(replace(state, stages=stages))


def replaces(stage: StageState, outcome: str) -> bool:
    """A new result takes the old one's place if it is no worse, or a person asked; a failure never does."""
    if outcome == "failed" and stage.kept_outcome not in (None, "failed"):
        return False
    return stage.kept_outcome is None or stage.asked or RANK[outcome] >= RANK[stage.kept_outcome]


def make_stale(state: State, replaced: str) -> State:
    """Whoever read the replaced result, and is done, runs again once; who reads those waits for them."""
    stale = {replaced}
    stages = []
    for stage in state.stages:
        if stage.status == "done" and stale.intersection(stage.reads) and stage.name != replaced:
            stale.add(stage.name)
            stage = next_run(stage, "blocked")
        stages.append(stage)
    return replace(state, stages=tuple(stages))


def next_run(stage: StageState, status: str) -> StageState:
    return replace(
        stage,
        status=status,
        run=stage.run + 1,
        asked=False,
        outcome=None,
        reason=None,
        retry_at=None,
        waits=0,
        waiting_since=None,
    )


def release(state: State) -> State:
    """Blocked stages whose predecessors are all done become due."""
    done = {stage.name for stage in state.stages if stage.status == "done"}
    return replace(
        state,
        stages=tuple(
            replace(stage, status="due") if stage.status == "blocked" and done.issuperset(stage.after) else stage
            for stage in state.stages
        ),
    )


def with_stage(state: State, stage: StageState) -> State:
    return replace(state, stages=tuple(stage if s.name == stage.name else s for s in state.stages))


def task_changed(state: State, event: did.TaskChanged) -> State:
    fields = {*state.changed_tasks.get(event.task_id, ()), *event.fields}
    return replace(state, changed_tasks={**state.changed_tasks, event.task_id: tuple(sorted(fields))})


APPLY: dict[str, Callable[[State, Any], State]] = {
    "session_started": started,
    "segments_recorded": recorded,
    "session_finalized": finalized,
    "post_transcription_reveal": revealed,
    "task_changed": task_changed,
    **dict.fromkeys((kind.kind for kind in did.STAGE_EVENTS), stage_reported),
}
