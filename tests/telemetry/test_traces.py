"""A session is one trace with a span a stage, whatever becomes of its claims; no text of a meeting is in it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from mina_adapters.opentelemetry import OpenTelemetryObserver, session_ids, span_number, trace_number
from watched import (
    BUSY,
    CANARY,
    NOW,
    RUN,
    SECOND,
    TRACE,
    chatter,
)

from mina_pipeline.system import SystemIds

pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import StatusCode, get_current_span
from sdk_process import Process, about, ids, parent

ROOT = (trace_number(TRACE), span_number("s-1"))


@pytest.fixture
def process() -> Process:
    return Process()


def test_one_trace_a_session() -> None:
    """Whichever processes run the stages and reveal: one trace of the session's id, with one root, and no id shared
    by telling each other."""
    one, two = Process(session_ids()), Process(session_ids())
    for process, stage in ((one, "refinement"), (two, "summary")):
        run = replace(RUN, stage=stage)
        with process.observer.running(run):
            pass
        process.observer.ended(run, "ok", None, NOW, NOW + SECOND)
    two.observer.revealed("s-1", TRACE, "acme", NOW - SECOND, NOW + 5 * SECOND)
    first, second, root = one.spans() + two.spans()
    assert [span.name for span in (first, second, root)] == [
        "mina.stage refinement",
        "mina.stage summary",
        "mina.session",
    ]
    assert f"{ROOT[0]:032x}" == TRACE.replace("-", "")
    assert parent(first) == parent(second) == ids(root) == ROOT
    assert parent(root) is None
    assert (root.start_time, root.end_time) == ((NOW - SECOND) * 1000, (NOW + 5 * SECOND) * 1000)
    assert about(root) == {"session_id": "s-1"}


def test_other_spans_of_the_host_keep_random_ids() -> None:
    """The id generator is the host's own but for the roots of sessions."""

    class Counting(IdGenerator):
        made = 0

        def generate_trace_id(self) -> int:
            return self.generate_span_id()

        def generate_span_id(self) -> int:
            self.made += 1
            return self.made

    host = Process(session_ids(Counting()))
    host.observer.revealed("s-1", TRACE, None, NOW, NOW)
    host.tracers.get_tracer("host").start_span("theirs").end()
    root, theirs = host.spans()
    assert ids(root) == ROOT
    assert ids(theirs) == (1, 2)


def test_without_our_ids_the_root_is_a_child(process: Process) -> None:
    """A host that sets no id generator has the session's span beside its stages, in the same trace."""
    process.observer.revealed("s-1", TRACE, None, NOW, NOW + SECOND)
    assert parent(process.span()) == ROOT
    assert ids(process.span())[0] == ROOT[0]


def test_a_stages_span(process: Process) -> None:
    """A span says what ran and what became of it, from when to when; a degraded result is no error."""
    with process.observer.running(RUN):
        process.pipeline.clock.at += 3 * SECOND
    process.observer.ended(RUN, "degraded", "outage", NOW, NOW + 3 * SECOND)
    span = process.span()
    assert about(span) == {
        "session_id": "s-1", "definition": "standard", "stage": "refinement", "run": 1, "kind": "stage",
        "takeover": False, "provider": "openai", "outcome": "degraded", "reason": "outage",
    }  # fmt: skip
    assert (span.start_time, span.end_time) == (NOW * 1000, (NOW + 3 * SECOND) * 1000)
    assert span.status.status_code is StatusCode.UNSET


def test_the_hosts_spans_are_children(process: Process) -> None:
    """While a stage's code runs its span is current, so that an instrumented client's call is its child."""
    with process.observer.running(RUN):
        with process.tracers.get_tracer("httpx").start_as_current_span("POST"):
            pass
        current = get_current_span().get_span_context().span_id
    assert not get_current_span().get_span_context().is_valid
    process.observer.ended(RUN, "ok", None, NOW, NOW + SECOND)
    post, stage = process.spans()
    assert parent(post) == ids(stage) == (ROOT[0], current)


