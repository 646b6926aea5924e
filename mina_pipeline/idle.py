"""Threads that wait for work: woken when there may be some, or given what a command has begun for them."""

from __future__ import annotations

import threading
from contextlib import suppress

from .sessions import Loaded
from .worker import Worker


class Place:
    """Where one worker's thread waits. `roused` is held while it does."""

    __slots__ = ("given", "roused", "worker")

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.given: Loaded | None = None
        self.roused = threading.Lock()
        self.roused.acquire()

    def give(self, begun: Loaded | None) -> None:
        """Rouse one that was taken."""
        if begun is None:
            self.worker.part()
        self.rouse(begun)

    def rouse(self, given: Loaded | None = None) -> None:
        """given: a session with a stage that was begun for this worker."""
        self.given = given
        with suppress(RuntimeError):  # somebody did already
            self.roused.release()


class Idle:
    """The places of those who wait now. Whoever takes one out must rouse it."""

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
        if not place.roused.acquire(timeout=seconds):
            with self.changed:
                if place in self.places:
                    self.places.remove(place)
                    return None
            place.roused.acquire()  # it was taken out just now
        given, place.given = place.given, None
        return given

    def wake(self) -> None:
        """There may be work: one that waits is to look, and wakes the next when it has found some."""
        with self.changed:
            self.wakes += 1
            place = self.places.pop() if self.places else None
        if place is not None:
            place.rouse()

    def take(self) -> Place | None:
        """A worker that has nothing to do, and is at work from here on; to be given something, or nothing."""
        with self.changed:
            place = self.places.pop() if self.places else None
        if place is None or place.worker.company.join(place.worker):
            return place
        place.rouse()
        return None

    def end(self) -> None:
        """Nobody waits any more."""
        with self.changed:
            self.ended = True
            places, self.places = self.places, []
        for place in places:
            place.rouse()
