"""Worker processes that are told to end while slow stages run: their work is handed back."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from labour import Trouble
from overseer import OUTCOMES, Place, actors, begin, check, once, pid_of, stage_rows, work_until, worker
from soak import share

LONG: dict[str, Any] = {"lease": 60.0, "renew": 1.0}
"""Nothing here waits for such a lease to run out."""


@pytest.mark.soak
def test_what_a_worker_that_ends_has_not_done_is_anothers(place: Place) -> None:
    """After SIGTERM what still runs is handed back, not counted as an attempt; another takes it at once, and the late
    outcomes of the first are refused."""
    with place.open(**LONG) as pipeline:
        for turn in range(share(1, 30)):
            slow = {f"{what}-{turn}": what for what in ("first", "tasks")}
            troubles = [
                Trouble(sessions=session_id, does="wait", where="call", what=what, when="after")
                for session_id, what in slow.items()
            ]
            shift = place.shift(*troubles, threads=3, shutdown_grace=0.2, **LONG)
            with worker(shift, place.errors) as ending:
                begin(pipeline, slow)
                for _ in slow:
                    ending.hear("wait")
                ending.signal(signal.SIGTERM)
                ending.hear("closed")
                rows = {row["session_id"]: (row["attempts"], row["token"]) for row in stage_rows(pipeline, *slow)}
                assert rows == dict.fromkeys(slow, (0, None))
                assert work_until(pipeline, *slow) < LONG["lease"] / 3
                ending.tell("release")
                ending.hear(f"refused tasks-{turn}")
                assert ending.end() == 0
                assert place.errors.read_text() == ""
                for session_id, what in slow.items():
                    check(pipeline, session_id)
                    stage = "refinement" if what == "first" else what
                    assert pid_of(actors(pipeline, session_id, *OUTCOMES)[f"{stage}_ready"]) != ending.popen.pid
                    # The call in flight was made by both, and none after it.
                    assert place.called()[session_id] == once(lost=what)


def test_a_stage_that_ends_within_the_grace_time_is_recorded(place: Place) -> None:
    """What runs when a worker is told to end may end in order; nothing is claimed after that."""
    trouble = Trouble(sessions="s", does="wait", where="call", what="tasks", when="after")
    with place.open(**LONG) as pipeline, worker(place.shift(trouble, threads=1, shutdown_grace=30.0, **LONG)) as ending:
        begin(pipeline, ["s"])
        ending.hear("wait")
        ending.signal(signal.SIGTERM)
        ending.hear("ending")
        ending.tell("release")
        ending.hear("closed")
        by = actors(pipeline, "s", *OUTCOMES)
        assert list(by) == ["refinement_ready", "analytics_ready", "tasks_ready"]
        assert {pid_of(actor) for actor in by.values()} == {ending.popen.pid}
        assert work_until(pipeline, "s") < LONG["lease"] / 3
        check(pipeline, "s")
        assert set(place.called()["s"].values()) == {1}
