"""Results degraded for an outage are made again when the provider is back, by themselves, quietly, and not at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from away import ALL, Model, Time, due_in, finalized, outcomes, types

from mina_pipeline import Pipeline, RecordedEvent

Timed = Callable[..., Pipeline]


def degraded(timed: Timed, at: Time, away: Any = ALL, **settings: Any) -> tuple[Pipeline, Model, str]:
    """A session that was revealed in an outage; the provider is still away."""
    model = Model(away)
    pipeline = timed(provider=model, settings={"breaker_failures": 99, "reveal_deadline": 10.0, **settings})
    session_id = finalized(pipeline)
    for _ in range(12):
        pipeline.run_until_idle()
        at.pass_by(1)
    assert pipeline.get(session_id).state == "revealed"
    model.asked.clear()
    return pipeline, model, session_id


def upgraded(pipeline: Pipeline, at: Time, seconds: int = 400) -> None:
    for _ in range(seconds // 10):
        pipeline.run_until_idle()
        at.pass_by(10)
    pipeline.run_until_idle()


def test_it_is_made_again_when_the_provider_is_back(timed: Timed, at: Time) -> None:
    """All four end ok, in second runs; clients hear artefact_updated and dashboard_refresh, and no name twice."""
    pipeline, model, session_id = degraded(timed, at)
    first = len(types(pipeline, session_id))
    heard: list[RecordedEvent] = []
    with pipeline.subscribe(heard.append):
        model.away.clear()
        upgraded(pipeline, at)
    session = pipeline.get(session_id)
    assert session.state == "revealed"
    assert outcomes(pipeline, session_id) == dict.fromkeys(session.stages, "ok")
    assert {stage.run for stage in session.stages.values()} == {2}
    assert sorted(model.asked) == ["analytics 2", "refinement 2", "summary 2", "tasks 2"]
    later = types(pipeline, session_id)[first:]
    assert later.count("artefact_updated") == later.count("dashboard_refresh") == 4
    assert [event.version for event in heard] == list(range(first + 1, session.version + 1))
    assert {key[0] for key in due_in(pipeline, session_id)} == set()
    assert pipeline.verify(session_id) == []


def test_nothing_is_told_before_the_provider_has_answered(timed: Timed, at: Time) -> None:
    """While it is away it is asked now and then, ever less often, and the log stays as it is."""
    pipeline, model, session_id = degraded(timed, at, {"summary"})
    before = pipeline.get(session_id).version
    upgraded(pipeline, at, 3000)
    assert pipeline.get(session_id).version == before
    assert 3 <= len(model.asked) <= 12
    assert ("upgrade", "summary") in due_in(pipeline, session_id)


def test_those_that_read_it_run_again_once(timed: Timed, at: Time) -> None:
    """A better refinement makes tasks and summary run again, once each; what they were degraded for is forgotten."""
    pipeline, model, session_id = degraded(timed, at, {"refinement", "summary"})
    model.away.clear()
    upgraded(pipeline, at)
    assert sorted(model.asked) == ["refinement 2", "summary 2", "tasks 2"]
    assert set(outcomes(pipeline, session_id).values()) == {"ok"}


def test_a_spent_budget_is_not_made_again(timed: Timed, at: Time) -> None:
    """`degraded` for another reason than an outage stays."""
    model = Model()
    model.budget = {"summary"}
    pipeline = timed(provider=model)
    session_id = finalized(pipeline)
    pipeline.run_until_idle()
    assert pipeline.get(session_id).stages["summary"].reason == "budget"
    assert due_in(pipeline, session_id) == {}


def test_only_what_is_better_replaces(timed: Timed, at: Time) -> None:
    """A provider that answers with no better a result ends the matter: one event says so, the result stays."""
    pipeline, model, session_id = degraded(timed, at, {"summary"})
    model.away.clear()
    model.budget = {"summary"}
    upgraded(pipeline, at)
    assert types(pipeline, session_id)[-1] == "summary_dropped"
    assert pipeline.events(session_id)[-1].data["reason"] == "no better"
    assert (pipeline.get(session_id).stages["summary"].run, len(model.asked)) == (1, 1)
    assert due_in(pipeline, session_id) == {}
    assert pipeline.verify(session_id) == []


@pytest.mark.parametrize(("settings", "reason"), [({"upgrade_tries": 2}, "tries"), ({"upgrade_maximum": 500.0}, "age")])
def test_it_ends_some_time(timed: Timed, at: Time, settings: dict[str, Any], reason: str) -> None:
    """After so many tries, or so long, a degraded result stays as it is."""
    pipeline, _, session_id = degraded(timed, at, {"summary"}, **settings)
    upgraded(pipeline, at, 2000)
    assert pipeline.events(session_id)[-1].data["reason"] == reason
    assert due_in(pipeline, session_id) == {}


def test_a_person_can_end_it(timed: Timed, at: Time) -> None:
    """retry(drop=True) ends what is pending, a wait or an upgrade; again it changes nothing."""
    pipeline, model, session_id = degraded(timed, at, {"summary"})
    pipeline.retry(session_id, "summary", drop=True)
    version = pipeline.retry(session_id, "summary", drop=True).version
    assert types(pipeline, session_id)[-1] == "summary_dropped" and pipeline.get(session_id).version == version
    model.away.clear()
    upgraded(pipeline, at)
    assert outcomes(pipeline, session_id)["summary"] == "degraded"
    waiting = finalized(pipeline)
    model.away = {"refinement"}
    pipeline.run_until_idle()
    pipeline.retry(waiting, "refinement", drop=True)
    stage = pipeline.get(waiting).stages["refinement"]
    assert (stage.outcome, stage.reason) == ("failed", "dropped")
    model.away.clear()
    pipeline.run_until_idle()
    assert pipeline.get(waiting).state == "revealed"


def test_no_herd(timed: Timed, at: Time) -> None:
    """When the breaker closes, what is pending begins one by one, slowly at first, and is never all due at once."""
    model = Model({"summary"})
    settings = {"breaker_failures": 2, "breaker_pause": 40.0, "reveal_deadline": 5.0, "upgrade_pace": 1.0}
    pipeline = timed(provider=model, settings=settings)
    sessions = [finalized(pipeline) for _ in range(12)]
    for _ in range(8):
        pipeline.run_until_idle()
        at.pass_by(1)
    assert {pipeline.get(one).stages["summary"].outcome for one in sessions} == {"degraded"}
    model.asked.clear()
    at.pass_by(300)
    model.away.clear()
    pipeline.run_until_idle()
    assert len([one for one in model.asked if one == "summary 2"]) == 1
    due = sorted(due_in(pipeline, one).get(("upgrade", "summary"), -1.0) for one in sessions)
    waits = [seconds for seconds in due if seconds >= 0]
    assert len(waits) >= 10
    gaps = [later - earlier for earlier, later in itertools.pairwise(waits)]
    assert min(gaps) > 0.5 and gaps[0] > gaps[-1]
    upgraded(pipeline, at, 60)
    assert {pipeline.get(one).stages["summary"].outcome for one in sessions} == {"ok"}
    assert len([one for one in model.asked if one == "summary 2"]) == 12
