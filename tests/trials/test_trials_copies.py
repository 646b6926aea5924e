"""A fork: what of its parent is copied, and what is made anew; the parent stays as it is."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest
from away import SAID, due_in, types
from stuck import due
from trying import STAGES, Open, Other, finished, stored, unfinished

from mina_pipeline import Ok, Pipeline, Segment, StageContext, define, stage
from mina_pipeline.codec import decode
from mina_pipeline.events import SessionStarted


@pytest.mark.parametrize("first", STAGES)
def test_a_fork_is_a_copy_up_to_a_stage_and_runs_on(opened: Open, first: str) -> None:
    """From each stage, the first and the last too: the parent stays byte for byte, what is before is copied, what
    follows is made anew by the other provider, and the fork is as sound as any session."""
    p, other = opened(), Other()
    parent = finished(p)
    before = stored(p, parent)
    fork = p.fork(parent, first, provider=other)
    assert stored(p, parent) == before
    assert p.verify(fork.session_id) == []
    assert (fork.state, fork.title, fork.meeting_id, fork.tenant) == ("revealed", "Figures", "m", "t")
    assert other.asked == [f"{name} 1" for name in STAGES[STAGES.index(first) :]]
    assert [one.provider for one in fork.stages.values()] == [
        "other" if name in STAGES[STAGES.index(first) :] else "offline" for name in STAGES
    ]
    told = [name for name in types(p, fork.session_id) if not name.endswith("_progress")]
    assert told == types(p, parent)
    assert unfinished(p) == []
    assert p.diff(parent, fork.session_id).analytics == ()  # who made it, and how fast, is no difference


def test_the_parent_is_named_and_all_ids_are_new(pipeline: Pipeline) -> None:
    """Its first event differs in id, definition and parent alone; event ids, trace, salts and hashes are its own."""
    parent = finished(pipeline)
    at = pipeline.clock.now()
    fork = pipeline.fork(parent, "summary", wait=False)
    theirs, mine = pipeline.store.events(parent), pipeline.store.events(fork.session_id)
    first, its = (decode(pipeline.events(one)[0]) for one in (parent, fork.session_id))
    assert isinstance(first, SessionStarted) and isinstance(its, SessionStarted)
    assert its.parent == parent and its.id == fork.id != first.id
    assert msgspec.structs.replace(its, id=first.id, definition=first.definition, parent=None) == first
    assert pipeline.store.load(fork.session_id)["parent"] == parent  # type: ignore[index]
    for name in ("event_id", "hash", "salt"):
        assert not {row[name] for row in theirs if row[name]} & {row[name] for row in mine}
    ids = {one["event_id"]: other["event_id"] for one, other in zip(theirs, mine, strict=False)}
    assert [row["causation_id"] for row in mine] == [ids.get(row["causation_id"]) for row in theirs[: len(mine)]]
    assert {row["trace_id"] for row in mine} == {fork.trace_id} != {row["trace_id"] for row in theirs}
    for name in ("version", "type", "command_id", "actor", "content"):
        assert [row[name] for row in mine][1:] == [row[name] for row in theirs[: len(mine)]][1:], name
    assert [row["data"] for row in mine][1:] == [row["data"] for row in theirs[: len(mine)]][1:]
    assert {row["recorded_at"] for row in mine} == {fork.created_at} and at <= fork.created_at <= pipeline.clock.now()
    assert {name: -1 < seconds < 61 for name, seconds in due_in(pipeline, fork.session_id).items()} == {
        ("stage", "summary"): True, ("timer", "reveal"): True,
    }  # fmt: skip
    assert pipeline.fork(parent, "tasks", title="Once more", wait=False).title == "Once more"


def test_what_was_paid_for_is_copied_and_the_stage_buys_anew(opened: Open) -> None:
    """Receipts of the stages before are in the copy; those of STAGE are not, though prompt and model are the same. A
    trial's cost is that of the stages which it ran."""
    p = opened(provider=Other())
    parent = finished(p)
    (trial,) = p.replay_with(sessions=[parent], from_stage="summary")
    assert trial.session
    copied = types(p, trial.session.session_id)
    assert copied.count("tasks_progress") == copied.count("summary_progress") == 1
    assert trial.session.usage["stages"] == p.get(parent).usage["stages"]
    assert (trial.tokens_in, trial.tokens_out, trial.cost) == (50, 10, None)
    bought = next(e for e in p.events(trial.session.session_id) if e.type == "summary_progress")
    assert bought.version > copied.index("summary_started")
    assert "50 + 10" in trial.cells and trial.diff and trial.diff.same


def test_a_fork_of_a_fork(pipeline: Pipeline) -> None:
    """It names the fork as its parent, and pins a name of its own; the code is that of what they both go back to."""
    parent = finished(pipeline)
    fork = pipeline.fork(parent, "tasks", provider=Other())
    before = stored(pipeline, fork.session_id)
    second = pipeline.fork(fork.session_id, "summary", provider="offline")
    assert stored(pipeline, fork.session_id) == before
    assert pipeline.store.load(second.session_id)["parent"] == fork.session_id  # type: ignore[index]
    assert second.state == "revealed" and pipeline.verify(second.session_id) == []
    assert [one.provider for one in second.stages.values()] == ["offline", "offline", "other", "offline"]
    assert len({parent, fork.definition, second.definition}) == 3
    assert second.definition.startswith("standard_trial_offline_")


