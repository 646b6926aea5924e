"""How stages follow each other: limits, fairness, deadlines, what was read and replaced, all interleavings."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from away import Model, Time, due_in, finalized, outcomes, types

from mina_pipeline import STANDARD_STAGES, LeaseLost, Ok, Pipeline, StageContext, define, stage
from mina_pipeline.crew import heartbeat
from mina_pipeline.worker import Worker

Timed = Callable[..., Pipeline]
Open = Callable[..., Pipeline]


def step(worker: Worker) -> int | None:
    return worker.step(worker.clock.now())


def test_a_stages_end_and_the_next_ones_start_are_one_append(pipeline: Pipeline) -> None:
    """_ready and the next _started have one time and one cause, and the next row is already ours."""
    session_id = finalized(pipeline)
    pipeline.run_until_idle()
    events = pipeline.events(session_id)
    ready = next(event for event in events if event.type == "refinement_ready")
    started = next(event for event in events if event.type == "analytics_started")
    assert (started.version, started.causation_id) == (ready.version + 1, ready.event_id)


def test_another_session_that_has_waited_too_long_goes_first(timed: Timed, at: Time) -> None:
    """A worker leaves its session after a stage where another one has waited for longer than fair_wait."""
    pipeline = timed(settings={"fair_wait": 5.0})
    first = finalized(pipeline)
    worker = pipeline.worker()
    step(worker)
    assert pipeline.get(first).state == "revealed"
    slow, waiting = finalized(pipeline), finalized(pipeline)
    at.pass_by(6)
    step(worker)
    assert [pipeline.get(slow).state, pipeline.get(waiting).state] == ["analyzing", "finalized"]
    pipeline.run_until_idle()
    assert {pipeline.get(one).state for one in (slow, waiting)} == {"revealed"}


def test_limits_by_stage_and_by_provider(opened: Open) -> None:
    """Of limited stages, and of a limited provider's, no more run at once, whatever the workers."""
    running, most, lock = 0, 0, threading.Lock()

    class Counting(Model):
        def made(self, ctx: StageContext, outcome: Ok) -> Ok:  # type: ignore[override]
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            threading.Event().wait(0.01)
            with lock:
                running -= 1
            return outcome

    pipeline = opened(provider=Counting(), definition="parallel", settings={"limits": "model=2"})
    sessions = [finalized(pipeline) for _ in range(6)]
    with pipeline.workers(6):
        until = threading.Event()
        for _ in range(400):
            if all(pipeline.get(one).state == "revealed" for one in sessions):
                break
            until.wait(0.05)
    assert {pipeline.get(one).state for one in sessions} == {"revealed"}
    assert most <= 2


@pytest.mark.parametrize("text", ["summary", "summary=", "summary=0", "=3", "summary=x"])
def test_limits_that_cannot_be_read_are_refused(text: str) -> None:
    """What is wrong with a setting is said when it is made."""
    from mina_pipeline import InvalidInput, Settings

    with pytest.raises(InvalidInput, match="limits"):
        Settings(limits=text)


def test_a_stage_running_on_what_was_replaced_runs_again(timed: Timed) -> None:
    """Refinement is made again while the summary runs on the old one: the summary runs once more, by itself."""
    again: list[str] = []

    class Replacing(Model):
        pipeline: Pipeline

        def summarize(self, ctx: StageContext):  # type: ignore[no-untyped-def]
            if not again:
                again.append("refinement")
                self.pipeline.retry(ctx.session.session_id, "refinement", run=1)
                step(self.pipeline.worker())
            return super().summarize(ctx)

    model = Replacing()
    pipeline = timed(provider=model)
    model.pipeline = pipeline
    session_id = finalized(pipeline)
    pipeline.run_until_idle()
    assert pipeline.get(session_id).state == "revealed"
    assert {name: s.run for name, s in pipeline.get(session_id).stages.items()} == {
        "refinement": 2, "analytics": 1, "tasks": 2, "summary": 2,
    }  # fmt: skip
    assert types(pipeline, session_id).count("post_transcription_reveal") == 1
    assert pipeline.verify(session_id) == []


def test_every_interleaving_of_parallel_stages(timed: Timed) -> None:
    """Analytics, tasks and summary by different workers in any order: order within a stage, the reveal last."""
    for seed in range(12):
        order = random.Random(seed)
        gates = {name: threading.Event() for name in ("analytics", "tasks", "summary")}

        class Gated(Model):
            def made(self, ctx: StageContext, outcome: Ok, gates=gates) -> Ok:  # type: ignore[override,no-untyped-def]
                if ctx.stage in gates:
                    assert gates[ctx.stage].wait(10)
                return outcome

        pipeline = timed(provider=Gated(), definition="parallel")
        session_id = finalized(pipeline)
        workers = [pipeline.worker() for _ in range(3)]
        names = list(gates)
        order.shuffle(names)
        with ThreadPoolExecutor(3) as pool:
            jobs = [pool.submit(step, worker) for worker in workers]
            for name in names:
                gates[name].set()
            for job in jobs:
                job.result()
        pipeline.run_until_idle()
        found = types(pipeline, session_id)
        for name in ("refinement", *gates):
            assert found.index(f"{name}_started") < found.index(f"{name}_ready")
            assert found.count(f"{name}_ready") == found.count(f"{name}_started") == 1
        assert found[-2:] == ["post_transcription_reveal", "dashboard_refresh"]
        assert pipeline.verify(session_id) == []


