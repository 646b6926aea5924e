"""Providers that are away, slow, hang or answer nonsense, by the plan; and the stages that ask them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...errors import ProviderUnavailable
from ...meeting import Analytics, Cited, RefinedSegment, Refinement, Summary, Task, TaskList
from ...stages.base import PIPELINE, Degraded, Empty, Ok, Outcome, StageContext, Workflow, define, stage

if TYPE_CHECKING:
    from .world import World

LONGEST = 2.0
"""How long (s) a call takes that does not hang."""


class FakeProvider:
    """The pipeline's provider, as `Pipeline.open(provider=…)` takes it."""

    name = "sim"

    def __init__(self, world: World) -> None:
        self.world = world

    def refine(self, ctx: StageContext) -> Outcome:
        words = tuple(RefinedSegment(s.segment_id or "", s.text.title()) for s in ctx.segments[:1])
        return self.make(ctx, lambda: Refinement(changes=words))

    def analyze(self, ctx: StageContext) -> Outcome:
        return self.make(ctx, lambda: Analytics(word_count=len(ctx.segments)))

    def extract_tasks(self, ctx: StageContext) -> Outcome:
        found = (Task(title=f"task {len(ctx.segments) % 2}"), Task(title="also"))
        return self.make(ctx, lambda: TaskList(tasks=found))

    def summarize(self, ctx: StageContext) -> Outcome:
        return self.make(ctx, lambda: Summary(brief=f"{ctx.run}", key_points=(Cited(text="point"),)))

    def make(self, ctx: StageContext, artefact: Callable[[], Any]) -> Outcome:
        return made(self.world, self.name, ctx, artefact)


def made(world: World, provider: str, ctx: StageContext, artefact: Callable[[], Any]) -> Outcome:
    """Ask in parts, each kept by a checkpoint, and at last for the whole."""

    def part(key: str) -> Callable[[], str]:
        return lambda: ask(world, provider, ctx, key)

    for number in range(world.plan.parts):
        ctx.checkpoint(f"part {number}", part(f"part {number}"))
        if world.rng.random() < 0.2:
            ctx.progress(number + 1, world.plan.parts)
    match part("whole")():
        case "degraded":
            return Degraded(artefact(), "too long")
        case "fell back":
            return Degraded(artefact(), "outage")
        case "empty":
            return Empty(None)
        case "nonsense":
            return "no outcome"  # type: ignore[return-value]  # that is the nonsense
        case _:
            return Ok(artefact())


def ask(world: World, provider: str, ctx: StageContext, key: str) -> str:
    """One call that costs money."""
    schedule, rng, plan = world.schedule, world.rng, world.plan
    session_id = ctx.session.session_id
    world.ledger.asked(session_id, ctx.stage, ctx.run, key)
    schedule.note(f"{provider} is asked for {session_id} {ctx.stage} run {ctx.run} {key}")
    if world.chaos and rng.random() < plan.hang:
        schedule.note(f"{provider} hangs")
        schedule.sleep(plan.settings.stage_deadline * rng.uniform(0.9, 4))
    else:
        schedule.sleep(rng.choice((0.001, 0.05, LONGEST)) * rng.random())
    if world.chaos and rng.random() < plan.freeze * 5:
        world.freeze_current()
    outage = world.outage(provider)
    if outage is not None:
        schedule.note(f"{provider} is away")
        match outage.error:
            case "connection":
                raise ConnectionResetError("simulated")
            case "timeout":
                raise TimeoutError("simulated")
            case _:
                raise ProviderUnavailable(provider, rng.choice(("outage", "rate limit")), outage.retry_after)
    garbage = rng.choice(("raise", "nonsense", "degraded", "fell back", "empty"))
    if world.chaos and rng.random() < plan.garbage:
        if garbage == "raise":
            raise ValueError("garbage")
        return garbage
    schedule.note(f"{provider} answers")
    return "ok"


def host_workflow(world: World) -> Workflow:
    """A host's own stages: each policy, side by side and in a row, and one that asks nobody."""

    @stage("tidy", running="tidying")
    def tidy(ctx: StageContext) -> Outcome:
        return Ok({"segments": len(ctx.segments)})

    @stage("translation", after="tidy", running="translating", policy="wait", provider=PIPELINE)
    def translation(ctx: StageContext) -> Outcome:
        return made(world, "sim", ctx, lambda: {"translated": len(ctx.segments)})

    @stage("mood", after="tidy", running="feeling", policy="fail", provider="other")
    def mood(ctx: StageContext) -> Outcome:
        return made(world, "other", ctx, lambda: {"mood": "fine"})

    def shorter(ctx: StageContext) -> Outcome:
        return Ok({"short": True})

    both = ("translation", "mood")

    @stage("digest", after=both, reads="translation", running="digesting", fallback=shorter, provider="other")
    def digest(ctx: StageContext) -> Outcome:
        return made(world, "other", ctx, lambda: {"digest": ctx.run})

    return define("sim", tidy, translation, mood, digest)
