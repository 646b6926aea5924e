"""Budgets: what a session and a day may cost, in tokens and in money; reserved before a call, settled after it."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from itertools import count
from typing import Protocol

from ..errors import InvalidInput
from ..forks import forget_at_fork

SESSION = "session"
DAY = "day"
MOST = 100_000
"""Accounts that are kept in memory."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most that may be spent; None: no limit. Money in millionths of the host's currency."""

    session_tokens: int | None = None
    session_money: int | None = None
    day_tokens: int | None = None
    day_money: int | None = None

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            most = getattr(self, name)
            if most is not None and most < 0:
                raise InvalidInput(f"budget.{name}", f"must be 0 or more, not {most}")

    @property
    def in_money(self) -> bool:
        return self.session_money is not None or self.day_money is not None

    def of(self, scope: str) -> tuple[int | None, int | None]:
        """(tokens, money) of `session` or `day`."""
        if scope == SESSION:
            return self.session_tokens, self.session_money
        return self.day_tokens, self.day_money


@dataclass(frozen=True)
class Reservation:
    """What a call may cost at most, set aside under a key of its own."""

    key: str
    session_id: str
    day: date
    tokens: int
    money: int


@dataclass(frozen=True)
class Refused:
    """A budget has too little left. scope: session | day, the narrower where both have."""

    scope: str


@dataclass(frozen=True)
class Spent:
    """What is settled, and what is still reserved on top of it."""

    tokens: int = 0
    money: int = 0
    reserved_tokens: int = 0
    reserved_money: int = 0


class Budget(Protocol):
    """Who counts. Safe to call from many threads (and processes, where it is kept in a database).

    What is settled and what is reserved never come to more than a limit by a `reserve`; money is in whole millionths,
    so that sums are exact. Each reservation ends once, by `settle` or by `release`; what comes after that changes
    nothing. A reservation whose process died stays reserved: too little is spent then, never too much.
    """

    def reserve(self, session_id: str, day: date, tokens: int, money: int) -> Reservation | Refused: ...

    def settle(self, reservation: Reservation, tokens: int, money: int) -> None:
        """The call cost this much, be it more than was reserved."""
        ...

    def release(self, reservation: Reservation) -> None:
        """The call cost nothing."""
        ...

    def spent(self, scope: str, name: str) -> Spent:
        """Of a session (by id) or of a day (ISO)."""
        ...


@dataclass
class Account:
    tokens: int = 0
    money: int = 0
    reserved_tokens: int = 0
    reserved_money: int = 0

    def has(self, most: tuple[int | None, int | None], tokens: int, money: int) -> bool:
        in_tokens, in_money = most
        enough = in_tokens is None or self.tokens + self.reserved_tokens + tokens <= in_tokens
        return enough and (in_money is None or self.money + self.reserved_money + money <= in_money)


@dataclass(eq=False)
class MemoryBudget:
    """Counts in this process, for as long as it lives; of sessions the last MOST that began to spend."""

    limits: Limits = field(default_factory=Limits)
    new_key: Callable[[], str] = field(default_factory=lambda: map(str, count(1)).__next__)

    def __post_init__(self) -> None:
        self.accounts: defaultdict[tuple[str, str], Account] = defaultdict(Account)
        self.open: dict[str, Reservation] = {}
        self.lock = threading.Lock()
        forget_at_fork(self)

    def forget(self) -> None:
        """In a forked child: the lock may be held for ever, and calls that are out are the parent's."""
        self.lock = threading.Lock()
        for reservation in list(self.open.values()):
            self.end(reservation)

    def reserve(self, session_id: str, day: date, tokens: int, money: int) -> Reservation | Refused:
        scopes = ((SESSION, session_id), (DAY, day.isoformat()))
        with self.lock:
            for scope, name in scopes:
                if not self.accounts[scope, name].has(self.limits.of(scope), tokens, money):
                    return Refused(scope)
            for key in scopes:
                self.accounts[key].reserved_tokens += tokens
                self.accounts[key].reserved_money += money
            self.drop_oldest()
            reservation = Reservation(self.new_key(), session_id, day, tokens, money)
            self.open[reservation.key] = reservation
            return reservation

    def settle(self, reservation: Reservation, tokens: int, money: int) -> None:
        with self.lock:
            for account in self.end(reservation):
                account.tokens += tokens
                account.money += money

    def release(self, reservation: Reservation) -> None:
        with self.lock:
            self.end(reservation)

    def spent(self, scope: str, name: str) -> Spent:
        with self.lock:
            return Spent(**vars(self.accounts.get((scope, name), Account())))

    def drop_oldest(self) -> None:
        while len(self.accounts) > MOST and not next(iter(self.accounts.values())).reserved_tokens:
            del self.accounts[next(iter(self.accounts))]

    def end(self, reservation: Reservation) -> list[Account]:
        """The accounts that it was reserved in, the first time; none after that."""
        if self.open.pop(reservation.key, None) is None:
            return []
        keys = ((SESSION, reservation.session_id), (DAY, reservation.day.isoformat()))
        for key in keys:
            self.accounts[key].reserved_tokens -= reservation.tokens
            self.accounts[key].reserved_money -= reservation.money
        return [self.accounts[key] for key in keys]
