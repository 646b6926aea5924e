"""What callers read: a session as it is, and what its stages made, out of the store's rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from .codec import typed
from .meeting import (
    AnalyticsResult,
    Improvements,
    Result,
    StageResult,
    SummaryResult,
    Task,
    TasksResult,
    TranscriptLine,
    TranscriptResult,
)
from .ports import Views
from .projections import Row
from .states import FOLD_VERSION, Spent, State, Stats


@dataclass(frozen=True)
class StageView:
    """One stage of a session. status: blocked | due | running | waiting | done; durations in ms."""

    status: str
    outcome: str | None
    run: int
    provider: str | None
    duration_ms: int | None
    reason: str | None = None

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)


@dataclass(frozen=True)
class Session:
    """A session as it is now. Times are µs since the epoch; `stats` is None before finalize.

    `definition` is the pinned name, `definition_version` its version; `usage` is what models cost, by stage;
    `parent`: the session that this one is a fork of.
    """

    session_id: str
    id: int
    title: str | None
    meeting_id: str | None
    tenant: str | None
    definition: str
    definition_version: int
    state: str
    version: int
    stats: Stats | None
    stages: dict[str, StageView]
    started_at: int
    timezone: str | None
    locale: str | None
    metadata: dict[str, Any]
    trace_id: str
    created_at: int
    updated_at: int
    finalized_at: int | None
    revealed_at: int | None
    total_segments: int
    usage: dict[str, Any]
    parent: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """By the attributes' names, for JSON."""
        out: dict[str, Any] = msgspec.to_builtins(self)
        return out


def session_view(row: Row, state: State | None = None) -> Session:
    """A session row as callers see it, with its stages by `state` or else the row's own snapshot.

    A snapshot of another fold version is not read: then the row's columns are all that is shown, and no stages.
    """
    if state is None and row["fold_version"] == FOLD_VERSION:
        state = msgspec.json.decode(row["snapshot"], type=State)
    stages = {
        stage.name: StageView(stage.status, stage.outcome, stage.run, stage.provider, stage.duration_ms, stage.reason)
        for stage in (state.stages if state else ())
    }
    stats = state.stats if state else column_stats(row)
    plain = ("session_id", "id", "title", "meeting_id", "tenant", "definition", "definition_version", "version",
             "started_at", "timezone", "locale", "trace_id", "created_at", "updated_at", "total_segments")  # fmt: skip
    return Session(
        **{name: row[name] for name in plain},
        state=state.public if state else row["state"],
        stats=stats,
        stages=stages,
        metadata=msgspec.json.decode(row["metadata"]),
        finalized_at=row.get("finalized_at"),
        revealed_at=row.get("revealed_at"),
        usage=usage_view(state.usage if state else ()),
        parent=row.get("parent"),
    )


def usage_view(spent: Sequence[Spent]) -> dict[str, Any]:
    """{tokens_in, tokens_out, cost, in_doubt, stages: {stage: {run: [{provider, model, answers, …}]}}}; cost in the
    host's currency, None where no model has a price; in_doubt: answers that were perhaps paid for twice."""
    stages: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for one in spent:
        fields = {name: getattr(one, name) for name in one.__struct_fields__ if name not in ("stage", "run")}
        stages.setdefault(one.stage, {}).setdefault(str(one.run), []).append(fields)
    costs = [one.cost for one in spent if one.cost is not None]
    return {
        "tokens_in": sum(one.tokens_in for one in spent),
        "tokens_out": sum(one.tokens_out for one in spent),
        "cost": sum(costs) if costs else None,
        "in_doubt": sum(one.in_doubt for one in spent),
        "stages": stages,
    }


def column_stats(row: Row) -> Stats | None:
    if row.get("finalized_at") is None:
        return None
    return Stats(*(row[name] for name in Stats.__struct_fields__))


def transcript_lines(
    segments: list[Row], run: int | None, kept_raw: Collection[str] = ()
) -> tuple[TranscriptLine, ...]:
    """Segment rows by start time; the refined text is that of refinement's kept run."""
    return tuple(
        TranscriptLine(
            row["segment_id"],
            row["start_ms"],
            row["end_ms"],
            row["speaker"],
            row["text"],
            row["refined_text"] if run is not None and row["refined_run"] == run else row["text"],
            row["confidence"],
            row["segment_id"] in kept_raw,
        )
        for row in sorted(segments, key=lambda row: (row["start_ms"], row["ordinal"]))
    )


def refined_text(rows: Iterable[Row]) -> str:
    """A transcript for people to read: segment rows as lines, by start time, each with who said it where that is
    known; `text` is what is shown."""
    spoken = sorted(rows, key=lambda row: (row["start_ms"], row["ordinal"]))
    return "\n".join(f"{row['speaker']}: {row['text']}" if row["speaker"] else row["text"] for row in spoken)


def result(views: Views, session_id: str) -> Result:
    """What the stages made, from the read models."""
    artefacts = {row["stage"]: row for row in views.rows("artefacts", session_id)}
    found: dict[str, Any] = {
        "transcript": None,
        "analytics": None,
        "tasks": None,
        "summary": None,
        "others": {},
    }
    for stage, row in artefacts.items():
        made = {name: row[name] for name in ("outcome", "run", "provider", "reason")}
        body = None if row["body"] is None else msgspec.json.decode(row["body"])
        match stage:
            case "refinement":
                body = body or {}
                found["transcript"] = TranscriptResult(
                    **made,
                    lines=transcript_lines(
                        views.rows("segments", session_id), row["run"], frozenset(body.get("kept_raw") or ())
                    ),
                    improvements=typed(body.get("improvements") or {}, Improvements),
                    confidence=body.get("confidence"),
                )
            case "analytics":
                found["analytics"] = typed({**details(views, "analytics", session_id), **made}, AnalyticsResult)
            case "summary":
                found["summary"] = typed({**details(views, "summaries", session_id), **made}, SummaryResult)
            case "tasks":
                rows = views.rows("tasks", session_id)
                dropped = (body or {}).get("dropped_citations", 0)
                found["tasks"] = TasksResult(**made, tasks=tuple(map(task, rows)), dropped_citations=dropped)
            case _:
                found["others"][stage] = StageResult(**made, artefact=body)
    return Result(**found)


def details(views: Views, table: str, session_id: str) -> Row:
    """A one-row read model with what it keeps as JSON, as one dict."""
    rows = views.rows(table, session_id)
    if not rows:
        return {}
    row = rows[0]
    plain = {k: v for k, v in row.items() if k not in ("session_id", "meeting_id", "details") and v is not None}
    return {**plain, **msgspec.json.decode(row["details"])}


def task(row: Row) -> Task:
    """A row of the tasks table."""
    fields = {name: row[name] for name in Task.__dataclass_fields__}
    for listed in ("evidence", "quotes"):
        fields[listed] = tuple(msgspec.json.decode(row[listed] or "[]"))
    return Task(**{**fields, "completed": bool(row["completed"]), "description": row["description"] or ""})
