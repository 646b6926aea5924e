"""A person changes a task: what may be changed, once, by whom, and that it outlives later runs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from spoken import SAID, Open, finished, types

from mina_pipeline import (
    CommandIdReused,
    ConcurrencyError,
    IllegalTransition,
    InvalidInput,
    Ok,
    Pipeline,
    Session,
    SessionNotFound,
    StageContext,
    TaskNotFound,
)
from mina_pipeline.events import TaskChanged
from mina_pipeline.inputs import CHANGEABLE, checked_changes
from mina_pipeline.meeting import Task, TaskList
from mina_pipeline.projections import Op
from mina_pipeline.stages.offline import OfflineProvider
from mina_pipeline.testing.scenario import SESSION_ID, start
from mina_pipeline.testing.scenario import given as after
from mina_pipeline.testing.strategies import task_changes

EVERYTHING = {
    "title": "Send Q3 figures",
    "description": "to the board",
    "task_type": "follow_up",
    "priority": "urgent",
    "assigned_to": "Zoë",
    "due_date": "2026-12-03",
    "completed": True,
}


def a_task(pipeline: Pipeline, session_id: str, task_id: str | None = None) -> Task:
    """The task of that id, else the first."""
    found = pipeline.result(session_id).tasks
    assert found is not None
    return next(task for task in found if task_id in (None, task.task_id))


def id_of(task: Task) -> str:
    assert task.task_id is not None
    return task.task_id


def test_all_that_may_be_changed_is_kept_over_a_new_run_and_a_rebuild(pipeline: Pipeline) -> None:
    """Each field is as the person left it: at once, after the stage ran again, and rebuilt from the log."""
    session_id = finished(pipeline)
    before = a_task(pipeline, session_id)
    task_id = id_of(before)
    session = pipeline.change_task(session_id, task_id, EVERYTHING, actor="maya")
    event = pipeline.events(session_id)[-1]
    assert (event.type, event.actor, event.version) == ("task_changed", "maya", session.version)
    assert event.data == {"task_id": task_id, "fields": list(EVERYTHING), "changes": EVERYTHING}
    for again in ("at once", "run", "rebuilt"):
        if again == "run":
            pipeline.retry(session_id, "tasks")
            pipeline.run_until_idle()
            assert pipeline.get(session_id).stages["tasks"].run == 2
        elif again == "rebuilt":
            assert pipeline.rebuild(session_id) == 0
        task = a_task(pipeline, session_id, task_id)
        assert {field: getattr(task, field) for field in EVERYTHING} == EVERYTHING
        assert (task.evidence, task.quotes) == (before.evidence, before.quotes)
        assert pipeline.verify(session_id) == []


def test_a_rebuild_brings_a_change_back(pipeline: Pipeline) -> None:
    """What a row lost that somebody wrote over by hand is in the log."""
    session_id = finished(pipeline)
    task_id = id_of(a_task(pipeline, session_id))
    version = pipeline.change_task(session_id, task_id, {"title": "Mine"}).version
    row = {"session_id": session_id, "task_id": task_id, "title": "not what anybody said"}
    assert pipeline.store.correct(pipeline.clock.now(), session_id, version, [Op("update", "tasks", (row,))])
    assert pipeline.rebuild(session_id) == 1
    assert a_task(pipeline, session_id, task_id).title == "Mine"


def test_a_task_with_another_title_is_still_the_same_task(opened: Open) -> None:
    """Two tasks from one sentence, in another order the next time: what a person wrote stays on the one it was for."""

    class Reversing(OfflineProvider):
        def extract_tasks(self, ctx: StageContext) -> Ok:
            tasks = tuple(Task(title=title, evidence=("1",)) for title in ("Send the figures", "Book a room"))
            return Ok(TaskList(tasks=tasks if ctx.run == 1 else tasks[::-1]))

    pipeline = opened(provider=Reversing())
    session_id = finished(pipeline, SAID[1:2])
    tasks = pipeline.result(session_id).tasks
    assert tasks is not None
    figures, room = map(id_of, tasks)
    pipeline.change_task(session_id, room, {"title": "Find a place", "completed": True})
    pipeline.retry(session_id, "tasks")
    pipeline.run_until_idle()
    tasks = pipeline.result(session_id).tasks
    assert tasks is not None
    assert {(task.task_id, task.title, task.completed) for task in tasks} == {
        (figures, "Send the figures", False), (room, "Find a place", True),
    }  # fmt: skip
    assert pipeline.verify(session_id) == []


def test_nothing_new_is_no_event(pipeline: Pipeline) -> None:
    """A change to what the task says already appends nothing; of a mixed one only what differs is held."""
    session_id = finished(pipeline)
    task = a_task(pipeline, session_id)
    as_it_is = {field: getattr(task, field) for field in CHANGEABLE}
    version = pipeline.get(session_id).version
    assert pipeline.change_task(session_id, id_of(task), as_it_is).version == version
    assert pipeline.change_task(session_id, id_of(task), {**as_it_is, "completed": True}).version == version + 1
    assert pipeline.events(session_id)[-1].data["fields"] == ["completed"]
    assert pipeline.change_task(session_id, id_of(task), {"completed": True}).version == version + 1


def test_many_who_tick_it_off_at_once_are_one(pipeline: Pipeline) -> None:
    """The same change, concurrently, is one event; everybody gets the session."""
    session_id = finished(pipeline)
    task_id = id_of(a_task(pipeline, session_id))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: pipeline.change_task(session_id, task_id, {"completed": True}), range(16)))
    assert types(pipeline, session_id).count("task_changed") == 1
    assert {answer.session_id for answer in answers} == {session_id}


def test_a_command_id_makes_it_repeatable(pipeline: Pipeline) -> None:
    """Sent again it changes nothing, though somebody changed the task since; another change under it is refused."""
    session_id = finished(pipeline)
    task_id = id_of(a_task(pipeline, session_id))
    pipeline.change_task(session_id, task_id, {"priority": "low"}, command_id="c1")
    pipeline.change_task(session_id, task_id, {"priority": "high"})
    pipeline.change_task(session_id, task_id, {"priority": "low"}, command_id="c1")
    assert a_task(pipeline, session_id, task_id).priority == "high"
    with pytest.raises(CommandIdReused):
        pipeline.change_task(session_id, task_id, {"priority": "urgent"}, command_id="c1")


def test_an_expected_version_is_held(pipeline: Pipeline) -> None:
    """Who names another version than the session's is told, and nothing is written."""
    session_id = finished(pipeline)
    task_id, version = id_of(a_task(pipeline, session_id)), pipeline.get(session_id).version
    with pytest.raises(ConcurrencyError):
        pipeline.change_task(session_id, task_id, {"completed": True}, expected=version - 1)
    assert pipeline.change_task(session_id, task_id, {"completed": True}, expected=version).version == version + 1


