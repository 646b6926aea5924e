"""What is written: databases with sessions that have begun or ended, and the appends, ready but for the hash."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import mina_pipeline.commands as ask
from mina_pipeline import Pipeline, Segment
from mina_pipeline.codec import digest
from mina_pipeline.decisions import decide
from mina_pipeline.ports import Append
from mina_pipeline.projections import Row
from mina_pipeline.sessions import load
from mina_pipeline.system import SystemIds

from .places import Place

TEXT = "Then we move the release to the second week of May, once the audit has been read."
EACH = 8  # sessions that one thread appends to, in turn
EVENTS = 13  # of a session from its start to its reveal, with one append of segments


def segment(n: int = 0) -> Segment:
    return Segment(text=TEXT, start_ms=n * 4_000, end_ms=n * 4_000 + 3_600, speaker="Dana", confidence=0.93)


@dataclass
class Begun:
    """A session after its first event."""

    session_id: str
    trace_id: str
    hash: bytes


@dataclass
class Started:
    """A closed database of sessions with one event each, and the append of one segment as ours composes it."""

    url: str
    sessions: list[Begun]
    append: Append

    @property
    def event_size(self) -> str:
        row = self.append.events[0]
        text = len(row["data"]) + len(row["content"])
        whole = sum(len(v) if isinstance(v, (str, bytes)) else 0 if v is None else 4 for v in row.values())
        return f"an event has {text} bytes of data and content, {whole} in all columns; {len(TEXT)} characters spoken"


def started(place: Place, threads: int) -> Started:
    url = place.new()
    with Pipeline.open(url) as p:
        sessions = []
        for n in range(threads * EACH):
            session_id = p.start_session(title=f"Weekly planning {n}").session_id
            row = load(p.store, session_id).row
            sessions.append(Begun(session_id, row["trace_id"], row["hash"]))
        now = load(p.store, session_id)
        events = decide(now.state, ask.Record(segments=(segment(),)), session_id)
        append, _ = p.handler.compose(session_id, now, events, None, None, None, None)
    return Started(url, sessions, replace(append, ops=()))


@dataclass(slots=True)
class Job:
    """One append of one event or several, without the hashes."""

    session: Begun
    expected: int
    events: tuple[Row, ...]
    columns: Row

    def append(self) -> Append:
        return Append(self.session.session_id, self.expected, self.events, self.columns, (), at=0)


def jobs(template: Started, threads: int, appends: int, per: int) -> list[list[Job]]:
    """For each thread its appends: to sessions of its own, in turn, their versions rising."""
    ids = SystemIds()

    def event(session: Begun, version: int) -> Row:
        row, salt = template.append.events[0], ids.salt()
        own = {"event_id": ids.uuid(), "session_id": session.session_id, "version": version, "salt": salt}
        return {**row, **own, "trace_id": session.trace_id, "digest": digest(salt, row["content"]), "hash": b""}

    def of(sessions: list[Begun]) -> Iterator[Job]:
        for n in range(appends):
            session, expected = sessions[n % EACH], 1 + n // EACH * per
            rows = tuple(event(session, version) for version in range(expected + 1, expected + 1 + per))
            yield Job(session, expected, rows, {**template.append.session, "version": expected + per})

    return [list(of(template.sessions[n * EACH : (n + 1) * EACH])) for n in range(threads)]


# --- finished sessions


def finished(place: Place, sessions: int) -> tuple[str, list[str]]:
    """A closed database of finished sessions, all at once under way: one is run, the others are its copies."""
    url = place.new()
    with Pipeline.open(url) as p:
        first = p.start_session(title="Weekly planning", tenant="acme").session_id
        p.record(first, [segment()])
        p.finalize(first)
        p.run_until_idle()
        row, events = p.store.load(first), p.store.events(first)
    assert row is not None
    assert len(events) == EVENTS, f"{len(events)} events, not {EVENTS}"
    ids = SystemIds()
    known = [ids.uuid() for _ in range(sessions - 1)]
    seq = count(max(event["seq"] for event in events) + 1)
    connection = place.connect(url)
    insert(place, connection, "mina_sessions", ({**row, "session_id": s, "id": 10**6 + n} for n, s in enumerate(known)))
    copies = ({**event, "seq": next(seq), "session_id": s, "event_id": ids.uuid()} for event in events for s in known)
    insert(place, connection, "mina_events", copies)
    connection.execute("ANALYZE" if place.name == "SQLite" else "VACUUM ANALYZE")
    connection.close()
    return url, [first, *known]


def insert(place: Place, connection: Any, table: str, rows: Iterator[Row]) -> None:
    first = next(rows, None)
    if first is None:
        return
    columns = tuple(first)
    values = (tuple(row[column] for column in columns) for row in chained(first, rows))
    if place.name == "SQLite":
        connection.execute("BEGIN")
        marks = ", ".join("?" * len(columns))
        connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", values)
        connection.execute("COMMIT")
        return
    with connection.cursor().copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
        for value in values:
            copy.write_row(value)


def chained(first: Row, rest: Iterator[Row]) -> Iterator[Row]:
    yield first
    yield from rest
