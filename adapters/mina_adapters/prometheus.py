"""Prometheus metrics of a pipeline: what its workers do is counted, what its store holds is asked at each scrape.

The first half has no Prometheus in it, and serves opentelemetry.py too: bounded labels and the gauges' readings.
"""

from __future__ import annotations

import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol

from mina_pipeline import MissingExtra
from mina_pipeline.forks import forget_at_fork
from mina_pipeline.log import logger

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import GaugeMetricFamily

    from mina_pipeline import Workflow
    from mina_pipeline.observers import Observer, StageRun
    from mina_pipeline.ports import Clock

P = ParamSpec("P")

OTHER = "other"
CODE = re.compile(r"[\w.:/@+-]{1,60}( [\w.:/@+-]{1,20}){0,3}")
"""What may be a label's value: a name, or a reason of at most four words. A sentence may come from a meeting."""
MOST_VALUES = 40
ALIVE = 60.0
"""A worker process that gave no sign of life for so many seconds counts as silent."""
FRESH = 1.0
PATIENCE = 5.0
BREAKER = {"closed": 0, "half_open": 1, "open": 2}
OUTCOMES = ("ok", "degraded", "empty", "failed")
STAGE_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
REVEAL_BUCKETS = (1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 90.0, 120.0, 300.0, 600.0, 1800.0, 7200.0, 86_400.0)


class Watched(Protocol):
    """What is needed of a Pipeline."""

    workflows: Sequence[Workflow]
    clock: Clock

    def observe(self, observer: Observer) -> Any: ...

    def health(self) -> Any: ...


class Bounded:
    """Values of one label: the first `most` distinct ones that look like a code; all else is "other"."""

    def __init__(self, most: int = MOST_VALUES) -> None:
        self.most = most
        self.seen: set[str] = set()

    def __call__(self, value: str | None) -> str:
        if value is None or value in self.seen:
            return value or ""
        if len(self.seen) >= self.most or not CODE.fullmatch(value):
            return OTHER
        self.seen.add(value)
        return value


def complain(error: Exception) -> None:
    """Say that a signal was lost, and of what kind the error is; its text may hold anything."""
    with suppress(Exception):
        logger(__name__).warning("telemetry failed", error_type=type(error).__name__)


def quiet(method: Callable[P, None]) -> Callable[P, None]:
    """A callback whose errors are logged: telemetry stops no worker."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(*args, **kwargs)
        except Exception as error:
            complain(error)

    return call


Reading = tuple[str, str, str | None, str]
"""A gauge: its OpenTelemetry name, unit, label and help."""

READINGS: tuple[Reading, ...] = (
    ("mina.sessions", "{session}", "state", "Unfinished sessions."),
    ("mina.oldest_unfinished", "s", None, "How long the oldest unfinished session has been so."),
    ("mina.work", "{row}", "kind", "Rows of work, due or not."),
    ("mina.overdue", "{row}", None, "Work due for over a minute that nobody holds."),
    ("mina.breaker.state", "1", "provider", "A provider's circuit breaker: 0 closed, 1 half open, 2 open."),
    ("mina.workers", "{process}", None, "Worker processes with a sign of life within a minute."),
    ("mina.workers_silent", "{process}", None, "Those without, of the last day, that did not end in order."),
    ("mina.worker.silent", "s", None, "The longest silence of a worker process."),
    ("mina.feed.stalled_events", "{event}", None, "Committed events that an open transaction holds back."),
    ("mina.feed.stalled", "s", None, "How long the oldest of them has been held back."),
    ("mina.relay.lag", "s", None, "How far this process's relay is behind."),
    ("mina.relay.heartbeat_timestamp", "s", None, "When this process's relay last made a step."),
    ("mina.unknown_definitions", "{row}", "definition", "Work of definitions that no worker knows."),
)


def read(health: Any, now: int) -> dict[str, Mapping[str, float | None]]:
    """The readings at `now` (µs), by name and label's value; None: there is nothing to show."""
    silent = [max(0.0, (now - worker.seen_at) / 1e6) for worker in health.workers]
    stall = health.feed_stall
    return {
        "mina.sessions": health.sessions,
        "mina.oldest_unfinished": {"": health.oldest_unfinished or 0.0},
        "mina.work": health.work,
        "mina.overdue": {"": health.overdue},
        "mina.breaker.state": {breaker.provider: BREAKER[breaker.state] for breaker in health.breakers},
        "mina.workers": {"": sum(seconds <= ALIVE for seconds in silent)},
        "mina.workers_silent": {"": sum(seconds > ALIVE for seconds in silent)},
        "mina.worker.silent": {"": max(silent, default=None)},
        "mina.feed.stalled_events": {"": stall.events if stall else 0},
        "mina.feed.stalled": {"": max(0.0, (now - stall.oldest) / 1e6) if stall else 0.0},
        "mina.relay.lag": {"": health.relay_lag},
        "mina.relay.heartbeat_timestamp": {"": None if health.relay_seen is None else health.relay_seen / 1e6},
        "mina.unknown_definitions": health.unknown_definitions,
    }


