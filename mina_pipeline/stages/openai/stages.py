"""The four standard stages, asked of a model; what it does not give, the offline provider does, and says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from ...llm.budget import Budget, Limits, MemoryBudget
from ...llm.client import ModelClient
from ...llm.openai_http import OpenAISender
from ...llm.requests import Request
from ...llm.schemas import Shape, strict_schema
from ...llm.tokens import estimate
from ...log import logger
from ...meeting import Analytics, Refinement, Summary, TaskList
from ..base import Degraded, Empty, Ok, Outcome, StageContext
from ..offline import OfflineProvider
from . import prompts
from .asking import Asker, Heard, Part
from .citations import whole
from .lines import Chunk, Line, cut, lines_of
from .notes import STEPS, Group, Notes, as_summary, counted, groups, joined, noted, reduced, step
from .options import Options
from .refinement import Checked, assemble, names_of
from .sentiment import weighed, window_of, words_by_window
from .shapes import FoundTasks, Moods, Reduced, Refined, Summarized

LEAD = 300
"""Tokens of the lines before, that a chunk which is read for tasks is shown again."""
LEVELS = 6
"""Of reduction; each at least halves the notes, so that this is never reached."""


def opened(options: Options, budget: Callable[..., Budget] | None = None) -> OpenAIProvider:
    """A provider by its options, with a client of its own."""
    client = ModelClient(
        sender=OpenAISender(api_key=options.key, base_url=options.base_url, api=options.api),
        provider=options.name,
        prices=options.prices,
        budget=(budget or MemoryBudget)(limits=options.limits),
        in_money=options.limits.in_money,
        concurrency=options.concurrency,
        call_timeout=options.call_timeout,
        tries=options.tries,
    )
    return OpenAIProvider(options, client, own_budget=budget is not None)


class OpenAIProvider:
    """Makes the standard stages. What a model was asked for and did not give is `degraded`, with the reason:
    budget | quota | refusal | unusable answer | cut off | too long | uncited."""

    def __init__(self, options: Options, client: ModelClient, own_budget: bool = False) -> None:
        self.options = options
        self.client = client
        self.own_budget = own_budget

    @property
    def name(self) -> str:
        return self.options.name

    def sharing(self, make: Callable[[Limits], Budget]) -> OpenAIProvider:
        """One for a pipeline, that counts where every process of its database counts; this one itself where there is
        nothing to keep to, or the host gave a budget."""
        if self.own_budget or self.options.limits == Limits():
            return self
        return OpenAIProvider(self.options, replace(self.client, budget=make(self.options.limits)))

    def refine(self, ctx: StageContext) -> Outcome:
        lines = lines_of(ctx.segments)
        if not lines:
            return Empty(Refinement(), "no words")
        most = min(self.options.refine_tokens, self.options.answer_tokens * 6 // 10)
        chunks = cut("refine", lines, min(most, self.room(prompts.REFINE)))
        heard = self.ask(ctx, chunks, Refined, prompts.REFINE, shown)
        if not any(one.answer for one in heard):
            return degraded(OfflineProvider().refine(ctx), heard)
        checked, names = Checked(), names_of(ctx.segments)
        missed: list[Line] = []
        for one in heard:
            if one.answer is None:
                missed.extend(one.part.lines)
            else:
                checked.add(one.answer, by_number(one.part), names)
        why = Counter(checked.refused.values())
        logger(__name__).info("refinement checked", changed=len(checked.texts), refused=dict(why))
        return finished(assemble(ctx.segments, lines, checked, self.offline_texts(ctx, missed)), heard)

    def offline_texts(self, ctx: StageContext, missed: Sequence[Line]) -> dict[str, str]:
        """Text by segment id, for those of these lines."""
        part = part_of(ctx, missed)
        refined = OfflineProvider().refine(part).artefact
        return said(part) | {change.segment_id: change.text for change in refined.changes}

    def analyze(self, ctx: StageContext) -> Outcome:
        counted = OfflineProvider().analyze(ctx)
        lines = lines_of(ctx.segments)
        if not lines or not isinstance(counted.artefact, Analytics):
            return counted
        start = min(segment.start_ms for segment in ctx.segments)
        end = max(max(segment.start_ms, segment.end_ms) for segment in ctx.segments)
        chunks = cut("sentiment", lines, self.chunk_room(prompts.SENTIMENT))

        def in_windows(chunk: Chunk) -> list[dict[str, Any]]:
            return [{"w": window_of(line, start), "who": line.who, "text": line.text} for line in chunk.lines]

        heard = self.ask(ctx, chunks, Moods, prompts.SENTIMENT, in_windows)
        moods = [
            (mood, words_by_window(one.part.lines, start)) for one in heard if one.answer for mood in one.answer.windows
        ]
        return finished(replace(counted.artefact, sentiment=weighed(moods, start, end)), heard)

    def extract_tasks(self, ctx: StageContext) -> Outcome:
        from .tasks import Cited, checked, merged, requoted

        lines = lines_of(ctx.segments)
        if not lines:
            return Empty(TaskList(), "no words")
        chunks = cut("tasks", lines, self.chunk_room(prompts.TASKS), LEAD)
        heard = self.ask(ctx, chunks, FoundTasks, prompts.TASKS, shown)
        if not any(one.answer for one in heard):
            return degraded(OfflineProvider().extract_tasks(ctx), heard)
        found: list[Cited] = []
        dropped = 0
        for one in heard:
            if one.answer is None:
                part = part_of(ctx, one.part.lines)
                offline = OfflineProvider().extract_tasks(part).artefact
                found.extend(requoted(Cited(task, whole(task.evidence, said(part)))) for task in offline)
                continue
            tasks, lost = checked(one.answer.tasks, by_number(one.part), ctx.session.date)
            found.extend(tasks)
            dropped += lost
        return finished(TaskList(tasks=tuple(merged(found)), dropped_citations=dropped), heard)

    def summarize(self, ctx: StageContext) -> Outcome:
        lines = lines_of(ctx.segments)
        if not lines:
            return Empty(Summary(), "no words")
        chunks = cut("summary", lines, self.chunk_room(prompts.SUMMARIZE))
        heard = self.ask(ctx, chunks, Summarized, prompts.SUMMARIZE, shown, total=len(chunks) + (len(chunks) > 1))
        if not any(one.answer for one in heard):
            return degraded(OfflineProvider().summarize(ctx), heard)
        parts = [self.notes(ctx, one) for one in heard]
        whole, why = self.reduce(ctx, parts, len(heard))
        why = next((one.why for one in heard if one.why), None) or why
        if not whole.points:
            return degraded(OfflineProvider().summarize(ctx), heard, "uncited")
        tasks = ctx.results.get("tasks")
        steps = tuple(map(step, tasks.tasks[:STEPS])) if isinstance(tasks, TaskList) else ()
        model = next((one.model for one in heard if one.model), None)
        summary = as_summary(whole, steps, model)
        return Degraded(summary, why) if why else Ok(summary)

    def notes(self, ctx: StageContext, one: Heard[Any, Any]) -> Notes:
        """A chunk's notes, by the model or, where it gave none, without."""
        if one.answer is not None:
            return noted(one.answer, by_number(one.part))
        part = part_of(ctx, one.part.lines)
        return counted(OfflineProvider().summarize(part).artefact, said(part))

    def reduce(self, ctx: StageContext, parts: Sequence[Notes], asked: int) -> tuple[Notes, str | None]:
        """The notes on all parts as one, and why a model did not make it, where it did not."""
        level = 0
        while len(parts) > 1:
            level += 1
            together = groups(level, parts, self.room(prompts.REDUCE))

            def rows(group: Group) -> list[dict[str, Any]]:
                return group.rows

            total = asked + len(together)
            heard = self.ask(ctx, [g for g in together if len(g.parts) > 1], Reduced, prompts.REDUCE, rows, total)
            if any(one.answer is None for one in heard) or len(heard) >= len(parts) or level > LEVELS:
                return joined(parts), next((one.why for one in heard if one.why), "too long")
            done = {one.part.name: reduced(one.answer, one.part.numbered) for one in heard if one.answer}
            parts = [notes for group in together for notes in reductions(group, done)]
        return parts[0], None

    def ask(
        self,
        ctx: StageContext,
        parts: Sequence[Any],
        shape: type[Shape],
        task: str,
        rows: Callable[[Any], Iterable[dict[str, Any]]],
        total: int | None = None,
    ) -> list[Heard[Any, Any]]:
        """Ask about all parts, each shown as rows of data."""
        options, schema, name = self.options, strict_schema(shape), shape.__name__.lower()

        def request(part: Part) -> Request:
            return Request(
                model=options.model,
                system=prompts.RULES + task,
                user=prompts.fenced(rows(part)),
                name=name,
                schema=schema,
                max_output=options.answer_tokens,
                temperature=options.temperature,
                seed=options.seed,
                extra=options.extra,
            )

        return Asker.of(self.client, ctx, shape, request, total or len(parts)).all(parts)

    def room(self, task: str) -> int:
        return self.options.room(estimate(prompts.RULES + task) + 800)

    def chunk_room(self, task: str) -> int:
        return min(self.options.chunk_tokens, self.room(task))


