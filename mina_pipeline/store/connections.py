"""Connections: ours, kept open over SQLAlchemy's pool and lent one at a time; and a host's. Driver errors become ours."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from ..errors import MinaError, RetryTransaction, StoreBusy, StoreUnreachable
from ..log import logger
from ..projections import Row

Values = Sequence[Any]
Rows = list[tuple[Any, ...]]


class Link(Protocol):
    """A connection as statements see it. Text has the dialect's own marks: `?` on SQLite, `%s` on PostgreSQL."""

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
        if not isinstance(error, Exception):
            return True  # interrupted in the middle of a statement
        return self.connection.invalidated or self.connection.dialect.is_disconnect(
            getattr(error, "orig", error), self.driver, self.cursor
        )

    def discard(self) -> None:
        try:
            self.connection.invalidate()
            self.connection.close()
        except Exception:  # it is broken: whatever closing it says, it is gone
            pass


class HostLink:
    """A host's connection, in its transaction; any driver of the dialect. We neither begin nor end anything on it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.mark = "?" if connection.dialect.name == "sqlite" else "%s"

    def rows(self, text: str, values: Values = ()) -> Rows:
        with giving_up(self.connection):
            return [tuple(row) for row in self.connection.execute(*self.bound(text, values))]

    def count(self, text: str, values: Values = ()) -> int:
        with giving_up(self.connection):
            return self.connection.execute(*self.bound(text, values)).rowcount

    def many(self, text: str, rows: Sequence[Values]) -> None:
        for values in rows:
            self.count(text, values)

    def fetch(self, statement: sa.Executable) -> list[Row]:
        with giving_up(self.connection):
            return by_name(self.connection.execute(statement))

    def bound(self, text: str, values: Values) -> tuple[sa.TextClause, dict[str, Any]]:
        return named(text, self.mark), {f"p{n}": value for n, value in enumerate(values)}


@cache
def named(text: str, mark: str) -> sa.TextClause:
    """The text with named parameters, whose types are the statement's own to say."""
    pieces = text.split(mark)
    names = [f"p{n}" for n in range(len(pieces) - 1)]
    joined = pieces[0] + "".join(f":{name}{piece}" for name, piece in zip(names, pieces[1:], strict=True))
    return sa.text(joined).bindparams(*(sa.bindparam(name, type_=sa.types.NullType()) for name in names))


def by_name(result: sa.CursorResult[Any]) -> list[Row]:
    columns = list(map(str, result.keys()))  # SQLAlchemy's are a subclass of str
    return [dict(zip(columns, row, strict=True)) for row in result]


# --- what an error means

PG_RETRY = frozenset({"40001", "40P01"})  # serialization failure, deadlock
PG_LOCKED = "55P03"
PG_UNPREPARED = frozenset({"26000", "42P05"})  # a pooling proxy gave us another backend
SQLITE_BUSY, SQLITE_LOCKED, SQLITE_BUSY_SNAPSHOT = 5, 6, 517


class Lost(StoreUnreachable):
    """The connection broke under a statement: whether it took effect is unknown."""


class Collided(MinaError):
    """The database gave up our statement in favour of another's. Nothing was written."""


class Locked(MinaError):
    """A lock was not free in time. Nothing was written."""


class Unprepared(MinaError):
    """The prepared statement is another backend's: there is a pooling proxy in between. Nothing was run."""


def refusal(error: BaseException, url: str) -> MinaError | None:
    """What a driver's or SQLAlchemy's error means, or None where it is a fault of ours."""
    cause = getattr(error, "orig", None) or error
    state, code = getattr(cause, "sqlstate", None), getattr(cause, "sqlite_errorcode", None)
    if state in PG_RETRY:
        return Collided(str(state))
    if state == PG_LOCKED or (code is not None and code & 0xFF in (SQLITE_BUSY, SQLITE_LOCKED)):
        return Locked(str(cause))
    if state in PG_UNPREPARED:
        return Unprepared(str(state))
    if type(cause).__name__ in ("OperationalError", "InterfaceError") or (state or "").startswith(("08", "53", "57")):
        return StoreUnreachable(url, first_line(cause))
    return None


