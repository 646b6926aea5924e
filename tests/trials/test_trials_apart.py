"""Forks are made and run apart from production: others' work, workers, breakers and doctor."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from away import Model
from stuck import another, due
from trying import STAGES, Open, Other, finished, stored, unfinished

from mina_pipeline import ProviderUnavailable, StageContext, UpgradeNeeded
from mina_pipeline.stages.base import Outcome
from mina_pipeline.trials import Trial


def test_other_workers_do_not_touch_a_fork(opened: Open) -> None:
    """Workers over the same database, this pipeline's own too, claim nothing of it, and refuse commands on it."""
    p = opened()
    parent = finished(p)
    fork = p.fork(parent, "tasks", wait=False)
    before, production = stored(p, fork.session_id), another(p)
    assert production.run_until_idle() == p.run_until_idle() == 0
    with pytest.raises(UpgradeNeeded, match=fork.definition):
        production.cancel(fork.session_id)
    assert stored(p, fork.session_id) == before
    assert p.fork(parent, "tasks").state == "revealed"  # and neither does another trial
    assert stored(p, fork.session_id) == before
    assert p.run_fork(fork.session_id).state == "revealed"


def test_a_trial_does_not_touch_others_work(opened: Open) -> None:
    """Production's sessions that are due wait for production's workers, however long the trial runs."""
    p = opened()
    parent, waiting = finished(p), due(p)
    before = stored(p, waiting)
    p.fork(parent, "refinement", provider=Other())
    assert stored(p, waiting) == before
    assert p.run_until_idle() > 0
    assert {one.provider for one in p.get(waiting).stages.values()} == {"offline"}


def test_production_works_on_beside_a_trial(opened: Open) -> None:
    """Both at once: each session is made by the provider that it belongs to."""
    p = opened()
    parents = [finished(p, f"n{n}") for n in range(3)]
    production = another(p)
    with production.workers(3):
        own = [due(production) for _ in range(4)]
        trials = p.replay_with(Other(), parents)
    production.run_until_idle()
    assert [trial.well for trial in trials] == [True] * 3
    for session_id in own:
        assert {one.provider for one in p.get(session_id).stages.values()} == {"offline"}
    for trial in trials:
        assert trial.session and {one.provider for one in trial.session.stages.values()} == {"other"}


def test_a_trials_outage_is_its_own(opened: Open) -> None:
    """A provider that is away for the trial opens no breaker of production's, even under the same name; what a
    fallback made is left as it is, since nobody would come to make it better."""
    settings = {"reveal_deadline": 0.3, "retry_first": 0.05, "retry_tries": 1, "breaker_failures": 1}
    p = opened(provider=Model(), settings=settings)
    parent = finished(p)
    away = Model(away=STAGES, error=ProviderUnavailable("model"))
    fork = p.fork(parent, "tasks", provider=away)
    assert {name: one.outcome for name, one in fork.stages.items()}["tasks"] == "degraded"
    assert fork.state == "revealed" and away.asked
    assert p.store.breakers(p.clock.now()) == []
    assert unfinished(p) == [] and p.verify(fork.session_id) == []
    assert p.fork(parent, "tasks", provider=Model()).stages["tasks"].outcome == "ok"


def test_doctor_sees_who_works_on_it(opened: Open) -> None:
    """While a trial runs its definition is known to a running worker; afterwards no trace of the worker is left."""
    p, seen = opened(), list[Any]()
    parent = finished(p)

    class Looking(Other):
        def summarize(self, ctx: StageContext) -> Outcome:
            seen.append(p.health())
            return super().summarize(ctx)

    p.fork(parent, "summary", provider=Looking())
    assert seen[0].unknown_definitions == {} and seen[0].work["stage"] == 1
    assert p.health().workers == []
    left = p.fork(parent, "summary", wait=False)
    assert p.health().unknown_definitions == {f"{left.definition} 1": 2}  # its stage, and its reveal timer
    assert [(one.session_id, one.what) for one in p.recover(dry_run=True)] == [(left.session_id, "unknown definition")]
    assert p.run_fork(left.session_id, provider="offline").state == "revealed"
    assert p.recover(dry_run=True) == []


def test_an_interrupted_trial_leaves_nothing_due(opened: Open) -> None:
    """Whatever ends it, the forks that are not revealed are cancelled: nobody else knows their definition. It does not
    wait for stages that run."""
    p, end = opened(), threading.Event()
    parents = [finished(p, f"n{n}") for n in range(6)]
    before = [stored(p, parent) for parent in parents]

    class Slow(Other):
        def extract_tasks(self, ctx: StageContext) -> Outcome:
            if ctx.session.title != "n0":
                end.wait(60)
            return super().extract_tasks(ctx)

    def enough(trial: Trial) -> None:
        assert trial.well
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        p.replay_with(Slow(), parents, told=enough)
    forks = [session for session in p.sessions() if session.session_id not in parents]
    assert sorted(session.state for session in forks) == ["cancelled"] * (len(forks) - 1) + ["revealed"]
    assert len(forks) > 1 and unfinished(p) == []
    end.set()
    assert [stored(p, parent) for parent in parents] == before
