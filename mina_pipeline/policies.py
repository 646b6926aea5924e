"""What becomes of a run whose provider is away: it waits, a fallback makes it, or it fails. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from .settings import Settings
from .states import StageState, State


@dataclass(frozen=True)
class Wait:
    """The run goes on at `retry_at` (µs)."""

    retry_at: int


@dataclass(frozen=True)
class FallBack:
    """The stage's fallback makes it."""


@dataclass(frozen=True)
class Fail:
    """It has failed."""


Verdict = Wait | FallBack | Fail


def waits_until(state: State, stage: StageState, policy: str, now: int, settings: Settings) -> int:
    """Up to when (µs) the run may wait at all.

    Until the reveal that is counted from the first stage's begin, later from the run's own first wait.
    """
    since = now if stage.waiting_since is None else stage.waiting_since
    if policy == "wait":
        return since + int(settings.wait_maximum * 1e6)
    if state.status == "processing" and state.begun_at is not None:
        since = state.begun_at
    return since + int(settings.reveal_deadline * 1e6)


def away(
    state: State, stage: StageState, policy: str, can_fall_back: bool, now: int, not_before: int | None, jitter: float,
    settings: Settings,
) -> Verdict:  # fmt: skip
    """What becomes of a run whose provider does not answer at `now` (µs).

    not_before: when it may answer again, by its own word (Retry-After) or its breaker's; jitter: 0..1.
    """
    end = waits_until(state, stage, policy, now, settings)
    over = FallBack() if policy == "degrade" and can_fall_back else Fail()
    if now >= end:
        return over
    if not_before is not None and not_before > end and policy != "wait":
        return over  # nothing that could be waited for
    pause = min(settings.retry_first * 2.0 ** min(stage.waits, 30), settings.retry_longest)
    retry_at = now + int(pause * (0.5 + jitter) * 1e6)
    return Wait(min(max(retry_at, not_before or 0), end))


def overdue(state: State, stage: StageState, policy: str, now: int, settings: Settings) -> bool:
    """Whether a run that has waited may wait no longer."""
    return stage.status == "waiting" and policy != "wait" and now >= waits_until(state, stage, policy, now, settings)
