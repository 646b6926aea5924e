"""OpenTelemetry metrics of a pipeline, and one trace a session. Only the API is used: the SDK is the host's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from mina_pipeline import MissingExtra
from mina_pipeline.forks import forget_at_fork

from .prometheus import READINGS, REVEAL_BUCKETS, STAGE_BUCKETS, Reading, Watch, Watched, quiet

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import CallbackOptions, Counter, Histogram, MeterProvider, Observation
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.trace import Span, TracerProvider

    from mina_pipeline.observers import StageRun

SCOPE = "mina_pipeline"
MOST_OPEN = 1_000
"""So many spans wait for their outcome at most; the oldest ends without one."""
WANTED: ContextVar[tuple[int, int] | None] = ContextVar("mina_wanted", default=None)
"""The trace and span id that the next span is to get from SessionIds."""


def trace_number(trace_id: str) -> int:
    """The 128 bits of a session's trace id; of one that is no UUID, those of its hash."""
    try:
        number = int(trace_id.replace("-", ""), 16)
    except ValueError:
        number = 0
    return number if 0 < number < 1 << 128 else int.from_bytes(sha256(trace_id.encode()).digest()[:16])


def span_number(session_id: str) -> int:
    """The id of a session's root span: every process knows it without asking."""
    return int.from_bytes(sha256(session_id.encode()).digest()[:8]) or 1


class SessionIds:
    """An id generator of `session_ids`."""


def session_ids(inner: IdGenerator | None = None) -> IdGenerator:
    """For the host's TracerProvider(id_generator=…): lets a session's root span have the id that its stages name as
    their parent. All other ids are `inner`'s (the SDK's random ones)."""
    from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator

    given = inner or RandomIdGenerator()

    class Ids(SessionIds, IdGenerator):
        def generate_trace_id(self) -> int:
            wanted = WANTED.get()
            return wanted[0] if wanted else given.generate_trace_id()

        def generate_span_id(self) -> int:
            wanted = WANTED.get()
            return wanted[1] if wanted else given.generate_span_id()

        def is_trace_id_random(self) -> bool:
            return WANTED.get() is None and given.is_trace_id_random()

    return Ids()


@dataclass
class Open:
    """A span whose claim has come to nothing yet. begun, left: when the stage's code began and came back (µs)."""

    run: StageRun
    span: Span
    begun: int
    left: int = 0

    def end(self, outcome: str, at: int, labels: Mapping[str, str | float] | None = None) -> None:
        """End it at a time (µs), never before its start."""
        self.span.set_attributes({"mina.outcome": outcome, **(labels or {})})
        self.span.end(max(self.begun, at) * 1000)


