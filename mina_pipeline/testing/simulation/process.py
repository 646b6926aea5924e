"""A process: a pipeline of its own over the shared store, with workers, their supervisor, a relay, and doors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from ...crew import Supervisor
from ...events import RecordedEvent
from ...opening import known_workflows
from ...pipeline import Pipeline
from ...ports import Store, Wake
from ...relay import Relay
from ...worker import Worker
from .clocks import SimulatedClock
from .faulty import FaultyStore
from .schedule import Actor, Body

if TYPE_CHECKING:
    from .world import World


class DoorClosed(Exception):
    """A client's connection to a process ended before there was an answer."""


class SteppedRelay(Relay):
    """Its thread is the simulation's."""

    def run(self) -> bool:
        return bool(self.subscriptions)


class Process(Body):
    """One life of one of the processes. base: the versions that its subscriber begins after, once it has subscribed.

    cut_until: the store is away for this one up to then (true time).
    """

    def __init__(self, world: World, number: int, life: int, clock: SimulatedClock) -> None:
        super().__init__(f"p{number}.{life}")
        self.world = world
        self.number = number
        self.clock = clock
        self.callbacks: list[Wake] = []
        self.cut_until = 0
        self.ending = False
        self.headed: dict[str, int] = {}
        self.base: dict[str, int] | None = None
        self.heard: dict[str, int] = {}
        store, settings = cast("Store", FaultyStore(self, world.store)), world.plan.settings
        workflows = known_workflows(world.workflows(number))
        self.pipeline = Pipeline(store, workflows, world.provider, settings, clock, world.ids)
        self.pipeline.relay = SteppedRelay(store, clock, settings.poll)
        self.relaying = self.act("relay", self.relay)
        self.workers: list[Worker] = []
        self.hung: list[Worker] = []
        self.loops: list[Actor] = []
        self.pending = 0
        for _ in range(world.plan.workers):
            self.add()
        self.supervisor = Supervisor(self.workers, settings, self.after_look)
        self.supervising = self.act("supervisor", self.supervise)

    def act(self, name: str, act: Callable[[], object]) -> Actor:
        return self.world.schedule.spawn(f"{self.name}/{name}", act, self)

    # --- workers, as crew.WorkerThreads loops them

    def add(self) -> None:
        worker, name = self.pipeline.worker(), f"w{len(self.loops) + 1}"
        worker.owner = f"{self.name}/{name}"  # it has the real process' id in it
        worker.sleep = self.world.schedule.sleep
        self.workers.append(worker)
        self.loops.append(self.act(name, lambda: self.work(worker)))

    def work(self, worker: Worker) -> None:
        schedule, poll = self.world.schedule, int(self.world.plan.settings.poll * 1e6)
        while not worker.ending and worker not in self.hung:
            now, pending, failing = self.clock.now(), self.pending, False
            try:
                again = worker.step(now)
            except Exception as error:
                schedule.note(f"step failed: {type(error).__name__}")
                self.world.unexpected(error)
                again, failing = None, True
            if again is not None and again <= now:
                self.wake_one()
            elif failing or self.pending == pending:
                schedule.park(poll if again is None else min(poll, max(again - now, 1_000)))
        if worker in self.hung:
            self.hung.remove(worker)
            self.workers.remove(worker)

    def wake_one(self) -> None:
        self.pending += 1
        idle = next((actor for actor in self.loops if actor.parked), None)
        if idle is not None:
            self.world.schedule.wake(idle)

    def watch(self) -> None:
        """Something is held: the supervisor has something to look at."""
        self.world.schedule.wake(self.supervising)

    def supervise(self) -> None:
        schedule, settings = self.world.schedule, self.world.plan.settings
        renewed = self.clock.monotonic()
        while True:
            if not any(worker.leases.held for worker in self.workers):
                schedule.park()  # ticks that do nothing would only take time
                continue
            schedule.sleep(min(settings.renew, settings.stage_deadline / 4, 1.0))
            beat = self.clock.monotonic() - renewed >= settings.renew
            renewed = self.clock.monotonic() if beat else renewed
            self.supervisor.look(beat)

    def after_look(self, beat: bool) -> None:
        for worker in [worker for worker in self.workers if worker.hung and worker not in self.hung]:
            self.hung.append(worker)
            if len(self.hung) >= self.world.plan.settings.hung_threads:
                self.world.stop(self)
                return
            self.add()

    def end(self) -> None:
        """In order, as crew.WorkerThreads.close does it; the process is gone after it."""
        schedule, clock = self.world.schedule, self.clock
        for worker in self.workers:
            worker.ending = True
        until = clock.monotonic() + self.world.plan.settings.shutdown_grace
        while clock.monotonic() < until and any(worker.leases.held for worker in self.workers):
            schedule.sleep(0.1)
        try:
            for worker in list(self.workers):
                worker.hand_back()
            self.pipeline.store.worker_gone(self.name)
        except Exception as error:
            schedule.note(f"not handed back: {type(error).__name__}")
            self.world.unexpected(error)
        self.world.crash(self)

    # --- the relay

    def relay(self) -> None:
        schedule, relay, poll = self.world.schedule, self.pipeline.relay, int(self.world.plan.settings.poll * 1e6)
        while self.base is None:
            try:
                relay.subscribe(self.hear)
                self.base = self.headed
            except Exception as error:
                self.world.unexpected(error)
                schedule.park(poll)
        while True:
            wakes, now = relay.wakes, self.clock.now()
            try:
                wake = relay.step(now)
            except Exception as error:
                self.world.unexpected(error)
                schedule.park(poll)
                continue
            if wake > now and relay.wakes == wakes:
                schedule.park(wake - now)

    def hear(self, event: RecordedEvent) -> None:
        base = self.headed if self.base is None else self.base
        last = self.heard.get(event.session_id, base.get(event.session_id, 0))
        if event.version > last + 1:
            self.world.ledger.broken(2, f"{self.name} heard {event.session_id} v{event.version} after v{last}")
        self.heard[event.session_id] = max(last, event.version)
        if self.world.chaos and self.world.rng.random() < 0.02:
            raise RuntimeError("a subscriber raises")

    def committed(self, session_id: str | None, version: int, work: bool) -> None:
        """Something was committed, here or elsewhere."""
        for callback in self.callbacks:
            callback(session_id, version, work)
        if work:
            self.wake_one()
        self.world.schedule.wake(self.relaying)

    # --- doors

    def serve(self, what: str, ask: Callable[[Pipeline], Any], patience: int) -> Any:
        """A request of the current actor's, in this process. DoorClosed where it dies or takes longer than patience
        (µs): what was asked for may happen yet."""
        schedule = self.world.schedule
        client, answers = schedule.alive(), list[Any]()
        if self.dead or self.ending:
            raise DoorClosed(self.name)

        def handle() -> None:
            try:
                answers.append(ask(self.pipeline))
            except Exception as error:
                answers.append(error)
            schedule.wake(client)

        self.act(client.name, handle)
        until = schedule.now + patience
        while not answers and not self.dead and schedule.now < until:
            schedule.park(min(until - schedule.now, 500_000))
        if not answers:
            raise DoorClosed(self.name)
        schedule.note(f"{what} at {self.name} -> {type(answers[0]).__name__}")
        if isinstance(answers[0], Exception):
            raise answers[0]
        return answers[0]