def reductions(group: Group, done: dict[str, Notes]) -> list[Notes]:
    """What became of a group: one, or one for each half that it was split into, or its only part as it was."""
    if len(group.parts) == 1:
        return list(group.parts)
    if group.name in done:
        return [done[group.name]]
    halves = group.halves() or ()
    return [notes for half in halves for notes in reductions(half, done)]


def by_number(chunk: Chunk) -> dict[int, Line]:
    return {line.n: line for line in chunk.lines}


def shown(chunk: Chunk) -> list[dict[str, Any]]:
    return [prompts.shown(line) for line in chunk.lines]


def part_of(ctx: StageContext, lines: Iterable[Line]) -> StageContext:
    """The context of a part of the meeting, for the offline provider."""
    wanted = {line.segment_id for line in lines}
    segments = tuple(one for at, one in enumerate(ctx.segments) if (one.segment_id or str(at)) in wanted)
    return replace(ctx, segments=segments)


def said(ctx: StageContext) -> dict[str, str]:
    """What was recorded, by segment id."""
    return {one.segment_id or str(at): one.text for at, one in enumerate(ctx.segments)}


def finished(artefact: Any, heard: Sequence[Heard[Any, Any]]) -> Outcome:
    """Ok, or what was made in part without the model, and why."""
    why = next((one.why for one in heard if one.why), None)
    return Degraded(artefact, why) if why else Ok(artefact)


def degraded(offline: Outcome, heard: Sequence[Heard[Any, Any]], why: str = "unusable answer") -> Outcome:
    """The offline provider's result, as what it stands in for."""
    return Degraded(offline.artefact, next((one.why for one in heard if one.why), why))
