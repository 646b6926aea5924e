"""Events to row operations, as data. The same functions write the read models, rebuild them and verify them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import msgspec

from .events import (
    Event,
    Revealed,
    SegmentsRecorded,
    SessionFinalized,
    SessionStarted,
    StageFailed,
    StageReady,
    TaskChanged,
)
from .meeting import Task
from .states import FOLD_VERSION, StageState, State, replaces

KEYS: dict[str, tuple[str, ...]] = {
    "sessions": ("session_id",),
    "segments": ("session_id", "segment_id"),
    "artefacts": ("session_id", "stage"),
    "analytics": ("session_id",),
    "summaries": ("session_id",),
    "tasks": ("session_id", "task_id"),
    "work": ("session_id", "kind", "stage"),
}
READ_MODELS = ("segments", "artefacts", "analytics", "summaries", "tasks", "work")
OPERATIONAL = frozenset({"due_at", "owner", "token", "until", "attempts", "tries", "created_at"})
"""Columns of `work` that workers change without an event; rebuild leaves them, verify ignores them."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Op:
    """One operation on one table. kind: insert | upsert | update | delete, rows by KEYS; prune deletes the
    session's rows whose last key column is not among `keep`. All rows of an op have the same columns."""

    kind: str
    table: str
    rows: tuple[Row, ...] = ()
    keep: tuple[str, ...] = ()


@dataclass(frozen=True)
class Delays:
    """How long after an event the timers and upgrades that it brings are due, in µs."""

    recording: int = 0
    reveal: int = 0
    upgrade: int = 0


DELAYS = Delays()


@dataclass(frozen=True)
class Happened:
    """An event with what the envelope adds to it, as projections read it."""

    session_id: str
    version: int
    recorded_at: int
    event: Event


def project(before: State, after: State, happened: Sequence[Happened], delays: Delays = DELAYS) -> list[Op]:
    """The operations for events that took `before` to `after`; no key occurs twice."""
    ops: list[Op] = []
    for one in happened:
        ops.extend(artefact_ops(before, one))
    if happened:
        ops.extend(work_ops(before, after, happened[-1], delays))
    return ops


def session_columns(after: State, happened: Sequence[Happened]) -> Row:
    """The session row's columns that these events set; the store adds version guard, hash and feed key."""
    row: Row = {
        "version": after.version,
        "state": after.public,
        "snapshot": msgspec.json.encode(after).decode(),
        "fold_version": FOLD_VERSION,
        "total_segments": after.segments,
        "updated_at": happened[-1].recorded_at,
    }
    for one in happened:
        match one.event:
            case SessionStarted() as event:
                row |= {
                    "session_id": one.session_id,
                    "id": event.id,
                    "definition": event.definition,
                    "definition_version": event.definition_version,
                    "title": event.title,
                    "meeting_id": event.meeting_id,
                    "tenant": event.tenant,
                    "timezone": event.timezone,
                    "locale": event.locale,
                    "metadata": msgspec.json.encode(event.metadata).decode(),
                    "parent": event.parent,
                    "started_at": event.started_at,
                    "created_at": one.recorded_at,
                    "touched_at": one.recorded_at,
                }
            case SegmentsRecorded():
                row["touched_at"] = one.recorded_at
            case SessionFinalized() as event:
                row |= {
                    "finalized_at": one.recorded_at,
                    "total_duration": event.total_duration,
                    "average_confidence": event.average_confidence,
                }
            case Revealed():
                row["revealed_at"] = one.recorded_at
            case _:
                pass
    return row


def artefact_ops(before: State, one: Happened) -> Iterable[Op]:
    match one.event:
        case SegmentsRecorded() as event:
            yield Op("insert", "segments", tuple(segment_rows(before, one, event)))
        case StageReady() | StageFailed() as event:
            stage = before.stage(event.stage)
            outcome = event.outcome if isinstance(event, StageReady) else "failed"
            if replaces(stage, outcome):
                yield from result_ops(before, one, event, outcome)
        case TaskChanged() as event:
            row = {"session_id": one.session_id, "task_id": event.task_id, **task_columns(event.changes)}
            yield Op("update", "tasks", (row,))
        case _:
            return


