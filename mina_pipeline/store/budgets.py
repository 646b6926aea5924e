"""Budgets that all processes over one database share: accounts by session and by day, and what is set aside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from typing import Any, TypeVar

from ..errors import StoreBusy, StoreUnreachable
from ..interrupted import Interrupted
from ..llm.budget import DAY, SESSION, Limits, Refused, Reservation, Spent
from .connections import Link
from .tables import Schema

T = TypeVar("T")


class Over(Exception):
    """A limit is in the way; what was written for it does not stay."""

    def __init__(self, scope: str) -> None:
        super().__init__(scope)
        self.scope = scope


class SqlBudget:
    """A Budget over a SqlStore. `writing` and `reading` are the store's. A process that dies while it asks leaves its
    reservation: whether that was spent nobody knows, so that it counts."""

    def __init__(
        self,
        schema: Schema,
        limits: Limits,
        new_key: Callable[[], str],
        writing: Callable[..., Any],
        reading: Callable[[Callable[[Link], Any]], Any],
        on_postgresql: bool,
    ) -> None:
        self.limits = limits
        self.new_key = new_key
        self.writing = writing
        self.reading = reading
        self.on_postgresql = on_postgresql
        budgets, reservations = schema.sql("budgets"), schema.sql("reservations")
        self.open = (
            f"INSERT INTO {budgets} (scope, name, tokens, money, reserved_tokens, reserved_money)"
            " VALUES (?, ?, 0, 0, 0, 0) ON CONFLICT DO NOTHING"
        )
        self.take = (
            f"UPDATE {budgets} SET reserved_tokens = reserved_tokens + ?, reserved_money = reserved_money + ?"
            " WHERE scope = ? AND name = ? AND tokens + reserved_tokens + ? <= ? AND money + reserved_money + ? <= ?"
        )
        self.note = f"INSERT INTO {reservations} (key, session_id, day, tokens, money) VALUES (?, ?, ?, ?, ?)"
        self.forget = f"DELETE FROM {reservations} WHERE key = ?"
        self.end = (
            f"UPDATE {budgets} SET reserved_tokens = reserved_tokens - ?, reserved_money = reserved_money - ?,"
            " tokens = tokens + ?, money = money + ? WHERE scope = ? AND name = ?"
        )
        self.look = f"SELECT tokens, money, reserved_tokens, reserved_money FROM {budgets} WHERE scope = ? AND name = ?"

    def reserve(self, session_id: str, day: date, tokens: int, money: int) -> Reservation | Refused:
        reservation = Reservation(self.new_key(), session_id, day, tokens, money)

        def reserve(link: Link) -> Reservation:
            for scope, name in accounts(reservation):  # in this order, always: no two wait for each other
                most = [LARGEST if one is None else one for one in self.limits.of(scope)]
                link.count(self.sql(self.open), (scope, name))
                given = (tokens, money, scope, name, tokens, most[0], money, most[1])
                if link.count(self.sql(self.take), given) != 1:
                    raise Over(scope)
            link.count(self.sql(self.note), (reservation.key, session_id, day.isoformat(), tokens, money))
            return reservation

        try:
            return self.transaction(reserve)
        except Over as over:
            return Refused(over.scope)

    def settle(self, reservation: Reservation, tokens: int, money: int) -> None:
        self.transaction(lambda link: self.ended(link, reservation, tokens, money))

    def release(self, reservation: Reservation) -> None:
        self.settle(reservation, 0, 0)

    def ended(self, link: Link, reservation: Reservation, tokens: int, money: int) -> None:
        if link.count(self.sql(self.forget), (reservation.key,)) != 1:
            return  # it was before
        for scope, name in accounts(reservation):
            given = (reservation.tokens, reservation.money, tokens, money, scope, name)
            link.count(self.sql(self.end), given)

    def spent(self, scope: str, name: str) -> Spent:
        with interrupting():
            found = self.reading(lambda link: link.rows(self.sql(self.look), (scope, name)))
        return Spent(*map(int, found[0])) if found else Spent()

    def sql(self, text: str) -> str:
        return text.replace("?", "%s") if self.on_postgresql else text

    def transaction(self, act: Callable[[Link], T]) -> T:
        """Not again where a connection breaks: whether it took effect is unknown, and then it counts."""
        with interrupting():
            done: T = self.writing((lambda link: whole(link, act)) if self.on_postgresql else act, again=False)
        return done


@contextmanager
def interrupting() -> Iterator[None]:
    """A store that fails under a stage's question is no failure of the stage's."""
    try:
        yield
    except (StoreUnreachable, StoreBusy) as error:
        raise Interrupted(error) from error


def whole(link: Link, act: Callable[[Link], T]) -> T:
    """In a transaction, on a connection that commits each statement by itself. (SQLite's writes are in one already.)"""
    link.count("BEGIN")
    try:
        done = act(link)
        link.count("COMMIT")
    except BaseException:
        with suppress(Exception):  # the connection is gone, and the transaction with it
            link.count("ROLLBACK")
        raise
    return done


LARGEST = 2**62


def accounts(reservation: Reservation) -> tuple[tuple[str, str], tuple[str, str]]:
    return (SESSION, reservation.session_id), (DAY, reservation.day.isoformat())
