"""Appends that several threads bring to PostgreSQL at the same moment: one round trip, one transaction, one commit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from ..errors import StoreBusy
from ..ports import Append
from . import postgresql
from .connections import INHERITED, Lender, OwnLink
from .refusals import Lost, cause_of
from .tables import Schema
from .tickets import Ticket, Turns

ALONE = 32
"""An append of more events and rows than this goes by itself: the others should not wait for it."""
FEWEST = 4
"""Of so few connections none is kept for this."""
LOCK_TIMEOUT_MS = 50
"""A session that somebody holds locked for longer is not to hold up the others either."""

Own = Callable[[Append, Lost | None], bool]


class Aside(Exception):
    """This append is to be written by itself. cause: why, where something went wrong."""

    def __init__(self, cause: Lost | None = None) -> None:
        super().__init__()
        self.cause = cause


class Pipelined(Turns):
    """A connection of its own for what comes together. own: writes one append on a connection of its thread's.

    A server takes half as much time for eight statements in one transaction as for eight that commit themselves.
    Whatever goes wrong with them, nothing of them is written, or it is unknown whether: each then goes alone.
    """

    def __init__(self, lender: Lender, schema: Schema, timeout: float, own: Own) -> None:
        super().__init__(timeout)
        self.lender = lender
        self.schema = schema
        self.own = own
        self.link: OwnLink | None = None
        self.cursors: list[Any] = []
        self.ended = False

    def append(self, append: Append) -> bool:
        alone = self.ended or self.lender.size < FEWEST or not self.lender.prepares
        if alone or len(append.events) + sum(len(op.rows) for op in append.ops) > ALONE:
            return self.own(append, None)
        try:
            return super().append(append)
        except Aside as aside:
            return self.own(append, aside.cause)
        except StoreBusy:  # the others wait for a server that does not answer
            return self.own(append, None)

    def write(self, mine: Ticket, batch: list[Ticket], until: float) -> None:
        link: OwnLink | None = None
        try:
            link = self.connected()
            # In an order that every process has, so that no two of them wait for each other.
            batch.sort(key=lambda ticket: append_of(ticket).session_id)
            self.settle(batch, self.written(link, [append_of(ticket) for ticket in batch]))
        except BaseException as error:
            lost = self.let_go(link, error) if link is not None else None
            for ticket in batch:
                ticket.settle(error=Aside(lost))
            if (interrupt := interruption(error)) is not None:
                raise interrupt from None

    def written(self, link: OwnLink, appends: list[Append]) -> list[bool]:
        """Without a BEGIN what stands between two synchronizations of a pipeline is one transaction."""
        from psycopg import RawCursor  # it takes the server's own marks, and need not look for others in the text

        while len(self.cursors) < len(appends):
            self.cursors.append(RawCursor(link.driver))
        used = self.cursors[: len(appends)]
        with link.driver.pipeline() if len(appends) > 1 else nullcontext():
            for cursor, append in zip(used, appends, strict=True):
                text, values = postgresql.append_statement(self.schema, append)
                cursor.execute(postgresql.numbered(text), values)
        return [cursor.fetchone()[0] == 1 for cursor in used]

    def connected(self) -> OwnLink:
        if self.ended:
            raise Aside
        if self.link is None:
            link = self.lender.take()
            try:
                link.cursor.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
            except BaseException:
                link.discard()
                self.lender.closed(1)
                raise
            self.link = link
        return self.link

    def let_go(self, link: OwnLink, error: BaseException) -> Lost | None:
        """What the error leaves unknown: whether all of it was committed. Only the server's own refusal says that it
        was not: who is interrupted in a pipeline sees psycopg's complaint about that, on a connection that is whole."""
        broken = link.broken(error) or refused_by_server(error) is None
        meant = self.lender.meaning(error, broken)
        if broken or link.driver.info.transaction_status:  # 0: idle
            self.discard()
        return meant if isinstance(meant, Lost) else Lost(self.lender.url, "interrupted") if broken else None

    def close(self) -> None:
        with self.lock:
            self.ended = True
            self.discard()

    def discard(self) -> None:
        link, self.link, self.cursors = self.link, None, []
        if link is not None:
            link.discard()
            self.lender.closed(1)

    def forget(self) -> None:
        """In a forked child: see Lender.forget."""
        INHERITED.append((self.link, self.cursors))
        super().forget()
        self.link, self.cursors = None, []


def refused_by_server(error: BaseException) -> str | None:
    """The SQLSTATE that the server gave."""
    return getattr(cause_of(error), "sqlstate", None)


def interruption(error: BaseException) -> BaseException | None:
    """What interrupted us, where the error is that, or psycopg's complaint over it; None for an error of its own."""
    if not isinstance(error, Exception):
        return error
    under = error.__context__
    complaint = refused_by_server(error) is None and type(error).__module__.startswith("psycopg")
    return under if complaint and under is not None and not type(under).__module__.startswith("psycopg") else None


def append_of(ticket: Ticket) -> Append:
    assert ticket.append is not None
    return ticket.append
