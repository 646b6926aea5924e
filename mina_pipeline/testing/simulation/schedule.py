"""Time and turns: every actor is a greenlet, and which of them goes next is drawn from the seed."""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from ...errors import MissingExtra

START = 1_800_000_000_000_000
"""When every history begins (µs)."""


class Crashed(BaseException):
    """The process of this actor has died; no code of the library may stop that."""


@dataclass(eq=False)
class Body:
    """What actors live in. frozen_until: it has been stopped, as by SIGSTOP, up to then (true time)."""

    name: str
    dead: bool = False
    frozen_until: int = 0
    actors: list[Actor] = field(default_factory=list)


@dataclass(eq=False)
class Actor:
    """One thread of control. `turn` tells a wake that is still meant from one that has been overtaken."""

    name: str
    body: Body | None
    glet: Any
    turn: int = 0
    parked: bool = False
    ended: bool = False


class Schedule:
    """Runs one actor at a time. `now` is the true time, which no process sees as it is."""

    def __init__(self, rng: random.Random) -> None:
        try:
            import greenlet  # type: ignore[import-untyped]  # it ships no annotations
        except ModuleNotFoundError as error:
            raise MissingExtra("the simulation", "testing") from error
        self.make: Any = greenlet.greenlet
        self.hub = greenlet.getcurrent()
        self.rng = rng
        self.now = START
        self.steps = 0
        self.heap: list[tuple[int, float, int, Actor | Callable[[], None], int]] = []
        self.pushed = 0
        self.current: Actor | None = None
        self.doomed: list[Body] = []
        self.actors: list[Actor] = []
        self.trace: list[tuple[int, str, str]] = []
        self.broken: list[str] = []

    def note(self, what: str) -> None:
        """A line of the trace."""
        self.trace.append((self.now, self.current.name if self.current else "-", what))

    # --- for the hub

    def spawn(self, name: str, act: Callable[[], object], body: Body | None = None, delay: int = 0) -> Actor:
        """A new actor, which begins after a delay (µs)."""
        actor = Actor(name, body, None)
        actor.glet = self.make(lambda: self.live(actor, act), self.hub)
        if body is not None:
            body.actors.append(actor)
        self.actors.append(actor)
        self.push(self.now + delay, actor, 0)
        return actor

    def live(self, actor: Actor, act: Callable[[], object]) -> None:
        try:
            act()
        except Crashed:
            pass
        except Exception:
            self.broken.append(f"{actor.name}: {traceback.format_exc()}")
        actor.ended = True

    def later(self, delay: int, act: Callable[[], None]) -> None:
        """Call this after a delay (µs); it may not pause."""
        self.push(self.now + delay, act, 0)

    def push(self, at: int, what: Actor | Callable[[], None], turn: int) -> None:
        self.pushed += 1
        heappush(self.heap, (at, self.rng.random(), self.pushed, what, turn))

    def run(self, until: int, enough: Callable[[], bool]) -> bool:
        """Take turns until that is enough, which is the answer, or until the time (true µs) has come."""
        while self.heap:
            if enough():
                return True
            at, _, _, what, turn = heappop(self.heap)
            if at > until:
                self.push(at, what, turn)
                break
            if not isinstance(what, Actor):
                self.now = max(self.now, at)
                what()
                continue
            if what.turn != turn or what.ended:
                continue
            if what.body is not None and what.body.frozen_until > at:
                self.push(what.body.frozen_until, what, turn)
                continue
            self.now = max(self.now, at)
            self.steps += 1
            self.resume(what)
            self.bury()
        self.now = max(self.now, until)
        return enough()

    def resume(self, actor: Actor) -> None:
        actor.turn += 1
        actor.parked = False
        self.current = actor
        actor.glet.switch()
        self.current = None

    def bury(self) -> None:
        while self.doomed:
            body = self.doomed.pop()
            for actor in body.actors:
                self.end(actor)

    def end(self, actor: Actor) -> None:
        if not actor.ended:
            actor.turn += 1
            self.current = actor
            if actor.glet:  # one that has not begun has nothing to unwind
                actor.glet.throw(Crashed)
            self.current = None
            actor.ended = True

    def close(self) -> None:
        """Nobody goes on after this."""
        for actor in self.actors:
            if actor.body is not None:
                actor.body.dead = True
        for actor in self.actors:
            self.end(actor)

    # --- for actors

    def pause(self, delay: int) -> None:
        """The current actor goes on after a delay (µs); others go meanwhile."""
        actor = self.alive()
        self.push(self.now + delay, actor, actor.turn)
        self.hub.switch()

    def sleep(self, seconds: float) -> None:
        """What stands in for time.sleep."""
        self.pause(int(seconds * 1e6))

    def park(self, timeout: int | None = None) -> None:
        """Until somebody wakes the current actor, or the timeout (µs) is over."""
        actor = self.alive()
        actor.parked = True
        if timeout is not None:
            self.push(self.now + timeout, actor, actor.turn)
        self.hub.switch()

    def wake(self, actor: Actor) -> None:
        """Let an actor that is parked go on."""
        if actor.parked:
            self.push(self.now, actor, actor.turn)

    def alive(self) -> Actor:
        actor = self.current
        assert actor is not None, "only actors can wait"
        if actor.body is not None and actor.body.dead:
            raise Crashed
        return actor

    def kill(self, body: Body) -> None:
        """All actors of a body end, at the next turn at the latest; raises where the current one is among them."""
        if body.dead:
            return
        body.dead = True
        self.doomed.append(body)
        if self.current is not None and self.current.body is body:
            raise Crashed
