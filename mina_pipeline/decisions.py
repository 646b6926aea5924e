"""Decide: which events a command causes in a state, or why it may not. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from . import commands as ask
from . import events as did
from .errors import IllegalTransition, InvalidInput, SegmentIdReused, TaskNotFound
from .machine import fire, session_machine, stage_machine
from .meeting import Segment
from .states import StageState, State, Stats, evolve, replaces


def decide(state: State, command: ask.Command, session_id: str) -> list[did.Event]:
    """The events that the command causes; none where it was done already.

    IllegalTransition where the state forbids it, SegmentIdReused for known ids with other content, TaskNotFound where
    a task is not there.
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
        case ask.Abandon():
            if state.status != "recording" or command.silent < command.grace:
                return []  # it was finalized, or there was a sign of life
            return [did.SessionFinalized(reason="abandoned", **msgspec.structs.asdict(statistics(state)))]
        case ask.Cancel():
            if state.status == "cancelled":
                return []
            permit(state, "session_cancelled", command, session_id)
            return [did.SessionCancelled(why=command.why)]
        case ask.Retry():
            return retry(state, command, session_id)
        case ask.ChangeTask():
            return change_task(state, command, session_id)
        case ask.Begin():
            return begin(state, command, session_id)
        case ask.Report():
            return report(state, command, session_id)
        case ask.Wait():
            return wait(state, command, session_id)
        case ask.Upgrade():
            return upgrade(state, command, session_id)
        case ask.Drop():
            return drop(state, command, session_id)
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
    if state.status != "recording" and not command.late:
        raise IllegalTransition(session_id, state.public, command.name)
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


def change_task(state: State, command: ask.ChangeTask, session_id: str) -> list[did.Event]:
    """Only what differs from the task as it is: later runs may still better the rest."""
    permit(state, "task_changed", command, session_id)
    if command.known is None:
        raise TaskNotFound(session_id, command.task_id)
    changes = {field: value for field, value in command.changes.items() if value != command.known[field]}
    return [did.TaskChanged(task_id=command.task_id, fields=tuple(changes), changes=changes)] if changes else []


def begin(state: State, command: ask.Begin, session_id: str) -> list[did.Event]:
    permit(state, "stage_started", command, session_id)
    stage = state.stage(command.stage)
    if stage.run == command.run and stage.status in ("running", "waiting"):
        return []  # a takeover, or the end of a wait: this run has begun before
    if stage.run != command.run or stage.status != "due":
        raise out_of_turn(state, stage, command, session_id)
    return [did.StageStarted(stage=stage.name, run=stage.run, provider=command.provider)]


def out_of_turn(state: State, stage: StageState, command: ask.Command, session_id: str) -> IllegalTransition:
    return IllegalTransition(session_id, f"{state.public} ({stage.name} {stage.status})", command.name)


def wait(state: State, command: ask.Wait, session_id: str) -> list[did.Event]:
    permit(state, "stage_waiting", command, session_id)
    stage = state.stage(command.stage)
    if stage.run != command.run or fire(stage_machine(), stage.status, "stage_waiting") is None:
        raise out_of_turn(state, stage, command, session_id)
    since = command.at if stage.waiting_since is None else stage.waiting_since
    return [
        did.StageWaiting(
            stage=stage.name,
            run=stage.run,
            reason=command.reason,
            retry_at=command.retry_at,
            since=since,
            error=command.error,
        )
    ]


def upgrade(state: State, command: ask.Upgrade, session_id: str) -> list[did.Event]:
    """A degraded result made again: the run begins with its outcome, so that nothing is told before there is one."""
    made = command.made
    permit(state, "stage_started", command, session_id)
    stage = state.stage(made.stage)
    if state.status != "revealed" or not stage.upgrade or stage.status != "done" or made.run != stage.run + 1:
        raise out_of_turn(state, stage, command, session_id)
    started = did.StageStarted(stage=stage.name, run=made.run, provider=made.provider)
    return [started, *conclude(evolve(state, started), made, session_id)]


def drop(state: State, command: ask.Drop, session_id: str) -> list[did.Event]:
    """End what is pending for a stage: a wait, as a failure, or an upgrade. Where nothing is, nothing happens."""
    stage = state.stage(command.stage)
    if command.run is not None and not 1 <= command.run <= stage.run:
        raise InvalidInput("run", f"{command.stage} has had {stage.run} run(s), not {command.run}")
    if command.run not in (None, stage.run):
        return []
    if stage.status == "waiting" and state.status in ("processing", "revealed"):
        ended = ask.Conclude(
            stage=stage.name,
            run=stage.run,
            outcome="failed",
            input_version=state.version,
            duration_ms=0,
            completed_at=command.completed_at,
            provider=stage.provider,
            reason="dropped",
            error_type="Dropped",
            title=command.session_title,
        )
        return conclude(state, ended, session_id)
    if state.status == "revealed" and stage.status == "done" and stage.upgrade:
        return [did.StageDropped(stage=stage.name, run=stage.run, reason=command.reason)]
    return []


def report(state: State, command: ask.Report, session_id: str) -> list[did.Event]:
    """A checkpoint of this run, or a late one of a run before; it needs no lease, but a run that has begun.

    A degraded result that is made again begins only with its outcome; what it has paid for until then is kept.
    """
    permit(state, "stage_progress", command, session_id)
    stage = state.stage(command.stage)
    begun = fire(stage_machine(), stage.status, "stage_progress") is not None
    upgrades = stage.upgrade and stage.status == "done" and command.hash is not None
    if command.run > stage.run + upgrades or (command.run == stage.run and not begun):
        raise out_of_turn(state, stage, command, session_id)
    return [did.StageProgress(**msgspec.structs.asdict(command))]


def conclude(state: State, command: ask.Conclude, session_id: str) -> list[did.Event]:
    """The outcome; with the last open stage's the reveal, in the same append; after it, what was replaced."""
    permit(state, "stage_ready", command, session_id)
    stage = state.stage(command.stage)
    if stage.run != command.run or fire(stage_machine(), stage.status, "stage_ready") is None:
        raise out_of_turn(state, stage, command, session_id)
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
        outcome = did.StageReady(
            **common,
            outcome=command.outcome,
            reason=command.reason,
            upgrade=command.upgrade,
            artefact=command.artefact,
        )
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
