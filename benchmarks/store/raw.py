"""The limit: raw sqlite3 and raw psycopg, writing and reading the same rows in the fastest form known."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from typing import Any, Protocol

import msgspec

from mina_pipeline.codec import chain
from mina_pipeline.store.postgresql import sql_type
from mina_pipeline.store.tables import build_schema

from .places import Place
from .template import Job

SCHEMA = build_schema()
ERA = 1
EVENT_COLUMNS = tuple(c.name for c in SCHEMA["events"].columns if c.name not in ("seq", "era", "feed_xid", "hash"))
SESSION_COLUMNS = tuple(c.name for c in SCHEMA["sessions"].columns)


class Writer(Protocol):
    """One thread's way of appending."""

    def ready(self, job: Job) -> Any:
        """What may be made before the clock runs: everything but the hash."""
        ...

    def write(self, ready: Any, previous: bytes) -> bytes:
        """Append, durably; the session's new hash."""
        ...


# --- SQLite


def session_update(columns: tuple[str, ...]) -> str:
    sets = ", ".join(f"{column} = ?" for column in (*columns, "hash"))
    return f"UPDATE mina_sessions SET {sets} WHERE session_id = ? AND version = ?"


def event_insert(rows: int) -> str:
    one = f"({', '.join('?' * (len(EVENT_COLUMNS) + 3))})"
    return f"INSERT INTO mina_events (era, feed_xid, {', '.join(EVENT_COLUMNS)}, hash) VALUES {', '.join([one] * rows)}"


class SqliteWriter:
    """BEGIN IMMEDIATE, the guarded update, one INSERT of all rows, COMMIT: text constants, tuples that are ready."""

    def __init__(self, connection: Any, per: int) -> None:
        self.connection, self.cursor = connection, connection.cursor()
        self.insert, self.update = event_insert(per), ""

    def ready(self, job: Job) -> Any:
        columns = tuple(column for column in job.columns if column != "hash")
        self.update = session_update(columns)
        events = [(row, (ERA, 0, *(row[column] for column in EVENT_COLUMNS))) for row in job.events]
        return events, tuple(job.columns[c] for c in columns), (job.session.session_id, job.expected)

    def write(self, ready: Any, previous: bytes) -> bytes:
        last, session, values = hashed(ready, previous)
        self.cursor.execute("BEGIN IMMEDIATE")
        self.rows(session, values)
        self.cursor.execute("COMMIT")
        return last

    def rows(self, session: tuple[Any, ...], values: list[Any]) -> None:
        if self.cursor.execute(self.update, session).rowcount != 1:
            raise RuntimeError("another version")
        self.cursor.execute(self.insert, values)


def hashed(ready: Any, previous: bytes) -> tuple[bytes, tuple[Any, ...], list[Any]]:
    """The last hash, the update's values, and those of all event rows in one list."""
    events, columns, guard = ready
    values: list[Any] = []
    for row, known in events:
        previous = chain(previous, row)
        values += known
        values.append(previous)
    return previous, (*columns, previous, *guard), values


class Group:
    """One thread and connection write for all: one transaction for all that waits; each returns after its commit."""

    def __init__(self, connection: Any, per: int) -> None:
        self.writer = SqliteWriter(connection, per)
        self.queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.failed: BaseException | None = None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        execute = self.writer.cursor.execute
        while True:
            batch = [self.queue.get()]
            while not self.queue.empty():
                batch.append(self.queue.get())
            waiting = [one for one in batch if one is not None]
            try:
                execute("BEGIN IMMEDIATE")
                for session, values, _ in waiting:
                    self.writer.rows(session, values)
                execute("COMMIT")
            except BaseException as error:
                self.failed = error
            for _, _, done in waiting:
                done.release()
            if len(waiting) < len(batch):
                return

    def close(self) -> None:
        self.queue.put(None)
        self.thread.join()


class GroupWriter:
    """A thread's end of a Group. The hash is made here, in the caller's thread."""

    def __init__(self, group: Group) -> None:
        self.group, self.done = group, threading.Lock()  # a Semaphore takes twice as long to wake
        self.done.acquire()
        self.ready = group.writer.ready

    def write(self, ready: Any, previous: bytes) -> bytes:
        last, session, values = hashed(ready, previous)
        self.group.queue.put((session, values, self.done))
        self.done.acquire()
        if self.group.failed is not None:
            raise self.group.failed
        return last


# --- PostgreSQL

XID = "pg_current_xact_id()::text::bigint"
JSON = msgspec.json.Encoder()


