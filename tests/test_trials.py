"""Forks of sessions: made and run without touching production; compared with their parents; many at once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from away import SAID, Model, due_in, types
from stuck import another, due, everything, write

from mina_pipeline import (
    Degraded,
    IllegalTransition,
    InvalidInput,
    MinaError,
    Ok,
    Pipeline,
    ProviderUnavailable,
    Segment,
    SessionNotFound,
    StageContext,
    UpgradeNeeded,
    define,
    stage,
)
from mina_pipeline.codec import decode
from mina_pipeline.comparing import Side, compare, paired_tasks
from mina_pipeline.copying import prefix
from mina_pipeline.events import SessionErased, SessionStarted
from mina_pipeline.llm.answers import Answer
from mina_pipeline.llm.budget import Limits
from mina_pipeline.meeting import Cited, Result, Summary, SummaryResult, Task, TaskList
from mina_pipeline.projections import READ_MODELS, Op
from mina_pipeline.sessions import load
from mina_pipeline.stages.base import Outcome
from mina_pipeline.stages.offline import OfflineProvider
from mina_pipeline.testing.openai_server import OpenAIServer
from mina_pipeline.testing.truthful_model import truthful
from mina_pipeline.trials import AT_ONCE, Trial, trial_provider
from mina_pipeline.workshop import definition_name

Open = Callable[..., Pipeline]
STAGES = ("refinement", "analytics", "tasks", "summary")


class Other(Model):
    """A provider that finds other things, and says what that cost."""

    name = "other"

    def extract_tasks(self, ctx: StageContext) -> Outcome:
        ctx.receipt("all", "a", lambda: Answer({}, "m-1", 100, 20, 0.5, "other"))
        found = Task(title="Tidy up", due_date="2026-12-01")
        return self.made(ctx, Ok(TaskList(tasks=(found,))))

    def summarize(self, ctx: StageContext) -> Outcome:
        ctx.receipt("all", "b", lambda: Answer({}, "m-2", 50, 10, None, "other"))
        return self.made(ctx, Ok(Summary(brief="All else.", detailed="Nothing was promised.")))


def finished(p: Pipeline, title: str = "Figures", said: list[Segment] = SAID) -> str:
    session_id = p.start_session(title, meeting_id="m", tenant="t", timezone="Europe/Berlin").session_id
    p.record(session_id, said, command_id="the words")
    p.finalize(session_id, command_id="the end")
    p.run_until_idle()
    return session_id


def stored(p: Pipeline, session_id: str) -> list[Any]:
    """All that is stored of one session, byte for byte."""
    rows = [p.store.rows(table, session_id) for table in READ_MODELS]
    return [p.store.load(session_id), p.store.events(session_id), rows]


def unfinished(p: Pipeline) -> list[str]:
    """Sessions that anybody would still have to do something for."""
    return [row["session_id"] for row in p.store.work_rows(p.clock.now())]


# --- the copy


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


# --- apart from production


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


# --- what cannot be forked


def erased(p: Pipeline) -> str:
    """A session whose content is gone from its log."""
    session_id = finished(p)
    now = load(p.store, session_id)
    gone, _ = p.handler.compose(
        session_id, now, [SessionErased(through_version=now.state.version)], None, None, None, None
    )
    assert p.store.append(gone)
    return session_id


def unfinalized(p: Pipeline) -> str:
    session_id = p.start_session("Now").session_id
    p.record(session_id, SAID)
    return session_id


@pytest.mark.parametrize(
    ("made", "first", "error", "says"),
    [
        (unfinalized, "tasks", IllegalTransition, "never finalized: finalize it first"),
        (due, "tasks", IllegalTransition, "tasks has not begun"),
        (erased, "tasks", IllegalTransition, "content was erased"),
        (finished, "translation", InvalidInput, r"no stage of this session; it has \['refinement'"),
        (lambda p: "nobody", "tasks", SessionNotFound, "nobody"),
    ],
)
def test_what_cannot_be_forked_is_refused(
    pipeline: Pipeline, made: Callable[[Pipeline], str], first: str, error: type[MinaError], says: str
) -> None:
    """What, where and what to do about it; nothing is stored, no number drawn."""
    session_id = made(pipeline)
    before = everything(pipeline)
    with pytest.raises(error, match=says):
        pipeline.fork(session_id, first)
    with pytest.raises(MinaError):
        pipeline.fork(session_id, first, wait=False)
    assert everything(pipeline) == before


def test_a_log_that_has_lost_content_is_not_copied(pipeline: Pipeline) -> None:
    """Before the stage, that is: it would be a fork that nobody ever verifies clean. Later events are not looked at."""
    parent = finished(pipeline)
    rows = pipeline.store.events(parent)
    last = next(n for n, row in enumerate(rows) if row["type"] == "tasks_started")
    for n, row in enumerate(rows):
        if row["content"] is not None:
            damaged = [*rows[:n], {**row, "content": None}, *rows[n + 1 :]]
            with pytest.raises(IllegalTransition, match="mina verify") if n < last else nullcontext():
                prefix(parent, damaged, "tasks")


def test_a_later_releases_session_is_not_forked(pipeline: Pipeline) -> None:
    """This one would fold it on as less than it is."""
    parent = finished(pipeline)
    row = {"session_id": parent, "fold_version": 99}
    write(pipeline, parent, Op("update", "sessions", (row,)))
    before = everything(pipeline)
    with pytest.raises(UpgradeNeeded, match="fold version"):
        pipeline.fork(parent, "tasks")
    (trial,) = pipeline.replay_with("offline", [parent])
    assert "fold version" in str(trial.refused)
    assert [one for one in everything(pipeline) if one] == [one for one in before if one]


def test_providers_that_are_not_there(pipeline: Pipeline) -> None:
    """An unknown name, and a model of a provider that takes none, are refused before anything is stored."""
    parent = finished(pipeline)
    before = everything(pipeline)
    for given in ({"provider": "nobody"}, {"provider": "offline", "model": "m"}, {"provider": Other(), "model": "m"}):
        with pytest.raises(InvalidInput):
            pipeline.fork(parent, "tasks", **given)
        with pytest.raises(InvalidInput):
            pipeline.replay_with(sessions=[parent], **given)
    with pytest.raises(InvalidInput, match="other takes none"):
        trial_provider(Other(), "m")
    assert everything(pipeline) == before


def test_a_model_alone_is_one_of_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    """No request is made for that."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    for provider in (None, "openai"):
        assert trial_provider(provider, "gpt-next").options.model == "gpt-next"


