"""The four standard stages, and the two workflows made of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..definition import ANALYTICS, PARALLEL, REFINEMENT, STANDARD, SUMMARY, TASKS
from ..events import StageShape
from ..log import logger
from ..meeting import Analytics, Refinement, Summary, Task, TaskList
from .base import PIPELINE, Degraded, Empty, Ok, Outcome, Stage, StageContext, Workflow
from .citations import held_against


def refine(ctx: StageContext) -> Outcome:
    """Casing, sentence ends, fillers and false starts."""
    return ctx.provider.refine(ctx) if ctx.segments else Empty(Refinement(), "no segments")


def analyze(ctx: StageContext) -> Outcome:
    """Who spoke, how long, how fast, about what."""
    return ctx.provider.analyze(ctx) if ctx.segments else Empty(Analytics(), "no segments")


def extract_tasks(ctx: StageContext) -> Outcome:
    """What was promised, by whom, until when. Task ids are given here, and stay over runs."""
    if not ctx.segments:
        return Empty(TaskList(), "no segments")
    outcome = held(ctx, ctx.provider.extract_tasks(ctx))
    if isinstance(outcome, (Ok, Degraded)) and isinstance(outcome.artefact, TaskList):
        before = ctx.previous if isinstance(ctx.previous, TaskList) else TaskList()
        return replace(outcome, artefact=identified(outcome.artefact, before, ctx.new_id))
    return outcome


def summarize(ctx: StageContext) -> Outcome:
    """What the meeting came to."""
    return held(ctx, ctx.provider.summarize(ctx)) if ctx.segments else Empty(Summary(), "no segments")


def held(ctx: StageContext, outcome: Outcome) -> Outcome:
    """With no citation of what is not in the transcript."""
    if not isinstance(outcome, (Ok, Degraded)) or not isinstance(outcome.artefact, (TaskList, Summary)):
        return outcome
    artefact, dropped = held_against(outcome.artefact, {segment.segment_id or "" for segment in ctx.segments})
    if dropped:
        place = {"session_id": ctx.session.session_id, "stage": ctx.stage, "run": ctx.run}
        logger(__name__).warning("citations dropped", **place, citations=dropped)
        artefact = replace(artefact, dropped_citations=artefact.dropped_citations + dropped)
    return replace(outcome, artefact=artefact)


def identified(tasks: TaskList, before: TaskList, new_id: Callable[[], str]) -> TaskList:
    """Every task with an id: that of the earlier run's task which it is again (same title or shared evidence).

    All titles first: one that a person gave another title is then among those that are left.
    """
    free = list(before.tasks)

    def taken(task: Task, same: Callable[[Task, Task], bool]) -> Task | None:
        match = next((old for old in free if same(old, task)), None)
        if match is not None:
            free.remove(match)
        return match

    titled = [taken(task, same_title) for task in tasks]
    out: list[Task] = []
    for task, by_title in zip(tasks, titled, strict=True):
        match = by_title or taken(task, shared_evidence)
        out.append(replace(task, task_id=match.task_id if match else new_id()))
    return replace(tasks, tasks=tuple(out))


def same_title(one: Task, other: Task) -> bool:
    return one.title.casefold() == other.title.casefold()


def shared_evidence(one: Task, other: Task) -> bool:
    return not set(one.evidence).isdisjoint(other.evidence)


def offline(function: Callable[[StageContext], Outcome]) -> Callable[[StageContext], Outcome]:
    """The same stage made by the offline provider, for when the pipeline's is away."""

    def fallback(ctx: StageContext) -> Outcome:
        from .offline import OfflineProvider

        return function(replace(ctx, provider=OfflineProvider()))

    return fallback


def standard(shape: StageShape) -> Stage:
    function = CODE[shape.name]
    return Stage(shape, function, fallback=offline(function), provider=PIPELINE)


CODE = {"refinement": refine, "analytics": analyze, "tasks": extract_tasks, "summary": summarize}
STANDARD_STAGES = tuple(map(standard, (REFINEMENT, ANALYTICS, TASKS, SUMMARY)))
WORKFLOWS = tuple(
    Workflow(definition, {shape.name: standard(shape) for shape in definition.stages})
    for definition in (STANDARD, PARALLEL)
)
SHAPES = {"refinement": Refinement, "analytics": Analytics, "tasks": TaskList, "summary": Summary}
"""What the standard stages make; a host's own stages make JSON values."""