def first_line(error: BaseException) -> str:
    """A driver's message without its detail: a DETAIL line may quote stored values."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def giving_up(host: Connection) -> Iterator[None]:
    """Inside a host's transaction: what the database gives up reaches the host as RetryTransaction."""
    try:
        yield
    except DBAPIError as error:
        lost = error.connection_invalidated
        if lost or isinstance(refusal(error, ""), (Collided, Locked)):
            advice = ""
            if host.dialect.name == "sqlite":
                advice = " On SQLite begin the transaction with BEGIN IMMEDIATE (mina_pipeline.store.sqlite.immediate)."
            raise RetryTransaction(
                f"the database gave up the host's transaction ({first_line(error.orig or error)});"
                f" roll it back and run it again.{advice}"
            ) from error
        raise


# --- ours


class Lender:
    """At most `size` connections, each kept as it is between loans.

    A checkout from SQLAlchemy's pool, with its reset, costs as much as an append on PostgreSQL may; so what
    came from the pool stays here until it breaks. Safe from any thread; `forget` after a fork.
    """

    def __init__(self, engine: Engine, size: int, timeout: float) -> None:
        self.engine = engine
        self.size = size
        self.timeout = timeout
        self.url = engine.url.render_as_string(hide_password=True)
        self.free: deque[OwnLink] = deque()
        self.slots = threading.BoundedSemaphore(size)
        self.prepares = True

    @contextmanager
    def lend(self) -> Iterator[OwnLink]:
        """A connection for a while. StoreBusy where none is free in time, StoreUnreachable, Lost."""
        if not self.slots.acquire(timeout=self.timeout):
            raise StoreBusy(f"a connection (all {self.size} are in use)", self.timeout)
        try:
            link = self.take()
            try:
                yield link
            except BaseException as error:
                if self.dropped(link, error):
                    raise self.meaning(error, lost=True) from error
                self.free.append(link)
                raise self.meaning(error) from error
            self.free.append(link)
        finally:
            self.slots.release()

    def take(self) -> OwnLink:
        try:
            return self.free.pop()
        except IndexError:
            return self.connect()

    def connect(self) -> OwnLink:
        try:
            link = OwnLink(self.engine.connect())
        except DBAPIError as error:
            raise StoreUnreachable(self.url, first_line(error.orig or error)) from error
        if not self.prepares:
            link.driver.prepare_threshold = None
        return link

    def stop_preparing(self) -> None:
        """From here on no statement is prepared: a proxy in between hands each to another backend."""
        self.prepares = False
        self.drop_idle()
        logger(__name__).warning("no prepared statements behind this proxy; set MINA_TRANSACTION_POOLING=1")

    def dropped(self, link: OwnLink, error: BaseException) -> bool:
        """A broken connection goes, and with it those that were idle: they will be no better."""
        if not link.broken(error):
            return False
        link.discard()
        self.drop_idle()
        return True

    def meaning(self, error: BaseException, lost: bool = False) -> BaseException:
        """The error to raise for one that a statement met."""
        if isinstance(error, MinaError) or not isinstance(error, Exception):
            return error
        if lost:
            return Lost(self.url, first_line(getattr(error, "orig", None) or error))
        return refusal(error, self.url) or error

    def drop_idle(self) -> None:
        while self.free:
            self.free.pop().discard()

    def close(self) -> None:
        while self.free:
            self.free.pop().connection.close()
        self.engine.dispose()

    def forget(self) -> None:
        """In a forked child: the parent's connections are not ours to use, nor even to close."""
        INHERITED.append((self.engine.pool, self.free))
        self.engine.dispose(close=False)
        self.free = deque()
        self.slots = threading.BoundedSemaphore(self.size)


INHERITED: list[object] = []
"""Kept from the garbage collector: closing an inherited SQLite file or PostgreSQL socket would hurt the parent."""


def backoff(timeout: float, longest: float = 0.05) -> Iterator[None]:
    """Pause a little longer at each turn, in Python, so that other threads and greenlets run; ends at `timeout` s."""
    end, pause = time.monotonic() + timeout, 0.001
    while time.monotonic() < end:
        yield
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(pause * 1.6, longest)
