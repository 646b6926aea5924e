"""Workers stopped past their lease: others take over, and what the first come back with is refused."""

from __future__ import annotations

import signal
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from labour import Trouble
from overseer import (
    OUTCOMES,
    Place,
    Process,
    actors,
    begin,
    check,
    once,
    pid_of,
    revealed,
    until,
    work_until,
    worker,
)
from soak import dice, share

from mina_pipeline import Pipeline

BETWEEN, CALL, OUTCOME, BEGIN = STOPS = (
    Trouble(sessions="between-", does="stop", where="call", what="first", when="after"),
    Trouble(sessions="call-", does="stop", where="call", what="analytics", when="after"),
    Trouble(sessions="outcome-", does="stop", where="append", what="analytics_ready", when="before"),
    Trouble(sessions="begin-", does="stop", where="append", what="tasks_started", when="before"),
)
"""Between two calls of a stage, in a call, before an outcome; before a stage begins, by itself since it has a limit."""
LIMITS: dict[str, Any] = {"limits": "tasks=9"}
STAGES = ["refinement_ready", "analytics_ready", "tasks_ready", "summary_ready"]
TAKEN = {BETWEEN: STAGES, CALL: STAGES[1:], OUTCOME: STAGES[1:], BEGIN: STAGES[2:]}
LOST = {BETWEEN: "first", CALL: "analytics", OUTCOME: "analytics", BEGIN: None}
"""The call that was in flight: both make it, and no other."""


class Waking:
    """Lets a stopped worker go on while the one that took over is in a call."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.asleep: Process | None = None

    def __call__(self, _where: str, what: Collection[str], when: str, session_id: str, *_: Any) -> None:
        if self.asleep is not None and when == "after" and session_id.startswith(("call-", "outcome-")):
            assert what == {"analytics"}
            asleep, self.asleep = self.asleep, None
            asleep.signal(signal.SIGCONT)
            asleep.hear(f"refused {session_id}")


@contextmanager
def two_workers(place: Place) -> Iterator[tuple[Pipeline, Process, Waking]]:
    """This process's, whose leases are long, and another that will be stopped."""
    waking = Waking(place)
    with (
        place.open(meet=waking, lease=15.0, renew=1.0, **LIMITS) as pipeline,
        worker(place.shift(*STOPS, threads=1, **LIMITS), place.errors) as slow,
    ):
        slow.hear("working")
        yield pipeline, slow, waking
        assert slow.end() == 0
        assert place.errors.read_text() == ""


@pytest.mark.soak
def test_a_stopped_worker_is_late(place: Place) -> None:
    """What a worker makes of a session that another took over meanwhile is refused, and it goes on with others.

    That the other has an outcome by then makes no difference, nor that it has none yet.
    """
    with two_workers(place) as (pipeline, slow, waking):
        for n in range(share(1, 100)):
            for stop in STOPS:
                stopped, other = f"{stop.sessions}{n}", f"other-{stop.sessions}{n}"
                begin(pipeline, [stopped])
                slow.hear(f"stop {stopped}")
                slow.wait_until_stopped()
                waking.asleep = slow if n % 2 == 0 and stop in (CALL, OUTCOME) else None
                again = waking.asleep is None
                work_until(pipeline, stopped)
                if again:
                    slow.signal(signal.SIGCONT)
                begin(pipeline, [other])
                until(lambda: revealed(pipeline, other))  # noqa: B023
                if again and stop != BETWEEN:  # which has no outcome to be refused: it makes no second call
                    slow.hear(f"refused {stopped}")
                by = actors(pipeline, stopped, *OUTCOMES)
                mine = [event for event, actor in by.items() if pid_of(actor) != slow.popen.pid]
                # From there on the outcomes are this process's; but who is awake again may have later ones.
                assert mine == TAKEN[stop] if again else mine[0] == TAKEN[stop][0]
                assert place.called()[stopped] == once(lost=LOST[stop])
                assert {pid_of(actor) for actor in actors(pipeline, other, *OUTCOMES).values()} == {slow.popen.pid}
                for session_id in (stopped, other):
                    check(pipeline, session_id)


@pytest.mark.soak
def test_a_worker_stopped_at_any_moment_holds_up_no_other(postgres_place: Place) -> None:
    """Nor does one that is just claiming, or counting what a limit leaves, in a transaction of its own.

    (An SQLite file has one lock, which a stopped process may hold for as long as it is stopped.)
    """
    place, random = postgres_place, dice()
    settings = {**LIMITS, "lock_timeout": 0.5}
    with (
        place.open(**settings) as pipeline,
        worker(place.shift(threads=2, **{**settings, "poll": 0.001}), place.errors) as idle,
    ):
        idle.hear("working")
        for n in range(share(4, 100)):
            time.sleep(random.uniform(0, 0.02))
            idle.signal(signal.SIGSTOP)
            idle.wait_until_stopped()
            begin(pipeline, [f"s{n}"])
            with pipeline.workers(1):
                until(lambda: revealed(pipeline, f"s{n}"), within=20)  # noqa: B023
            check(pipeline, f"s{n}")
            idle.signal(signal.SIGCONT)
