"""A pipeline as the telemetry adapters see it, with a health and a clock that the test sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mina_pipeline import Workflow
from mina_pipeline.observers import Observer, StageRun
from mina_pipeline.ports import FeedStall
from mina_pipeline.stages.standard import WORKFLOWS
from mina_pipeline.work_shapes import BreakerState, WorkerSeen

NOW = 1_764_000_000_000_000
TRACE = "019ab3f4-aa00-7c11-8a5b-0123456789ab"
RUN = StageRun("s-1", TRACE, "acme", "standard", "refinement", 1, "openai", "stage", False)
SECOND = 1_000_000
CANARY = "the budget of the zanzibar project is done, say nobody"


@dataclass(frozen=True)
class Health:
    """The attributes of the pipeline's own."""

    sessions: dict[str, int] = field(default_factory=dict)
    oldest_unfinished: float | None = None
    work: dict[str, int] = field(default_factory=dict)
    overdue: int = 0
    breakers: list[BreakerState] = field(default_factory=list)
    workers: list[WorkerSeen] = field(default_factory=list)
    feed_stall: FeedStall | None = None
    relay_lag: float | None = None
    relay_seen: int | None = None
    unknown_definitions: dict[str, int] = field(default_factory=dict)


BUSY = Health(
    sessions={"recording": 2, "refining": 1},
    oldest_unfinished=12.5,
    work={"stage": 3, "timer": 2},
    overdue=1,
    breakers=[BreakerState("openai", "open", 2, NOW, NOW, "outage"), BreakerState("own", "half_open", 1, 0, 0, None)],
    workers=[
        WorkerSeen("a", 0, NOW - 300 * SECOND, {"hung": 1}),
        WorkerSeen("b", 0, NOW - 2 * SECOND, {}),
        WorkerSeen("c", 0, NOW - 3 * SECOND, {}),
    ],
    feed_stall=FeedStall(4, NOW - 90 * SECOND, 1, "db", "me", "psql", "idle in transaction", 100.0),
    relay_lag=0.75,
    relay_seen=NOW - SECOND,
    unknown_definitions={"translated": 2},
)

GAUGES = {
    "mina_up": {"": 1.0},
    "mina_sessions": {"recording": 2.0, "refining": 1.0},
    "mina_oldest_unfinished_seconds": {"": 12.5},
    "mina_work": {"stage": 3.0, "timer": 2.0},
    "mina_overdue": {"": 1.0},
    "mina_breaker_state": {"openai": 2.0, "own": 1.0},
    "mina_workers": {"": 2.0},
    "mina_workers_silent": {"": 1.0},
    "mina_worker_silent_seconds": {"": 300.0},
    "mina_feed_stalled_events": {"": 4.0},
    "mina_feed_stalled_seconds": {"": 90.0},
    "mina_relay_lag_seconds": {"": 0.75},
    "mina_relay_heartbeat_timestamp_seconds": {"": NOW / 1e6 - 1},
    "mina_unknown_definitions": {"translated": 2.0},
}
"""What a scrape shows of BUSY, by the value of the one label."""


class SetClock:
    """Stands still where the test has put it."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> int:
        return self.at

    def monotonic(self) -> float:
        return self.at / 1e6


class Watched:
    """The part of a Pipeline that telemetry uses. `reading` is what health() calls."""

    def __init__(self, reading: Callable[[], Health] = lambda: BUSY) -> None:
        self.workflows: Sequence[Workflow] = WORKFLOWS[:1]
        self.clock: Any = SetClock()
        self.observers: list[Observer] = []
        self.reading = reading
        self.asked = 0

    def observe(self, observer: Observer) -> None:
        self.observers.append(observer)

    def health(self) -> Any:
        self.asked += 1
        return self.reading()


def store_away() -> Health:
    raise ConnectionError(CANARY)


def everything(observer: Observer) -> None:
    """A little of all that can happen."""
    with observer.running(RUN):
        observer.usage(RUN, "gpt-5-mini", 900, 100, 0.25)
        observer.usage(RUN, "local", 10, 5, None)
    observer.ended(RUN, "ok", None, NOW, NOW + 2 * SECOND)
    late = replace(RUN, stage="summary", takeover=True)
    for _ in ("its own code", "the fallback's"):
        with observer.running(late):
            pass
    observer.ended(late, "degraded", "outage", NOW, NOW + 40 * SECOND)
    observer.ended(replace(RUN, stage="tasks", run=2), "failed", "poison", NOW, NOW)
    observer.waiting(RUN, "rate limit", 2.5)
    observer.refused(RUN, "lease lost")
    observer.revealed("s-1", TRACE, "acme", NOW, NOW + 50 * SECOND)
    observer.breaker("openai", "open", "outage")
    observer.breaker("openai", "half_open", None)
    observer.breaker("openai", "closed", None)
    observer.hung(2)
    observer.verified(0)
    observer.verified(3)


def chatter(observer: Observer) -> None:
    """Words of a meeting in every place where a host's code could put them."""
    run = replace(RUN, stage="refinement", provider=CANARY, definition=CANARY)
    try:
        with observer.running(run):
            raise ValueError(CANARY)
    except ValueError:
        pass
    observer.ended(run, "failed", CANARY, NOW, NOW)
    observer.ended(run, CANARY, CANARY, NOW, NOW)
    observer.waiting(run, CANARY, 1.0)
    observer.refused(run, CANARY)
    observer.breaker(CANARY, "open", CANARY)
    observer.usage(run, CANARY, 1, 1, 0.1)


def nonsense(observer: Observer) -> None:
    """Calls that no observer can make sense of."""
    wrong: Any = None
    with observer.running(wrong):
        pass
    observer.ended(wrong, wrong, wrong, wrong, wrong)
    observer.waiting(wrong, wrong, wrong)
    observer.refused(wrong, wrong)
    observer.revealed(wrong, wrong, wrong, wrong, wrong)
    observer.breaker(wrong, "open", wrong)
    observer.hung(wrong)
    observer.verified(wrong)
    observer.usage(wrong, wrong, wrong, wrong, -1.0)
