"""The worker: `step(now)` claims work that is due, runs its stage and records the outcome. Threads only loop it."""

from __future__ import annotations

from . import commands as ask
from . import deadlines, errands, policies, telling
from .attempts import Attempt, Away, Made
from .claiming import Claiming
from .contexts import Checkpoints, stage_context
from .errors import (
    IllegalTransition,
    LeaseLost,
    MinaError,
    SessionBusy,
    StoreBusy,
    StoreUnreachable,
    UpgradeNeeded,
)
from .interrupted import Interrupted
from .leases import Held, following, guarding, handed
from .log import logger
from .observers import StageRun
from .receipts import Receipts
from .sessions import Loaded, at_claim, load
from .stages.base import Stage, StageContext
from .states import StageState
from .work_shapes import Claimed


class Worker(Claiming):
    """One at a time: claims a row, runs the stage, appends its outcome by the token of the claim."""

    def take_over(self, begun: Loaded, now: int) -> int:
        """Go on with a stage that was begun for this worker in the append that made it due; then look for more.

        It has joined the company already.
        """
        try:
            self.carry_out(handed(begun), now, begun)
        finally:
            self.hung = False
            self.part()
        return now

    def hand_on(self, begun: Loaded) -> None:
        """Such a stage is not for us any more: we are ending."""
        self.part()
        self.give_up(begun)

    def give_up(self, begun: Loaded) -> None:
        """What was begun for this worker is anybody's."""
        try:
            self.store.give_back(handed(begun).token)
        except (StoreUnreachable, StoreBusy) as error:  # the lease runs out
            logger(__name__).warning("work not handed back", error_type=type(error).__name__)

    def carry_out(self, claimed: Claimed, now: int, begun: Loaded | None = None) -> None:
        """Do what was claimed. A session that something is wrong with stops no other; a store's error is raised."""
        try:
            try:
                self.dispatch(claimed, now, begun)
            except Interrupted as interrupted:
                raise interrupted.error from None
        except (LeaseLost, IllegalTransition) as lost:
            # Another holds it now, or the session was cancelled: what we made is nobody's any more.
            logger(__name__).info("outcome refused", session_id=claimed.session_id, error_type=type(lost).__name__)
        except (StoreUnreachable, StoreBusy):
            raise
        except SessionBusy:
            self.store.give_back(claimed.token)
        except MinaError as error:
            self.store.give_back(claimed.token)
            self.set_aside(claimed, error, now)

    def dispatch(self, claimed: Claimed, now: int, begun: Loaded | None) -> None:
        if claimed.kind == "stage":
            self.run(claimed, begun=begun)
            return
        with self.leases.holding(claimed) as held:
            if claimed.kind == "timer":
                errands.ring(self, claimed, now)
            else:
                errands.upgrade(self, claimed, held)

    # --- a stage

    def run(self, claimed: Claimed | None, overdue: bool = False, begun: Loaded | None = None) -> None:
        """A stage, and after it the next ones of its session that are begun with its outcome.

        overdue: the session's reveal deadline has passed, by the database's clock.
        """
        while claimed is not None:
            self.done += 1
            with self.leases.holding(claimed) as held:
                try:
                    after = self.run_one(claimed, held, begun, overdue)
                except MinaError:
                    raise
                except Exception as error:
                    after = self.fail(claimed, held, error)
            claimed, begun = (following(after, claimed, held), after) if after and after.begun else (None, None)

    def run_one(self, claimed: Claimed, held: Held, begun: Loaded | None, overdue: bool) -> Loaded | None:
        """One stage; the session after its outcome, or None where it waits. begun: its _started was appended before."""
        stage = self.stage_of(claimed)
        provider = self.stages.provider_of(stage)
        begun = begun or self.begin(claimed, held, provider)
        run = telling.stage_run(held, begun, provider)
        made = self.attempt(stage, claimed, held, begun, run, overdue)
        if isinstance(made, Away):
            delay = self.put_off(held, stage, begun, made)
            if delay is not None:
                telling.waiting(self.observers, held, made.reason, delay)
                return None
            made = self.instead(stage, claimed, held, begun, run, made)
        after = self.conclude(claimed, held, begun, made, provider)
        telling.ended(self.observers, self.clock, held, made, after)
        return after

    def fail(self, claimed: Claimed, held: Held, error: Exception) -> Loaded:
        """Something was wrong around the stage's code, and would be again. Where the store is what is wrong, this
        raises as well, and a later claim goes on."""
        place = {"session_id": claimed.session_id, "stage": claimed.stage, "run": claimed.run}
        logger(__name__).error("stage could not be run", **place, error_type=type(error).__name__)
        begun = load(self.store, claimed.session_id)
        made, provider = Made.failed("error", type(error).__name__, str(error)), self.provider.name
        after = self.conclude(claimed, held, begun, made, provider, go_on=False)
        telling.ended(self.observers, self.clock, held, made, after)
        return after

    def stage_of(self, claimed: Claimed) -> Stage:
        """Its code; UpgradeNeeded where this process has another definition under the same name and version."""
        code = self.code[claimed.definition, claimed.definition_version]
        if claimed.stage not in code:
            raise UpgradeNeeded(
                f"stage of {claimed.definition} {claimed.definition_version}", claimed.stage, ", ".join(code)
            )
        return code[claimed.stage]

    def begin(self, claimed: Claimed, held: Held, provider: str) -> Loaded:
        """The run's _started, where it has none: a takeover, or the end of a wait, goes on with it."""
        command = ask.Begin(stage=claimed.stage, run=claimed.run, provider=provider)
        guard, seen = guarding(claimed), at_claim(claimed.session) or load(self.store, claimed.session_id)
        was = seen.state.stage(claimed.stage).status
        held.resumed = was == "running" or (was == "waiting" and claimed.attempts > 1)
        return self.sessions.execute(claimed.session_id, command, guard=guard, actor=self.owner, seen=seen)

    def attempt(
        self, stage: Stage, claimed: Claimed, held: Held, begun: Loaded, run: StageRun, overdue: bool
    ) -> Made | Away:
        """Run the stage's code, unless there is no use in trying."""
        if claimed.attempts > self.settings.claims_before_poison:
            return Made.failed("poison", "Poison", f"{claimed.attempts - 1} claims ended without an outcome")
        was, policy = begun.state.stage(claimed.stage), self.stages.policy(stage)
        if was.status == "waiting":
            cut_off = was.reason == "deadline" and policy == "degrade"
            over = overdue or (policy != "wait" and self.clock.now() >= self.waits_until(held, was, policy))
            if cut_off or over:
                return Away(was.reason or "outage", "", None, final=True)
        held.attempt = self.new_attempt(held, self.stages.asks(stage))
        with self.observers.running(run):
            return held.attempt.run(stage, lambda: self.context(claimed, held, begun, run))

    def new_attempt(self, held: Held, provider: str | None) -> Attempt:
        return Attempt(self.breakers, provider, self.settings, self.clock, self.sleep, held.deadline)

    def context(self, claimed: Claimed, held: Held, begun: Loaded, run: StageRun) -> StageContext:
        deadline, seconds = held.deadline, self.settings.stage_deadline
        checkpoints = Checkpoints(self.store, self.sessions, claimed, self.owner, deadline, seconds)

        def usage(model: str, tokens_in: int, tokens_out: int, cost: float | None) -> None:
            self.observers.usage(run, model, tokens_in, tokens_out, cost)

        anew = claimed.kind == "stage" and begun.state.stage(claimed.stage).asked
        given = (claimed, self.owner, deadline, seconds, anew, held.resumed, usage)
        return stage_context(checkpoints, begun, self.provider, self.ids, Receipts(self.store, self.sessions, *given))

    def waits_until(self, held: Held, was: StageState, policy: str) -> int:
        """Up to when (µs) a run may wait. The session's begin is by the time in `work`: other hosts' clocks are their
        own; the run's first wait, which a host told, stands for long times."""
        since = self.clock.now() if was.waiting_since is None else was.waiting_since
        return policies.waits_until(since, held.claimed.begun_at, policy, self.settings)

    def put_off(self, held: Held, stage: Stage, begun: Loaded, away: Away) -> int | None:
        """Let the run wait, if it may, and for how long (µs); None where it may not."""
        claimed = held.claimed
        now, was = self.clock.now(), begun.state.stage(claimed.stage)
        policy, can_fall_back = self.stages.policy(stage), self.stages.can_fall_back(stage)
        if away.reason == "deadline" and policy != "wait":
            verdict: policies.Verdict = policies.Wait(now) if policy == "degrade" and can_fall_back else policies.Fail()
        else:
            verdict = policies.away(
                was.waits,
                policy,
                can_fall_back,
                now,
                self.waits_until(held, was, policy),
                away.not_before,
                self.jitter(),
                self.settings,
            )
        if away.final or not isinstance(verdict, policies.Wait):
            return None
        if was.status == "waiting" and not away.tried:
            # Nobody was asked: what was told of this wait still holds, but for the time.
            self.store.postpone(now, claimed.token, verdict.retry_at - now)
            return verdict.retry_at - now
        wait = ask.Wait(
            stage=claimed.stage,
            run=claimed.run,
            reason=away.reason,
            retry_at=verdict.retry_at,
            at=now,
            error=away.error or None,
        )
        guard = guarding(claimed)
        self.sessions.execute(claimed.session_id, wait, guard=guard, actor=self.owner, seen=begun)
        return verdict.retry_at - now

    def instead(self, stage: Stage, claimed: Claimed, held: Held, begun: Loaded, run: StageRun, away: Away) -> Made:
        """The fallback's result, marked for what it stands in for; or the honest failure."""
        if self.stages.policy(stage) != "degrade" or not self.stages.can_fall_back(stage):
            return Made.failed(away.reason, away.error_type, away.error or f"{run.provider}: {away.reason}")
        assert stage.fallback is not None
        held.deadline.extend(self.settings.stage_deadline)
        held.attempt = self.new_attempt(held, None)
        with self.observers.running(run):
            made = held.attempt.run_code(stage.fallback, lambda: self.context(claimed, held, begun, run))
        return made.degraded_for(away.reason)

    # --- its outcome

    def conclude(
        self, claimed: Claimed, held: Held, begun: Loaded, made: Made, provider: str, go_on: bool = True
    ) -> Loaded:
        """Append the outcome, and with it the _started of the session's next stage, if we may go on with that."""
        command = self.concluding(claimed, held, begun, made, provider)
        then = self.next_stage if go_on and self.may_go_on() else None
        guard = guarding(claimed)
        return self.sessions.execute(claimed.session_id, command, guard=guard, actor=self.owner, seen=begun, then=then)

    def concluding(self, claimed: Claimed, held: Held, begun: Loaded, made: Made, provider: str | None) -> ask.Conclude:
        return ask.Conclude(
            stage=claimed.stage,
            run=claimed.run,
            input_version=begun.state.version,
            duration_ms=round((self.clock.monotonic() - held.began) * 1000),
            completed_at=self.clock.now(),
            provider=made.provider or provider,
            title=begun.row.get("title"),
            **made.fields,
        )

    def jitter(self) -> float:
        """0..1, from the port that randomness comes through."""
        return int.from_bytes(self.ids.salt()[:4], "big") / 2**32

    # --- supervision, from another thread

    def beat(self, now: int) -> None:
        """Renew the leases of what is running; called every `settings.renew` seconds."""
        self.leases.renew(now)

    def check_deadlines(self, now: int) -> None:
        """Cut off what has gone for too long without a checkpoint."""
        for held in self.leases.past_deadline():
            place = {"session_id": held.claimed.session_id, "stage": held.claimed.stage, "run": held.claimed.run}
            logger(__name__).warning("stage cut off at its deadline", **place)
            deadlines.cut_off(self, held, now)

    def hand_back(self) -> None:
        """Give what is still running to other workers."""
        self.leases.hand_back()