def segment_rows(before: State, one: Happened, event: SegmentsRecorded) -> Iterable[Row]:
    texts = event.texts or ("",) * len(event.segment_ids)
    speakers = event.speakers or (None,) * len(event.segment_ids)
    for index, segment_id in enumerate(event.segment_ids):
        yield {
            "session_id": one.session_id,
            "ordinal": event.first_ordinal + index,
            "segment_id": segment_id,
            "meeting_id": before.meeting_id,
            "start_ms": event.starts_ms[index],
            "end_ms": event.ends_ms[index],
            "speaker": speakers[index],
            "text": texts[index],
            "confidence": event.confidences[index],
            "version": one.version,
            "refined_text": None,
            "refined_run": None,
        }


def result_ops(before: State, one: Happened, event: StageReady | StageFailed, outcome: str) -> Iterable[Op]:
    """What a kept result puts into the read models; a failed one leaves the last good artefact where it is."""
    artefact = event.artefact if isinstance(event, StageReady) else None
    body = None
    if artefact is not None:
        match event.stage:
            case "refinement" if isinstance(artefact, dict):
                yield from refined_ops(one, event.run, artefact)
                body = {key: value for key, value in artefact.items() if key != "changes"}
            case "tasks" if isinstance(artefact, dict):
                yield from tasks_ops(before, one, artefact.get("tasks") or [])
                dropped = artefact.get("dropped_citations")
                body = {"dropped_citations": dropped} if dropped else None
            case "analytics" if isinstance(artefact, dict):
                yield Op("upsert", "analytics", (analytics_row(before, one, artefact),))
            case "summary" if isinstance(artefact, dict):
                yield Op("upsert", "summaries", (summary_row(before, one, artefact),))
            case _:
                body = artefact
    yield Op(
        "upsert",
        "artefacts",
        (
            {
                "session_id": one.session_id,
                "stage": event.stage,
                "meeting_id": before.meeting_id,
                "run": event.run,
                "outcome": outcome,
                "reason": event.reason,
                "provider": event.provider,
                "input_version": event.input_version,
                "duration_ms": event.duration_ms,
                "version": one.version,
                "error": event.error if isinstance(event, StageFailed) else None,
                "body": None if body is None else msgspec.json.encode(body).decode(),
            },
        ),
    )


def refined_ops(one: Happened, run: int, artefact: Row) -> Iterable[Op]:
    rows = tuple(
        {
            "session_id": one.session_id,
            "segment_id": change["segment_id"],
            "refined_text": change["text"],
            "refined_run": run,
        }
        for change in artefact.get("changes") or []
    )
    if rows:
        yield Op("update", "segments", rows)


def analytics_row(before: State, one: Happened, artefact: Row) -> Row:
    columns = ("total_duration_minutes", "word_count", "average_confidence", "segment_count", "words_per_minute",
               "participant_count")  # fmt: skip
    return {
        "session_id": one.session_id,
        "meeting_id": before.meeting_id,
        **{column: artefact.get(column) for column in columns},
        "details": rest(artefact, columns),
    }


def summary_row(before: State, one: Happened, artefact: Row) -> Row:
    columns = ("brief", "detailed", "sentiment", "model", "confidence_score")
    return {
        "session_id": one.session_id,
        "meeting_id": before.meeting_id,
        **{column: artefact.get(column) for column in columns},
        "details": rest(artefact, columns),
    }


def rest(artefact: Row, columns: Sequence[str]) -> str:
    return msgspec.json.encode({key: value for key, value in artefact.items() if key not in columns}).decode()


TASK_COLUMNS = tuple(f for f in Task.__dataclass_fields__ if f != "task_id")


def task_columns(task: Row) -> Row:
    row = {column: task[column] for column in TASK_COLUMNS if column in task}
    for listed in ("evidence", "quotes"):
        if listed in row:
            row[listed] = msgspec.json.encode(row[listed]).decode()
    return row