class PostgresqlWriter:
    """One prepared autocommit statement. One event: its values; several: one JSON text, since psycopg's arrays
    cost several times what JSON does on both sides."""

    def __init__(self, connection: Any, per: int) -> None:
        self.cursor, self.per, self.text = connection.cursor(), per, ""

    def ready(self, job: Job) -> Any:
        columns = tuple(column for column in job.columns if column != "hash")
        self.text = postgresql_append(columns, self.per)
        pick = itemgetter(*EVENT_COLUMNS)
        return [(row, pick(row)) for row in job.events], tuple(job.columns[c] for c in columns), (
            job.session.session_id, job.expected,
        )  # fmt: skip

    def write(self, ready: Any, previous: bytes) -> bytes:
        if self.per == 1:
            last, session, values = hashed(ready, previous)
            self.cursor.execute(self.text, (*session, *values))
        else:
            events, columns, guard = ready
            last = previous
            for row, _ in events:
                row["hash"] = last = chain(last, row)
            rows = JSON.encode([row for row, _ in events]).decode()
            self.cursor.execute(self.text, (*columns, last, *guard, rows))
        if self.cursor.rowcount != self.per:
            raise RuntimeError("another version")
        return last


def postgresql_append(session: tuple[str, ...], per: int) -> str:
    sets = ", ".join(f"{column} = %s" for column in (*session, "hash"))
    guard = (
        f"WITH guard AS (UPDATE mina_sessions SET {sets}, era = {ERA}, feed_xid = {XID}"
        " WHERE session_id = %s AND version = %s RETURNING 1)"
    )
    columns = (*EVENT_COLUMNS, "hash")
    into = f"{guard} INSERT INTO mina_events ({', '.join(columns)}, era, feed_xid)"
    types = {column: sql_type(SCHEMA["events"].c[column]) for column in columns}
    if per == 1:
        return f"{into} SELECT {', '.join(f'%s::{types[c]}' for c in columns)}, {ERA}, {XID} FROM guard"

    chosen = ", ".join(f"decode(e.{c}, 'base64')" if types[c] == "bytea" else f"e.{c}" for c in columns)
    shape = ", ".join(f"{c} {'text' if types[c] == 'bytea' else types[c]}" for c in columns)
    return f"{into} SELECT {chosen}, {ERA}, {XID} FROM guard, json_to_recordset(%s::json) AS e({shape})"


# --- all of them


@contextmanager
def writers(place: Place, url: str, threads: int, per: int, group: bool = False) -> Iterator[list[Writer]]:
    """A writer for each thread: on a connection of its own, or together through one (group)."""
    kind = SqliteWriter if place.name == "SQLite" else PostgresqlWriter
    connections = [place.connect(url) for _ in range(1 if group else threads)]
    groups = [Group(connections[0], per)] if group else []
    try:
        yield [GroupWriter(groups[0]) for _ in range(threads)] if group else [kind(c, per) for c in connections]
    finally:
        for one in groups:
            one.close()
        for connection in connections:
            connection.close()


def row_reader(place: Place, connection: Any) -> Any:
    """A function from a session's id to its row: by primary key, all columns, as a tuple."""
    text = f"SELECT {', '.join(SESSION_COLUMNS)} FROM mina_sessions WHERE session_id = {place.mark}"
    cursor = connection.cursor()
    return lambda session_id: cursor.execute(text, (session_id,)).fetchall()[0]


def events_reader(place: Place, connection: Any) -> Any:
    """A function from a session's id to (session_id, version, type) of its events."""
    text = f"SELECT session_id, version, type FROM mina_events WHERE session_id = {place.mark} ORDER BY version"
    return partial(select, connection.cursor(), text)


def select(cursor: Any, text: str, session_id: str) -> list[Any]:
    found: list[Any] = cursor.execute(text, (session_id,)).fetchall()
    return found


@contextmanager
def stream(place: Place, connection: Any, columns: tuple[str, ...]) -> Iterator[Iterator[tuple[Any, ...]]]:
    """All events in the feed's order, through the driver's cursor; on PostgreSQL one on the server."""
    text = f"SELECT {', '.join(columns)} FROM mina_events ORDER BY "
    if place.name == "SQLite":
        yield iter(connection.execute(text + "seq"))
        return
    with connection.transaction(), connection.cursor("bench") as cursor:
        cursor.itersize = 5_000
        yield iter(cursor.execute(text + "era, feed_xid, seq"))
