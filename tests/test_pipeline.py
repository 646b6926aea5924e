"""The public face, on every store: the promises as callers meet them."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from spoken import Open, Raising, finished, types

from mina_pipeline import (
    STANDARD_STAGES,
    CommandIdReused,
    Degraded,
    Empty,
    ForeignSchema,
    IllegalTransition,
    InvalidInput,
    MinaError,
    Ok,
    Pipeline,
    RecordedEvent,
    Segment,
    SegmentIdReused,
    Settings,
    StageContext,
    StoreUnreachable,
    UpgradeNeeded,
    define,
    stage,
)
from mina_pipeline import commands as ask
from mina_pipeline.store.memory import MemoryStore
from mina_pipeline.testing.strategies import segments


def test_a_meeting_is_revealed(pipeline: Pipeline) -> None:
    """A recorded meeting reaches revealed with four ok outcomes, and everything agrees with its log."""
    session_id = finished(pipeline, started_at=datetime(2026, 11, 23, 9), timezone="Europe/Berlin")
    session, result = pipeline.get(session_id), pipeline.result(session_id)
    assert session.state == "revealed"
    assert {name: s.outcome for name, s in session.stages.items()} == dict.fromkeys(session.stages, "ok")
    assert result.transcript is not None
    assert result.analytics is not None
    assert result.summary is not None
    assert result.tasks is not None
    assert result.analytics.participant_count == 2
    assert result.transcript.outcome == "ok"
    assert "I'll send them tomorrow." in result.transcript.text
    assert all(task.task_id for task in result.tasks)
    assert pipeline.verify(session_id) == []


def test_zero_segments_are_empty_and_revealed(pipeline: Pipeline) -> None:
    """A session without a word goes through all nine events, every outcome empty."""
    session_id = finished(pipeline, [])
    assert len(types(pipeline, session_id)) == 2 + 9 + 1
    assert {s.outcome for s in pipeline.get(session_id).stages.values()} == {"empty"}
    assert pipeline.get(session_id).state == "revealed"
    assert pipeline.verify(session_id) == []


def test_a_raising_stage_is_an_honest_failure(opened: Open, capsys: pytest.CaptureFixture[str]) -> None:
    """One stage raises: its _failed carries error and error_type, the others run, the reveal says so."""
    pipeline = opened(provider=Raising())
    session_id = finished(pipeline)
    assert "analytics_failed" in types(pipeline, session_id)
    assert "analytics_ready" not in types(pipeline, session_id)
    failed = next(e for e in pipeline.events(session_id) if e.type == "analytics_failed")
    assert (failed.data["error"], failed.data["error_type"]) == ("no figures today", "RuntimeError")
    session = pipeline.get(session_id)
    assert (session.state, session.stages["analytics"].outcome, session.stages["summary"].outcome) == (
        "revealed", "failed", "ok",
    )  # fmt: skip
    out = capsys.readouterr()
    assert out.out == ""
    assert "RuntimeError" in out.err
    assert "figures" not in out.err


def test_nothing_is_printed_or_logged_of_the_meeting(opened: Open, capsys: pytest.CaptureFixture[str]) -> None:
    """A whole run prints nothing on stdout, and no word of the transcript anywhere."""
    finished(opened(), [Segment("xylophone secret", 0, 1000, "Zebediah")])
    out = capsys.readouterr()
    assert out.out == ""
    assert "xylophone" not in out.err
    assert "Zebediah" not in out.err


def test_commands_take_effect_once(pipeline: Pipeline) -> None:
    """Start, record, finalize and cancel sent again change nothing and answer the session as it is."""
    first = pipeline.start_session("one", session_id="mine")
    assert pipeline.start_session("two", session_id="mine") == first
    said = [Segment("x", 0, 1, segment_id="a")]
    pipeline.record("mine", said)
    assert pipeline.record("mine", said).version == 2
    with pytest.raises(SegmentIdReused):
        pipeline.record("mine", [Segment("y", 0, 1, segment_id="a")])
    one, two = pipeline.finalize("mine"), pipeline.finalize("mine")
    assert one.stats == two.stats
    assert pipeline.record("mine", said).version == 3
    with pytest.raises(IllegalTransition):
        pipeline.record("mine", [Segment("late", 5, 6)])
    assert pipeline.cancel("mine", "no need").state == "cancelled"
    assert pipeline.cancel("mine").version == 4
    assert pipeline.run_until_idle() == 0


def test_a_command_id_counts_once(pipeline: Pipeline) -> None:
    """The same command id again changes nothing; with other content it is CommandIdReused."""
    pipeline.start_session(session_id="mine")
    said = [Segment("x", 0, 1)]
    assert pipeline.record("mine", said, "c1").version == 2
    assert pipeline.record("mine", said, "c1").version == 2
    with pytest.raises(CommandIdReused):
        pipeline.record("mine", [Segment("y", 0, 1)], "c1")
    pipeline.finalize("mine")
    assert pipeline.record("mine", said, "c1").version == 3
    assert pipeline.record("mine", said, "c1").total_segments == 1


@pytest.mark.parametrize(
    "segment",
    [
        Segment("x", 5, 4), Segment("x", -1, 4), Segment("x", 0, 1, confidence=1.5), Segment("x", 0, 2**60),
        Segment("x", 0, 1, confidence=float("nan")), Segment("x", 0, 1, segment_id=""), Segment("x", 0.5, 1),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_impossible_segments_are_refused_whole(segment: Segment) -> None:
    """One impossible segment refuses the whole call, and nothing of it is stored."""
    with Pipeline.open("memory://") as pipeline:
        pipeline.start_session(session_id="mine")
        with pytest.raises(InvalidInput):
            pipeline.record("mine", [Segment("fine", 0, 1), segment])
        assert pipeline.get("mine").version == 1


def test_retry_keeps_task_ids_and_tells_clients(pipeline: Pipeline) -> None:
    """A retried stage runs as run 2; the same tasks keep their ids; the log keeps both runs."""
    session_id = finished(pipeline)
    before = pipeline.result(session_id).tasks
    pipeline.retry(session_id, "tasks", run=1)
    pipeline.retry(session_id, "tasks", run=1)
    pipeline.run_until_idle()
    after = pipeline.result(session_id).tasks
    assert before is not None
    assert after is not None
    assert after.run == 2
    assert [t.task_id for t in before] == [t.task_id for t in after]
    assert types(pipeline, session_id).count("artefact_updated") == 2  # tasks, and the summary that read them
    assert pipeline.verify(session_id) == []


def test_a_hosts_own_stage_and_definition(opened: Open) -> None:
    """A host's stage runs in its place, sees earlier results, and its JSON result is kept."""

    @stage("translation", after="refinement", running="translating")
    def translate(ctx: StageContext) -> Ok | Degraded | Empty:
        once = ctx.checkpoint("answer", lambda: {"words": len(ctx.refined)})
        ctx.progress(1, 2)
        return Ok({"text": "hallo", "saw": sorted(ctx.results), **once})

    pipeline = opened(definition=define("translated", *STANDARD_STAGES, translate))
    session_id = finished(pipeline)
    result = pipeline.result(session_id).others["translation"]
    assert (result.outcome, result.artefact["words"]) == ("ok", 3)
    assert "refinement" in result.artefact["saw"]
    assert types(pipeline, session_id).count("translation_progress") == 2
    assert pipeline.verify(session_id) == []
    plain = opened() if not isinstance(pipeline.store, MemoryStore) else None
    if plain is not None:
        other = opened(settings={})  # another prefix is not another process: same store, no such definition
        assert other.get(session_id).definition == "translated"
        with pytest.raises(UpgradeNeeded):
            other.cancel(session_id)