def put_off(observer: OpenTelemetryObserver) -> None:
    observer.waiting(RUN, "rate limit", 2.5)


def refuse(observer: OpenTelemetryObserver) -> None:
    observer.refused(RUN, "lease lost")


def fail(observer: OpenTelemetryObserver) -> None:
    observer.ended(RUN, "failed", "error", NOW, NOW + SECOND)


@pytest.mark.parametrize(
    ("end", "status", "says"),
    [
        (put_off, StatusCode.UNSET, {"outcome": "waiting", "reason": "rate limit", "wait_seconds": 2.5}),
        (refuse, StatusCode.UNSET, {"outcome": "refused", "reason": "lease lost"}),
        (fail, StatusCode.ERROR, {"outcome": "failed", "reason": "error"}),
    ],
)
def test_how_a_span_ends(
    process: Process, end: Callable[[OpenTelemetryObserver], None], status: StatusCode, says: dict[str, Any]
) -> None:
    """A failed run is an error; one that waits, or whose outcome was nobody's, ends and says so."""
    with process.observer.running(RUN):
        process.pipeline.clock.at += SECOND
    end(process.observer)
    span = process.span()
    assert span.status.status_code is status
    assert about(span).items() >= says.items()
    assert span.end_time == (NOW + SECOND) * 1000
    assert not process.observer.open


def test_an_outcome_from_another_thread(process: Process) -> None:
    """A thread that hangs in a stage has its span ended by the one that cuts it off, and comes back unharmed."""
    inside, cut_off = threading.Event(), threading.Event()

    def stuck() -> None:
        with process.observer.running(RUN):
            inside.set()
            assert cut_off.wait(30)

    thread = threading.Thread(target=stuck)
    thread.start()
    assert inside.wait(30)
    process.observer.ended(RUN, "failed", "deadline", NOW, NOW + 120 * SECOND)
    assert process.span().end_time == (NOW + 120 * SECOND) * 1000
    cut_off.set()
    thread.join()
    assert len(process.spans()) == 1


def test_a_takeover_in_the_same_process(process: Process) -> None:
    """Two claims of one run, the older of which hangs, are two spans, each with its own end."""
    newer = replace(RUN, takeover=True)
    with process.observer.running(RUN), process.observer.running(newer):
        pass
    process.observer.ended(newer, "ok", None, NOW, NOW + SECOND)
    process.observer.refused(RUN, "lease lost")
    assert [(about(span)["takeover"], about(span)["outcome"]) for span in process.spans()] == [
        (True, "ok"),
        (False, "refused"),
    ]


def test_a_run_whose_code_was_not_run(process: Process) -> None:
    """A poisoned run has a span although nothing ran."""
    process.observer.ended(RUN, "failed", "poison", NOW, NOW)
    assert process.span().status.status_code is StatusCode.ERROR
    assert about(process.span())["reason"] == "poison"


def test_a_fallback_is_in_the_same_span(process: Process) -> None:
    """Where the stage's code and then its fallback's are run by one claim, both are within its one span."""
    for name in ("POST", "offline"):
        with process.observer.running(RUN):
            process.tracers.get_tracer("host").start_span(name).end()
    process.observer.ended(RUN, "degraded", "outage", NOW, NOW + SECOND)
    post, offline, stage = process.spans()
    assert parent(post) == parent(offline) == ids(stage)
    assert about(stage)["outcome"] == "degraded"


def test_a_claim_that_came_to_nothing(process: Process) -> None:
    """Where the store was away no outcome follows: the span ends as `lost`, when its code came back."""
    with process.observer.running(RUN):
        process.pipeline.clock.at += SECOND
    process.pipeline.clock.at += 60 * SECOND
    with process.observer.running(replace(RUN)):
        pass
    assert about(process.span())["outcome"] == "lost"
    assert process.span().end_time == (NOW + SECOND) * 1000


