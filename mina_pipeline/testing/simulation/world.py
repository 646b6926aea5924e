"""One history: processes over one store, people, providers, a nemesis; then it heals, and all must come to rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import recovery
from ...errors import SessionBusy, StoreBusy, StoreUnreachable
from ...ports import Store
from ...stages.base import Workflow
from ...stages.standard import WORKFLOWS
from .clients import Client, Operator
from .clocks import OwnTime, SimulatedClock, SimulatedIds
from .ledger import Ledger
from .plan import Outage, Plan
from .process import DoorClosed, Process
from .provider import FakeProvider, host_workflow
from .schedule import START, Schedule
from .stores import Opened

EXPECTED = (StoreUnreachable, StoreBusy, SessionBusy)
SECOND = 1_000_000
HOUR = 3_600 * SECOND
CHAOS_AT_MOST = 600 * SECOND


class World:
    """Everything that one history has. `raw` is the store itself, `store` how processes see its clock.

    chaos: faults still happen. committing: whose call the store is carrying out. jumped: µs, by all clocks together.
    """

    def __init__(self, plan: Plan, opened: Opened) -> None:
        self.plan = plan
        self.rng = plan.rng
        self.schedule = Schedule(self.rng)
        self.machine = SimulatedClock(self.schedule)
        self.clocks = [SimulatedClock(self.schedule, skew) for skew in plan.skews[:3]] if plan.own_time else []
        self.store_clock = SimulatedClock(self.schedule, plan.skews[3])
        self.raw: Store = opened.timed(self.store_clock) if opened.timed else opened.store
        self.store: Any = self.raw
        if plan.own_time and opened.timed is None:
            self.store = OwnTime(self.raw, self.store_clock)
        self.ids = SimulatedIds(self.rng)
        self.ledger = Ledger(self.schedule, plan, self.store_time)
        self.provider = FakeProvider(self)
        self.host = host_workflow(self)
        self.chaos = True
        self.healed_at = self.down_until = self.jumped = self.looked_at = 0
        self.committing: Process | None = None
        self.lives: list[Process] = []
        self.alive: list[Process] = []
        self.clients = [Client(self, f"s{number}") for number in range(plan.sessions)]
        self.raw.on_commit(self.committed)

    # --- what the others ask

    def store_time(self, given: int) -> int:
        """The time that the store goes by when it is given this one."""
        return self.store_clock.now() if self.plan.own_time else given

    def latency(self) -> int:
        drawn = self.rng.random()
        if drawn < 0.6:
            return 1_000 if drawn < 0.3 else 100
        return int(drawn * (500_000 if drawn > 0.97 and self.chaos else 20_000))

    def workflows(self, number: int) -> list[Workflow]:
        """What a process knows; the first is for new sessions."""
        known = [*WORKFLOWS, self.host]
        if self.plan.older and number == self.plan.processes - 1:
            return list(WORKFLOWS)
        first = self.plan.firsts[number]
        return [known[first], *known[:first], *known[first + 1 :]]

    def policy(self, stage: str) -> str:
        """What becomes of a stage whose provider is away."""
        default = self.host.code[stage].policy if stage in self.host.code else "degrade"
        return self.plan.settings.policy.get(stage, default)

    def outage(self, provider: str) -> Outage | None:
        at = self.schedule.now - START
        return next((o for o in self.plan.outages if o.provider == provider and o.begin <= at < o.end), None)

    def door(self) -> Process:
        doors = [process for process in self.alive if not process.ending]
        if not doors:
            raise DoorClosed("all")
        return self.rng.choice(doors)

    def unexpected(self, error: Exception) -> None:
        if not isinstance(error, EXPECTED):
            self.ledger.broken(0, f"unexpected {type(error).__name__}: {error}")

    def committed(self, session_id: str | None, version: int, work: bool) -> None:
        """The store's own word: to the process that committed at once, to others perhaps, and later."""
        for process in self.alive:
            if process is self.committing:
                process.committed(session_id, version, work)
            elif self.rng.random() < self.plan.hints:
                self.schedule.later(int(self.rng.random() * 50_000), hint(process, session_id, version, work))

    # --- processes

    def begin(self, number: int) -> None:
        life = sum(process.number == number for process in self.lives) + 1
        process = Process(self, number, life, self.clocks[number] if self.clocks else self.machine)
        self.schedule.note(f"{process.name} begins")
        self.lives.append(process)
        self.alive.append(process)

    def crash(self, process: Process) -> None:
        """It is gone with all that it was doing; another life begins some time later."""
        if process.dead:
            return
        self.schedule.note(f"{process.name} dies")
        self.alive.remove(process)
        after = int(10 ** self.rng.uniform(4, 7.5)) if self.chaos else 10_000
        self.schedule.later(after, lambda: self.begin(process.number))
        self.schedule.kill(process)

    def stop(self, process: Process) -> None:
        if not process.ending:
            process.ending = True
            process.act("end", process.end)

    def freeze(self, process: Process) -> None:
        """Stop the current actor's process here, for about as long as leases last."""
        some = int(self.plan.settings.lease * self.rng.uniform(0.5, 4) * SECOND)
        self.schedule.note(f"{process.name} is frozen for {some / SECOND:.3f} s")
        process.frozen_until = self.schedule.now + some
        self.schedule.pause(0)

    def freeze_current(self) -> None:
        actor = self.schedule.alive()
        if isinstance(actor.body, Process):
            self.freeze(actor.body)

    def nemesis(self) -> None:
        plan, rng, schedule = self.plan, self.rng, self.schedule
        deeds = [deed for deed in ("down", "freeze", "stop", "crash", "jump") if deed not in plan.without]
        while self.chaos and deeds:
            schedule.sleep(rng.expovariate(1 / plan.nemesis))
            if self.chaos and self.alive:
                deed, process, some = rng.choice(deeds), rng.choice(self.alive), int(10 ** rng.uniform(4, 7.7))
                schedule.note(f"{deed} {process.name} {some / SECOND:.3f} s")
                self.strike(deed, process, some)

    def strike(self, deed: str, process: Process, some: int) -> None:
        until = self.schedule.now + some
        match deed:
            case "down" if self.rng.random() < 0.5:
                process.cut_until = until
            case "down":
                self.down_until = until
            case "freeze":
                process.frozen_until = until
            case "stop":
                self.stop(process)
            case "crash":
                self.crash(process)
            case "jump" if self.plan.jumps:
                by = self.rng.choice((-HOUR, HOUR, some, -some))
                process.clock.skew += by
                self.jumped += abs(by)

    # --- the history

    def live(self) -> None:
        """Chaos; then it heals, and time runs on until nothing is due any more."""
        plan, schedule = self.plan, self.schedule
        for number in range(plan.processes):
            self.begin(number)
        for client in self.clients:
            schedule.spawn(client.session_id, client.live)
        if plan.nemesis:
            schedule.spawn("nemesis", self.nemesis)
        if plan.has("operator", 0.3):
            schedule.spawn("operator", Operator(self).live)
        broken: Callable[[], bool] = lambda: bool(self.ledger.found or schedule.broken)  # noqa: E731  (said twice)
        schedule.run(START + CHAOS_AT_MOST, lambda: schedule.steps >= plan.chaos or broken())
        self.heal()
        if not schedule.run(self.horizon(), lambda: broken() or self.at_rest()):
            rows = [f"{row['session_id']}/{row['kind']}/{row['stage']}" for row in self.raw.work_rows(0)]
            took = (schedule.now - self.healed_at) / SECOND
            self.ledger.broken(5, f"not at rest {took:g} s after the end of faults: {rows}")
        # What was committed last is still to be heard of.
        schedule.run(schedule.now + int(2 * plan.settings.poll + 60) * SECOND, lambda: False)

    def heal(self) -> None:
        self.chaos = False
        self.healed_at = self.schedule.now
        self.schedule.note("--- no faults from here on")
        self.down_until = 0
        for process in self.alive:
            process.cut_until = process.frozen_until = 0
        for session_id in self.ledger.versions:
            for problem in recovery.compare(self.raw, session_id):
                self.ledger.broken(6, f"amid everything: {problem}")

    def at_rest(self) -> bool:
        if self.schedule.now < self.looked_at + SECOND or not all(client.at_rest for client in self.clients):
            return False
        self.looked_at = self.schedule.now
        return not self.raw.work_rows(0, 1)

    def horizon(self) -> int:
        """When (true time) everything must be at rest: far beyond the sum of all that may be waited for."""
        settings = self.plan.settings
        longest = 3 * settings.recording_grace + settings.wait_maximum + settings.reveal_deadline
        longest += settings.upgrade_tries * 900 + settings.stage_deadline * 100 + self.plan.sessions * 600
        outages = START + max((outage.end for outage in self.plan.outages), default=0)
        return max(self.schedule.now, outages) + int(longest) * SECOND + self.jumped + HOUR


def hint(process: Process, session_id: str | None, version: int, work: bool) -> Callable[[], None]:
    return lambda: None if process.dead else process.committed(session_id, version, work)