def test_a_subscriber_that_raises_stops_nobody(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    """A callback that raises is logged; the others hear everything."""
    heard: list[RecordedEvent] = []

    def broken(event: RecordedEvent) -> None:
        raise ValueError("no")

    with pipeline.subscribe(broken), pipeline.subscribe(heard.append):
        session_id = finished(pipeline)
    assert [e.version for e in heard] == [e.version for e in pipeline.events(session_id)]
    assert "subscriber raised" in capsys.readouterr().err


def test_two_pipelines_share_one_store(opened: Open, url: str) -> None:
    """What one process commits, a subscriber in another hears; either can work on it."""
    if url == "memory://":
        pytest.skip("memory is one process's own")
    one = opened()
    two = Pipeline.open(url, settings=one.settings)
    heard: list[RecordedEvent] = []
    with two, two.subscribe(heard.append):
        session_id = finished(one)
        until = time.monotonic() + 10
        while time.monotonic() < until and len(heard) < len(one.events(session_id)):
            time.sleep(0.02)
        assert [e.version for e in heard] == [e.version for e in two.events(session_id)]


def test_a_given_ordinal_never_meets_a_callers_id(pipeline: Pipeline) -> None:
    """A segment without an id gets one that no caller has used, in the same call or before."""
    pipeline.start_session(session_id="mine")
    pipeline.record("mine", [Segment("a", 0, 1, segment_id="2")])
    pipeline.record("mine", [Segment("b", 1, 2)])
    pipeline.record("mine", [Segment("c", 2, 3, segment_id="4"), Segment("d", 3, 4), Segment("e", 4, 5)])
    rows = pipeline.store.rows("segments", "mine")
    assert [row["text"] for row in rows] == ["a", "b", "c", "d", "e"]
    assert len({row["segment_id"] for row in rows}) == 5
    assert pipeline.verify("mine") == []


def test_a_foreign_database_is_refused(tmp_path: Any) -> None:
    """Tables of our names that are not ours are refused, untouched."""
    url = f"sqlite:///{tmp_path}/theirs.db"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE mina_events (mine TEXT)")
    engine.dispose()
    with pytest.raises(ForeignSchema, match="mina_events"):
        Pipeline.open(url)
    engine = sa.create_engine(url)
    assert sa.inspect(engine).get_table_names() == ["mina_events"]
    engine.dispose()


@pytest.mark.parametrize(
    "url",
    ["nonsense", "mysql://x/y", "sqlite:////no/such/folder/x.db", "sqlite://",
     "postgresql://u:secret@127.0.0.1:1/nothing"],
)  # fmt: skip
def test_unreachable_stores_say_so_without_the_password(url: str) -> None:
    """A store that cannot be reached raises StoreUnreachable, which names it but not its password."""
    with pytest.raises(StoreUnreachable) as error:
        Pipeline.open(url)
    assert "secret" not in str(error.value)


def test_wrong_arguments_say_which() -> None:
    """A wrong argument raises InvalidInput naming it; an unknown definition needs an upgrade."""
    with Pipeline.open("memory://") as pipeline:
        with pytest.raises(InvalidInput, match="timezone"):
            pipeline.start_session(timezone="Mars/Olympus")
        with pytest.raises(InvalidInput, match="session_id"):
            pipeline.start_session(session_id="")
        with pytest.raises(InvalidInput, match="after"):
            pipeline.feed("nonsense")
        with pytest.raises(InvalidInput, match="count"):
            pipeline.workers(0)
    with pytest.raises(UpgradeNeeded):
        Pipeline.open("memory://", definition="unheard_of")
    with pytest.raises(InvalidInput, match="provider"):
        Pipeline.open("memory://", provider="unheard_of")
    with pytest.raises(InvalidInput, match="lease"):
        Settings(lease=-1)
    with pytest.raises(InvalidInput, match="MINA_POLL"):
        Settings.from_env({"MINA_POLL": "often"})
    assert Settings.from_env({"MINA_POLL": "1.5"}).poll == 1.5


@pytest.mark.laws
@given(st.lists(st.tuples(st.sampled_from(["record", "finalize", "cancel", "retry", "work"]), segments()), max_size=12))
def test_read_models_are_the_fold_of_the_log(wishes: list[tuple[str, Segment]]) -> None:
    """After any commands, snapshot and read models as written equal those folded from the log."""
    with Pipeline.open("memory://") as pipeline:
        pipeline.start_session(session_id="mine")
        for wish, segment in wishes:
            try:
                match wish:
                    case "record":
                        pipeline.record("mine", [segment])
                    case "finalize":
                        pipeline.finalize("mine")
                    case "cancel":
                        pipeline.cancel("mine")
                    case "retry":
                        pipeline.retry("mine", "tasks")
                    case _:
                        pipeline.run_until_idle()
            except MinaError:
                continue
        assert pipeline.verify("mine") == []
        assert pipeline.rebuild("mine") == 0
        assert pipeline.replay("mine")[-1].after == pipeline.get("mine").state


def test_what_a_person_changed_survives_a_new_run(pipeline: Pipeline) -> None:
    """A task's changed fields stay as the person left them when the stage runs again."""
    from mina_pipeline.events import TaskChanged
    from mina_pipeline.sessions import load

    session_id = finished(pipeline)
    tasks = pipeline.result(session_id).tasks
    assert tasks is not None
    assert len(tasks)
    task_id = tasks.tasks[0].task_id
    assert task_id is not None
    changed = TaskChanged(task_id=task_id, fields=("title", "completed"), changes={"title": "Mine", "completed": True})
    now = load(pipeline.store, session_id)
    append, _ = pipeline.handler.compose(session_id, now, [changed], None, None, None, None)
    assert pipeline.store.append(append)
    pipeline.retry(session_id, "tasks")
    pipeline.run_until_idle()
    after = pipeline.result(session_id).tasks
    assert after is not None
    mine = next(task for task in after if task.task_id == task_id)
    assert (mine.title, mine.completed) == ("Mine", True)
    assert pipeline.verify(session_id) == []


def test_fingerprints_tell_content_not_circumstance() -> None:
    """What is drawn or looked up for a command is not part of what was asked."""
    one = ask.Record(segments=(Segment("x", 0, 1),))
    two = ask.Record(segments=(Segment("x", 0, 1),), known={"a": Segment("y", 0, 1)})
    assert ask.fingerprint(one) == ask.fingerprint(two)
    assert ask.fingerprint(one) != ask.fingerprint(ask.Record(segments=(Segment("z", 0, 1),)))
