"""The offline provider: the four standard stages with no model, no key and no network."""

from __future__ import annotations

from ...meeting import TaskList
from ..base import Ok, Outcome, StageContext
from ..citations import with_quotes


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

        tasks = extract_tasks(ctx.segments, meeting_date=ctx.session.date, refined=ctx.refined)
        return Ok(with_quotes(tasks, _said(ctx)))

    def summarize(self, ctx: StageContext) -> Outcome:
        from .summary import summarize
        from .tasks import extract_tasks

        tasks, texts = ctx.results.get("tasks"), ctx.refined
        if not isinstance(tasks, TaskList):  # a workflow that makes both at once
            tasks = extract_tasks(ctx.segments, meeting_date=ctx.session.date, refined=texts)
        return Ok(with_quotes(summarize(ctx.segments, refined=texts, tasks=tasks), _said(ctx)))


def _said(ctx: StageContext) -> dict[str, str]:
    return {segment.segment_id or str(n): segment.text for n, segment in enumerate(ctx.segments)}
