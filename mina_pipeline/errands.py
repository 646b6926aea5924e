"""What a worker does beside stages: timers that have run out, and degraded results that are made again."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from . import commands as ask
from . import telling
from .attempts import Away
from .errors import IllegalTransition, LeaseLost
from .leases import Held, guarding
from .projections import REVEAL
from .sessions import at_claim, load
from .work_shapes import Claimed, Wanted

if TYPE_CHECKING:
    from .worker import Worker

REVEAL_AGAIN = 5_000_000
"""How long (µs) after a reveal deadline the waits that it could not end are looked at again."""
LONGEST = 600_000_000
"""The longest (µs) between two tries of an upgrade."""
SOONEST = 1_000_000


def ring(worker: Worker, claimed: Claimed, now: int) -> None:
    """A timer has run out."""
    if (claimed.kind, claimed.stage) == REVEAL:
        end_waits(worker, claimed, now)
    else:
        abandon(worker, claimed, now)


def abandon(worker: Worker, claimed: Claimed, now: int) -> None:
    """Finalize a recording, unless it gave a sign of life since the timer was set."""
    grace = int(worker.settings.recording_grace * 1e6)
    command = ask.Abandon(grace=grace)
    guard = guarding(claimed)
    loaded = worker.sessions.execute(claimed.session_id, command, guard=guard, actor=worker.owner)
    if loaded.state.status == "recording":
        silent = worker.store.silence(now, claimed.session_id) or 0
        worker.store.postpone(now, claimed.token, max(grace - silent, SOONEST))


def end_waits(worker: Worker, claimed: Claimed, now: int) -> None:
    """The reveal deadline: stages that still wait for a provider are made by their fallback, or fail."""
    code = worker.code[claimed.definition, claimed.definition_version]
    # From here on nothing waits any more but what a worker has in hand just now: to be looked at again soon.
    again = max(REVEAL_AGAIN, min((now - claimed.created_at) // 2, LONGEST))
    for stage in load(worker.store, claimed.session_id).state.stages:
        if stage.status == "waiting" and stage.name in code and worker.stages.policy(code[stage.name]) != "wait":
            mine = worker.claim(now, Wanted(worker.definitions, only=(claimed.session_id, stage.name)))
            again = REVEAL_AGAIN if mine is None else again
            with suppress(LeaseLost, IllegalTransition):  # somebody was quicker
                worker.run(mine, overdue=True)
    worker.store.postpone(worker.clock.now(), claimed.token, again)


def upgrade(worker: Worker, claimed: Claimed, held: Held) -> None:
    """Make a degraded result again. Nothing is told before the provider has answered, and made something better."""
    now, settings = worker.clock.now(), worker.settings
    if claimed.attempts > settings.claims_before_poison:
        return leave(worker, claimed, "poison")
    if claimed.tries >= settings.upgrade_tries:
        return leave(worker, claimed, "tries")
    if now - claimed.created_at > settings.upgrade_maximum * 1e6:
        return leave(worker, claimed, "age")
    stage = worker.stage_of(claimed)
    begun = at_claim(claimed.session) or load(worker.store, claimed.session_id)
    run = telling.stage_run(held, begun, worker.stages.provider_of(stage))
    held.attempt = worker.new_attempt(held, worker.stages.asks(stage))
    with worker.observers.running(run):
        made = held.attempt.run(stage, lambda: worker.context(claimed, held, begun, run))
    if isinstance(made, Away):
        return later(worker, claimed, held, made)
    if made.fields["outcome"] != "ok":
        worker.observers.refused(run, "no better")
        held.told = True
        return leave(worker, claimed, "no better")
    command = ask.Upgrade(made=worker.concluding(claimed, held, begun, made, run.provider))
    guard = guarding(claimed)
    after = worker.sessions.execute(claimed.session_id, command, guard=guard, actor=worker.owner, seen=begun)
    return telling.ended(worker.observers, worker.clock, held, made, after)


def later(worker: Worker, claimed: Claimed, held: Held, away: Away) -> None:
    """The provider is still away: the next try comes later, and each later than the last."""
    now, first = worker.clock.now(), worker.settings.upgrade_delay * 1e6
    pause = min(first * 2.0 ** min(claimed.tries, 30), LONGEST)
    delay = max(int(pause * (0.5 + worker.jitter())), (away.not_before or 0) - now)
    worker.store.postpone(now, claimed.token, delay, tried=away.tried)
    telling.waiting(worker.observers, held, away.reason, delay)


def leave(worker: Worker, claimed: Claimed, reason: str) -> None:
    """A degraded result stays as it is."""
    guard = guarding(claimed)
    drop = ask.Drop(stage=claimed.stage, run=claimed.run - 1, reason=reason)
    worker.sessions.execute(claimed.session_id, drop, guard=guard, actor=worker.owner)