class OpenTelemetryObserver:
    """Counts, times and traces what the workers of this process do.

    A span is begun and made current where the stage's code begins (`running`), and ends with what becomes of that
    claim: `ended`, `waiting` or `refused`, from whichever thread. One of which nothing becomes (its store was away)
    ends when the run is claimed here again, with the outcome `lost`. The session's span is the very parent that its
    stages name where the host's provider has `session_ids`, else their sibling: the API lets nobody choose an id.
    """

    def __init__(
        self, watch: Watch, meters: MeterProvider | None, tracers: TracerProvider | None, share: float
    ) -> None:
        from opentelemetry import metrics, trace

        self.watch, self.bounds = watch, watch.bounds
        self.now: Callable[[], int] = watch.pipeline.clock.now
        self.tracers, self.share = tracers, share
        self.tracer = trace.get_tracer(SCOPE, tracer_provider=tracers)
        self.meter = meter = metrics.get_meter(SCOPE, meter_provider=meters)
        self.hanging = 0

        def counter(name: str, unit: str, text: str) -> Counter:
            return meter.create_counter(f"mina.{name}", unit, text)

        def histogram(name: str, text: str, buckets: Sequence[float]) -> Histogram:
            return meter.create_histogram(f"mina.{name}", "s", text, explicit_bucket_boundaries_advisory=buckets)

        self.seconds = histogram("stage.duration", "Runs of stages.", STAGE_BUCKETS)
        self.reveals = histogram("reveal.duration", "Finalize to reveal.", REVEAL_BUCKETS)
        self.stages = counter("stages", "{run}", "Outcomes of stages.")
        self.waits = counter("waits", "{run}", "Runs that were put off.")
        self.takeovers = counter("takeovers", "{run}", "Runs taken over from a claim that ended without an outcome.")
        self.refusals = counter("refused", "{run}", "Outcomes that were nobody's any more.")
        self.opened = counter("breaker.opened", "{time}", "Times that this process opened a breaker.")
        self.verifications = counter("verified", "{session}", "Sessions verified.")
        self.problems = counter("verify.problems", "{problem}", "Problems that verify found.")
        self.tokens = counter("tokens", "{token}", "Tokens that models read and wrote.")
        self.cost = counter("cost", "1", "What models cost, in the host's currency.")
        hung = ("mina.hung_threads", "{thread}", None, "Threads in stages that were cut off and have not come back.")
        self.gauge(hung, lambda: {"": self.hanging})
        self.gauge(("mina.up", "1", None, "Whether the store answers."), lambda: {"": int(watch.values() is not None)})
        for reading in READINGS:
            self.gauge(reading, partial(self.stored, reading[0]))
        self.forget()
        forget_at_fork(self)

    def forget(self) -> None:
        self.open: dict[tuple[Any, ...], Open] = {}

    def gauge(self, reading: Reading, values: Callable[[], Mapping[str, float]]) -> None:
        from opentelemetry.metrics import Observation

        name, unit, label, text = reading

        def observe(_: CallbackOptions) -> Iterator[Observation]:
            for value, number in values().items():
                yield Observation(number, {f"mina.{label}": value} if label else {})

        self.meter.create_observable_gauge(name, [observe], unit, text)

    def stored(self, name: str) -> Mapping[str, float]:
        return (self.watch.values() or {}).get(name, {})

    def labels(self, **values: str | None) -> dict[str, str]:
        return {f"mina.{name}": self.bounds[name](value) for name, value in values.items() if value is not None}

    @quiet
    def breaker(self, provider: str, state: str, reason: str | None) -> None:
        if state == "open":
            self.opened.add(1, self.labels(provider=provider))

    @quiet
    def hung(self, threads: int) -> None:
        self.hanging = threads

    @quiet
    def verified(self, problems: int) -> None:
        self.verifications.add(1)
        self.problems.add(problems)

    @quiet
    def usage(self, run: StageRun, model: str, tokens_in: int, tokens_out: int, cost: float | None) -> None:
        self.tokens.add(tokens_in, self.labels(model=model, kind="input"))
        self.tokens.add(tokens_out, self.labels(model=model, kind="output"))
        if cost is not None:
            self.cost.add(cost, self.labels(model=model))

    @contextmanager
    def running(self, run: StageRun) -> Iterator[None]:
        error_type = None
        with ExitStack() as stack:
            self.begun(run, stack)
            try:
                yield
            except BaseException as error:
                error_type = type(error).__name__
                raise
            finally:
                self.left(run, error_type)

    @quiet
    def begun(self, run: StageRun, stack: ExitStack) -> None:
        from opentelemetry.trace import use_span

        opened = self.open.get(key(run))
        if opened is None or opened.run is not run:  # else its fallback's code, after the stage's own
            if run.takeover:
                self.takeovers.add(1, self.labels(stage=run.stage))
            late = [self.open.pop(key(run), None)]
            while len(self.open) >= MOST_OPEN:
                late.append(self.open.pop(next(iter(self.open)), None))
            for lost in filter(None, late):
                lost.end("lost", lost.left or self.now())
            opened = self.open[key(run)] = self.begin(run, self.now())
        # The text of an exception may be a meeting's: only its type is told.
        stack.enter_context(use_span(opened.span, record_exception=False, set_status_on_exception=False))

    @quiet
    def left(self, run: StageRun, error_type: str | None) -> None:
        if opened := self.open.get(key(run)):
            opened.left = self.now()
            if error_type:
                opened.span.set_attribute("error.type", error_type)

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
        from opentelemetry.trace import Status, StatusCode

        labels, why = self.labels(stage=run.stage, outcome=outcome), self.labels(reason=reason)
        self.stages.add(1, labels | why)
        self.seconds.record(max(0, ended_at - began_at) / 1e6, labels)
        opened = self.open.pop(key(run), None) or self.begin(run, began_at)  # a poisoned run's code is not run
        if outcome == "failed":
            opened.span.set_status(Status(StatusCode.ERROR, why.get("mina.reason")))
            if error_type is not None:
                opened.span.set_attribute("error.type", error_type)
        opened.end(labels["mina.outcome"], ended_at, why | self.labels(provider=run.provider))

    @quiet
    def waiting(self, run: StageRun, reason: str, seconds: float) -> None:
        why = self.labels(reason=reason)
        self.waits.add(1, why | self.labels(stage=run.stage))
        if opened := self.open.pop(key(run), None):
            opened.end("waiting", self.now(), {**why, "mina.wait_seconds": seconds})

    @quiet
    def refused(self, run: StageRun, reason: str) -> None:
        why = self.labels(reason=reason)
        self.refusals.add(1, why)
        if opened := self.open.pop(key(run), None):
            opened.end("refused", self.now(), why)

    @quiet
    def revealed(self, session_id: str, trace_id: str, tenant: str | None, finalized_at: int, revealed_at: int) -> None:
        from opentelemetry import trace

        self.reveals.record(max(0, revealed_at - finalized_at) / 1e6)
        parent, wanted = self.parent(session_id, trace_id), None
        ids = getattr(self.tracers or trace.get_tracer_provider(), "id_generator", None)
        if isinstance(ids, SessionIds) and self.sampled(trace_number(trace_id)):
            parent = trace.set_span_in_context(trace.INVALID_SPAN)
            wanted = (trace_number(trace_id), span_number(session_id))
        about = {"mina.session_id": session_id}
        token = WANTED.set(wanted)
        try:
            root = self.tracer.start_span("mina.session", parent, attributes=about, start_time=finalized_at * 1000)
        finally:
            WANTED.reset(token)
        root.end(max(finalized_at, revealed_at) * 1000)

    def begin(self, run: StageRun, at: int) -> Open:
        labels = self.labels(definition=run.definition, stage=run.stage, kind=run.kind, provider=run.provider)
        own: dict[str, str | int] = {"mina.session_id": run.session_id, "mina.run": run.run}
        about = {**labels, **own, "mina.takeover": run.takeover}
        name, parent = f"mina.stage {labels['mina.stage']}", self.parent(run.session_id, run.trace_id)
        return Open(run, self.tracer.start_span(name, parent, attributes=about, start_time=at * 1000), at)

    def parent(self, session_id: str, trace_id: str) -> Context:
        """A context in which the session's root span is current, wherever that may be."""
        from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

        number = trace_number(trace_id)
        flags = TraceFlags(TraceFlags.SAMPLED if self.sampled(number) else TraceFlags.DEFAULT)
        root = SpanContext(number, span_number(session_id), is_remote=True, trace_flags=flags)
        return set_span_in_context(NonRecordingSpan(root))

    def sampled(self, trace: int) -> bool:
        """By a hash: the bits of a UUIDv7, which samplers go by, are not all random, and alike within a moment."""
        return int.from_bytes(sha256(trace.to_bytes(16)).digest()[:8]) < self.share * (1 << 64)


def key(run: StageRun) -> tuple[Any, ...]:
    """A claim."""
    return run.session_id, run.stage, run.run, run.kind, run.takeover, run.claim


def instrument(
    pipeline: Watched,
    meter_provider: MeterProvider | None = None,
    tracer_provider: TracerProvider | None = None,
    *,
    share: float = 1.0,
) -> OpenTelemetryObserver:
    """Count and trace what this pipeline does; once a pipeline. Without providers: the global ones.

    share: of how many sessions the spans are marked as sampled, the same ones in every process. MissingExtra.
    """
    try:
        observer = OpenTelemetryObserver(Watch(pipeline), meter_provider, tracer_provider, share)
    except ImportError as error:
        raise MissingExtra("mina_adapters.opentelemetry", "otel") from error
    pipeline.observe(observer)
    return observer
