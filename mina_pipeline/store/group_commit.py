"""SQLite has one writer at a time: whoever holds the lock commits what all who wait have brought, in one commit."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..errors import StoreBusy
from ..ports import Append
from . import sqlite
from .connections import INHERITED, Lender, OwnLink
from .tables import Schema

LARGEST = 256  # appends in one commit


class Ticket:
    """An append that waits, and what became of it. `wake` is held until it is settled, or is to lead."""

    __slots__ = ("append", "done", "error", "wake")

    def __init__(self, append: Append) -> None:
        self.append = append
        self.done: bool | None = None
        self.error: BaseException | None = None
        self.wake = threading.Lock()
        self.wake.acquire()

    def rouse(self) -> None:
        with suppress(RuntimeError):  # somebody did already
            self.wake.release()

    @property
    def settled(self) -> bool:
        return self.done is not None or self.error is not None


class GroupCommit:
    """The one connection that writes. No thread of its own: the first to come leads, the others find it done."""

    def __init__(self, lender: Lender, schema: Schema, timeout: float, synchronous: str) -> None:
        self.lender = lender
        self.schema = schema
        self.timeout = timeout
        self.usual = f"PRAGMA synchronous={synchronous}"
        self.lock = threading.Lock()
        self.waiting: deque[Ticket] = deque()
        self.link: OwnLink | None = None
        self.paused = False

    def append(self, append: Append) -> bool:
        """True when it is on disk, False where its guard matched no row; StoreBusy after `timeout` s of waiting."""
        self.lender.let_pass()
        ticket, until = Ticket(append), time.monotonic() + self.timeout
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
                        raise StoreBusy("the database's write lock", self.timeout)
                    ticket.wake.acquire(timeout=1.0)  # a leader has it in hand, and will be done soon
        except BaseException:
            self.withdrawn(ticket)  # interrupted: nobody is to write it now
            self.rouse_first()  # it may have been our turn to lead
            raise
        if ticket.error is not None:
            raise ticket.error
        return bool(ticket.done)

    def release(self) -> None:
        """Let go of the lock. Who came while it was held did not get it: the first of them is to try again."""
        self.lock.release()
        self.rouse_first()

    def rouse_first(self) -> None:
        with suppress(IndexError):  # nobody waits
            self.waiting[0].rouse()

    @contextmanager
    def transaction(self, durable: bool = True) -> Iterator[OwnLink]:
        """The writing connection inside a transaction that commits on the way out.

        durable: a power cut takes nothing of it back. What need not be is synced with the next that is: a log has
        one order.
        """
        self.lender.let_pass()
        until = time.monotonic() + self.timeout
        if not self.lock.acquire(timeout=self.timeout):
            raise StoreBusy("the database's write lock", self.timeout)
        try:
            link = self.begin(until, durable)
            try:
                yield link
                link.cursor.execute("COMMIT")
                if not durable:
                    link.cursor.execute(self.usual)
            except BaseException as error:
                self.end(link, error)
                if (meant := self.lender.meaning(error)) is error:
                    raise
                raise meant from error
        finally:
            self.release()

    def withdrawn(self, ticket: Ticket) -> bool:
        try:
            self.waiting.remove(ticket)
        except ValueError:
            return False
        return True

    def lead(self, mine: Ticket, until: float) -> list[Ticket]:
        """Commit what waits, mine among it. A fault of one is not the others': each goes alone then."""
        try:
            link = self.begin(until)
        except Exception as error:
            self.withdrawn(mine)
            mine.error = error
            return [mine]
        batch: list[Ticket] = []
        while self.waiting and len(batch) < LARGEST:
            batch.append(self.waiting.popleft())
        try:
            self.commit(link, batch)
        except Exception:
            for ticket in batch:
                self.commit_alone(ticket, until)
        except BaseException:
            # Interrupted: what is not on disk goes back, for those who wait for it to lead themselves.
            self.waiting.extendleft(t for t in reversed(batch) if t is not mine and not t.settled)
            for ticket in batch:
                if ticket.settled:
                    ticket.rouse()
            raise
        return batch

    def commit(self, link: OwnLink, batch: list[Ticket]) -> None:
        done: list[bool] = []
        try:
            done = sqlite.append_all(link, self.schema, [ticket.append for ticket in batch])
            link.cursor.execute("COMMIT")
        except BaseException as error:
            if isinstance(error, Exception) or not done or link.driver.in_transaction:
                self.end(link, error)
                raise
            self.settle(batch, done)  # interrupted, but after the commit
            raise
        self.settle(batch, done)

    def settle(self, batch: list[Ticket], done: list[bool]) -> None:
        for ticket, ok in zip(batch, done, strict=True):
            ticket.done = ok

    def commit_alone(self, ticket: Ticket, until: float) -> None:
        try:
            self.commit(self.begin(until), [ticket])
        except Exception as error:
            ticket.error = self.lender.meaning(error)

    def begin(self, until: float, durable: bool = True) -> OwnLink:
        """The writing connection with the write lock held; StoreBusy where another process keeps it."""
        link = self.link = self.link or self.lender.connect()
        try:
            if not durable:
                link.cursor.execute("PRAGMA synchronous=NORMAL")
            try:
                link.cursor.execute("BEGIN IMMEDIATE")
            except Exception as first:
                if not sqlite.is_busy(first):
                    raise
                left = max(until - time.monotonic(), 0.001)  # it waited for the threads before it, too
                sqlite.patiently(lambda: link.cursor.execute("BEGIN IMMEDIATE"), left)
        except BaseException as error:
            self.end(link, error)  # also where an interrupt came just after it
            if not isinstance(error, Exception):
                raise
            if sqlite.is_busy(error):
                raise StoreBusy("the database's write lock", self.timeout) from error
            raise self.lender.meaning(error) from error
        return link

    def end(self, link: OwnLink, error: BaseException) -> None:
        """Nothing of the transaction stays; where not even that can be had, the connection goes."""
        try:
            if link.driver.in_transaction:
                link.driver.execute("ROLLBACK")
            link.driver.execute(self.usual)
            broken = isinstance(error, Exception) and link.broken(error)
        except Exception:
            broken = True
        if broken:
            self.link = None
            link.discard()

    def close(self) -> None:
        with self.lock:
            self.let_go()

    def let_go(self) -> None:
        link, self.link = self.link, None
        if link is not None:
            link.connection.close()

    def pause(self) -> bool:
        """Before a fork: write nothing until `resume`; False where what is being written did not end in time."""
        self.lender.pausing = True
        self.paused = self.lock.acquire(timeout=self.timeout)
        if self.paused:
            self.let_go()
        return self.paused

    def resume(self) -> None:
        if self.paused:
            self.paused = False
            self.release()

    def forget(self) -> None:
        """In a forked child: see Lender.forget."""
        INHERITED.append(self.link)
        self.lock, self.waiting, self.link, self.paused = threading.Lock(), deque(), None, False