def test_spans_without_an_end_are_bounded(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many claims come to nothing, few spans are kept, and none is dropped silently."""
    monkeypatch.setattr("mina_adapters.opentelemetry.MOST_OPEN", 10)
    for n in range(50):
        with process.observer.running(replace(RUN, session_id=f"s-{n}")):
            pass
    assert len(process.observer.open) == 10
    assert [about(span)["session_id"] for span in process.spans()] == [f"s-{n}" for n in range(40)]


def test_no_words_of_a_meeting(process: Process, capsys: pytest.CaptureFixture[str]) -> None:
    """What a host's stage raises or gives as a reason is in no span, metric or log; the type of the error is."""
    process.pipeline.reading = lambda: replace(BUSY, unknown_definitions={CANARY: 1})
    chatter(process.observer)
    process.observer.revealed("s-1", TRACE, "acme", NOW, NOW)
    shown = "".join(span.to_json() for span in process.spans())
    assert '"error.type": "ValueError"' in shown
    shown += str(process.metrics()) + "".join(capsys.readouterr())
    for word in ("zanzibar", "budget", "acme"):
        assert word not in shown


def test_a_stages_exception_goes_through(process: Process) -> None:
    """What the stage raises reaches the worker as it is, also where it is no Exception."""
    for error in (ValueError("x"), KeyboardInterrupt(), StopIteration("x")):
        with pytest.raises(type(error)) as caught, process.observer.running(RUN):
            raise error
        assert caught.value is error


def test_a_processor_that_raises(process: Process, capsys: pytest.CaptureFixture[str]) -> None:
    """A host's broken span processor stops no stage."""

    class Broken(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            raise RuntimeError(CANARY)

    process.tracers.add_span_processor(Broken())
    ran = []
    with process.observer.running(RUN):
        ran.append(True)
    process.observer.ended(RUN, "ok", None, NOW, NOW)
    process.observer.revealed("s-1", TRACE, None, NOW, NOW)
    assert ran
    assert "zanzibar" not in "".join(capsys.readouterr())


def test_no_span_ends_before_its_start(process: Process) -> None:
    """A clock that was set back makes spans short, not negative."""
    with process.observer.running(RUN):
        pass
    process.observer.ended(RUN, "ok", None, NOW - 9 * SECOND, NOW - 5 * SECOND)
    process.observer.revealed("s-1", TRACE, None, NOW, NOW - SECOND)
    assert all(span.end_time == span.start_time == NOW * 1000 for span in process.spans())
    assert process.metrics()["mina.reveal.duration{}"] == 0


@pytest.mark.parametrize("generator", [None, session_ids()])
def test_a_share_of_the_sessions(generator: IdGenerator | None) -> None:
    """With a share whole sessions are sampled or not, about so many, the same ones in every process."""
    some, others = (Process(generator, share=0.25) for _ in range(2))
    made = SystemIds()
    traces = [made.uuid() for _ in range(400)]
    for process in (some, others):
        for trace in traces:
            run = replace(RUN, session_id=trace, trace_id=trace)
            with process.observer.running(run):
                pass
            process.observer.ended(run, "ok", None, NOW, NOW)
            process.observer.revealed(trace, trace, None, NOW, NOW)
    kept = [ids(span)[0] for span in some.spans()]
    assert kept == [ids(span)[0] for span in others.spans()]
    assert 60 < len(set(kept)) < 150
    assert len(kept) == 2 * len(set(kept))


@pytest.mark.parametrize("given", ["", "0" * 32, "not a uuid", "f" * 40, "-1", "ü"])
def test_odd_trace_ids(process: Process, given: str) -> None:
    """A trace id that is none becomes one, always the same."""
    process.observer.ended(replace(RUN, trace_id=given), "ok", None, NOW, NOW)
    assert ids(process.span())[0] == trace_number(given) == trace_number(given)
    assert 0 < trace_number(given) < 1 << 128