def test_what_is_not_there(pipeline: Pipeline) -> None:
    """An unknown session, an unknown task, another session's task."""
    session_id, other = finished(pipeline), finished(pipeline)
    with pytest.raises(SessionNotFound):
        pipeline.change_task("nobody's", "t", {"completed": True})
    for task_id in ("t", id_of(a_task(pipeline, other))):
        with pytest.raises(TaskNotFound) as refused:
            pipeline.change_task(session_id, task_id, {"completed": True})
        assert (refused.value.session_id, refused.value.task_id) == (session_id, task_id)


def test_while_the_stages_run(opened: Open) -> None:
    """Refused in a recording and after a cancel; while stages run, there once the tasks are, and kept at the reveal."""

    class Hasty(OfflineProvider):
        """Somebody ticks the first task off while the summary is made."""

        def summarize(self, ctx: StageContext) -> Any:
            states.append(pipeline.change_task(session_id, id_of(a_task(pipeline, session_id)), {"completed": True}))
            return super().summarize(ctx)

    states: list[Session] = []
    pipeline = opened(provider=Hasty())
    session_id = pipeline.start_session().session_id
    pipeline.record(session_id, SAID)
    with pytest.raises(IllegalTransition) as refused:
        pipeline.change_task(session_id, "t", {"completed": True})
    assert (refused.value.state, refused.value.command) == ("recording", "change_task")
    pipeline.finalize(session_id)
    with pytest.raises(TaskNotFound):
        pipeline.change_task(session_id, "t", {"completed": True})
    pipeline.run_until_idle()
    assert [session.state for session in states] == ["summarizing"]
    assert pipeline.get(session_id).state == "revealed"
    assert a_task(pipeline, session_id).completed
    assert pipeline.verify(session_id) == []

    gone = pipeline.start_session().session_id
    pipeline.cancel(gone)
    with pytest.raises(IllegalTransition):
        pipeline.change_task(gone, "t", {"completed": True})


@pytest.mark.parametrize("commits", [True, False])
def test_inside_a_hosts_transaction(opened: Open, url: str, commits: bool) -> None:
    """A change commits, or vanishes, with the host's rows."""
    if url == "memory://":
        pytest.skip("a host has no connection to memory")
    pipeline = opened()
    session_id = finished(pipeline)
    task_id = id_of(a_task(pipeline, session_id))
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with engine.connect() as connection, connection.begin() as transaction:
            pipeline.using(connection).change_task(session_id, task_id, {"title": "The host's"})
            if not commits:
                transaction.rollback()
    finally:
        engine.dispose()
    assert (a_task(pipeline, session_id, task_id).title == "The host's") is commits
    assert pipeline.verify(session_id) == []


