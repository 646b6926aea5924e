"""SQLite: the engine's settings, and an append as a guarded batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from operator import itemgetter
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import URL, Connection, Engine, event

from ..errors import StoreUnreachable
from ..events import FIRST_ERA
from ..ports import Append
from ..projections import KEYS, Op, Row
from ..settings import Settings
from .connections import Link, backoff
from .refusals import Locked, refusal, shown_url
from .tables import Schema, event_columns

MARK = "?"
IS_ONE_OF = "IN (SELECT value FROM json_each(?))"
BUSY_TIMEOUT_MS = 5
"""SQLite waits for a lock inside C, where no greenlet runs: we wait in Python instead."""


def engine(url: URL, settings: Settings) -> Engine:
    """An engine on a file, in autocommit: WAL, synchronous=FULL (an acknowledged event survives a power cut)."""
    if not url.database or url.database == ":memory:":
        raise StoreUnreachable(shown_url(url), "SQLite in memory is one connection's own; use memory:// instead")
    made = sa.create_engine(
        url, isolation_level="AUTOCOMMIT", poolclass=sa.QueuePool, pool_size=settings.pool_size + 1, max_overflow=0
    )

    @event.listens_for(made, "connect")
    def configure(connection: Any, _record: object) -> None:
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        patiently(lambda: connection.execute("PRAGMA journal_mode=WAL"), settings.lock_timeout)
        connection.execute(f"PRAGMA synchronous={settings.synchronous}")

    return made


def patiently(act: Callable[[], object], timeout: float) -> None:
    """Do it again while another process holds the file; the last refusal is raised."""
    error: Exception | None = None
    for _ in backoff(timeout):
        try:
            act()
        except Exception as busy:
            if not is_busy(busy):
                raise
            error = busy
        else:
            return
    if error is not None:
        raise error


def is_busy(error: Exception) -> bool:
    """Whether another connection's lock is in the way (SQLITE_BUSY or SQLITE_LOCKED)."""
    return isinstance(refusal(error, ""), Locked)


def immediate(host: Engine) -> Engine:
    """Make a host's engine begin its transactions with BEGIN IMMEDIATE, as `Pipeline.using` wants on SQLite."""

    @event.listens_for(host, "connect")
    def autocommit(connection: Any, _record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(host, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return host


def append_all(link: Link, schema: Schema, appends: Sequence[Append]) -> list[bool]:
    """Each append, or nothing of it: guards first, and where one matches no row nothing is written."""
    done = [guarded(link, schema, append) for append in appends]
    passed = [append for append, ok in zip(appends, done, strict=True) if ok]
    if passed:
        text, pick = events_insert(schema.sql("events"), event_columns(schema))
        link.many(text, [(*pick(row), FIRST_ERA, 0) for append in passed for row in append.events])
        for append in passed:
            for op in append.ops:
                run(link, schema, op)
    return done


@cache
def events_insert(table: str, columns: tuple[str, ...]) -> tuple[str, Callable[[Row], tuple[Any, ...]]]:
    return statement("insert", table, (*columns, "era", "feed_xid"), ()), itemgetter(*columns)


def guarded(link: Link, schema: Schema, append: Append) -> bool:
    session = append.session
    if append.expected == 0:
        text = first_row(schema.sql("sessions"), tuple(session))
        return link.count(text, (*session.values(), FIRST_ERA, 0)) == 1
    text = next_row(
        schema.sql("sessions"),
        tuple(session),
        schema.sql("events") if append.command_id is not None else None,
        schema.sql("work") if append.guard is not None else None,
    )
    values: tuple[Any, ...] = (*session.values(), append.session_id, append.expected)
    if append.command_id is not None:
        values += (append.session_id, append.command_id)
    if append.guard is not None:
        guard = append.guard
        values += (append.session_id, guard.kind, guard.stage, guard.run, guard.token)
    return link.count(text, values) == 1


@cache
def first_row(sessions: str, columns: tuple[str, ...]) -> str:
    columns = (*columns, "era", "feed_xid")
    return f"INSERT INTO {sessions} ({', '.join(columns)}) VALUES ({marks(columns)}) ON CONFLICT DO NOTHING"


@cache
def next_row(sessions: str, columns: tuple[str, ...], events: str | None, work: str | None) -> str:
    """The session row's update; `events` guards a command's id, `work` the right to an outcome."""
    text = f"UPDATE {sessions} SET {assignments(columns)} WHERE session_id = ? AND version = ?"
    if events is not None:
        text += (
            f" AND NOT EXISTS (SELECT 1 FROM {events} WHERE session_id = ? AND command_id = ?"
            " AND fingerprint IS NOT NULL)"
        )
    if work is not None:
        text += (
            f" AND EXISTS (SELECT 1 FROM {work} WHERE session_id = ? AND kind = ? AND stage = ?"
            " AND run = ? AND token = ?)"
        )
    return text


def correct(link: Link, schema: Schema, _at: int, session_id: str, expected: int, ops: Sequence[Op]) -> bool:
    """Row operations while the session's version is the expected one; inside a transaction."""
    lock = f"UPDATE {schema.sql('sessions')} SET version = version WHERE session_id = ? AND version = ?"
    if link.count(lock, (session_id, expected)) != 1:
        return False
    for op in ops:
        run(link, schema, op)
    return True


def run(link: Link, schema: Schema, op: Op) -> None:
    """Carry out one row operation."""
    table, keys = schema.sql(op.table), KEYS[op.table]
    if op.kind == "prune":
        text = f"DELETE FROM {table} WHERE session_id = ? AND {keys[-1]} NOT IN (SELECT value FROM json_each(?))"
        link.count(text, (op.rows[0]["session_id"], json_array(op.keep)))
        return
    columns = tuple(op.rows[0])
    order = columns
    if op.kind in ("update", "delete"):
        order = (*(() if op.kind == "delete" else (c for c in columns if c not in keys)), *keys)
    link.many(statement(op.kind, table, columns, keys), [tuple(row[column] for column in order) for row in op.rows])


@cache
def statement(kind: str, table: str, columns: tuple[str, ...], keys: tuple[str, ...]) -> str:
    where = " AND ".join(f"{key} = ?" for key in keys)
    if kind == "delete":
        return f"DELETE FROM {table} WHERE {where}"
    others = tuple(column for column in columns if column not in keys)
    if kind == "update":
        return f"UPDATE {table} SET {assignments(others)} WHERE {where}"
    text = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks(columns)})"
    if kind == "upsert":
        sets = ", ".join(f"{column} = excluded.{column}" for column in others)
        text += f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {sets}"
    return text


def take_write_lock(link: Link, schema: Schema) -> None:
    """An update of no row: it changes nothing, and the transaction holds the write lock from here on."""
    link.count(f"UPDATE {schema.sql('meta')} SET value = value WHERE name = ''")


def draw_id(link: Link, schema: Schema) -> int:
    text = (
        f"INSERT INTO {schema.sql('counters')} (name, value) VALUES ('session', 1)"
        " ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value"
    )
    return int(link.rows(text)[0][0])


def json_array(values: Sequence[str]) -> str:
    """Values for `IS_ONE_OF`: one parameter, however many they are."""
    return msgspec.json.encode(list(values)).decode()


def marks(columns: Sequence[str]) -> str:
    return ", ".join("?" for _ in columns)


def assignments(columns: Sequence[str]) -> str:
    return ", ".join(f"{column} = ?" for column in columns)
