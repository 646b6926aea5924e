"""An outage of hours: every session is revealed in time, and made well when the provider is back, without a herd."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from away import ALL, Model, Time, finalized
from soak import share

from mina_pipeline import Pipeline, StageContext
from mina_pipeline.stages.base import Outcome

SESSIONS = share(60, 1000)
HOURS = 3
PACE = 0.2


class Timed(Model):
    """Notes the second at which it is asked."""

    at: Time

    def made(self, ctx: StageContext, outcome: Outcome) -> Outcome:
        self.seconds[self.at.now() // 1_000_000] += 1
        return super().made(ctx, outcome)

    def __init__(self, at: Time) -> None:
        super().__init__(ALL)
        self.at, self.seconds = at, Counter[int]()


def work_on(pipeline: Pipeline, at: Time, seconds: float) -> None:
    """Work for so long, from one moment at which something is due to the next."""
    end = at.now() + int(seconds * 1e6)
    while at.now() < end:
        pipeline.run_until_idle()
        due = pipeline.store.next_due(at.now(), list(pipeline.code))
        soon = at.now() + 1_000_000  # what is due and not to be had: its provider is away
        at.pass_by((min(end, max(due or end, soon)) - at.now()) / 1e6)


@pytest.mark.soak
@pytest.mark.parametrize("url", ["memory", "sqlite"], indirect=True)
def test_an_outage_of_hours(timed: Callable[..., Pipeline], at: Time) -> None:
    """Sessions come all the time; the provider is asked little while it is away, and not by all at once after it."""
    model = Timed(at)
    pipeline = timed(provider=model, settings={"upgrade_pace": PACE})
    sessions = []
    for _ in range(SESSIONS):
        sessions.append(finalized(pipeline))
        work_on(pipeline, at, HOURS * 3600 / SESSIONS)
    work_on(pipeline, at, 120)
    grace = (pipeline.settings.reveal_deadline + 1) * 1e6
    for session_id in sessions:
        session = pipeline.get(session_id)
        assert session.revealed_at is not None and session.finalized_at is not None
        assert session.revealed_at - session.finalized_at <= grace
        assert {stage.outcome for stage in session.stages.values()} == {"degraded"}
    # One probe at a time, ever further apart: the breaker's longest pause is five minutes.
    assert sum(model.seconds.values()) < 20 + HOURS * 3600 / 200
    assert [breaker.state for breaker in pipeline.store.breakers(at.now())] == ["open"]
    model.seconds.clear()
    model.away.clear()
    work_on(pipeline, at, 4 * 3600 + SESSIONS * PACE * 8)
    for session_id in sessions:
        stages = pipeline.get(session_id).stages.values()
        assert {stage.outcome for stage in stages} == {"ok"}, session_id
        assert {stage.run for stage in stages} == {2}
    # A session whose refinement is made again asks three times, one after the other.
    assert max(model.seconds.values()) <= 3 * (1 / PACE + 1)
    assert sum(model.seconds.values()) == 4 * SESSIONS
    assert all(pipeline.verify(session_id) == [] for session_id in sessions[::10])
