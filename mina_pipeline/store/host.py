"""A host's transaction: what `using` takes, what it refuses, and whom the host's commit wakes."""

from __future__ import annotations

import os
import re
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy import event as sa_event
from sqlalchemy.exc import DBAPIError

from ..errors import SECOND_DOOR, MinaError, RetryTransaction
from ..ports import Wake
from ..projections import Row
from .connections import Lender, Rows, Values, by_name
from .refusals import Collided, Locked, first_line, refusal
from .tables import Schema

NAMED = re.compile(r"%\((\w+)\)s")
AUTOCOMMITS = "using(): this connection is in AUTOCOMMIT; it needs a transaction to be part of"


class HostLink:
    """A host's connection, in its transaction; any driver of the dialect. We neither begin nor end anything on it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.transaction = connection.get_transaction()
        self.mark = "?" if connection.dialect.name == "sqlite" else "%s"

    def live(self) -> Connection:
        """The connection, in the transaction that it was brought in; another one would not be committed by the host."""
        if not is_open(self.connection, self.transaction):
            raise MinaError("using(): that transaction has ended; call using() again in the next one")
        return self.connection

    def rows(self, text: str, values: Values = ()) -> Rows:
        with giving_up(self.live()):
            return [tuple(row) for row in self.connection.execute(*self.bound(text, values))]

    def count(self, text: str, values: Values = ()) -> int:
        with giving_up(self.live()):
            return self.connection.execute(*self.bound(text, values)).rowcount

    def many(self, text: str, rows: Sequence[Values]) -> None:
        for values in rows:
            self.count(text, values)

    def fetch(self, statement: sa.Executable) -> list[Row]:
        with giving_up(self.live()):
            return by_name(self.connection.execute(statement))

    def bound(self, text: str, values: Values) -> tuple[sa.TextClause, dict[str, Any]]:
        if isinstance(values, Mapping):
            return sa.text(NAMED.sub(r":\1", text)), dict(values)
        return named(text, self.mark), {f"p{n}": value for n, value in enumerate(values)}


@cache
def named(text: str, mark: str) -> sa.TextClause:
    """The text with named parameters, whose types are the statement's own to say."""
    pieces = text.split(mark)
    names = [f"p{n}" for n in range(len(pieces) - 1)]
    joined = pieces[0] + "".join(f":{name}{piece}" for name, piece in zip(names, pieces[1:], strict=True))
    return sa.text(joined).bindparams(*(sa.bindparam(name, type_=sa.types.NullType()) for name in names))


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


def host_connection(connection: Any) -> Connection:
    """A Connection out of a Connection, a Session or a scoped_session."""
    if isinstance(connection, Connection):
        return connection
    get = getattr(connection, "connection", None)
    found = get() if callable(get) else None
    if not isinstance(found, Connection):
        raise MinaError("using() takes a SQLAlchemy Connection, Session or scoped_session")
    return found


Door = tuple[weakref.ref[Connection], weakref.ref[Any]]
"""A host's connection and the transaction on it that we are part of; neither is ours to keep alive."""


def is_open(connection: Connection | None, transaction: Any) -> bool:
    """Whether the connection is still in that very transaction."""
    if connection is None or transaction is None or connection.closed:
        return False
    return connection.get_transaction() is transaction


class Hosts:
    """The host transactions that one store is part of, by the thread that they were brought in."""

    def __init__(self, lender: Lender, schema: Schema) -> None:
        self.lender = lender
        self.engine = lender.engine
        self.schema = schema
        self.open: dict[int, list[Door]] = {}
        self.known: WeakKeyDictionary[Engine, bool] = WeakKeyDictionary()

    def check(self, host: Connection) -> None:
        """MinaError, with what to do, where our events could not be part of this connection's transaction."""
        if host.dialect.name != self.engine.dialect.name:
            raise MinaError("using(): this connection is to another kind of database than the pipeline's")
        if not host.in_transaction():
            raise MinaError("using(): no transaction is open on this connection; use `with engine.begin() as c:`")
        driver = host.connection.driver_connection
        if getattr(driver, "autocommit", None) is True or "AUTOCOMMIT" in host.get_execution_options().values():
            raise MinaError(AUTOCOMMITS)
        if host.engine not in self.known:
            if not self.same_database(host):
                raise MinaError("using(): this connection is to another database than the pipeline's")
            self.known[host.engine] = True

    def same_database(self, host: Connection) -> bool:
        """Whether our tables are there to be seen: by the file on SQLite, by the store's own id on PostgreSQL."""
        if host.dialect.name == "sqlite":
            ours = os.path.realpath(self.engine.url.database or "")
            return any(os.path.realpath(row[2] or "") == ours for row in host.exec_driver_sql("PRAGMA database_list"))
        query = sa.text(f"SELECT value FROM {self.schema.sql('meta')} WHERE name = 'store_id'")
        with self.lender.lend() as own:  # the pool itself may have no more to give
            mine = own.fetch(query)[0]["value"]
        try:
            with host.begin_nested():
                return bool(host.execute(query).scalar() == mine)
        except DBAPIError:
            return False

    def brought(self, link: HostLink) -> None:
        """One more open host transaction of this thread."""
        others = [door for door in self.of_this_thread() if door[0]() is not link.connection]
        door = (weakref.ref(link.connection), weakref.ref(link.transaction))
        self.open[threading.get_ident()] = [*others, door]

    def of_this_thread(self) -> list[Door]:
        """Those that are still open; the others are forgotten."""
        thread = threading.get_ident()
        still = [door for door in self.open.pop(thread, ()) if is_open(door[0](), door[1]())]
        if still:
            self.open[thread] = still
        return still

    def refuse_second_door(self, beside: Connection | None = None) -> None:
        """MinaError where another host transaction of this thread is open: on SQLite it would wait for itself."""
        if self.open and any(connection() is not beside for connection, _ in self.of_this_thread()):
            raise MinaError(SECOND_DOOR)


PENDING: WeakKeyDictionary[Connection, dict[tuple[Wake, str], tuple[int, bool]]] = WeakKeyDictionary()
"""What a host's open transaction wrote to, by connection: whom to wake, the session, and the version reached, with
whether it brought work that is due."""


def announce_after_commit(host: Connection, wake: Wake, session_id: str, version: int, work: bool) -> None:
    """Wake the waiting when the host commits, and not if it rolls back.

    SQLAlchemy tells of a commit just before it; readers are given the version, and look again until it is there.
    """
    if host not in PENDING:
        PENDING[host] = {}
        sa_event.listen(host, "commit", announce_pending)
        sa_event.listen(host, "rollback", forget_pending)
    PENDING[host][wake, session_id] = version, work or PENDING[host].get((wake, session_id), (0, False))[1]


def announce_pending(host: Connection) -> None:
    pending, PENDING[host] = PENDING.get(host, {}), {}
    for (wake, session_id), (version, work) in pending.items():
        wake(session_id, version, work)


def forget_pending(host: Connection) -> None:
    PENDING[host] = {}
