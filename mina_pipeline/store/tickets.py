"""Writes that wait their turn: whoever holds it writes what all who wait have brought."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from ..errors import StoreBusy
from ..ports import Append

LARGEST = 256  # appends in one commit


class Ticket:
    """An append that waits, or another `act`, and what became of it. `wake` is held until it is settled, or is to lead.

    done: whether the append took effect, or what the act returned.
    """

    __slots__ = ("act", "append", "done", "error", "settled", "wake")

    def __init__(self, append: Append | None, act: Callable[[Any], Any] | None = None) -> None:
        self.append = append
        self.act = act
        self.done: Any = None
        self.error: BaseException | None = None
        self.settled = False
        self.wake = threading.Lock()
        self.wake.acquire()

    def rouse(self) -> None:
        with suppress(RuntimeError):  # somebody did already
            self.wake.release()

    def settle(self, done: Any = None, error: BaseException | None = None) -> None:
        self.done, self.error, self.settled = done, error, True


class Turns(ABC):
    """No thread of its own: the first to come leads, the others find it done."""

    what = "the database's write lock"

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.lock = threading.Lock()
        self.waiting: deque[Ticket] = deque()

    @abstractmethod
    def write(self, mine: Ticket, batch: list[Ticket], until: float) -> None:
        """Commit the batch, mine among it, and settle each ticket. until: monotonic seconds for waiting."""

    def append(self, append: Append) -> bool:
        """True when it is on disk, False where its guard matched no row; StoreBusy after `timeout` s of waiting."""
        return bool(self.done(Ticket(append)))

    def done(self, ticket: Ticket) -> Any:
        until = time.monotonic() + self.timeout
        self.waiting.append(ticket)
        try:
            while not ticket.settled:
                if self.lock.acquire(blocking=False):
                    batch: list[Ticket] = []
                    try:
                        if not ticket.settled:
                            batch = self.lead(ticket, until)
                    finally:
                        self.release()
                    for other in batch:
                        other.rouse()
                elif not ticket.wake.acquire(timeout=max(until - time.monotonic(), 0)):
                    if self.withdrawn(ticket):
                        raise StoreBusy(self.what, self.timeout)
                    ticket.wake.acquire(timeout=1.0)  # a leader has it in hand, and will be done soon
        except BaseException:
            self.withdrawn(ticket)  # interrupted: nobody is to write it now
            self.rouse_first()  # it may have been our turn to lead
            raise
        if ticket.error is not None:
            raise ticket.error
        return ticket.done

    def lead(self, mine: Ticket, until: float) -> list[Ticket]:
        batch: list[Ticket] = []
        while self.waiting and len(batch) < LARGEST:
            batch.append(self.waiting.popleft())
        try:
            self.write(mine, batch, until)
        except BaseException:
            # Interrupted: what is not on disk goes back, for those who wait for it to lead themselves.
            self.waiting.extendleft(t for t in reversed(batch) if t is not mine and not t.settled)
            for ticket in batch:
                if ticket.settled:
                    ticket.rouse()
            raise
        return batch

    def release(self) -> None:
        """Let go of the lock. Who came while it was held did not get it: the first of them is to try again."""
        self.lock.release()
        self.rouse_first()

    def rouse_first(self) -> None:
        with suppress(IndexError):  # nobody waits
            self.waiting[0].rouse()

    def withdrawn(self, ticket: Ticket) -> bool:
        try:
            self.waiting.remove(ticket)
        except ValueError:
            return False
        return True

    def settle(self, batch: list[Ticket], done: Sequence[Any]) -> None:
        for ticket, one in zip(batch, done, strict=True):
            ticket.settle(one)

    def forget(self) -> None:
        """In a forked child, where nobody waits."""
        self.lock, self.waiting = threading.Lock(), deque()
