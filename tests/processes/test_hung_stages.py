"""Stages that never return are cut off; a process with too many of them ends."""

from __future__ import annotations

from typing import Any

from labour import Trouble
from overseer import Place, begin, check, once, revealed, stage_rows, until, work_until, worker

LONG: dict[str, Any] = {"lease": 60.0, "renew": 1.0}
DEADLINE = 0.8


def hang(sessions: str, call: str) -> Trouble:
    return Trouble(sessions=sessions, does="wait", where="call", what=call, when="after")


def test_what_hangs_is_cut_off(place: Place) -> None:
    """The fallback makes it, or it has failed, by policy; other work goes on, and what comes late is refused."""
    troubles = hang("degrade", "tasks"), hang("fail", "summary")
    shift = place.shift(*troubles, threads=2, stage_deadline=DEADLINE, policies="summary=fail", **LONG)
    with place.open(**LONG) as pipeline, worker(shift, place.errors) as process:
        begin(pipeline, ["degrade", "fail"])
        for _ in troubles:
            process.hear("wait")
        for session_id in ("degrade", "fail"):
            until(lambda: revealed(pipeline, session_id))  # noqa: B023
        begin(pipeline, ["other"])  # both threads are still in those calls
        until(lambda: revealed(pipeline, "other"))
        process.tell("release")
        for _ in troubles:
            process.hear("refused")
        assert process.end() == 0
        check(pipeline, "degrade", tasks="degraded")
        check(pipeline, "fail", summary="failed")
        for session_id, stage in (("degrade", "tasks"), ("fail", "summary")):
            assert pipeline.get(session_id).stages[stage].reason == "deadline"
        for session_id in ("degrade", "fail", "other"):
            assert place.called()[session_id] == once()
        check(pipeline, "other")


def test_a_process_with_too_much_that_hangs_ends(place: Place) -> None:
    """It claims no more, and hands back what else it runs: another takes that at once."""
    toil = Trouble(sessions="toil", does="toil", where="call", what="tasks", when="after")
    shift = place.shift(
        hang("hang", "tasks"), toil, threads=3, stage_deadline=DEADLINE, hung_threads=2, shutdown_grace=0.2, **LONG
    )
    with place.open(**LONG) as pipeline, worker(shift, place.errors) as process:
        begin(pipeline, ["toil", "hang-1", "hang-2"])
        process.hear("working")
        assert {process.hear("") for _ in range(3)} == {"toil toil", "wait hang-1", "wait hang-2"}
        process.hear("failed")
        assert "too many hung stages" in place.errors.read_text()
        row = next(iter(stage_rows(pipeline, "toil")))
        assert (row["stage"], row["attempts"], row["token"]) == ("tasks", 0, None)
        begin(pipeline, ["late"])
        assert work_until(pipeline, "toil", "hang-1", "hang-2", "late") < LONG["lease"] / 3
        process.tell("release")
        assert process.end() == 0
        for session_id in ("toil", "late"):
            check(pipeline, session_id)
        for session_id in ("hang-1", "hang-2"):
            check(pipeline, session_id, tasks="degraded")
        assert place.called()["toil"] == once(lost="tasks")
