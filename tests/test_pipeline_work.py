"""A pipeline's workers, on every store, as hosts meet them."""

from __future__ import annotations

import time
from typing import Any

import pytest
import sqlalchemy as sa
from spoken import SAID, Open, types

from mina_pipeline import (
    Ok,
    Pipeline,
    StageContext,
    define,
    stage,
)
from mina_pipeline import commands as ask
from mina_pipeline.crew import heartbeat
from mina_pipeline.sessions import Sessions
from mina_pipeline.worker import Worker


def test_a_checkpoint_is_not_made_twice(opened: Open) -> None:
    """A stage that is run again after a crash reads what it stored instead of making it again."""
    made: list[str] = []

    @stage("slow", running="working")
    def slow(ctx: StageContext) -> Ok:
        ctx.checkpoint("one", lambda: made.append("one") or {"n": 1})
        if len(made) == 1:
            made.append("crash")
            raise KeyboardInterrupt  # as a killed process: no outcome is recorded
        return Ok(ctx.checkpoint("one", lambda: made.append("again")))

    pipeline = opened(definition=define("slow", slow), settings={"lease": 0.2, "renew": 0.1})
    session_id = pipeline.start_session().session_id
    pipeline.finalize(session_id)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run_until_idle()
    time.sleep(0.25)
    pipeline.run_until_idle()
    assert made == ["one", "crash"]
    assert pipeline.result(session_id).others["slow"].artefact == {"n": 1}
    assert types(pipeline, session_id).count("slow_started") == 1


def test_a_stage_that_kills_its_workers_is_poison(opened: Open) -> None:
    """After so many claims without an outcome a stage has failed, and the session is revealed."""

    @stage("killer", running="killing")
    def killer(ctx: StageContext) -> Ok:
        raise KeyboardInterrupt

    settings = {"lease": 0.02, "renew": 0.01, "claims_before_poison": 2}
    pipeline = opened(definition=define("killer", killer), settings=settings)
    session_id = pipeline.start_session().session_id
    pipeline.finalize(session_id)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            pipeline.run_until_idle()
        time.sleep(0.03)
    pipeline.run_until_idle()
    assert (pipeline.get(session_id).state, pipeline.get(session_id).stages["killer"].reason) == ("revealed", "poison")


def test_worker_threads_reveal_everything(pipeline: Pipeline) -> None:
    """Sessions finalized while workers run are all revealed, and verify clean."""
    with pipeline.workers(4):
        ids = []
        for n in range(8):
            session_id = pipeline.start_session(f"m{n}").session_id
            pipeline.record(session_id, SAID)
            pipeline.finalize(session_id)
            ids.append(session_id)
        until = time.monotonic() + 30
        while time.monotonic() < until and any(pipeline.get(i).state != "revealed" for i in ids):
            time.sleep(0.02)
    assert {pipeline.get(i).state for i in ids} == {"revealed"}
    assert [problem for i in ids for problem in pipeline.verify(i)] == []
    assert {types(pipeline, i).count("post_transcription_reveal") for i in ids} == {1}


def test_a_store_that_fails_under_a_stage_is_no_outcome(opened: Open) -> None:
    """An error of the store in a checkpoint fails no stage: the claim runs out and a later one goes on."""
    careful = stage("careful", running="working")(reporting)
    pipeline = opened(definition=define("careful", careful))
    session_id = pipeline.start_session().session_id
    pipeline.finalize(session_id)

    class Away(Sessions):
        def execute(self, session_id: str, command: ask.Command, **options: Any) -> Any:
            if isinstance(command, ask.Report):
                raise sa.exc.OperationalError("INSERT", {}, Exception("the store is away"))
            return super().execute(session_id, command, **options)

    worker = pipeline.worker()
    worker.sessions = Away(**vars(pipeline.handler))
    with pytest.raises(sa.exc.OperationalError):
        worker.step(pipeline.clock.now())
    assert "careful_failed" not in types(pipeline, session_id)
    assert pipeline.get(session_id).stages["careful"].status == "running"


def reporting(ctx: StageContext) -> Ok:
    ctx.progress(1, 2)
    return Ok()


def test_leases_are_renewed_after_the_store_was_away(opened: Open) -> None:
    """One error of the store ends no renewal: the next beat extends the lease."""
    pipeline = opened(settings={"lease": 1.0, "renew": 0.02})
    beats: list[str] = []

    class Flaky(Worker):
        def beat(self, now: int) -> None:
            beats.append("beat")
            if len(beats) == 1:
                raise sa.exc.OperationalError("UPDATE", {}, Exception("the store is away"))
            super().beat(now)

    with heartbeat(Flaky(**vars(pipeline.worker()))):
        until = time.monotonic() + 5
        while len(beats) < 3 and time.monotonic() < until:
            time.sleep(0.01)
    assert len(beats) >= 3
