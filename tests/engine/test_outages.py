"""A provider is away: runs wait durably, a fallback makes them, or they fail; when it is back they are made again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from away import ALL, Model, Time, due_in, finalized, outcomes, types

from mina_pipeline import Ok, Pipeline, ProviderUnavailable, StageContext, define, stage

Timed = Callable[..., Pipeline]


def test_a_run_waits_and_goes_on(timed: Timed, at: Time) -> None:
    """A wait is an event with reason and time; it holds no lease; the run goes on with no second _started."""
    model = Model({"refinement"})
    pipeline = timed(provider=model)
    session_id = finalized(pipeline)
    pipeline.run_until_idle()
    assert types(pipeline, session_id)[-1] == "refinement_waiting"
    event = pipeline.events(session_id)[-1]
    assert event.data["reason"] == "outage"
    assert 0.4 < (event.data["retry_at"] - event.recorded_at) / 1e6 < 1.6
    row = pipeline.store.rows("work", session_id)[0]
    assert (row["owner"], row["token"], row["until"]) == (None, None, None)
    assert pipeline.get(session_id).stages["refinement"].status == "waiting"
    pipeline.run_until_idle()
    assert model.asked == ["refinement 1"]
    model.away.clear()
    at.pass_by(2)
    pipeline.run_until_idle()
    assert pipeline.get(session_id).state == "revealed"
    assert types(pipeline, session_id).count("refinement_started") == 1
    assert set(outcomes(pipeline, session_id).values()) == {"ok"}
    assert pipeline.verify(session_id) == []


def test_waits_grow_and_survive_a_restart(timed: Timed, at: Time) -> None:
    """Each wait is about twice as long as the last, also for a process that opens the store anew."""
    pipeline = timed(provider=Model({"refinement"}), settings={"reveal_deadline": 1000.0, "breaker_failures": 99})
    session_id = finalized(pipeline)
    pipeline.run_until_idle()
    waits = []
    for _ in range(4):
        waits.append(due_in(pipeline, session_id)["stage", "refinement"])
        at.pass_by(waits[-1] + 0.01)
        pipeline.run_until_idle()
    for wait, wanted in zip(waits, (1, 2, 4, 8), strict=True):
        assert wanted * 0.45 < wait < wanted * 1.55


def test_retry_after_is_honoured(timed: Timed, at: Time) -> None:
    """A provider that says when it can be asked again is not asked before."""
    model = Model({"refinement"}, ProviderUnavailable("model", "rate limit", retry_after=30))
    pipeline = timed(provider=model)
    session_id = finalized(pipeline)
    pipeline.run_until_idle()
    assert pipeline.events(session_id)[-1].data["reason"] == "rate limit"
    assert 29 < due_in(pipeline, session_id)["stage", "refinement"] < 31
    at.pass_by(28)
    pipeline.run_until_idle()
    assert model.asked == ["refinement 1"]


def test_blips_are_tried_again_within_an_attempt(timed: Timed) -> None:
    """A provider that fails for a moment leaves no trace in the log."""
    model = Model({"refinement"}, ConnectionError("reset"))
    pipeline = timed(provider=model, settings={"retry_tries": 3})
    session_id = finalized(pipeline)
    worker = pipeline.worker()
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        model.away.clear()

    worker.sleep = sleep
    worker.step(pipeline.clock.now())
    assert model.asked[:2] == ["refinement 1", "refinement 1"]
    assert len(slept) == 1
    assert "refinement_waiting" not in types(pipeline, session_id)
    assert pipeline.get(session_id).state == "revealed"


def test_the_fallback_makes_it_within_the_reveal_deadline(timed: Timed, at: Time) -> None:
    """An outage longer than the reveal deadline: the offline provider makes everything, and says so."""
    pipeline = timed(provider=Model(ALL))
    session_id = finalized(pipeline)
    pipeline.run_until_idle()
    for _ in range(130):
        if pipeline.get(session_id).state == "revealed":
            break
        at.pass_by(0.5)
        pipeline.run_until_idle()
    session = pipeline.get(session_id)
    assert session.state == "revealed"
    assert session.revealed_at is not None and session.finalized_at is not None
    assert session.revealed_at - session.finalized_at < 63e6
    assert {s.outcome for s in session.stages.values()} == {"degraded"}
    assert {s.reason for s in session.stages.values()} == {"outage"}
    assert {s.provider for s in session.stages.values()} == {"offline"}
    assert all(types(pipeline, session_id).count(f"{name}_started") == 1 for name in ALL)
    assert pipeline.verify(session_id) == []


def test_the_reveal_timer_ends_waits(timed: Timed, at: Time) -> None:
    """A wait that is due too late, whatever the reason, is ended by the reveal deadline's own row."""
    pipeline = timed(provider=Model({"refinement"}))
    session_id = finalized(pipeline)
    pipeline.run_until_idle()
    at.pass_by(1.6)
    worker = pipeline.worker()  # puts the wait off by an hour, as a wrong clock would
    got = worker.claim(at.now(), worker.wanted([]))
    assert got is not None
    assert pipeline.store.postpone(at.now(), got.token, 3_600_000_000)
    at.pass_by(59)
    pipeline.run_until_idle()
    assert pipeline.get(session_id).state == "revealed"
    assert outcomes(pipeline, session_id)["refinement"] == "degraded"