class Watch:
    """Asks pipeline.health() for every gauge at once, at most once a second, whoever asks."""

    def __init__(self, pipeline: Watched) -> None:
        self.pipeline = pipeline
        self.bounds: defaultdict[str, Bounded] = defaultdict(Bounded)
        self.forget()
        forget_at_fork(self)

    def forget(self) -> None:
        self.lock = threading.Lock()
        self.until = 0.0
        self.known: dict[str, dict[str, float]] | None = None

    def values(self) -> dict[str, dict[str, float]] | None:
        """By name and label's value; None where the store fails, or another thread still waits for it."""
        if not self.lock.acquire(timeout=PATIENCE):
            return None
        try:
            if time.monotonic() >= self.until:
                self.known, self.until = self.ask(), time.monotonic() + FRESH
            return self.known
        finally:
            self.lock.release()

    def ask(self) -> dict[str, dict[str, float]] | None:
        values: dict[str, dict[str, float]] = {name: {} for name, *_ in READINGS}
        try:
            found = read(self.pipeline.health(), self.pipeline.clock.now())
            for name, _, of, _ in READINGS:
                for label, value in found[name].items():
                    label = self.bounds[of](label) if of else ""
                    if value is not None:
                        values[name][label] = values[name].get(label, 0) + value  # those beyond the bound are one
        except Exception as error:
            complain(error)
            return None
        return values


