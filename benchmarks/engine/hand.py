"""The limit: what one would write by hand on the raw driver for the same stages, in the fastest form known.

Two narrow tables, an event and the session's guarded row in each transaction; no queue, no claim, no lease, no hash.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol
from uuid import uuid4

from benchmarks.store.places import Place
from benchmarks.store.race import Figures, in_threads

from .stages import STAGES

KINDS = (
    "session_started",
    "session_finalized",
    *(f"{stage}_{end}" for stage in STAGES for end in ("started", "ready")),
    "post_transcription_reveal",
)
CUTS = {"11 tx": (1,) * 11, "6 tx": (1, 2, 2, 2, 2, 2)}
"""How many events commit together; in six, a stage's end and what follows it."""

TABLE = dict(zip(zip(("new", *KINDS), KINDS, strict=False), KINDS, strict=True))  # (state, event) -> state
BODY = json.dumps({"stage": "refine", "run": 1, "idempotency_key": "a" * 32, "note": "x" * 60})
SNAPSHOT = {s: json.dumps({"state": s, "stages": [{"name": n, "status": "done", "run": 1, "outcome": "ok"}
                                                   for n in STAGES]}) for s in KINDS}  # fmt: skip
WARM = 3  # sessions of each thread before the clock runs

COLUMNS = "session, version, kind, at, body"
TABLES = (
    "CREATE TABLE sessions (session TEXT PRIMARY KEY, version INTEGER NOT NULL, state TEXT NOT NULL,"
    " snapshot TEXT NOT NULL)",
    "CREATE TABLE events (seq {seq}, session TEXT NOT NULL, version INTEGER NOT NULL, kind TEXT NOT NULL,"
    " at DOUBLE PRECISION NOT NULL, body TEXT NOT NULL, UNIQUE (session, version))",
)


class Writer(Protocol):
    """One thread's way of appending."""

    def write(self, session: str, version: int, kinds: Sequence[str], state: str) -> None:
        """Append the events after `version` (0: the session begins) and move the row on, durably, or raise."""
        ...


def event_rows(session: str, version: int, kinds: Sequence[str]) -> list[Any]:
    """The values of the event rows, one after the other."""
    now = time.time()
    return [v for n, kind in enumerate(kinds, version + 1) for v in (session, n, kind, now, BODY)]


# --- SQLite

START = "INSERT INTO sessions (version, state, snapshot, session) VALUES (?, ?, ?, ?)"
GUARD = "UPDATE sessions SET version = ?, state = ?, snapshot = ? WHERE session = ? AND version = ?"
INSERT = {n: f"INSERT INTO events ({COLUMNS}) VALUES {', '.join(['(?, ?, ?, ?, ?)'] * n)}" for n in (1, 2)}


class SqliteWriter:
    """BEGIN IMMEDIATE, the row, the events, COMMIT."""

    def __init__(self, connection: Any) -> None:
        self.execute = connection.cursor().execute

    def write(self, session: str, version: int, kinds: Sequence[str], state: str) -> None:
        self.execute("BEGIN IMMEDIATE")
        self.rows(session, version, kinds, state)
        self.execute("COMMIT")

    def rows(self, session: str, version: int, kinds: Sequence[str], state: str) -> None:
        row = (version + len(kinds), state, SNAPSHOT[state], session)
        if self.execute(GUARD if version else START, (*row, version) if version else row).rowcount != 1:
            raise RuntimeError("another version")
        self.execute(INSERT[len(kinds)], event_rows(session, version, kinds))


class Group:
    """One thread and connection write for all: one transaction for all that waits; each returns after its commit."""

    def __init__(self, connection: Any) -> None:
        self.writer = SqliteWriter(connection)
        self.queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.failed: BaseException | None = None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        going = True
        while going:
            batch = [self.queue.get()]
            while not self.queue.empty():
                batch.append(self.queue.get())
            going = None not in batch
            waiting = [one for one in batch if one is not None]
            try:
                self.writer.execute("BEGIN IMMEDIATE")
                for given, _ in waiting:
                    self.writer.rows(*given)
                self.writer.execute("COMMIT")
            except BaseException as error:
                self.failed = error
            for _, done in waiting:
                done.release()

    def close(self) -> None:
        self.queue.put(None)
        self.thread.join()