def hang(release: threading.Event, left: list[float]) -> Callable[[StageContext], Ok]:
    def code(ctx: StageContext) -> Ok:
        release.wait(20)
        left.append(ctx.deadline.remaining())
        return Ok("too late")

    return code


def test_a_hung_stage_is_cut_off_by_its_token(opened: Open) -> None:
    """Past its deadline it has failed; what it still makes is refused: no _ready follows a _failed."""
    release, left = threading.Event(), list[float]()
    slow = stage("slow", running="slow_running")(hang(release, left))
    pipeline = opened(definition=define("slow", slow), settings={"stage_deadline": 0.2, "lease": 5.0, "renew": 0.1})
    session_id = finalized(pipeline)
    worker = pipeline.worker()
    with ThreadPoolExecutor(1) as pool, heartbeat(worker):
        job = pool.submit(step, worker)
        for _ in range(100):
            if pipeline.get(session_id).state == "revealed":
                break
            threading.Event().wait(0.05)
        assert pipeline.get(session_id).stages["slow"].reason == "deadline"
        assert worker.hung
        release.set()
        job.result()
    assert types(pipeline, session_id).count("slow_failed") == 1
    assert "slow_ready" not in types(pipeline, session_id)
    assert left == [float("-inf")]
    assert not worker.hung


def test_a_hung_provider_is_replaced_by_the_fallback(opened: Open) -> None:
    """A stage whose provider hangs is made by the fallback, by another worker, and is to be made again later."""
    release = threading.Event()

    class Hanging(Model):
        def summarize(self, ctx: StageContext):  # type: ignore[no-untyped-def]
            release.wait(20)
            return super().summarize(ctx)

    pipeline = opened(provider=Hanging(), settings={"stage_deadline": 0.3, "lease": 5.0, "renew": 0.1})
    session_id = finalized(pipeline)
    with pipeline.workers(1):
        for _ in range(200):
            if pipeline.get(session_id).state == "revealed":
                break
            threading.Event().wait(0.05)
        release.set()
    summary = pipeline.get(session_id).stages["summary"]
    assert (summary.outcome, summary.reason, summary.provider) == ("degraded", "deadline", "offline")
    assert types(pipeline, session_id).count("summary_started") == 1
    assert ("upgrade", "summary") in due_in(pipeline, session_id)
    assert pipeline.verify(session_id) == []


def test_each_checkpoint_begins_the_deadline_anew(timed: Timed, at: Time) -> None:
    """A stage that makes progress is never cut off."""
    left: list[float] = []

    @stage("long", running="longing")
    def long(ctx: StageContext) -> Ok:
        for n in range(3):
            at.pass_by(100)
            left.append(ctx.deadline.remaining())
            ctx.checkpoint(str(n), lambda: n)  # noqa: B023
        return Ok(n)

    pipeline = timed(definition=define("long", long), settings={"lease": 10_000.0})
    session_id = finalized(pipeline)
    pipeline.run_until_idle()
    assert pipeline.get(session_id).state == "revealed"
    assert all(19 < seconds <= 20 for seconds in left)


def test_a_lost_lease_ends_the_deadline(timed: Timed) -> None:
    """The supervisor finds that another has the work: the stage has no time left, and its outcome is refused."""
    seen: list[float] = []

    class Losing(Model):
        worker: Worker

        def refine(self, ctx: StageContext):  # type: ignore[no-untyped-def]
            store = self.worker.store
            store.release(self.worker.clock.now(), ctx.session.session_id, "stage", "refinement")
            self.worker.beat(self.worker.clock.now())
            seen.append(ctx.deadline.remaining())
            return super().refine(ctx)

    model = Losing()
    pipeline = timed(provider=model)
    session_id = finalized(pipeline)
    model.worker = pipeline.worker()
    step(model.worker)
    assert seen == [float("-inf")]
    assert types(pipeline, session_id)[-1] == "refinement_started"


def test_who_was_overtaken_buys_nothing_more(timed: Timed) -> None:
    """Once the work is another's, a checkpoint asks nobody, and the stage ends there."""
    bought: list[str] = []
    workers: list[Worker] = []

    @stage("long", running="longing")
    def long(ctx: StageContext) -> Ok:
        ctx.checkpoint("one", lambda: bought.append("one"))
        workers[0].store.release(workers[0].clock.now(), ctx.session.session_id, "stage", "long")
        workers[0].beat(workers[0].clock.now())
        ctx.checkpoint("two", lambda: bought.append("two"))
        return Ok()

    pipeline = timed(definition=define("long", long))
    session_id = finalized(pipeline)
    workers.append(pipeline.worker())
    step(workers[0])
    assert bought == ["one"]
    assert types(pipeline, session_id)[-1] == "long_progress"


def test_a_host_may_mix_its_stages_with_the_standard_ones(timed: Timed) -> None:
    """A host's stage beside the standard ones is claimed on its own, and never begun under another's claim."""

    @stage("translation", after="refinement", running="translating")
    def translate(ctx: StageContext) -> Ok:
        ctx.progress(1, 1)
        return Ok({})

    pipeline = timed(definition=define("translated", *STANDARD_STAGES, translate))
    session_id = finalized(pipeline)
    pipeline.run_until_idle()
    assert types(pipeline, session_id).count("translation_progress") == 1
    assert set(outcomes(pipeline, session_id).values()) == {"ok"}


def test_lease_lost_says_so() -> None:
    """The error names session, stage and run."""
    assert "refinement run 1" in str(LeaseLost("s", "refinement", 1))
