"""What wakes the streams of one event loop: a bell for all that watch the same, and a ticker for all of them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple, Protocol

BEAT = 0.5  # s between looks at a loop's streams, at most
PACE = 0.005  # s between two wakes: what comes faster goes out together, in one write to each client
STEPS = 64  # places in a log that a bell remembers the next writes of


class Write(NamedTuple):
    """What one write brings: the contents of ASGI messages, and the bytes that a server makes of them."""

    contents: Sequence[Any]
    framed: bytes


Step = tuple[int, tuple[Write, ...]]


class Woken(Protocol):
    """A stream, as a bell and the ticker see it."""

    def nudge(self) -> None: ...

    def pour(self) -> bool:
        """Write what has come, here and now; whether it sleeps on."""
        ...

    def look(self, now: float, leaving: bool) -> None: ...


class Bell:
    """Wakes the streams that watch the same in one loop: the live thread makes one call for all of them.

    steps: by room and version, the version after it and what to write to get there. A room is one session's, or one
    tenant's dashboard; the bell's key is only what clients asked for, and may mean several.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, key: Hashable) -> None:
        self.loop = loop
        self.key = key
        self.rung = False
        self.woken = float("-inf")  # when the last wake was over, by the loop's clock
        self.wakes = 0
        self.seats = 0
        self.asleep: set[Woken] = set()
        self.steps: dict[tuple[Hashable, int], Step] = {}

    def ring(self) -> None:
        """From the live thread. What comes while a wake is under way is seen by those whom it wakes."""
        if not self.rung:
            self.rung = True
            try:
                self.loop.call_soon_threadsafe(self.wake)
            except RuntimeError:
                return  # the loop is closed, and its streams are gone; `rung` stays, so that it is not tried again

    def wake(self) -> None:
        early = self.woken + PACE - self.loop.time()
        if early > 0:
            self.loop.call_later(early, self.wake)
            return
        self.rung = False
        self.wakes += 1
        self.steps.clear()
        for stream in list(self.asleep):
            if not stream.pour():
                self.asleep.discard(stream)
                stream.nudge()
        self.woken = self.loop.time()

    def remember(self, room: Hashable, before: int, step: Step) -> None:
        if len(self.steps) >= STEPS:
            self.steps.clear()
        self.steps[room, before] = step


class Hub:
    """The bells and streams of one event loop, which it does not hold: a hub without streams goes with its loop.

    beat: s between the ticker's looks. One timer for all, since a timer for each stream and event would cost more than
    the events.
    """

    def __init__(self, beat: float) -> None:
        self.beat = min(beat, BEAT)
        self.bells: dict[Hashable, Bell] = {}
        self.streams: set[Woken] = set()
        self.ticking = False

    def enter(self, stream: Woken, key: Hashable) -> Bell:
        bell = self.bells.get(key)
        if bell is None:
            bell = self.bells[key] = Bell(asyncio.get_running_loop(), key)
        bell.seats += 1
        self.streams.add(stream)
        if not self.ticking:
            self.ticking = True
            asyncio.get_running_loop().call_later(self.beat, self.tick)
        return bell

    def leave(self, stream: Woken, bell: Bell) -> None:
        self.streams.discard(stream)
        bell.asleep.discard(stream)
        bell.seats -= 1
        if not bell.seats and self.bells.get(bell.key) is bell:
            del self.bells[bell.key]

    def tick(self) -> None:
        loop, self.ticking = asyncio.get_running_loop(), bool(self.streams)
        if self.ticking:
            loop.call_later(self.beat, self.tick)
        now, leaving = loop.time(), server_is_leaving()
        for stream in list(self.streams):
            stream.look(now, leaving)


def server_is_leaving() -> bool:
    """Whether uvicorn was told to stop: it waits until open responses end, and says nothing of it to them."""
    handler = signal.getsignal(signal.SIGTERM)
    return bool(getattr(getattr(handler, "__self__", None), "should_exit", False))
