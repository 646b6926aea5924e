"""What the engine's tests have in common: a clock to move by hand, a provider that can be away, sessions to work on."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from mina_pipeline import Degraded, Pipeline, ProviderUnavailable, Segment, StageContext
from mina_pipeline.stages.base import Outcome
from mina_pipeline.stages.offline import OfflineProvider
from mina_pipeline.store.sql import SqlStore

SAID = [
    Segment("okay so let's start", 0, 2000, "Ann", 0.9),
    Segment("bob can you send the figures by friday", 2100, 5000, "Ann", 0.8),
    Segment("yeah i'll send them tomorrow", 5100, 8000, "Bob", 0.7),
]


class Time:
    """A Clock. `pass_by` moves it, and with it the times in databases that have a clock of their own."""

    def __init__(self, start: int, running: bool) -> None:
        self.offset = 0
        self.start = start
        self.running = running
        self.stores: list[Any] = []

    def now(self) -> int:
        return (time.time_ns() // 1000 if self.running else self.start) + self.offset

    def monotonic(self) -> float:
        return (time.monotonic() if self.running else 0.0) + self.offset / 1e6

    def pass_by(self, seconds: float) -> None:
        self.offset += int(seconds * 1e6)
        if not self.running:
            return
        for store in self.stores[:1]:
            assert isinstance(store, SqlStore)
            work, breakers, sessions = (store.schema.sql(name) for name in ("work", "breakers", "sessions"))
            micros = int(seconds * 1e6)
            for table, columns in (
                (work, ("due_at", "until", "created_at")),
                (breakers, ("retry_at", "changed_at", "probe_until")),
                (sessions, ("touched_at",)),
            ):
                moved = ", ".join(f"{name} = {name} - {micros}" for name in columns)
                store.writing(lambda link, text=f"UPDATE {table} SET {moved}": link.count(text))


class Model(OfflineProvider):
    """The offline provider under another name, which can be away for some stages; counts what it is asked."""

    name = "model"

    def __init__(self, away: Iterable[str] = (), error: Exception | None = None) -> None:
        self.away = set(away)
        self.error = error or ProviderUnavailable("model")
        self.asked: list[str] = []
        self.budget: set[str] = set()

    def made(self, ctx: StageContext, outcome: Outcome) -> Outcome:
        self.asked.append(f"{ctx.stage} {ctx.run}")
        if ctx.stage in self.away:
            raise self.error
        return Degraded(outcome.artefact, "budget") if ctx.stage in self.budget else outcome

    def refine(self, ctx: StageContext) -> Outcome:
        return self.made(ctx, super().refine(ctx))

    def analyze(self, ctx: StageContext) -> Outcome:
        return self.made(ctx, super().analyze(ctx))

    def extract_tasks(self, ctx: StageContext) -> Outcome:
        return self.made(ctx, super().extract_tasks(ctx))

    def summarize(self, ctx: StageContext) -> Outcome:
        return self.made(ctx, super().summarize(ctx))


ALL = frozenset({"refinement", "analytics", "tasks", "summary"})


def finalized(pipeline: Pipeline, **options: Any) -> str:
    """A finalized session with three segments; its id."""
    session_id = pipeline.start_session("Figures", **options).session_id
    pipeline.record(session_id, SAID)
    pipeline.finalize(session_id)
    return session_id


def types(pipeline: Pipeline, session_id: str) -> list[str]:
    return [event.type for event in pipeline.events(session_id)]


def outcomes(pipeline: Pipeline, session_id: str) -> dict[str, str | None]:
    return {name: stage.outcome for name, stage in pipeline.get(session_id).stages.items()}


def due_in(pipeline: Pipeline, session_id: str) -> dict[tuple[str, str], float]:
    """The session's rows of work, and in how many seconds they are due."""
    now = pipeline.clock.now()
    rows = [row for row in pipeline.store.work_rows(now) if row["session_id"] == session_id]
    return {(row["kind"], row["stage"]): (row["due_at"] - now) / 1e6 for row in rows}
