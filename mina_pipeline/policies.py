"""What becomes of a run whose provider is away: it waits, a fallback makes it, or it fails. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from .settings import Settings


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


def waits_until(since: int, begun_at: int | None, policy: str, settings: Settings) -> int:
    """Up to when (µs) a run may wait at all. since: when it first waited; begun_at: when the session's first stage
    began, until the reveal."""
    if policy == "wait":
        return since + int(settings.wait_maximum * 1e6)
    return (since if begun_at is None else begun_at) + int(settings.reveal_deadline * 1e6)


def away(
    waits: int, policy: str, can_fall_back: bool, now: int, end: int, not_before: int | None, jitter: float,
    settings: Settings,
) -> Verdict:  # fmt: skip
    """What becomes of a run whose provider does not answer at `now` (µs).

    waits: how often it has waited; end: up to when it may; not_before: when the provider may answer again, by its own
    word (Retry-After) or its breaker's; jitter: 0..1.
    """
    over = FallBack() if policy == "degrade" and can_fall_back else Fail()
    if now >= end:
        return over
    if not_before is not None and not_before > end and policy != "wait":
        return over  # nothing that could be waited for
    pause = min(settings.retry_first * 2.0 ** min(waits, 30), settings.retry_longest)
    retry_at = now + int(pause * (0.5 + jitter) * 1e6)
    return Wait(min(max(retry_at, not_before or 0), end))
