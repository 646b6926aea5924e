"""What a driver's error means: the errors that stores tell apart, and how each is known."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL

from ..errors import MinaError, StoreUnreachable

PG_RETRY = frozenset({"40001", "40P01"})  # serialization failure, deadlock
PG_LOCKED = "55P03"
PG_AWAY = ("08", "53", "57", "58")  # connection, resources, an operator's hand, the system
PG_UNPREPARED = frozenset({"26000", "42P05"})  # a pooling proxy gave us another backend
SQLITE_BUSY, SQLITE_LOCKED = 5, 6
SQLITE_AWAY = frozenset({3, 7, 8, 10, 11, 13, 14, 15, 26})
"""Permission, memory, read-only, input/output, corrupt, full, cannot open, locking protocol, no database."""


class Lost(StoreUnreachable):
    """The connection broke under a statement: whether it took effect is unknown."""


class Collided(MinaError):
    """The database gave up our statement in favour of another's. Nothing was written."""


class Locked(MinaError):
    """A lock was not free in time. Nothing was written."""


class Unprepared(MinaError):
    """The prepared statement is another backend's: there is a pooling proxy in between. Nothing was run."""


def cause_of(error: BaseException) -> Any:
    """The driver's own error under SQLAlchemy's."""
    return getattr(error, "orig", None) or error


def refusal(error: BaseException, url: str) -> MinaError | None:
    """What a driver's or SQLAlchemy's error means, or None where it is a fault of ours."""
    cause = cause_of(error)
    state, code = getattr(cause, "sqlstate", None), getattr(cause, "sqlite_errorcode", None)
    if state in PG_RETRY:
        return Collided(str(state))
    if state == PG_LOCKED or (code is not None and code & 0xFF in (SQLITE_BUSY, SQLITE_LOCKED)):
        return Locked(first_line(cause))
    if state in PG_UNPREPARED:
        return Unprepared(str(state))
    if code is not None:
        away = code & 0xFF in SQLITE_AWAY
    elif state is not None:
        away = state.startswith(PG_AWAY)
    else:
        away = type(cause).__name__ in ("OperationalError", "InterfaceError")
    if away:
        return StoreUnreachable(url, first_line(cause))
    return None


def shown_url(url: URL) -> str:
    """A database's URL as errors show it: the query may hold a password too."""
    return url.set(query={}).render_as_string(hide_password=True)


def first_line(error: BaseException) -> str:
    """A driver's message without its detail: a DETAIL line may quote stored values."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