def test_the_parallel_definition(opened: Open) -> None:
    """Stages that do not wait for each other: what is before STAGE in the log is copied, the rest is made anew."""
    p = opened(definition="parallel")
    parent = finished(p)
    before, other = stored(p, parent), Other()
    fork = p.fork(parent, "tasks", provider=other)
    assert stored(p, parent) == before
    log = types(p, parent)  # one worker: one after the other, in the order in which it found them
    after = [name for name in STAGES if log.index(f"{name}_started") >= log.index("tasks_started")]
    assert sorted(other.asked) == [f"{name} 1" for name in sorted(after)]
    assert fork.state == "revealed" and p.verify(fork.session_id) == []


def beside() -> tuple[Any, list[str]]:
    """A definition whose `left` is under way when `right` begins, after `middle`, and the stages as they are asked."""
    right_begun, asked = threading.Event(), list[str]()

    @stage("left", running="l")
    def left(ctx: StageContext) -> Ok:
        made = ctx.checkpoint("half", lambda: len(asked))
        asked.append("left")
        assert right_begun.wait(20)
        return Ok({"half": made})

    @stage("middle", running="m")
    def middle(ctx: StageContext) -> Ok:
        while not asked:  # left is before it in the log, with its checkpoint
            threading.Event().wait(0.01)
        asked.append("middle")
        return Ok(1)

    @stage("right", after="middle", running="r")
    def right(ctx: StageContext) -> Ok:
        asked.append("right")
        right_begun.set()
        return Ok(2)

    return define("beside", left, middle, right), asked


def test_what_was_under_way_is_made_anew(opened: Open) -> None:
    """Of a stage that ran beside the cut nothing is copied, its checkpoint neither; versions close up, and outcomes
    that were copied are not taken for stale."""
    definition, asked = beside()
    p = opened(definition=definition)
    parent = p.start_session("Beside").session_id
    p.record(parent, SAID)
    with p.workers(3):
        p.finalize(parent)
        while p.get(parent).state != "revealed":
            threading.Event().wait(0.02)
    log, before = types(p, parent), stored(p, parent)
    assert log.index("left_started") < log.index("left_progress") < log.index("middle_ready")
    assert log.index("right_started") < log.index("left_ready")
    asked.clear()
    fork = p.fork(parent, "right", wait=False)
    copied = types(p, fork.session_id)
    assert copied == ["session_started", "segments_recorded", "session_finalized", "middle_started", "middle_ready"]
    assert [event.version for event in p.events(fork.session_id)] == [1, 2, 3, 4, 5]
    assert decode(p.events(fork.session_id)[4]).input_version == 4  # type: ignore[attr-defined]
    assert p.verify(fork.session_id) == []
    fork = p.run_fork(fork.session_id)
    assert sorted(asked) == ["left", "right"]
    assert fork.state == "revealed" and {one.run for one in fork.stages.values()} == {1}
    assert p.verify(fork.session_id) == [] and stored(p, parent) == before


def test_a_long_log_is_one_append(pipeline: Pipeline) -> None:
    """Thousands of events, each recorded alone, are copied all or none."""
    session_id = pipeline.start_session("Long").session_id
    for n in range(400):
        pipeline.record(session_id, [Segment(f"word {n}", n * 10, n * 10 + 9, "Ann", 0.5)])
    pipeline.finalize(session_id)
    pipeline.run_until_idle()
    fork = pipeline.fork(session_id, "summary")
    assert fork.total_segments == 400 and fork.state == "revealed"
    assert pipeline.verify(fork.session_id) == []
    assert pipeline.diff(session_id, fork.session_id).same


def test_a_stage_that_ran_again_is_forked_from_its_first_run(pipeline: Pipeline) -> None:
    """What came later is not of the copy."""
    parent = finished(pipeline)
    first = types(pipeline, pipeline.fork(parent, "tasks", wait=False).session_id)
    pipeline.retry(parent, "tasks")
    pipeline.run_until_idle()
    assert pipeline.get(parent).stages["tasks"].run == 2
    assert types(pipeline, pipeline.fork(parent, "tasks", wait=False).session_id) == first
    assert first[-1] == "analytics_ready"


def test_what_was_recorded_late_is_read_as_in_the_parent(opened: Open) -> None:
    """Stages before it that had not read it run once more after the reveal, here: nothing is left to be done."""
    p = opened(settings={"late_segments": True})
    parent = due(p)
    worker = p.worker()
    worker.ending = True
    worker.step(p.clock.now())
    p.record(parent, [Segment("and i will call the printer", 9000, 9900, "Bob", 0.5)])
    p.run_until_idle()
    before = stored(p, parent)
    fork = p.fork(parent, "tasks", provider=Other())
    assert fork.total_segments == p.get(parent).total_segments == 2
    assert (fork.state, fork.stages["refinement"].run, fork.stages["refinement"].provider) == ("revealed", 2, "other")
    assert unfinished(p) == [] and p.verify(fork.session_id) == [] and stored(p, parent) == before


def test_a_session_that_still_runs_can_be_forked(opened: Open) -> None:
    """Also one that was cancelled: what is before the stage is there."""
    p = opened()
    running, cancelled = due(p), due(p)
    worker = p.worker()
    worker.ending = True  # one stage, and no more
    for _ in (running, cancelled):
        worker.step(p.clock.now())
    p.cancel(cancelled)
    for parent in (running, cancelled):
        before = stored(p, parent)
        assert p.fork(parent, "refinement").state == "revealed"
        assert stored(p, parent) == before
