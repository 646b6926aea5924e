"""People: who record and finalize, send things twice from several doors, change their minds; and an operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import (
    IllegalTransition,
    InvalidInput,
    MinaError,
    SessionBusy,
    StoreBusy,
    StoreUnreachable,
    UpgradeNeeded,
)
from ...meeting import Segment
from ...pipeline import Pipeline
from .process import DoorClosed

if TYPE_CHECKING:
    from .world import World

AGAIN = (StoreUnreachable, StoreBusy, SessionBusy, DoorClosed, UpgradeNeeded)
"""After these one asks again, at another door; UpgradeNeeded is an older process' answer."""

Ask = Callable[[Pipeline], Any]


@dataclass
class Client:
    """Who holds one meeting, and what it was told: batches of segments by name, and finalize's answers.

    open: requests that are out beside its own.
    """

    world: World
    session_id: str
    recorded: dict[str, int] = field(default_factory=dict)
    batches: int = 0
    stats: list[Any] = field(default_factory=list)
    open: int = 0
    ended: bool = False

    def live(self) -> None:
        self.meeting()
        self.ended = True

    @property
    def at_rest(self) -> bool:
        return self.ended and not self.open

    def has(self, fault: str, chance: float) -> bool:
        return self.world.rng.random() < chance and fault not in self.world.plan.without

    def meeting(self) -> None:
        rng, grace = self.world.rng, self.world.plan.settings.recording_grace
        self.rest(rng.choice((0.0, 0.0, 5.0)))
        self.start()
        for _ in range(rng.choice((0, 1, 2, 4))):
            self.rest(2.0)
            self.record()
        for _ in range(rng.choice((0, 0, 0, 1, 4))):
            self.rest(grace)
            self.send("touch", lambda p: p.touch(self.session_id))
        if self.has("silence", 0.15):
            return
        if self.has("silence", 0.1):
            self.rest(grace * 2)
        if self.has("cancel", 0.08):
            self.send("cancel", lambda p: p.cancel(self.session_id))
        self.finalize()
        for _ in range(rng.choice((0, 0, 1, 3))):
            self.rest(rng.choice((1.0, 30.0, 120.0)))
            self.think_again()

    def think_again(self) -> None:
        wanted = ("finalize", "cancel", "retry", "drop", "late")
        match self.world.rng.choice([what for what in wanted if what not in self.world.plan.without]):
            case "cancel":
                self.send("cancel", lambda p: p.cancel(self.session_id))
            case "retry" | "drop" as what:
                self.retry(drop=what == "drop")
            case "late":
                self.record()
            case _:
                self.finalize()

    def rest(self, seconds: float) -> None:
        self.world.schedule.sleep(seconds * self.world.rng.random())

    # --- sending

    def send(self, what: str, ask: Ask, answered: Callable[[Any], None] = lambda _: None) -> None:
        """Ask until there is an answer, now and then at several doors at once; refusals are answers."""
        for _ in range(self.world.rng.choice((0, 0, 0, 1, 2))):
            self.open += 1
            self.world.schedule.spawn(f"{self.session_id}-too", lambda: self.beside(what, ask, answered))
        self.ask(what, ask, answered)

    def beside(self, what: str, ask: Ask, answered: Callable[[Any], None]) -> None:
        self.rest(0.05)
        self.ask(what, ask, answered)
        self.open -= 1

    def ask(self, what: str, ask: Ask, answered: Callable[[Any], None]) -> None:
        world = self.world
        while True:
            try:
                patience = world.rng.choice((100_000, 30_000_000))
                answer = world.door().serve(f"{self.session_id} {what}", ask, patience)
            except AGAIN:
                world.schedule.sleep(0.05 + world.rng.random())
            except (IllegalTransition, InvalidInput) as refused:
                world.schedule.note(f"{what} refused: {refused}")
                return
            except MinaError as error:
                world.ledger.broken(3, f"{what} of {self.session_id} raised {type(error).__name__}: {error}")
                return
            else:
                answered(answer)
                return

    # --- what they ask for

    def start(self) -> None:
        world = self.world
        alike = len({world.workflows(number)[0].key for number in range(world.plan.processes)}) == 1
        by_id = world.rng.random() < 0.5 and (alike or "mixed-start" not in world.plan.without)
        command_id = "start" if by_id else None
        self.send("start", lambda p: p.start_session("meeting", self.session_id, command_id=command_id))

    def record(self) -> None:
        """A batch, by its segments' ids or by a command's."""
        rng, batch = self.world.rng, f"b{self.batches}"
        self.batches += 1
        count, named = rng.choice((1, 2, 3)), rng.random() < 0.5
        command_id = batch if rng.random() < 0.3 or not named else None
        said = [
            Segment(f"{batch} {n} it is", n * 1000, n * 1000 + 900, "Ann", 0.5, f"{batch}-{n}" if named else None)
            for n in range(count)
        ]

        def answered(session: Any) -> None:
            self.recorded[batch] = count

        self.send(f"record {batch}", lambda p: p.record(self.session_id, said, command_id), answered)

    def finalize(self) -> None:
        command_id = "finalize" if self.world.rng.random() < 0.3 else None
        self.send(
            "finalize",
            lambda p: p.finalize(self.session_id, command_id=command_id),
            lambda session: self.stats.append(session.stats),
        )

    def retry(self, drop: bool) -> None:
        """Of a run by name, or by a command id."""
        world, rng, found = self.world, self.world.rng, list[Any]()
        self.ask("get", lambda p: p.get(self.session_id), found.append)
        if not found or not found[0].stages:
            return
        name = rng.choice(sorted(found[0].stages))
        run = found[0].stages[name].run if rng.random() < 0.7 else None
        what = f"{'drop' if drop else 'retry'} {name} {run}"
        command_id = f"{what} {world.schedule.now}" if run is None else None
        self.send(what, lambda p: p.retry(self.session_id, name, run=run, drop=drop, command_id=command_id))


class Operator:
    """Looks, releases what seems stuck, rebuilds, while everything goes on."""

    def __init__(self, world: World) -> None:
        self.world = world

    def live(self) -> None:
        world, rng = self.world, self.world.rng
        deeds = (
            (self.release, self.look) if "rebuild" in world.plan.without else (self.release, self.look, self.rebuild)
        )
        while world.chaos:
            world.schedule.sleep(rng.choice((2.0, 20.0)) * rng.random())
            try:
                world.door().serve("operator", rng.choice(deeds), 30_000_000)
            except AGAIN:
                continue

    def release(self, pipeline: Pipeline) -> None:
        rows = pipeline.store.work_rows(pipeline.clock.now())
        if rows:
            row = self.world.rng.choice(sorted(rows, key=lambda row: (row["session_id"], row["kind"], row["stage"])))
            pipeline.store.release(pipeline.clock.now(), row["session_id"], row["kind"], row["stage"])

    def look(self, pipeline: Pipeline) -> None:
        pipeline.sessions(stuck=True)
        for problem in pipeline.unlisted():
            self.world.ledger.broken(6, str(problem))

    def rebuild(self, pipeline: Pipeline) -> None:
        session_id = self.world.rng.choice(self.world.clients).session_id
        if pipeline.store.load(session_id) is not None and (wrong := pipeline.rebuild(session_id)):
            self.world.ledger.broken(6, f"a rebuild of {session_id} changed {wrong} row(s)")