class GroupWriter:
    """A thread's end of a Group."""

    def __init__(self, group: Group) -> None:
        self.group, self.done = group, threading.Lock()  # a Semaphore takes twice as long to wake
        self.done.acquire()

    def write(self, session: str, version: int, kinds: Sequence[str], state: str) -> None:
        self.group.queue.put(((session, version, kinds, state), self.done))
        self.done.acquire()
        if self.group.failed is not None:
            raise self.group.failed


# --- PostgreSQL


def postgresql_append(begins: bool, count: int) -> str:
    """One statement for row and events: no event where the row is of another version."""
    if begins:
        row = "INSERT INTO sessions (version, state, snapshot, session) VALUES (%s, %s, %s, %s)"
    else:
        row = GUARD.replace("?", "%s")
    values = ", ".join(["(%s::text, %s::integer, %s::text, %s::double precision, %s::text)"] * count)
    return f"""WITH guard AS ({row} RETURNING 1) INSERT INTO events ({COLUMNS})
        SELECT e.* FROM guard, (VALUES {values}) AS e"""


APPEND = {(begins, n): postgresql_append(begins, n) for begins in (True, False) for n in (1, 2)}


class PostgresqlWriter:
    """One prepared autocommit statement."""

    def __init__(self, connection: Any) -> None:
        self.cursor = connection.cursor()

    def write(self, session: str, version: int, kinds: Sequence[str], state: str) -> None:
        row = (version + len(kinds), state, SNAPSHOT[state], session, *((version,) if version else ()))
        self.cursor.execute(APPEND[not version, len(kinds)], (*row, *event_rows(session, version, kinds)))
        if self.cursor.rowcount != len(kinds):
            raise RuntimeError("another version")


# --- both


@contextmanager
def database(place: Place) -> Iterator[str]:
    """A database with the two tables."""
    url = place.new()
    try:
        connection = place.connect(url)
        for table in TABLES:
            seq = "INTEGER PRIMARY KEY" if place.name == "SQLite" else "BIGSERIAL PRIMARY KEY"
            connection.execute(table.format(seq=seq))
        connection.close()
        yield url
    finally:
        place.drop(url)


@contextmanager
def writers(place: Place, url: str, count: int) -> Iterator[list[Writer]]:
    """A writer for each thread, on a connection of its own; on SQLite several write together through one."""
    group = count > 1 and place.name == "SQLite"
    connections = [place.connect(url) for _ in range(1 if group else count)]
    groups = [Group(connections[0])] if group else []
    kind: Callable[[Any], Writer] = SqliteWriter if place.name == "SQLite" else PostgresqlWriter
    try:
        yield [GroupWriter(groups[0]) for _ in range(count)] if group else [kind(one) for one in connections]
    finally:
        for one in groups:
            one.close()
        for connection in connections:
            connection.close()


def whole(writer: Writer, cuts: Sequence[int], sessions: int) -> None:
    """Sessions from their start to their reveal, one after the other."""
    for _ in range(sessions):
        session, version, state = uuid4().hex, 0, "new"
        for count in cuts:
            kinds = KINDS[version : version + count]
            for kind in kinds:
                state = TABLE[state, kind]
            writer.write(session, version, kinds, state)
            version += count


def rate(place: Place, workers: int, sessions: int, form: str) -> Figures:
    each = max(1, sessions // workers)
    with database(place) as url:
        with writers(place, url, workers) as found:
            in_threads([partial(whole, writer, CUTS[form], WARM) for writer in found])
            seconds = in_threads([partial(whole, writer, CUTS[form], each) for writer in found])
        connection = place.connect(url)
        ended = connection.execute("SELECT count(*) FROM sessions WHERE version = 11 AND state = %s".replace(
            "%s", place.mark), (KINDS[-1],)).fetchone()[0]  # fmt: skip
        events = connection.execute("SELECT count(*) FROM events").fetchone()[0]
        connection.close()
    wanted = workers * (each + WARM)
    assert (ended, events) == (wanted, 11 * wanted), f"{ended} sessions and {events} events, not {wanted}"
    return {"sessions/s": workers * each / seconds}