def test_the_reveal_timer_rings_again(timed: Timed, at: Time) -> None:
    """What a worker had in hand when it rang is looked at again soon; the timer itself is free meanwhile."""
    pipeline = timed(provider=Model({"refinement"}), settings={"lease": 1000.0})
    session_id = finalized(pipeline)
    pipeline.run_until_idle()
    at.pass_by(1.6)
    worker = pipeline.worker()
    got = worker.claim(at.now(), worker.wanted([]))
    assert got is not None and got.stage == "refinement"
    at.pass_by(60)
    pipeline.run_until_idle()
    timer = next(row for row in pipeline.store.work_rows(at.now()) if row["kind"] == "timer")
    assert timer["owner"] is None and 4 < (timer["due_at"] - at.now()) / 1e6 <= 5
    assert pipeline.store.postpone(at.now(), got.token, 3_600_000_000)
    at.pass_by(6)
    pipeline.run_until_idle()
    assert pipeline.get(session_id).state == "revealed"


def test_a_wait_that_cannot_help_is_not_waited(timed: Timed) -> None:
    """Retry-After beyond the reveal deadline: the fallback makes it at once."""
    pipeline = timed(provider=Model({"summary"}, ProviderUnavailable("model", "rate limit", retry_after=600)))
    session_id = finalized(pipeline)
    pipeline.run_until_idle()
    assert pipeline.get(session_id).state == "revealed"
    assert outcomes(pipeline, session_id)["summary"] == "degraded"
    assert pipeline.get(session_id).stages["summary"].reason == "rate limit"


@pytest.mark.parametrize("policy", ["fail", "wait"])
def test_policies_by_stage(timed: Timed, at: Time, policy: str) -> None:
    """`fail` ends in _failed at the reveal deadline, `wait` waits on until the provider answers."""
    model = Model({"summary"})
    pipeline = timed(provider=model, settings={"policies": f"summary={policy}", "breaker_failures": 99})
    session_id = finalized(pipeline)
    for _ in range(40):
        pipeline.run_until_idle()
        at.pass_by(5)
    pipeline.run_until_idle()
    session = pipeline.get(session_id)
    if policy == "fail":
        assert (session.state, session.stages["summary"].outcome) == ("revealed", "failed")
        assert session.stages["summary"].reason == "outage"
        failed = types(pipeline, session_id).index("summary_failed")
        assert "summary_ready" not in types(pipeline, session_id)[failed:]
        return
    assert (session.state, session.stages["summary"].status) == ("summarizing", "waiting")
    model.away.clear()
    at.pass_by(100)
    pipeline.run_until_idle()
    assert (pipeline.get(session_id).state, outcomes(pipeline, session_id)["summary"]) == ("revealed", "ok")


def test_a_wait_has_a_maximum_age(timed: Timed, at: Time) -> None:
    """Policy wait ends in _failed when the wait maximum is over."""
    settings = {"policies": "summary=wait", "wait_maximum": 600.0}
    pipeline = timed(provider=Model({"summary"}), settings=settings)
    session_id = finalized(pipeline)
    for _ in range(70):
        pipeline.run_until_idle()
        at.pass_by(10)
    pipeline.run_until_idle()
    session = pipeline.get(session_id)
    assert (session.state, session.stages["summary"].outcome) == ("revealed", "failed")


def test_a_hosts_stage_has_its_own_provider_and_fallback(timed: Timed, at: Time) -> None:
    """@stage(policy, fallback, provider): the host's own fallback is used, and its provider has a breaker."""

    def plain(ctx: StageContext) -> Ok:
        return Ok("by hand")

    @stage("translation", running="translating", fallback=plain, provider="translator")
    def translate(ctx: StageContext) -> Ok:
        raise TimeoutError("no answer")

    pipeline = timed(definition=define("translated", translate))
    session_id = finalized(pipeline)
    for _ in range(70):
        pipeline.run_until_idle()
        at.pass_by(1)
    made = pipeline.result(session_id).others["translation"]
    assert (made.outcome, made.reason, made.artefact) == ("degraded", "timeout", "by hand")
    assert [b.provider for b in pipeline.store.breakers(at.now())] == ["translator"]


def test_an_open_breaker_asks_nobody(timed: Timed, at: Time) -> None:
    """After some failures in a row no session asks any more; one probe at a time does, and everyone hears of it."""
    model = Model(ALL)
    pipeline = timed(provider=model, settings={"breaker_failures": 3, "breaker_pause": 20.0})
    first = [finalized(pipeline) for _ in range(6)]
    pipeline.run_until_idle()
    assert len(model.asked) == 3
    assert [b.state for b in pipeline.store.breakers(at.now())] == ["open"]
    assert all(pipeline.get(one).stages["refinement"].status == "waiting" for one in first)
    at.pass_by(12)
    pipeline.run_until_idle()
    assert len(model.asked) == 3
    at.pass_by(11)
    pipeline.run_until_idle()
    assert len(model.asked) == 4
    assert pipeline.store.breakers(at.now())[0].opens == 2
    model.away.clear()
    at.pass_by(50)
    for _ in range(30):
        pipeline.run_until_idle()
        at.pass_by(2)
    assert pipeline.store.breakers(at.now())[0].state == "closed"
    assert {pipeline.get(one).state for one in first} == {"revealed"}
