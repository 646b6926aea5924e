"""Stages that do not come back: cut off by their token, from the supervisor's thread."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from . import errands, telling
from .attempts import Away, Made
from .errors import IllegalTransition, LeaseLost
from .leases import Held
from .sessions import load

if TYPE_CHECKING:
    from .worker import Worker


def cut_off(worker: Worker, held: Held, now: int) -> None:
    """End a run whose code does not come back, by its token: what the code still makes is refused.

    A provider that hangs is made good by the fallback at once, or asked again later, as the stage's policy says.
    """
    claimed, attempt, seconds = held.claimed, held.attempt, worker.settings.stage_deadline
    away = Away("deadline", f"no checkpoint for {seconds:g} s", now, tried=True, error_type="StageDeadline")
    asked = attempt is not None and attempt.provider is not None
    with suppress(LeaseLost, IllegalTransition):  # it has just come back, or is another's
        if claimed.kind == "upgrade":
            errands.later(worker, claimed, held, away)
        else:
            begun = load(worker.store, claimed.session_id)
            stage = worker.stage_of(claimed)
            delay = worker.put_off(held, stage, begun, away) if asked else None
            if delay is not None:
                telling.waiting(worker.observers, held, away.reason, delay)
            else:
                made = Made.failed(away.reason, away.error_type, away.error)
                provider = worker.stages.provider_of(stage)
                after = worker.conclude(claimed, held, begun, made, provider, go_on=False)
                telling.ended(worker.observers, worker.clock, held, made, after)
    worker.hung = True
    held.let_go()
    if attempt is not None:
        attempt.settle("failed", "timeout")
