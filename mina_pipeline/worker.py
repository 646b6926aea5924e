"""The worker: `step(now)` claims work that is due, runs its stage and records the outcome. Threads only loop it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from typing import Any

from . import commands as ask
from . import policies
from .attempts import Attempt, Away, Made, StageCode
from .contexts import Checkpoints, Interrupted, stage_context
from .errors import (
    IllegalTransition,
    LeaseLost,
    MinaError,
    SessionBusy,
    StoreBusy,
    StoreUnreachable,
    UpgradeNeeded,
)
from .llm.breaker import Breakers
from .log import logger
from .observers import Observers
from .ports import Claimed, Clock, Ids, StageRun, Store, Wanted, WorkGuard
from .projections import REVEAL, open_work
from .sessions import SNAPSHOT, Loaded, Next, Sessions, Then, load
from .settings import Settings
from .stages.base import Deadline, Stage
from .states import FOLD_VERSION, INITIAL, State

SET_ASIDE = 60_000_000
"""For how long (µs) a worker leaves a session alone whose log it cannot read."""
MOST_ASIDE = 500
REVEAL_AGAIN = 5_000_000
"""How long (µs) after a reveal deadline the waits that it could not end are looked at again."""
UPGRADE_LONGEST = 600_000_000

Key = tuple[str, int]


@dataclass
class Held:
    """A claim in this worker's hands, as its supervisor sees it. Seconds are monotonic.

    cut: it was cut off, handed back or lost: whatever the stage still makes is nobody's. attempt: what runs.
    """

    claimed: Claimed
    deadline: Deadline
    began: float
    renewed: float
    cut: bool = False
    attempt: Attempt | None = None


@dataclass
class Worker:
    """One at a time: claims a row, runs the stage, appends its outcome by the token of the claim."""

    store: Store
    sessions: Sessions
    code: Mapping[Key, Mapping[str, Stage]]
    provider: Any
    clock: Clock
    ids: Ids
    settings: Settings
    owner: str
    breakers: Breakers
    observers: Observers = field(default_factory=Observers)
    sleep: Callable[[float], None] = time.sleep
    held: dict[str, Held] = field(default_factory=dict)
    # Sessions that need a later release, and until when (µs) not to look at them; the verdict is this process's alone.
    aside: dict[str, int] = field(default_factory=dict)
    ending: bool = False
    hung: bool = False
    done: int = 0
    crowded_until: float = -1.0
    crowded: bool = False

    @cached_property
    def definitions(self) -> list[Key]:
        return list(self.code)

    @cached_property
    def stages(self) -> StageCode:
        return StageCode(self.code, self.provider, self.settings)

    # --- one step

    def step(self, now: int) -> int | None:
        """Do one piece of work that is due at `now` (µs). The next wake: `now` for at once, None for nothing known."""
        exclude = [session_id for session_id, until in self.aside.items() if until > now]
        claimed = self.claim(now, self.wanted(exclude))
        if claimed is None:
            due = self.store.next_due(now, self.definitions, exclude)
            return None if due is None else max(due, now + 1)  # due, but locked by another: not at once
        return self.carry_out(claimed, now)

    def wanted(self, exclude: Sequence[str]) -> Wanted:
        away = [stage for provider, stages in self.stages.by_provider.items() if self.breakers.of(provider).away()
                for stage in stages]  # fmt: skip
        return Wanted(self.definitions, exclude, self.stages.limits, away)

    def claim(self, now: int, wanted: Wanted) -> Claimed | None:
        return self.store.claim(now, self.owner, self.ids.uuid(), self.lease, wanted)

    @property
    def lease(self) -> int:
        return int(self.settings.lease * 1e6)

    def carry_out(self, claimed: Claimed, now: int) -> int:
        """Do what was claimed, and with it the session's next stages as long as nobody else has waited too long."""
        again: int = now
        try:
            self.dispatch(claimed, now)
        except (LeaseLost, IllegalTransition) as lost:
            # Another holds it now, or the session was cancelled: what we made is nobody's any more.
            reason = type(lost).__name__
            logger(__name__).info("outcome refused", session_id=claimed.session_id, error_type=reason)
            self.observers.refused(self.stage_run(claimed, Loaded(claimed.session, INITIAL), None), reason)
        except (StoreUnreachable, StoreBusy):
            raise
        except SessionBusy:
            self.store.give_back(claimed.token)
        except MinaError as error:
            again = self.set_aside(claimed, error, now)
        finally:
            self.held.clear()
            self.hung = False
        return again

    def dispatch(self, claimed: Claimed, now: int) -> None:
        try:
            match claimed.kind:
                case "timer":
                    self.hold(claimed)
                    self.ring(claimed, now)
                case "upgrade":
                    self.upgrade(claimed, self.hold(claimed))
                case _:
                    self.run(claimed)
        except Interrupted as interrupted:
            raise interrupted.error from None

    def hold(self, claimed: Claimed) -> Held:
        monotonic = self.clock.monotonic
        deadline = Deadline(monotonic() + self.settings.stage_deadline, monotonic)
        held = self.held[claimed.token] = Held(claimed, deadline, monotonic(), monotonic())
        return held

    def set_aside(self, claimed: Claimed, error: MinaError, now: int) -> int:
        """Leave a session that we cannot read to others: nothing is stored about it, nor is the claim counted."""
        self.store.give_back(claimed.token)
        if claimed.session_id not in self.aside:
            session = {"session_id": claimed.session_id, "stage": claimed.stage, "run": claimed.run}
            if isinstance(error, UpgradeNeeded):
                unknown = f"{error.what} {error.name}"
                logger(__name__).warning("session needs a later release", **session, unknown=unknown, known=error.known)
            else:
                logger(__name__).error("session cannot be worked on", **session, error_type=type(error).__name__)
        # Begun anew at the end: the first are those that were set aside longest ago.
        self.aside.pop(claimed.session_id, None)
        self.aside[claimed.session_id] = now + SET_ASIDE
        if len(self.aside) <= MOST_ASIDE:
            return now
        forgotten = self.aside.pop(next(iter(self.aside)))
        # The one that was forgotten may be what is due first: not at once, or the worker would do nothing else.
        return now if forgotten <= now else now + int(self.settings.poll * 1e6)

    # --- a stage

    def run(self, claimed: Claimed | None, overdue: bool = False) -> None:
        """A stage, and after it the next ones of its session that are begun with its outcome.

        overdue: the session's reveal deadline has passed, by the database's clock.
        """
        loaded: Loaded | None = None
        while claimed is not None:
            held = self.hold(claimed)
            self.done += 1
            try:
                after = self.run_one(claimed, held, loaded, overdue)
            finally:
                self.held.pop(claimed.token, None)
            claimed, loaded = (None, None) if after is None or after.begun is None else (following(after), after)

    def run_one(self, claimed: Claimed, held: Held, begun: Loaded | None, overdue: bool) -> Loaded | None:
        stage = self.code[claimed.definition, claimed.definition_version][claimed.stage]
        guard = WorkGuard(claimed.stage, claimed.run, claimed.token)
        provider = self.stages.provider_of(stage)
        if begun is None:
            seen = at_claim(claimed)
            begin = ask.Begin(stage=claimed.stage, run=claimed.run, provider=provider, began_at=self.clock.now())
            begun = self.sessions.execute(claimed.session_id, begin, guard=guard, actor=self.owner, seen=seen)
        run = self.stage_run(claimed, begun, provider)
        began, began_at = self.clock.monotonic(), self.clock.now()
        if claimed.attempts > self.settings.claims_before_poison:
            ended: Made | Away = Made.failed(
                "poison", "Poison", f"{claimed.attempts - 1} claims ended without an outcome"
            )
        else:
            ended = self.attempt(stage, claimed, held, begun, run, overdue)
        if isinstance(ended, Away):
            wait = self.put_off(claimed, stage, begun, ended)
            if wait is not None:
                self.observers.waiting(run, ended.reason, (wait - self.clock.now()) / 1e6)
                return None
            ended = self.instead(stage, claimed, held, begun, run, ended)
        after = self.conclude(claimed, begun, ended, round((self.clock.monotonic() - began) * 1000), provider)
        self.tell(run, ended, began_at, after)
        return after

    def attempt(
        self, stage: Stage, claimed: Claimed, held: Held, begun: Loaded, run: StageRun, overdue: bool
    ) -> Made | Away:
        """Run the stage's code, unless there is no use in trying: it has waited for as long as it may."""
        was, policy = begun.state.stage(claimed.stage), self.stages.policy(stage)
        overdue = overdue and was.status == "waiting"
        if overdue or policies.overdue(begun.state, was, policy, self.clock.now(), self.settings):
            return Away(was.reason or "outage", "", None, final=True)
        if was.status == "waiting" and was.reason == "deadline" and policy == "degrade":
            return Away("deadline", "", None, final=True)
        held.attempt = self.new_attempt(self.stages.asks(stage))
        with self.observers.running(run):
            return held.attempt.run(stage, lambda: self.context(claimed, held, begun, run))

    def new_attempt(self, provider: str | None) -> Attempt:
        return Attempt(self.breakers, provider, self.settings, self.clock, self.sleep)

    def context(self, claimed: Claimed, held: Held, begun: Loaded, run: StageRun) -> Any:
        deadline, seconds = held.deadline, self.settings.stage_deadline
        checkpoints = Checkpoints(self.store, self.sessions, claimed, self.owner, deadline, seconds)

        def usage(model: str, tokens_in: int, tokens_out: int, cost: float | None) -> None:
            self.observers.usage(run, model, tokens_in, tokens_out, cost)

        return stage_context(checkpoints, begun, self.provider, self.ids, usage)

    def put_off(self, claimed: Claimed, stage: Stage, begun: Loaded, away: Away) -> int | None:
        """Let the run wait, if it may, and until when (µs); None where it may not."""
        now, was = self.clock.now(), begun.state.stage(claimed.stage)
        policy, can_fall_back = self.stages.policy(stage), self.stages.can_fall_back(stage)
        verdict = policies.away(
            begun.state, was, policy, can_fall_back, now, away.not_before, jitter(self.ids), self.settings
        )
        if away.final or not isinstance(verdict, policies.Wait):
            return None
        if was.status == "waiting" and not away.tried:
            # Nobody was asked: what was told of this wait still holds, but for the time.
            self.store.postpone(now, claimed.token, verdict.retry_at - now)
            return verdict.retry_at
        wait = ask.Wait(
            stage=claimed.stage,
            run=claimed.run,
            reason=away.reason,
            retry_at=verdict.retry_at,
            at=now,
            error=away.error or None,
        )
        guard = WorkGuard(claimed.stage, claimed.run, claimed.token)
        self.sessions.execute(claimed.session_id, wait, guard=guard, actor=self.owner, seen=begun)
        return verdict.retry_at

    def instead(self, stage: Stage, claimed: Claimed, held: Held, begun: Loaded, run: StageRun, away: Away) -> Made:
        """The fallback's result, marked for what it stands in for; or the honest failure."""
        if self.stages.policy(stage) != "degrade" or not self.stages.can_fall_back(stage):
            return Made.failed(away.reason, away.error_type, away.error or f"{run.provider}: {away.reason}")
        assert stage.fallback is not None
        held.deadline.extend(self.settings.stage_deadline)
        held.attempt = self.new_attempt(None)
        with self.observers.running(run):
            made = held.attempt.run_code(stage.fallback, lambda: self.context(claimed, held, begun, run))
        return made.degraded_for(away.reason)

    def conclude(
        self, claimed: Claimed, begun: Loaded, made: Made, duration_ms: int, provider: str | None, go_on: bool = True
    ) -> Loaded:
        command = ask.Conclude(
            stage=claimed.stage,
            run=claimed.run,
            input_version=begun.state.version,
            duration_ms=duration_ms,
            completed_at=self.clock.now(),
            provider=made.provider or provider,
            title=begun.row.get("title"),
            **made.fields,
        )
        guard = WorkGuard(claimed.stage, claimed.run, claimed.token)
        then = self.next_stage(claimed) if go_on and self.may_go_on() else None
        return self.sessions.execute(claimed.session_id, command, guard=guard, actor=self.owner, seen=begun, then=then)

    def may_go_on(self) -> bool:
        """Whether the session's next stage may begin with this one's end: not if another has waited for too long."""
        if self.ending:
            return False
        now = self.clock.monotonic()
        if now >= self.crowded_until:  # asked once a second: it is a fact about the whole queue
            self.crowded_until = now + 1.0
            wall = self.clock.now()
            oldest = self.store.oldest_due(wall, self.definitions)
            self.crowded = oldest is not None and wall - oldest > self.settings.fair_wait * 1e6
        return not self.crowded

    def next_stage(self, claimed: Claimed) -> Then:
        """A stage that this one's end makes due; what was due before may be in another worker's hands."""

        def then(before: State, after: State) -> Next | None:
            old = open_work(before)
            code = self.code[claimed.definition, claimed.definition_version]
            for stage in after.stages if after.status in ("processing", "revealed") else ():
                fresh = stage.status == "due" and ("stage", stage.name) not in old
                if fresh and stage.name not in self.stages.limited:
                    now, provider = self.clock.now(), self.stages.provider_of(code[stage.name])
                    begin = ask.Begin(stage=stage.name, run=stage.run, provider=provider, began_at=now)
                    return Next(begin, self.owner, self.ids.uuid(), now + self.lease)
            return None

        return then

    # --- timers and upgrades

    def ring(self, claimed: Claimed, now: int) -> None:
        """A timer has run out."""
        if (claimed.kind, claimed.stage) == REVEAL:
            self.end_waits(claimed, now)
            return
        grace = int(self.settings.recording_grace * 1e6)
        loaded = self.sessions.execute(claimed.session_id, ask.Abandon(idle_since=now - grace), actor=self.owner)
        if loaded.state.status == "recording":  # there was a sign of life
            touched_at = int((load(self.store, claimed.session_id)).row["touched_at"])
            self.store.postpone(now, claimed.token, max(touched_at + grace - now, 1_000_000))

    def end_waits(self, claimed: Claimed, now: int) -> None:
        """The reveal deadline: stages that still wait for a provider are made by their fallback, or fail."""
        state = load(self.store, claimed.session_id).state
        code = self.code[claimed.definition, claimed.definition_version]
        for stage in state.stages:
            if stage.status == "waiting" and self.stages.policy(code[stage.name]) != "wait":
                only = Wanted(self.definitions, only=(claimed.session_id, stage.name))
                with suppress(LeaseLost, IllegalTransition):  # somebody was quicker
                    self.run(self.claim(now, only), overdue=True)
        self.store.postpone(self.clock.now(), claimed.token, REVEAL_AGAIN)

    def upgrade(self, claimed: Claimed, held: Held) -> None:
        """Make a degraded result again. Nothing is told before the provider has answered, and made something better."""
        stage = self.code[claimed.definition, claimed.definition_version][claimed.stage]
        now, settings = self.clock.now(), self.settings
        if claimed.attempts > settings.claims_before_poison:
            return self.leave(claimed, "poison")
        if claimed.tries >= settings.upgrade_tries:
            return self.leave(claimed, "tries")
        if now - claimed.created_at > settings.upgrade_maximum * 1e6:
            return self.leave(claimed, "age")
        begun = at_claim(claimed) or load(self.store, claimed.session_id)
        provider = self.stages.provider_of(stage)
        run = self.stage_run(claimed, begun, provider)
        began = self.clock.monotonic()
        held.attempt = self.new_attempt(self.stages.asks(stage))
        with self.observers.running(run):
            made = held.attempt.run(stage, lambda: self.context(claimed, held, begun, run))
        if isinstance(made, Away):
            now = self.clock.now()
            pause = min(settings.upgrade_delay * 2.0 ** min(claimed.tries, 30) * 1e6, UPGRADE_LONGEST)
            delay = max(int(pause * (0.5 + jitter(self.ids))), (made.not_before or 0) - now)
            self.store.postpone(now, claimed.token, delay, tried=made.tried)
            self.observers.waiting(run, made.reason, delay / 1e6)
            return None
        if made.fields["outcome"] != "ok":
            return self.leave(claimed, "no better")
        better = ask.Conclude(
            stage=claimed.stage,
            run=claimed.run,
            input_version=begun.state.version,
            duration_ms=round((self.clock.monotonic() - began) * 1000),
            completed_at=self.clock.now(),
            provider=provider,
            title=begun.row.get("title"),
            **made.fields,
        )
        guard = WorkGuard(claimed.stage, claimed.run, claimed.token, "upgrade")
        command = ask.Upgrade(made=better, began_at=now)
        after = self.sessions.execute(claimed.session_id, command, guard=guard, actor=self.owner, seen=begun)
        self.tell(run, made, now, after)
        return None

    def leave(self, claimed: Claimed, reason: str) -> None:
        """A degraded result stays as it is."""
        guard = WorkGuard(claimed.stage, claimed.run, claimed.token, "upgrade")
        drop = ask.Drop(stage=claimed.stage, run=claimed.run - 1, reason=reason)
        self.sessions.execute(claimed.session_id, drop, guard=guard, actor=self.owner)

    # --- supervision, from another thread

    def beat(self, now: int) -> None:
        """Renew the leases of what is running; called every `settings.renew` seconds."""
        tokens, most = list(self.held), self.settings.lease * 2 / 3
        try:
            still = set(self.store.renew(now, tokens, self.lease)) if tokens else set()
        except Exception:
            # By then another may soon have it: what is made from here on is likely to be made twice.
            for held in self.holdings():
                if self.clock.monotonic() - held.renewed > most:
                    held.deadline.end()
            raise
        for token in tokens:
            mine = self.held.get(token)
            if mine is not None and token in still:
                mine.renewed = self.clock.monotonic()
            elif mine is not None:
                mine.cut = True
                mine.deadline.end()

    def holdings(self) -> list[Held]:
        return list(self.held.values())

    def check_deadlines(self, now: int) -> None:
        """Cut off what has gone for too long without a checkpoint."""
        for held in self.holdings():
            if not held.cut and held.claimed.kind != "timer" and held.attempt is not None:
                left = held.deadline.remaining()
                if left <= 0 and left != -inf:
                    self.cut_off(held, now)

    def cut_off(self, held: Held, now: int) -> None:
        """End a run whose code does not come back, by its token: what the code still makes is refused."""
        claimed, attempt = held.claimed, held.attempt
        stage = self.code[claimed.definition, claimed.definition_version][claimed.stage]
        place = {"session_id": claimed.session_id, "stage": claimed.stage, "run": claimed.run}
        logger(__name__).warning("stage cut off at its deadline", **place)
        seconds = self.settings.stage_deadline
        try:
            if claimed.kind == "upgrade":
                self.store.postpone(now, claimed.token, int(self.settings.upgrade_delay * 1e6), tried=True)
            else:
                begun = load(self.store, claimed.session_id)
                away = Away("deadline", f"no checkpoint for {seconds:g} s", now, tried=True, error_type="StageDeadline")
                asked = attempt is not None and attempt.provider is not None
                if not (asked and self.after_deadline(claimed, stage, begun, away)):
                    took = round((self.clock.monotonic() - held.began) * 1000)
                    made = Made.failed("deadline", away.error_type, away.error)
                    provider = self.stages.provider_of(stage)
                    after = self.conclude(claimed, begun, made, took, provider, go_on=False)
                    self.tell(self.stage_run(claimed, begun, provider), made, now, after)
        except (LeaseLost, IllegalTransition):
            pass  # it has just come back, or is another's
        held.cut = self.hung = True
        held.deadline.end()
        if attempt is not None:
            attempt.cut_off()

    def after_deadline(self, claimed: Claimed, stage: Stage, begun: Loaded, away: Away) -> bool:
        """Put off a run whose provider hangs: to be made by the fallback at once, or later again."""
        policy = self.stages.policy(stage)
        if policy == "wait":
            return self.put_off(claimed, stage, begun, away) is not None
        if policy != "degrade" or not self.stages.can_fall_back(stage):
            return False
        now = self.clock.now()
        wait = ask.Wait(
            stage=claimed.stage, run=claimed.run, reason=away.reason, retry_at=now, at=now, error=away.error
        )
        guard = WorkGuard(claimed.stage, claimed.run, claimed.token)
        self.sessions.execute(claimed.session_id, wait, guard=guard, actor=self.owner, seen=begun)
        return True

    def hand_back(self) -> None:
        """Give what is still running to other workers; not counted as an attempt."""
        for held in self.holdings():
            if not held.cut:
                held.cut = True
                held.deadline.end()
                self.store.give_back(held.claimed.token)

    # --- what observers hear

    def stage_run(self, claimed: Claimed, begun: Loaded, provider: str | None) -> StageRun:
        row = begun.row
        return StageRun(
            session_id=claimed.session_id,
            trace_id=row["trace_id"],
            tenant=row["tenant"],
            definition=claimed.definition,
            stage=claimed.stage,
            run=claimed.run,
            provider=provider,
            kind=claimed.kind,
            takeover=claimed.attempts > 1,
        )

    def tell(self, run: StageRun, made: Made, began_at: int, after: Loaded) -> None:
        fields = made.fields
        self.observers.ended(run, fields["outcome"], fields.get("reason"), began_at, self.clock.now())
        row = after.row
        if after.state.status == "revealed" and row.get("revealed_at") == row["updated_at"]:
            finalized_at, revealed_at = row["finalized_at"], row["revealed_at"]
            self.observers.revealed(run.session_id, run.trace_id, run.tenant, finalized_at, revealed_at)


def at_claim(claimed: Claimed) -> Loaded | None:
    """The session as it was read with the claim; None where it needs another look."""
    if claimed.session.get("fold_version") != FOLD_VERSION:
        return None
    return Loaded(claimed.session, SNAPSHOT.decode(claimed.session["snapshot"]))


def following(after: Loaded) -> Claimed:
    """The claim that was made with the append."""
    begun, row = after.begun, after.row
    assert begun is not None
    return Claimed(
        session_id=row["session_id"],
        kind="stage",
        stage=begun.command.stage,
        run=begun.command.run,
        definition=row["definition"],
        definition_version=row["definition_version"],
        token=begun.token,
        attempts=1,
        tries=0,
        created_at=row["updated_at"],
        due_at=row["updated_at"],
        session=row,
    )


def jitter(ids: Ids) -> float:
    """0..1, from the port that randomness comes through."""
    return int.from_bytes(ids.salt()[:4], "big") / 2**32
