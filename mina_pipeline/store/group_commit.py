"""SQLite has one writer at a time: whoever holds the lock commits what all who wait have brought, in one commit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from ..errors import StoreBusy
from . import sqlite
from .connections import INHERITED, Lender, Link, OwnLink
from .tables import Schema
from .tickets import Ticket, Turns

T = TypeVar("T")


def durable(batch: list[Ticket]) -> bool:
    return any(ticket.append is not None for ticket in batch)


class GroupCommit(Turns):
    """The one connection that writes."""

    def __init__(self, lender: Lender, schema: Schema, timeout: float, synchronous: str) -> None:
        super().__init__(timeout)
        self.lender = lender
        self.schema = schema
        self.usual = f"PRAGMA synchronous={synchronous}"
        self.relaxed = False
        self.link: OwnLink | None = None
        self.paused = False

    def done(self, ticket: Ticket) -> Any:
        self.lender.let_pass()
        return super().done(ticket)

    def shared(self, act: Callable[[Link], T]) -> T:
        """Do it in the next commit, with whatever else waits.

        By itself it would not outlive a power cut: it is synced with the next append. A log has one order.
        """
        done: T = self.done(Ticket(None, act))
        return done

    @contextmanager
    def transaction(self) -> Iterator[OwnLink]:
        """The writing connection inside a transaction of its own that commits on the way out."""
        self.lender.let_pass()
        until = time.monotonic() + self.timeout
        if not self.lock.acquire(timeout=self.timeout):
            raise StoreBusy("the database's write lock", self.timeout)
        try:
            link = self.begin(until)
            try:
                yield link
                link.cursor.execute("COMMIT")
            except BaseException as error:
                self.end(link, error)
                if (meant := self.lender.meaning(error)) is error:
                    raise
                raise meant from error
        finally:
            self.release()

    def write(self, mine: Ticket, batch: list[Ticket], until: float) -> None:
        """A fault of one is not the others': each goes alone then."""
        try:
            link = self.begin(until, durable(batch))
        except Exception as error:
            self.waiting.extendleft(ticket for ticket in reversed(batch) if ticket is not mine)
            batch[:] = [mine]
            mine.settle(error=error)
            return
        try:
            self.commit(link, batch)
        except Exception:
            for ticket in batch:
                self.commit_alone(ticket, until)

    def commit(self, link: OwnLink, batch: list[Ticket]) -> None:
        done: list[Any] = []
        try:
            done = self.carried_out(link, batch)
            link.cursor.execute("COMMIT")
        except BaseException as error:
            if isinstance(error, Exception) or not done or link.driver.in_transaction:
                self.end(link, error)
                raise
            self.settle(batch, done)  # interrupted, but after the commit
            raise
        self.settle(batch, done)

    def carried_out(self, link: OwnLink, batch: list[Ticket]) -> list[Any]:
        """What became of each: first the appends, then what else there is."""
        appends = [ticket.append for ticket in batch if ticket.append is not None]
        appended = iter(sqlite.append_all(link, self.schema, appends) if appends else ())
        done = [None if ticket.append is None else next(appended) for ticket in batch]
        return [each if ticket.act is None else ticket.act(link) for ticket, each in zip(batch, done, strict=True)]

    def commit_alone(self, ticket: Ticket, until: float) -> None:
        try:
            self.commit(self.begin(until, durable([ticket])), [ticket])
        except Exception as error:
            ticket.settle(error=self.lender.meaning(error))

    def begin(self, until: float, durable: bool = True) -> OwnLink:
        """The writing connection with the write lock held; StoreBusy where another process keeps it.

        durable: a power cut takes nothing of what is committed.
        """
        link = self.link = self.link or self.lender.connect()
        try:
            if durable == self.relaxed:
                link.cursor.execute(self.usual if durable else "PRAGMA synchronous=NORMAL")
                self.relaxed = not durable
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
            self.relaxed = False
            broken = isinstance(error, Exception) and link.broken(error)
        except Exception:
            broken = True
        if broken:
            self.link, self.relaxed = None, False
            link.discard()

    def close(self) -> None:
        with self.lock:
            self.let_go()

    def let_go(self) -> None:
        link, self.link, self.relaxed = self.link, None, False
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
        super().forget()
        self.link, self.relaxed, self.paused = None, False, False
