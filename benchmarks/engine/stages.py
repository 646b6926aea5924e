"""Our workflows: four stages of a host's own that do nothing, sleep as a model call does, or never end."""

from __future__ import annotations

import time
from collections.abc import Callable

from mina_pipeline import Ok, StageContext, Workflow, define, stage
from mina_pipeline.stages.base import Stage

STAGES = ("refine", "analyze", "extract", "summarize")
RUNNING = ("refining", "analyzing", "extracting", "summarizing")
SLEEPS = dict(zip(STAGES, (1.0, 0.2, 1.0, 1.0), strict=True))  # s
PACE = "pace"
"""A session's metadata may say by what its sleeps are multiplied: 0 for one that only warms up."""

Work = Callable[[StageContext], object]


def workflow(name: str, work: Work, parallel: bool = False) -> Workflow:
    """Four stages in sequence, or three of them at once after the first; each returns Ok(None) after its work."""

    def one(n: int) -> Stage:
        def function(ctx: StageContext) -> Ok:
            work(ctx)
            return Ok(None)

        after = () if n == 0 else STAGES[0 if parallel else n - 1]
        return stage(STAGES[n], after=after, running=RUNNING[n])(function)

    return define(name, *map(one, range(len(STAGES))))


def sleeping(ctx: StageContext) -> None:
    time.sleep(SLEEPS[ctx.stage] * ctx.session.metadata.get(PACE, 1))


def hanging(ctx: StageContext) -> None:
    """The second stage says that it runs and never ends: its process is to be killed."""
    if ctx.stage == STAGES[1]:
        print("hanging", flush=True)
        time.sleep(3600)


NOTHING = workflow("nothing", lambda ctx: None)
SEQUENCE = workflow("sequence", sleeping)
PARALLEL = workflow("parallel_sleeps", sleeping, parallel=True)
HANGING = workflow("hanging", hanging)


def ideal(parallel: bool) -> float:
    """The seconds that the sleeps alone take."""
    first, *others = SLEEPS.values()
    return first + (max(others) if parallel else sum(others))