def test_another_model_on_a_real_server(opened: Open, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named by provider and model, as `mina fork --model` does: only that model is asked, and its answers have a cost;
    a budget counts them with production's."""
    p = opened()
    parent = finished(p)
    with OpenAIServer(truthful) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("MINA_OPENAI_PRICES", "m-next=1/2")
        monkeypatch.setenv("MINA_OPENAI_DAY_TOKENS", "1000000")
        (trial,) = p.replay_with("openai", [parent], from_stage="tasks", model="m-next")
        assert trial.session and trial.well and trial.session.definition.startswith("standard_trial_m_next_")
        assert [one.provider for one in trial.session.stages.values()] == ["offline", "offline", "openai", "openai"]
        assert trial.tokens_in and trial.tokens_out and trial.cost and trial.cost > 0
        assert server.counts().requests == 2
        answers = [one for runs in trial.session.usage["stages"].values() for one in runs["1"]]
        assert {one["model"] for one in answers} == {"m-next"}
        if url != "memory://":  # where it is shared by all who have it open
            counted = p.store.budget(Limits(), p.ids.uuid).spent("day", datetime.now(UTC).date().isoformat())
            assert counted.tokens == trial.tokens_in + trial.tokens_out
        fork = p.fork(parent, "summary", model="m-other")
        assert [one["model"] for one in fork.usage["stages"]["summary"]["1"]] == ["m-other"]


def test_the_code_of_the_definition_must_be_here(opened: Open) -> None:
    """A fork runs the stages of its parent's definition; who does not have them cannot make one, nor run one on."""
    one = stage("translation", running="translating")(lambda ctx: Ok({"by": ctx.provider.name}))
    p = opened(definition=define("mine", one))
    parent = finished(p)
    fork = p.fork(parent, "translation", provider=Other())
    assert p.result(fork.session_id).others["translation"].artefact == {"by": "other"}
    assert fork.definition.startswith("mine_trial_other_") and p.verify(fork.session_id) == []
    assert [one.field for one in p.diff(parent, fork.session_id).others] == ["translation"]
    left = p.fork(parent, "translation", wait=False)
    stranger = another(p)
    before = everything(p)
    for refused in (lambda: stranger.fork(parent, "translation"), lambda: stranger.run_fork(left.session_id)):
        with pytest.raises(UpgradeNeeded, match="definition"):
            refused()
    assert everything(p) == before


def test_run_fork_is_for_forks(pipeline: Pipeline) -> None:
    """Other sessions are the workers' to finish; one that is over is given as it is."""
    with pytest.raises(InvalidInput, match="no fork"):
        pipeline.run_fork(due(pipeline))
    with pytest.raises(SessionNotFound):
        pipeline.run_fork("nobody")
    pipeline.run_until_idle()
    fork = pipeline.fork(finished(pipeline), "summary")
    assert pipeline.run_fork(fork.session_id) == fork


def test_not_inside_a_hosts_transaction() -> None:
    """It runs stages, which a transaction would wait for; reading what differs is fine."""
    with Pipeline.open("memory://") as p, p.store.begin() as transaction:  # type: ignore[attr-defined]
        parent = finished(p)
        inside = p.using(transaction)
        for refused in (
            lambda: inside.fork(parent, "tasks"),
            lambda: inside.run_fork(parent),
            lambda: inside.replay_with("offline"),
        ):
            with pytest.raises(MinaError, match="host's transaction"):
                refused()
        assert inside.diff(parent, parent).same


def test_names_of_forks_are_definition_names() -> None:
    """Whatever the provider is called: `mina diagram` and whoever else reads them takes them for one."""
    from mina_pipeline.definition import NAME

    for base in ("a", "standard", "x" * 40):
        for provider in ("offline", "openai:gpt-5.4/mini", "ÄÖ", "", "9", "a" * 80):
            assert NAME.match(definition_name(base, provider, "0123456789ab"))
    assert definition_name("standard", "GPT 5.4 mini", "xx1f3a9c2b") == "standard_trial_gpt_5_4_mini_1f3a9c2b"


# --- diff


def test_diff_of_a_session_with_itself(pipeline: Pipeline) -> None:
    """Nothing differs, and both sides are shown."""
    session_id = finished(pipeline)
    found = pipeline.diff(session_id, session_id)
    assert found.same and found.likeness == 1 and found.lines == 3 and found.same_tasks == 1
    assert [(one.field, one.same) for one in found.summary] == [("brief", True), ("detailed", True)]
    assert [one.stage for one in found.stages] == list(STAGES)
    with pytest.raises(SessionNotFound):
        pipeline.diff(session_id, "nobody")


def test_diff_shows_what_another_provider_made(pipeline: Pipeline) -> None:
    """Stages, lines, tasks and summary; and all of it is JSON."""
    parent = finished(pipeline)

    class Shouting(Other):
        def refine(self, ctx: StageContext) -> Outcome:
            made = super().refine(ctx)
            changes = tuple(replace(change, text=change.text.upper()) for change in made.artefact.changes)
            return Degraded(replace(made.artefact, changes=changes), "budget")

    fork = pipeline.fork(parent, "refinement", provider=Shouting())
    found = pipeline.diff(parent, fork.session_id)
    assert not found.same and (found.a_parent, found.b_parent) == (None, parent)
    first = found.stages[0]
    assert first.a and first.b and (first.a.outcome, first.b.outcome, first.b.reason) == ("ok", "degraded", "budget")
    assert (first.a.provider, first.b.provider) == ("offline", "other") and first.b.duration_ms is not None
    line = found.changed_lines[0]
    assert (line.segment_id, line.speaker, line.b) == ("1", "Ann", str(line.a).upper())
    assert [task.title for task in found.tasks_only_b] == ["Tidy up"] and len(found.tasks_only_a) == 1
    assert found.summary[0].b == "All else." and found.likeness is not None and found.likeness < 0.5
    shown = json.loads(msgspec.json.encode(found.as_dict()))
    assert shown["same"] is False and shown["b_parent"] == parent
    assert shown["tasks_only_b"][0]["title"] == "Tidy up"


def test_tasks_are_matched_by_title_then_by_evidence() -> None:
    """Each is matched once; who has the same title goes first, whatever else cites the same segment."""
    a = [Task(title="Send figures", evidence=("2",)), Task(title="Ask Bob", evidence=("3",)), Task(title="Twice")]
    b = [
        Task(title="Call Bob", evidence=("2", "3")), Task(title="SEND figures", evidence=("2",), priority="high"),
        Task(title="Twice"), Task(title="Twice"), Task(title="New"),
    ]  # fmt: skip
    both, only_a, only_b = paired_tasks(a, b)
    assert [(one.a.title, one.b.title, one.fields) for one in both] == [
        ("Send figures", "SEND figures", ("title", "priority")),
        ("Ask Bob", "Call Bob", ("title", "evidence")),
        ("Twice", "Twice", ()),
    ]
    assert only_a == [] and [task.title for task in only_b] == ["Twice", "New"]


def test_points_are_matched_by_words_then_by_evidence(pipeline: Pipeline) -> None:
    """Side by side in the order of A, what only B has at the end."""

    def side(*points: tuple[str, str]) -> Side:
        cited = tuple(Cited(text=text, evidence=(of,)) for text, of in points)
        summary = SummaryResult(outcome="ok", run=1, provider="p", brief="b", decisions=cited)
        return Side(session, None, Result(summary=summary, others={}), ())

    session = pipeline.start_session("Points")
    found = compare(
        side(("We go", "1"), ("We stay", "2"), ("Alone", "3")), side(("New", "4"), ("Stay!", "2"), ("we go", "5"))
    )
    assert [(one.field, one.a, one.b) for one in found.points] == [
        ("decisions", "We go", "we go"),
        ("decisions", "We stay", "Stay!"),
        ("decisions", "Alone", None),
        ("decisions", None, "New"),
    ]
    assert not found.same and found.likeness == 1
    assert compare(side(("We go", "1")), side(("We go", "9"))).same


def test_diff_of_sessions_that_have_nothing_in_common(pipeline: Pipeline) -> None:
    """Sessions of other meetings, with no result yet or with other stages: what one does not have is None."""
    one, other = finished(pipeline), due(pipeline)
    found = pipeline.diff(one, other)
    assert found.likeness is None and found.summary[0].b is None and len(found.tasks_only_a) == 1
    assert {line.segment_id for line in found.changed_lines if line.b is None} == {"2", "3"}
    empty = compare(*(Side(pipeline.get(session_id), None, Result(others={}), ()) for session_id in (one, other)))
    assert empty.same and empty.lines == 0


# --- many


def test_replay_with_many(opened: Open) -> None:
    """More sessions than are run at once: a row for each in the order given, with what it cost, or why it was not."""
    p, heard, open_ones = opened(), list[Trial](), list[int]()
    parents = [finished(p, f"n{n}") for n in range(6)]
    young = unfinalized(p)
    before = [stored(p, one) for one in (*parents, young)]

    class Counting(Other):
        def summarize(self, ctx: StageContext) -> Outcome:
            threading.Event().wait(0.1)
            open_ones.append(len({*unfinished(p)} - {young}))
            return super().summarize(ctx)

    trials = p.replay_with(Counting(), [*parents[:2], young, *parents[2:]], from_stage="tasks", told=heard.append)
    assert [stored(p, one) for one in (*parents, young)] == before
    assert [trial.parent for trial in trials] == [*parents[:2], young, *parents[2:]]
    assert sorted(trial.parent for trial in heard) == sorted(trial.parent for trial in trials)
    assert 1 < max(open_ones) <= AT_ONCE
    refused = trials.pop(2)
    assert refused.session is None and "finalize it first" in str(refused.refused) and not refused.well
    for trial in trials:
        assert trial.well and trial.ran == ("tasks", "summary")
        assert (trial.tokens_in, trial.tokens_out, trial.cost) == (150, 30, 0.5)
        assert trial.diff and trial.diff.a.session_id == trial.parent and not trial.diff.same
        assert trial.session and p.verify(trial.session.session_id) == []
    assert unfinished(p) == [key for key in unfinished(p) if key == young]
    table = str(trials).splitlines()
    assert len(table) == 7 and table[0].split() == "session fork outcomes tasks tokens cost seconds differs".split()
    assert "tasks ok, summary ok" in table[1] and "150 + 30" in table[1] and "1 → 1" in table[1]
    assert "tasks -1 +1 ~0" in table[1]
    json.dumps([msgspec.to_builtins(trial.as_dict()) for trial in [*trials, refused]])


def test_replay_with_takes_the_newest_that_are_no_forks(opened: Open) -> None:
    """Revealed sessions, `limit` of them; with nothing to try it makes nothing. An unknown id stops it before."""
    p = opened()
    assert p.replay_with("offline") == []
    assert str(p.replay_with("offline")).split()[0] == "session"
    parents = [finished(p, f"n{n}") for n in range(3)]
    due(p)
    p.fork(parents[2], "summary")
    assert [trial.parent for trial in p.replay_with("offline", limit=2)] == [parents[2], parents[1]]
    assert [trial.parent for trial in p.replay_with()] == parents[::-1]
    before = everything(p)
    with pytest.raises(SessionNotFound):
        p.replay_with("offline", [parents[0], "nobody"])
    assert everything(p) == before


def test_a_stage_that_fails_is_told(opened: Open) -> None:
    """The fork is revealed with the failure in it, and the trial is not well."""
    p = opened()
    parent = finished(p)

    class Broken(OfflineProvider):
        name = "broken"

        def summarize(self, ctx: StageContext) -> Outcome:
            raise RuntimeError("no")

    (trial,) = p.replay_with(Broken(), [parent], from_stage="summary")
    assert trial.session and trial.session.state == "revealed" and not trial.well
    assert "summary failed" in str(trial.cells)


def test_nothing_of_the_meeting_is_logged(opened: Open, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor printed by the library, nor in the table's rows."""
    p = opened()
    parent = finished(p, "Zebra", [Segment("i will send the xylophone by friday", 0, 900, "Zebediah", 0.5)])
    trials = p.replay_with(Other(), [parent])
    found = capsys.readouterr()
    assert found.out == ""
    assert not {"xylophone", "Zebediah", "Zebra", "Tidy"} & set((found.err + str(trials)).split())
