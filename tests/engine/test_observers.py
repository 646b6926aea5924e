"""What observers hear: every run that begins is told of once more, whatever becomes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from away import ALL, Model, Time, finalized

from mina_pipeline import Ok, Pipeline, ProviderUnavailable, StageContext, define, stage
from mina_pipeline.observers import StageRun

Timed = Callable[..., Pipeline]


class Hearing:
    """An observer that writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def running(self, run: StageRun) -> Any:
        self.heard.append(("running", run.stage, run.kind, run.run))
        return nullcontext()

    def ended(self, run: StageRun, outcome: str, reason: str | None, began_at: int, ended_at: int, error: Any) -> None:
        assert began_at <= ended_at and run.claim
        self.heard.append(("ended", run.stage, outcome, reason))

    def waiting(self, run: StageRun, reason: str, seconds: float) -> None:
        self.heard.append(("waiting", run.stage, reason, seconds > 0))

    def refused(self, run: StageRun, reason: str) -> None:
        self.heard.append(("refused", run.stage, reason))

    def revealed(self, session_id: str, trace_id: str, tenant: str | None, finalized_at: int, revealed_at: int) -> None:
        assert finalized_at <= revealed_at
        self.heard.append(("revealed", session_id, tenant))

    def breaker(self, provider: str, state: str, reason: str | None) -> None:
        self.heard.append(("breaker", provider, state))

    def hung(self, threads: int) -> None:
        self.heard.append(("hung", threads))

    def verified(self, problems: int) -> None:
        self.heard.append(("verified", problems))

    def usage(self, run: StageRun, model: str, tokens_in: int, tokens_out: int, cost: float | None) -> None:
        self.heard.append(("usage", run.stage, model, tokens_in, tokens_out, cost))


def test_a_run_and_its_reveal(timed: Timed) -> None:
    """Each stage runs and ends, then the session is revealed; verifying counts, and so does what a model costs."""

    @stage("only", running="doing")
    def only(ctx: StageContext) -> Ok:
        ctx.usage("small", 10, 20, 0.5)
        return Ok()

    pipeline, hearing = timed(definition=define("only", only)), Hearing()
    pipeline.observe(hearing)
    session_id = finalized(pipeline, tenant="acme")
    pipeline.run_until_idle()
    pipeline.verify(session_id)
    assert hearing.heard == [
        ("running", "only", "stage", 1),
        ("usage", "only", "small", 10, 20, 0.5),
        ("ended", "only", "ok", None),
        ("revealed", session_id, "acme"),
        ("verified", 0),
    ]


def test_an_outage(timed: Timed, at: Time) -> None:
    """Waits, the breaker, the fallback in the same claim, and the upgrade later on."""
    model = Model({"refinement"})
    settings = {"breaker_failures": 1, "breaker_pause": 5.0, "reveal_deadline": 3.0, "policies": "summary=fail"}
    pipeline, hearing = timed(provider=model, settings=settings), Hearing()
    pipeline.observe(hearing)
    finalized(pipeline)
    pipeline.run_until_idle()
    assert hearing.heard[:3] == [
        ("running", "refinement", "stage", 1),
        ("breaker", "model", "open"),
        ("running", "refinement", "stage", 1),
    ]
    assert hearing.heard[3] == ("ended", "refinement", "degraded", "outage")
    model.away.clear()
    for _ in range(40):
        at.pass_by(10)
        pipeline.run_until_idle()
    assert ("breaker", "model", "half_open") in hearing.heard and ("breaker", "model", "closed") in hearing.heard
    assert ("running", "refinement", "upgrade", 2) in hearing.heard
    assert ("ended", "refinement", "ok", None) in hearing.heard
    begun = [one for one in hearing.heard if one[0] == "running"]
    told = [one for one in hearing.heard if one[0] in ("ended", "waiting", "refused")]
    fallbacks = [one for one in hearing.heard if one[0] == "ended" and one[2] == "degraded"]
    assert len(told) >= len(begun) - len(fallbacks)


def test_an_outcome_that_is_nobodys(timed: Timed) -> None:
    """A session that is cancelled while its stage runs: the run is refused, once."""

    class Cancelling(Model):
        pipeline: Pipeline

        def refine(self, ctx: StageContext) -> Any:
            self.pipeline.cancel(ctx.session.session_id)
            return super().refine(ctx)

    model = Cancelling()
    pipeline, hearing = timed(provider=model), Hearing()
    model.pipeline = pipeline
    pipeline.observe(hearing)
    finalized(pipeline)
    pipeline.run_until_idle()
    assert hearing.heard == [("running", "refinement", "stage", 1), ("refused", "refinement", "lease lost")]


def test_an_observer_that_raises_stops_nobody(timed: Timed) -> None:
    """Its error is logged; the session is revealed, and other observers hear of it."""

    class Raising(Hearing):
        def ended(self, *args: Any) -> None:
            raise RuntimeError("a full disk")

        def running(self, run: StageRun) -> Any:
            raise RuntimeError("a full disk")

    pipeline, hearing = timed(), Hearing()
    pipeline.observe(Raising())
    pipeline.observe(hearing)
    session_id = finalized(pipeline)
    pipeline.run_until_idle()
    assert pipeline.get(session_id).state == "revealed"
    assert len([one for one in hearing.heard if one[0] == "ended"]) == 4


def test_a_background_task_of_the_hosts(pipeline: Pipeline) -> None:
    """p.work loops a worker until it is stopped, on whatever the host makes threads of."""
    stop = threading.Event()
    task = threading.Thread(target=pipeline.work, args=(stop,))
    task.start()
    session_id = finalized(pipeline)
    for _ in range(200):
        if pipeline.get(session_id).state == "revealed":
            break
        threading.Event().wait(0.05)
    assert pipeline.get(session_id).state == "revealed"
    stop.set()
    task.join(10)
    assert not task.is_alive()


@pytest.mark.parametrize("error", [ProviderUnavailable("model"), ConnectionError("x"), TimeoutError("x")])
def test_what_may_pass_is_waited_for(timed: Timed, error: Exception) -> None:
    """These three are no outcome; anything else is."""
    pipeline = timed(provider=Model(ALL, error))
    session_id = finalized(pipeline)
    pipeline.run_until_idle()
    assert pipeline.get(session_id).stages["refinement"].status == "waiting"
    other = timed(provider=Model(ALL, ValueError("a bug")))
    session_id = finalized(other)
    other.run_until_idle()
    assert other.get(session_id).stages["refinement"].outcome == "failed"
