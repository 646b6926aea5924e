"""Threads that wait for work: woken when there may be some, or given what a command has begun for them."""

from __future__ import annotations

import threading
from contextlib import suppress

from .sessions import Loaded
from .worker import Worker

PATIENCE = 0.5
"""Seconds that a worker waits for what it was taken out for: the command may be held up, and there is other work."""


class Place:
    """Where one worker's thread waits. `roused` is held while it does; hand: who has taken it out."""

    __slots__ = ("given", "hand", "roused", "worker")

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.given: Loaded | None = None
        self.hand: Hand | None = None
        self.roused = threading.Lock()
        self.roused.acquire()

    def rouse(self) -> None:
        with suppress(RuntimeError):  # somebody did already
            self.roused.release()


class Hand:
    """A worker that was taken out of its place, to be given something or nothing, once."""

    __slots__ = ("idle", "place")

    def __init__(self, idle: Idle, place: Place) -> None:
        self.idle = idle
        self.place = place

    @property
    def worker(self) -> Worker:
        return self.place.worker

    def give(self, begun: Loaded | None) -> None:
        """begun: a session with a stage that was begun for this worker. Where it has not waited, anybody's."""
        with self.idle.changed:
            waits = self.place.hand is self
            if waits:
                self.place.hand, self.place.given = None, begun
        if waits:
            if begun is None:
                self.worker.part()
            self.place.rouse()
        elif begun is not None:
            self.worker.give_up(begun)


class Idle:
    """The places of those who wait now."""

    def __init__(self) -> None:
        self.changed = threading.Lock()
        self.places: list[Place] = []
        self.wakes = 0
        self.ended = False

    def wait(self, place: Place, seconds: float, wakes: int | None) -> Loaded | None:
        """Until somebody rouses this place, or so long; what was given to it.

        wakes: how many there had been before the caller looked for work; if there were more since, it is to look
        again. None: it has to wait in any case, unless this has ended.
        """
        with self.changed:
            if self.ended or (wakes is not None and wakes != self.wakes):
                return None
            self.places.append(place)
        roused = place.roused.acquire(timeout=seconds) or self.left(place)
        # If not, somebody took it out. Where nothing comes of that in time, it goes.
        if not roused and not place.roused.acquire(timeout=PATIENCE):
            if self.went(place):
                place.worker.part()
                return None
            place.roused.acquire(timeout=PATIENCE)  # it was roused just now
        given, place.given = place.given, None
        return given

    def left(self, place: Place) -> bool:
        """Whether it was still there to leave."""
        with self.changed:
            if place not in self.places:
                return False
            self.places.remove(place)
            return True

    def went(self, place: Place) -> bool:
        """Whether nothing was given to it: what comes now is not for it."""
        with self.changed:
            held, place.hand = place.hand is not None, None
            return held

    def wake(self) -> None:
        """There may be work: one that waits is to look, and wakes the next when it has found some."""
        with self.changed:
            self.wakes += 1
            place = self.places.pop() if self.places else None
        if place is not None:
            place.rouse()

    def take(self) -> Hand | None:
        """A worker that has nothing to do, and is at work from here on."""
        with self.changed:
            place = self.places.pop() if self.places else None
            if place is None:
                return None
            place.hand = hand = Hand(self, place)
        if place.worker.company.join(place.worker):
            return hand
        with self.changed:
            place.hand = None
        place.rouse()
        return None

    def end(self) -> None:
        """Nobody waits any more."""
        with self.changed:
            self.ended = True
            places, self.places = self.places, []
        for place in places:
            place.rouse()