WRONG: list[tuple[str, Any, str]] = [
    ("title", "", "title"), ("title", " \t\n", "title"), ("title", "x" * 501, "title"), ("title", None, "title"),
    ("title", 7, "title"), ("description", "x" * 5_001, "description"), ("description", None, "description"),
    ("task_type", "chore", "task_type"), ("task_type", ["decision"], "task_type"), ("priority", "HIGH", "priority"),
    ("priority", None, "priority"), ("assigned_to", "x" * 201, "assigned_to"), ("assigned_to", 1, "assigned_to"),
    ("due_date", "tomorrow", "due_date"), ("due_date", "20261203", "due_date"), ("due_date", "2026-02-30", "due_date"),
    ("due_date", "", "due_date"), ("due_date", 20261203, "due_date"), ("completed", 1, "completed"),
    ("completed", "true", "completed"), ("task_id", "t", "task_id"), ("evidence", ["1"], "evidence"),
    ("titel", "x", "titel"), ("\ud800", "x", "\ufffd"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value", "named"), WRONG)
def test_what_is_wrong_is_named(field: str, value: Any, named: str) -> None:
    """Unknown fields and impossible values are refused by the field's name; the message does not repeat the value."""
    with pytest.raises(InvalidInput) as refused:
        checked_changes({"completed": True, field: value})
    assert refused.value.field == named
    assert "x" * 20 not in str(refused.value)


@pytest.mark.parametrize("changes", [{}, None, [("title", "x")], "title"])
def test_no_changes_are_refused(changes: Any) -> None:
    """Something has to be changed, by name."""
    with pytest.raises(InvalidInput) as refused:
        checked_changes(changes)
    assert refused.value.field == "changes"


def test_a_wrong_change_writes_nothing() -> None:
    """Also where other fields of it are right; and what is no id is said at once."""
    with Pipeline.open("memory://") as pipeline:
        session_id = finished(pipeline)
        task_id, version = id_of(a_task(pipeline, session_id)), pipeline.get(session_id).version
        for wrong in ({"title": "y", "priority": "x"}, {"title": "y", "completed": None}):
            with pytest.raises(InvalidInput):
                pipeline.change_task(session_id, task_id, wrong)
        for no_id in ("", "a\0b", "x" * 201, 7):
            with pytest.raises(InvalidInput):
                pipeline.change_task(session_id, no_id, {"title": "y"})  # type: ignore[arg-type]
        assert pipeline.get(session_id).version == version


def test_texts_are_cleaned() -> None:
    """Control characters go, blanks at the ends too, a blank name is nobody's; bounds hold for what is left."""
    changes = {"title": "  Buy\nmilk\0 ", "assigned_to": " \t", "description": " x\ud800 "}
    assert checked_changes(changes) == {"title": "Buy milk", "description": "x\ufffd", "assigned_to": None}
    assert len(checked_changes({"title": " " * 600 + "x" * 500})["title"]) == 500


@pytest.mark.laws
@given(task_changes(), st.lists(task_changes(), max_size=4))
def test_a_task_is_what_was_changed_last(first: dict[str, Any], more: list[dict[str, Any]]) -> None:
    """Whatever is changed in whatever order: the last word on each field holds, and the log folds to the rows."""
    with Pipeline.open("memory://") as pipeline:
        session_id = finished(pipeline, SAID[1:2])
        task_id = id_of(a_task(pipeline, session_id))
        for changes in (first, *more):
            pipeline.change_task(session_id, task_id, changes)
            assert checked_changes(changes).items() <= vars(a_task(pipeline, session_id, task_id)).items()
        assert pipeline.verify(session_id) == []


def test_decided_purely() -> None:
    """By the state and the task's row alone."""
    from mina_pipeline import commands as ask

    change = ask.ChangeTask(task_id="t", changes={"title": "x", "completed": True})
    after().when(start(), change).then_refused(IllegalTransition)
    processing = after().when(start(), ask.Finalize())
    refused = processing.when(change).then_refused(TaskNotFound).refused
    assert isinstance(refused, TaskNotFound)
    assert refused.session_id == SESSION_ID
    known = {"title": "x", "completed": False}
    done = processing.when(ask.ChangeTask(task_id="t", changes=change.changes, known=known)).then("task_changed")
    assert done.decided == (TaskChanged(task_id="t", fields=("completed",), changes={"completed": True}),)
