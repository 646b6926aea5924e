"""The offline provider: the four standard stages with no model, no key and no network."""

from __future__ import annotations

from ...meeting import TaskList
from ..base import Ok, Outcome, StageContext


class OfflineProvider:
    """Rules and counting instead of a model."""

    name = "offline"

    def refine(self, ctx: StageContext) -> Outcome:
        from .refinement import refine

        return Ok(refine(ctx.segments, locale=ctx.session.locale))

    def analyze(self, ctx: StageContext) -> Outcome:
        from .analytics import analyze

        return Ok(analyze(ctx.segments))

    def extract_tasks(self, ctx: StageContext) -> Outcome:
        from .tasks import extract_tasks

        return Ok(extract_tasks(ctx.segments, meeting_date=ctx.session.date, refined=ctx.refined))

    def summarize(self, ctx: StageContext) -> Outcome:
        from .summary import summarize

        tasks = ctx.results.get("tasks")
        known = tasks if isinstance(tasks, TaskList) else None
        return Ok(summarize(ctx.segments, refined=ctx.refined, tasks=known))