def tasks_ops(before: State, one: Happened, tasks: Sequence[Row]) -> Iterable[Op]:
    """The new list takes the old one's place, but what people changed stays as they left it."""
    by_columns: dict[tuple[str, ...], list[Row]] = {}
    for ordinal, task in enumerate(tasks, 1):
        held = before.changed_tasks.get(task["task_id"], ())
        # Logs of before have tasks without quotes.
        columns = {c: v for c, v in {"quotes": "[]", **task_columns(task)}.items() if c not in held}
        if not before.changed_tasks.get(task["task_id"]):
            columns.setdefault("completed", False)
        row = {
            "session_id": one.session_id,
            "task_id": task["task_id"],
            "meeting_id": before.meeting_id,
            "ordinal": ordinal,
            **columns,
        }
        by_columns.setdefault(tuple(row), []).append(row)
    for columns_of, rows in by_columns.items():
        yield Op("upsert" if set(TASK_COLUMNS) <= set(columns_of) else "update", "tasks", tuple(rows))
    keep = {*before.changed_tasks, *(task["task_id"] for task in tasks)}
    yield Op("prune", "tasks", ({"session_id": one.session_id},), keep=tuple(sorted(keep)))


# --- work: which rows there are is the fold of the log; when they are due and who has them is not


@dataclass(frozen=True)
class Work:
    """A row that `work` is to hold. retry_at: when it is due, where an event says so (µs)."""

    run: int
    retry_at: int | None = None
    waits: int = 0


RECORDING = ("timer", "recording")
"""Finalizes a recording that gives no sign of life any more."""
REVEAL = ("timer", "reveal")
"""Ends a session's waiting for providers that are away."""


def open_work(state: State) -> dict[tuple[str, str], Work]:
    """By kind and stage (a timer's name stands where a stage's does): what is a worker's to do, now or later."""
    if state.status == "recording":
        return {RECORDING: Work(1)}
    if state.status not in ("processing", "revealed"):
        return {}
    work = {
        ("stage", stage.name): Work(stage.run, stage.retry_at, stage.waits)
        for stage in state.stages
        if stage.status in ("due", "running", "waiting")
    }
    if state.status == "revealed":
        work |= {("upgrade", stage.name): Work(stage.run + 1) for stage in upgradable(state)}
    elif state.begun:
        work[REVEAL] = Work(1)
    return work


def upgradable(state: State) -> Iterable[StageState]:
    """Degraded results to be made again: first those that others read, since these then run again anyway."""
    open_ones = {stage.name for stage in state.stages if stage.upgrade or stage.status != "done"}
    for stage in state.stages:
        if stage.upgrade and stage.status == "done" and not open_ones.intersection(stage.reads):
            yield stage


def work_ops(before: State, after: State, last: Happened, delays: Delays) -> Iterable[Op]:
    old, new = open_work(before), open_work(after)
    gone = [key for key in old if key not in new]
    if gone:
        yield Op("delete", "work", tuple(work_key(last, key) for key in gone))
    come = [key for key in new if key not in old]
    if come:
        yield Op("insert", "work", tuple(work_row(last, after, key, new[key], delays) for key in come))
    for key, work in new.items():
        if key not in old or work == old[key]:
            continue
        if work.run != old[key].run:
            yield Op("update", "work", (work_row(last, after, key, work, delays),))
        elif work.waits != old[key].waits:
            free = {"due_at": work.retry_at, "owner": None, "token": None, "until": None, "attempts": 0}
            yield Op("update", "work", ({**work_key(last, key), **free},))


def work_key(one: Happened, key: tuple[str, str]) -> Row:
    return {"session_id": one.session_id, "kind": key[0], "stage": key[1]}


def work_row(one: Happened, state: State, key: tuple[str, str], work: Work, delays: Delays) -> Row:
    due_at = one.recorded_at + delay(one.session_id, key, delays) if work.retry_at is None else work.retry_at
    return {
        **work_key(one, key),
        "run": work.run,
        "definition": state.definition,
        "definition_version": state.definition_version,
        "due_at": due_at,
        "owner": None,
        "token": None,
        "until": None,
        "attempts": 0,
        "tries": 0,
        "created_at": one.recorded_at,
    }


def delay(session_id: str, key: tuple[str, str], delays: Delays) -> int:
    if key == RECORDING:
        return delays.recording
    if key == REVEAL:
        return delays.reveal
    if key[0] == "upgrade":  # spread over as long again, each session by its own id, so that no herd forms
        return delays.upgrade + delays.upgrade * (crc32(f"{session_id}/{key[1]}".encode()) % 1024) // 1024
    return 0
