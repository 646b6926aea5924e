"""A session's state, and decide, evolve, replay over the machine's tables. Pure.

`evolve` says what an event does to the state, `decide` which events a command causes, `replay` folds a log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import fsum
from typing import Any

import msgspec
from msgspec.structs import replace

from . import commands as ask
from . import events as did
from .errors import IllegalTransition, InvalidInput, MinaError, SegmentIdReused
from .machine import SESSION_FOLD, STAGE_FOLD, fire, session_machine, stage_machine
from .meeting import Segment

FOLD_VERSION = 1
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
    """Where one stage of one session stands. `run` is the current run; `kept_*` the one in the read model."""

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


class Stats(msgspec.Struct, frozen=True):
    """What finalize answers: total_duration in seconds, average_confidence 0..1 or None."""

    total_segments: int
    total_duration: float
    average_confidence: float | None

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """A session, folded: small, and of kept fields only, so that it outlives an erasure."""

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
    stages: tuple[StageState, ...] = ()
    changed_tasks: dict[str, tuple[str, ...]] = {}

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
    return replace(
        state,
        segments=state.segments + len(event.segment_ids),
        first_ms=first if state.first_ms is None else min(first, state.first_ms),
        last_ms=last if state.last_ms is None else max(last, state.last_ms),
        # Rounded once: `sum` adds up otherwise from Python 3.12 on, and a log has one fold.
        confidence_sum=fsum((state.confidence_sum, *heard)),
        confidence_count=state.confidence_count + len(heard),
    )


def finalized(state: State, event: did.SessionFinalized) -> State:
    stats = Stats(event.total_segments, event.total_duration, event.average_confidence)
    return release(replace(state, stats=stats))


def stage_reported(state: State, event: did.StageEvent) -> State:
    stage = state.stage(event.stage)
    if isinstance(event, did.StageProgress) and event.run != stage.run:
        return state  # a late checkpoint of an earlier run
    wanted = stage.run + 1 if isinstance(event, did.StageRequested) else stage.run
    status = STAGE_FOLD.get((stage.status, event.kind))
    if status is None or event.run != wanted:
        raise EventRefused(f"{stage.name} run {stage.run} {stage.status}", f"{event.type} of run {event.run}")
    match event:
        case did.StageStarted():
            stage = replace(stage, status=status, provider=event.provider)
            return replace(with_stage(state, stage), begun=True)
        case did.StageWaiting():
            stage = replace(stage, status=status, reason=event.reason, retry_at=event.retry_at)
        case did.StageRequested():
            stage = replace(next_run(stage, status), asked=True)
        case did.StageReady() | did.StageFailed():
            return concluded(state, stage, event)
        case _:
            stage = replace(stage, status=status, retry_at=None)
    return with_stage(state, stage)


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
        kept_run=event.run if kept else stage.kept_run,
        kept_outcome=outcome if kept else stage.kept_outcome,
    )
    state = with_stage(state, stage)
    if kept and stage.run > 1:
        state = make_stale(state, stage.name)
    return release(state)


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
    return replace(stage, status=status, run=stage.run + 1, asked=False, outcome=None, reason=None, retry_at=None)


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
    "task_changed": task_changed,
    **dict.fromkeys((kind.kind for kind in did.STAGE_EVENTS), stage_reported),
}


# --- decide: what a command makes happen ------------------------------------------------------------------


def decide(state: State, command: ask.Command, session_id: str) -> list[did.Event]:
    """The events that the command causes; none where it was done already.

    IllegalTransition where the state forbids it, SegmentIdReused for known ids with other content.
    """
    match command:
        case ask.Start():
            return [] if state.status != "new" else [start(command)]
        case ask.Record():
            return record(state, command, session_id)
        case ask.Finalize():
            if state.status in ("processing", "revealed"):
                return []
            permit(state, "session_finalized", command, session_id)
            return [did.SessionFinalized(reason=command.reason, **msgspec.structs.asdict(statistics(state)))]
        case ask.Cancel():
            if state.status == "cancelled":
                return []
            permit(state, "session_cancelled", command, session_id)
            return [did.SessionCancelled(why=command.why)]
        case ask.Retry():
            return retry(state, command, session_id)
        case ask.Begin():
            return begin(state, command, session_id)
        case ask.Report():
            return report(state, command, session_id)
        case ask.Conclude():
            return conclude(state, command, session_id)
        case _:
            raise TypeError(f"no decision for {type(command).__name__}")


def permit(state: State, kind: str, command: ask.Command, session_id: str) -> None:
    if fire(session_machine(), state.status, kind) is None:
        raise IllegalTransition(session_id, state.public, command.name)


def start(command: ask.Start) -> did.SessionStarted:
    return did.SessionStarted(**msgspec.structs.asdict(command))


def record(state: State, command: ask.Record, session_id: str) -> list[did.Event]:
    fresh: dict[str, Segment] = {}
    ordinal = state.segments + 1
    taken = {*command.known, *(segment.segment_id for segment in command.segments)}
    for segment in command.segments:
        given = str(ordinal + len(fresh))
        if given in taken:
            given = f"{given}~{state.version + 1}"
        segment_id = segment.segment_id or given
        known = command.known.get(segment_id) or fresh.get(segment_id)
        if known is None:
            fresh[segment_id] = segment
        elif not same(known, segment):
            raise SegmentIdReused(session_id, segment_id)
    if not fresh:
        return []
    permit(state, "segments_recorded", command, session_id)
    return [
        did.SegmentsRecorded(
            first_ordinal=ordinal,
            segment_ids=tuple(fresh),
            starts_ms=tuple(s.start_ms for s in fresh.values()),
            ends_ms=tuple(s.end_ms for s in fresh.values()),
            confidences=tuple(s.confidence for s in fresh.values()),
            texts=tuple(s.text for s in fresh.values()),
            speakers=tuple(s.speaker for s in fresh.values()),
        )
    ]


def same(one: Segment, other: Segment) -> bool:
    """Equal content, whatever the id is called."""
    return (one.text, one.start_ms, one.end_ms, one.speaker, one.confidence) == (
        other.text, other.start_ms, other.end_ms, other.speaker, other.confidence,
    )  # fmt: skip


def statistics(state: State) -> Stats:
    """The numbers of the recording so far; its duration runs from the first word to the last."""
    span = 0 if state.first_ms is None or state.last_ms is None else state.last_ms - state.first_ms
    mean = state.confidence_sum / state.confidence_count if state.confidence_count else None
    return Stats(state.segments, span / 1000, None if mean is None else round(mean, 6))


def retry(state: State, command: ask.Retry, session_id: str) -> list[did.Event]:
    permit(state, "stage_requested", command, session_id)
    stage = state.stage(command.stage)
    run = stage.run if command.run is None else command.run
    if not 1 <= run <= stage.run:
        raise InvalidInput("run", f"{command.stage} has had {stage.run} run(s), not {run}")
    if run < stage.run or stage.status != "done":
        return []  # that run was repeated already, or the current one is not over
    return [did.StageRequested(stage=stage.name, run=stage.run + 1)]


def begin(state: State, command: ask.Begin, session_id: str) -> list[did.Event]:
    permit(state, "stage_started", command, session_id)
    stage = state.stage(command.stage)
    if stage.run == command.run and stage.status in ("running", "waiting"):
        return []  # a takeover: this run has begun before
    if stage.run != command.run or fire(stage_machine(), stage.status, "stage_started") is None:
        raise IllegalTransition(session_id, f"{state.public} ({stage.name} {stage.status})", command.name)
    return [did.StageStarted(stage=stage.name, run=stage.run, provider=command.provider)]


def report(state: State, command: ask.Report, session_id: str) -> list[did.Event]:
    """A checkpoint of this run, or a late one of a run before; it needs no lease, but a run that has begun."""
    permit(state, "stage_progress", command, session_id)
    stage = state.stage(command.stage)
    begun = fire(stage_machine(), stage.status, "stage_progress") is not None
    if command.run > stage.run or (command.run == stage.run and not begun):
        raise IllegalTransition(session_id, f"{state.public} ({stage.name} {stage.status})", command.name)
    return [did.StageProgress(**msgspec.structs.asdict(command))]


def conclude(state: State, command: ask.Conclude, session_id: str) -> list[did.Event]:
    """The outcome; with the last open stage's the reveal, in the same append; after it, what was replaced."""
    permit(state, "stage_ready", command, session_id)
    stage = state.stage(command.stage)
    if stage.run != command.run or fire(stage_machine(), stage.status, "stage_ready") is None:
        raise IllegalTransition(session_id, f"{state.public} ({stage.name} {stage.status})", command.name)
    common: dict[str, Any] = {
        "stage": stage.name,
        "run": stage.run,
        "input_version": command.input_version,
        "duration_ms": command.duration_ms,
        "provider": command.provider,
    }
    outcome: did.Event
    if command.outcome == "failed":
        outcome = did.StageFailed(
            **common,
            reason=command.reason or "error",
            error_type=command.error_type or "Error",
            error=command.error,
        )
    else:
        outcome = did.StageReady(**common, outcome=command.outcome, reason=command.reason, artefact=command.artefact)
    events: list[did.Event] = [outcome]
    after = evolve(state, outcome)
    if state.status == "processing" and all(s.status == "done" for s in after.stages):
        events.append(did.Revealed(outcomes={s.name: s.outcome or "failed" for s in after.stages}))
        events.append(dashboard("session_completed", command))
    elif state.status == "revealed" and replaces(stage, command.outcome):
        events.append(did.ArtefactUpdated(stage=stage.name, run=stage.run, outcome=command.outcome))
        events.append(dashboard("session_updated", command))
    return events


def dashboard(action: str, command: ask.Conclude) -> did.DashboardRefreshed:
    return did.DashboardRefreshed(
        action=action, status="completed", completed_at=command.completed_at, title=command.title
    )
