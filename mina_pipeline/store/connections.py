"""Connections of our own, kept open over SQLAlchemy's pool and lent one at a time."""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from ..errors import MinaError, StoreBusy, StoreUnreachable
from ..log import logger
from ..projections import Row
from .refusals import Lost, cause_of, first_line, refusal, shown_url

Values = Sequence[Any] | Mapping[str, Any]
DRIVERS = ("psycopg", "sqlite3", "sqlalchemy")
ACTIVE, UNKNOWN = 1, 4
"""libpq's transaction states."""
Rows = list[tuple[Any, ...]]


class Link(Protocol):
    """A connection as statements see it. Text has the dialect's own marks: `?` or `:name` on SQLite, `%s` or
    `%(name)s` on PostgreSQL."""

    def rows(self, text: str, values: Values = ()) -> Rows: ...

    def count(self, text: str, values: Values = ()) -> int:
        """How many rows the statement changed."""
        ...

    def many(self, text: str, rows: Sequence[Values]) -> None: ...

    def fetch(self, statement: sa.Executable) -> list[Row]:
        """The rows of a composed statement, by column name."""
        ...


class OwnLink:
    """One of our connections, in autocommit. The hot path speaks to the driver's cursor.

    Through SQLAlchemy's own result a row of the sessions table costs three times what the driver takes for it.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        driver = connection.connection.driver_connection
        assert driver is not None
        self.driver: Any = driver
        self.cursor: Any = driver.cursor()

    def rows(self, text: str, values: Values = ()) -> Rows:
        found: Rows = self.cursor.execute(text, values).fetchall()
        return found

    def count(self, text: str, values: Values = ()) -> int:
        return int(self.cursor.execute(text, values).rowcount)

    def many(self, text: str, rows: Sequence[Values]) -> None:
        if len(rows) == 1:
            self.cursor.execute(text, rows[0])
        else:
            self.cursor.executemany(text, rows)

    def fetch(self, statement: sa.Executable) -> list[Row]:
        return by_name(self.connection.execute(statement))

    def broken(self, error: BaseException) -> bool:
        """Whether this connection is of no more use after the error."""
        if not isinstance(error, Exception) or self.unfinished():
            return True  # interrupted in the middle of a statement
        return self.connection.invalidated or self.connection.dialect.is_disconnect(
            cause_of(error), self.driver, self.cursor
        )

    def unfinished(self) -> bool:
        """Whether PostgreSQL is still at a statement whose answer nobody waits for any more, or nobody knows."""
        status = getattr(getattr(self.driver, "pgconn", None), "transaction_status", 0)
        return status in (ACTIVE, UNKNOWN)

    def discard(self) -> None:
        try:
            self.connection.invalidate()
            self.connection.close()
        except Exception:  # it is broken: whatever closing it says, it is gone
            pass


def by_name(result: sa.CursorResult[Any]) -> list[Row]:
    columns = list(map(str, result.keys()))  # SQLAlchemy's are a subclass of str
    return [dict(zip(columns, row, strict=True)) for row in result]


class Lender:
    """At most `size` connections, each kept as it is between loans.

    A checkout from SQLAlchemy's pool, with its reset, costs as much as an append on PostgreSQL may; so what
    came from the pool stays here until it breaks. Safe from any thread; `forget` after a fork.
    """

    def __init__(self, engine: Engine, size: int, timeout: float) -> None:
        self.engine = engine
        self.size = size
        self.timeout = timeout
        self.url = shown_url(engine.url)
        self.prepares = True
        self.ended = False
        self.first: Callable[[], None] | None = None  # in a forked child: what to do at the first connection
        self.shut = False  # in one: whether the parent could not let go of the file
        self.reset()

    def reset(self) -> None:
        self.free: deque[OwnLink] = deque()  # the last one back is the next to go: few are kept warm
        self.opened = self.waiting = 0
        self.pausing = False
        self.changed = threading.Condition()

    @contextmanager
    def lend(self) -> Iterator[OwnLink]:
        """A connection for a while. StoreBusy where none is free in time, StoreUnreachable, Lost."""
        link = self.take()
        try:
            yield link
        except BaseException as error:
            if (meant := self.settled(link, error)) is error:
                raise
            raise meant from error
        self.give(link)

    def take(self) -> OwnLink:
        """A connection, to be given back with `give`, or with `settled` after an error."""
        try:
            return self.free.pop()
        except IndexError:
            return self.wait_or_open()

    def give(self, link: OwnLink) -> None:
        if not self.prepares:
            link.driver.prepare_threshold = None  # it did prepare when it was lent
        if self.pausing or self.ended:
            link.discard()
            self.closed(1)
            return
        self.free.append(link)
        if self.waiting:
            with self.changed:
                self.changed.notify()

    def wait_or_open(self) -> OwnLink:
        with self.changed:
            self.waiting += 1  # before the look: who gives one back after it finds us waiting
            try:
                if not self.changed.wait_for(self.may_take, self.timeout):
                    raise StoreBusy(f"a connection (all {self.size} are in use)", self.timeout)
                if self.free:
                    return self.free.pop()
                self.opened += 1
            except IndexError:  # a thread that does not wait was quicker
                return self.wait_or_open()
            finally:
                self.waiting -= 1
        try:
            return self.connect()
        except BaseException:
            self.closed(1)
            raise

    def may_take(self) -> bool:
        return not self.pausing and (bool(self.free) or self.opened < self.size)

    def closed(self, count: int) -> None:
        with self.changed:
            self.opened -= count
            self.changed.notify(count)

    def settled(self, link: OwnLink, error: BaseException) -> BaseException:
        """Give back a connection that met this error, or let it go; the error to raise."""
        broken = link.broken(error)
        if broken:
            link.discard()
            self.closed(1)
            self.drop_idle()  # they will be no better
        else:
            self.give(link)
        return self.meaning(error, broken)

    def connect(self) -> OwnLink:
        """A new connection, beside those that are lent."""
        if self.ended:
            raise StoreUnreachable(self.url, "this pipeline is closed")
        if self.shut:
            raise StoreUnreachable(self.url, "the parent process was using the file when it forked this one")
        first, self.first = self.first, None
        if first is not None:
            first()
        try:
            link = OwnLink(self.engine.connect())
        except DBAPIError as error:
            raise StoreUnreachable(self.url, first_line(cause_of(error))) from error
        if not self.prepares:
            link.driver.prepare_threshold = None
        elif hasattr(link.driver, "_prepared"):
            # psycopg numbers the statements of each connection from 0. Behind a proxy that lends us other clients'
            # backends an equal name would run theirs; a name that is nobody else's fails there, and we stop preparing.
            link.driver._prepared._prepared_idx = secrets.randbits(62)
        return link

    def stop_preparing(self) -> None:
        """From here on no statement is prepared: a proxy in between hands each to another backend."""
        with self.changed:
            told, self.prepares = not self.prepares, False
        if not told:
            logger(__name__).warning("no prepared statements behind this proxy; set MINA_TRANSACTION_POOLING=1")
        self.drop_idle()

    def meaning(self, error: BaseException, lost: bool = False) -> BaseException:
        """The error to raise for one that a statement met."""
        if isinstance(error, MinaError) or not isinstance(error, Exception):
            return error
        if lost and type(cause_of(error)).__module__.partition(".")[0] in DRIVERS:
            return Lost(self.url, first_line(cause_of(error)))
        return refusal(error, self.url) or error

    def drop_idle(self) -> None:
        for link in self.idle():
            link.discard()

    def idle(self) -> Iterator[OwnLink]:
        """Each connection that nobody has, taken out."""
        while True:
            try:
                link = self.free.pop()
            except IndexError:
                return
            yield link
            self.closed(1)

    def close(self) -> None:
        """For good: what is still lent goes when it is given back."""
        self.ended = True
        self.close_idle()

    def close_idle(self) -> None:
        for link in self.idle():
            link.connection.close()
        self.engine.dispose()

    def pause(self, timeout: float) -> bool:
        """Close every connection, and open none until `resume`; False where one was not given back in time."""
        self.pausing = True
        for _ in backoff(timeout):
            self.close_idle()
            if self.opened == 0:
                return True
        return False

    def resume(self) -> None:
        with self.changed:
            self.pausing = False
            self.changed.notify_all()

    def let_pass(self) -> None:
        """Wait while there is a pause: threads that take turns with each other would keep it from beginning."""
        if self.pausing:
            with self.changed:
                self.changed.wait_for(lambda: not self.pausing, self.timeout)

    def forget(self) -> None:
        """In a forked child: the parent's connections are not ours to use, nor even to close."""
        INHERITED.append((self.engine.pool, self.free))
        self.engine.dispose(close=False)
        self.reset()


INHERITED: list[object] = []
"""Kept from the garbage collector: closing an inherited SQLite file or PostgreSQL socket would hurt the parent."""


def backoff(timeout: float, longest: float = 0.05) -> Iterator[None]:
    """Pause a little longer at each turn, in Python, so that other threads and greenlets run; ends at `timeout` s."""
    end, pause = time.monotonic() + timeout, 0.001
    while time.monotonic() < end:
        yield
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(pause * 1.6, longest)