class StoreCollector:
    """The gauges, for a registry."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def describe(self) -> Iterator[GaugeMetricFamily]:
        from prometheus_client.metrics_core import GaugeMetricFamily

        yield GaugeMetricFamily("mina_up", "Whether the store answers.")
        for name, unit, label, text in READINGS:
            name = name.replace(".", "_") + ("_seconds" if unit == "s" else "")
            yield GaugeMetricFamily(name, text, labels=[label] if label else [])

    def collect(self) -> Iterable[GaugeMetricFamily]:
        up, *gauges = self.describe()
        values = self.watch.values()
        up.add_metric([], 0 if values is None else 1)
        if values is None:
            return [up]
        for (name, _, label, _), gauge in zip(READINGS, gauges, strict=True):
            for value, number in values[name].items():
                gauge.add_metric([value] if label else [], number)
        return [up, *gauges]


class PrometheusObserver:
    """Counts and times what the workers of this process do."""

    def __init__(self, watch: Watch, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"mina_{name}", text, labels, registry=registry)

        self.watch, self.bounds, self.here = watch, watch.bounds, threading.local()
        self.collector = StoreCollector(watch)
        labels = ["stage", "outcome"]
        self.seconds = Histogram(
            "mina_stage_seconds", "Runs of stages.", labels, buckets=STAGE_BUCKETS, registry=registry
        )
        self.stages = counter("stages", "Outcomes of stages.", "stage", "outcome", "reason")
        self.waits = counter("waits", "Runs that were put off.", "stage", "reason")
        self.takeovers = counter("takeovers", "Runs taken over from a claim that ended without an outcome.", "stage")
        self.refusals = counter("refused", "Outcomes that were nobody's any more.", "reason")
        self.reveals = Histogram(
            "mina_reveal_seconds", "Finalize to reveal.", buckets=REVEAL_BUCKETS, registry=registry
        )
        self.opened = counter("breaker_opened", "Times that this process opened a breaker.", "provider")
        text = "Threads in stages that were cut off and have not come back."
        self.hangs = Gauge("mina_hung_threads", text, registry=registry, multiprocess_mode="livesum")
        self.verifications = counter("verified", "Sessions verified.")
        self.problems = counter("verify_problems", "Problems that verify found.")
        self.tokens = counter("tokens", "Tokens that models read and wrote.", "model", "kind")
        self.cost = counter("cost", "What models cost, in the host's currency.", "model")
        # increase() does not see a series that begins at 1: what alerts count is there from the start.
        for stage in {shape.name for work in watch.pipeline.workflows for shape in work.definition.stages}:
            self.stages.labels(self.bound("stage", stage), "failed", self.bound("reason", "poison"))
            for outcome in OUTCOMES:
                self.seconds.labels(stage, self.bound("outcome", outcome))

    def bound(self, label: str, value: str | None) -> str:
        return self.bounds[label](value)

    def running(self, run: StageRun) -> AbstractContextManager[Any]:
        self.begun(run)
        return nullcontext()

    @quiet
    def begun(self, run: StageRun) -> None:
        if run.takeover and getattr(self.here, "run", None) is not run:
            self.takeovers.labels(self.bound("stage", run.stage)).inc()
        self.here.run = run  # the fallback's code may follow the stage's own, in the same claim

    @quiet
    def ended(
        self,
        run: StageRun,
        outcome: str,
        reason: str | None,
        began_at: int,
        ended_at: int,
        error_type: str | None = None,
    ) -> None:
        stage, outcome = self.bound("stage", run.stage), self.bound("outcome", outcome)
        self.stages.labels(stage, outcome, self.bound("reason", reason)).inc()
        self.seconds.labels(stage, outcome).observe(max(0, ended_at - began_at) / 1e6)

    @quiet
    def waiting(self, run: StageRun, reason: str, seconds: float) -> None:
        self.waits.labels(self.bound("stage", run.stage), self.bound("reason", reason)).inc()

    @quiet
    def refused(self, run: StageRun, reason: str) -> None:
        self.refusals.labels(self.bound("reason", reason)).inc()

    @quiet
    def revealed(self, session_id: str, trace_id: str, tenant: str | None, finalized_at: int, revealed_at: int) -> None:
        self.reveals.observe(max(0, revealed_at - finalized_at) / 1e6)

    @quiet
    def breaker(self, provider: str, state: str, reason: str | None) -> None:
        if state == "open":
            self.opened.labels(self.bound("provider", provider)).inc()

    @quiet
    def hung(self, threads: int) -> None:
        self.hangs.set(threads)

    @quiet
    def verified(self, problems: int) -> None:
        self.verifications.inc()
        self.problems.inc(problems)

    @quiet
    def usage(self, run: StageRun, model: str, tokens_in: int, tokens_out: int, cost: float | None) -> None:
        model = self.bound("model", model)
        self.tokens.labels(model, "input").inc(tokens_in)
        self.tokens.labels(model, "output").inc(tokens_out)
        if cost is not None:
            self.cost.labels(model).inc(cost)


def instrument(pipeline: Watched, registry: CollectorRegistry | None = None) -> PrometheusObserver:
    """Count what this pipeline does, in a registry (the client's default one); once a pipeline and registry.

    `observer.collector` has the store's gauges, for another registry: with multiprocess mode the one that is made for
    a scrape. MissingExtra; DuplicateTimeseries (a ValueError) where the registry has another pipeline's metrics.
    """
    try:
        from prometheus_client import REGISTRY
    except ImportError as error:
        raise MissingExtra("mina_adapters.prometheus", "prometheus") from error
    observer = PrometheusObserver(Watch(pipeline), registry or REGISTRY)
    (registry or REGISTRY).register(observer.collector)
    pipeline.observe(observer)
    return observer
