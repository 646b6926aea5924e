"""What the tests of trials have in common: sessions to fork, another provider, all that is stored of a session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from away import SAID, Model

from mina_pipeline import Ok, Pipeline, Segment, StageContext
from mina_pipeline.llm.answers import Answer
from mina_pipeline.meeting import Summary, Task, TaskList
from mina_pipeline.projections import READ_MODELS
from mina_pipeline.stages.base import Outcome

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


def unfinalized(p: Pipeline) -> str:
    session_id = p.start_session("Now").session_id
    p.record(session_id, SAID)
    return session_id
