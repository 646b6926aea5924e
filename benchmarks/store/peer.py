"""The peer: the `eventsourcing` library, its recorders for SQLite and PostgreSQL and its repository."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from .places import Place, database, path
from .template import Job

try:
    from eventsourcing.application import Application
    from eventsourcing.domain import Aggregate, event
    from eventsourcing.persistence import StoredEvent
except ImportError:
    INSTALLED = False
else:
    INSTALLED = True

NAME = "eventsourcing"
KINDS = ("session_finalized", *(f"{s}_{e}" for s in ("refinement", "analytics", "tasks", "summary")
                                for e in ("started", "ready")), "post_transcription_reveal")  # fmt: skip
EVENTS = 1 + len(KINDS)
BODY = "x" * 160


def version() -> str:
    if not INSTALLED:
        return "not installed: its rows are left out"
    from importlib.metadata import version

    return version("eventsourcing")


def environment(url: str) -> dict[str, str]:
    """What its applications read their settings from."""
    if url.startswith("sqlite:"):
        return {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": path(url)}
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        **{f"POSTGRES_{name.upper()}": str(value) for name, value in server(url).items()},
    }


def server(url: str) -> dict[str, Any]:
    import psycopg.conninfo

    known = psycopg.conninfo.conninfo_to_dict(url)
    return {
        "dbname": database(url),
        "host": known.get("host", "127.0.0.1"),
        "port": known.get("port", 5432),
        "user": known.get("user", "postgres"),
        "password": known.get("password") or "none",
    }


@contextmanager
def recorder(url: str, threads: int) -> Iterator[Any]:
    """Its application recorder, with its table."""
    if url.startswith("sqlite:"):
        from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

        store: Any = SQLiteDatastore(path(url), lock_timeout=60, pool_size=threads, pool_timeout=60)
        found: Any = SQLiteApplicationRecorder(store)
    else:
        from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore

        store = PostgresDatastore(**server(url), pool_size=threads, max_waiting=threads)
        found = PostgresApplicationRecorder(store)
    try:
        found.create_table()
        yield found
    finally:
        store.close()


class RecorderWriter:
    """insert_events of stored events that are ready; (aggregate, version) is unique. It makes no hash."""

    def __init__(self, recorder: Any) -> None:
        self.insert = recorder.insert_events

    def ready(self, job: Job) -> Any:
        originator = UUID(job.session.session_id)
        return [
            StoredEvent(originator, row["version"], "meetings:" + row["type"], (row["data"] + row["content"]).encode())
            for row in job.events
        ]

    def write(self, ready: Any, previous: bytes) -> bytes:
        self.insert(ready)
        return previous


@contextmanager
def writers(place: Place, url: str, threads: int, per: int) -> Iterator[list[RecorderWriter]]:
    with recorder(url, threads) as found:
        yield [RecorderWriter(found) for _ in range(threads)]


if INSTALLED:
    STATES = ("recording", *KINDS)
    STEPS = {(STATES[n], kind): kind for n, kind in enumerate(KINDS)}

    class Meeting(Aggregate):
        """A session as its aggregate: a state, moved on by the table."""

        @event("Started")
        def __init__(self) -> None:
            self.state = "recording"

        @event("Stepped")
        def step(self, kind: str, body: str) -> None:
            self.state = STEPS[self.state, kind]

    class Meetings(Application[UUID]):
        """The application whose repository is asked."""


@contextmanager
def meetings(url: str, count: int, snapshots: bool = False) -> Iterator[tuple[Any, list[UUID]]]:
    """An application, and the ids of finished sessions in it."""
    app = Meetings(env={**environment(url), **({"IS_SNAPSHOTTING_ENABLED": "y"} if snapshots else {})})
    known = []
    for _ in range(count):
        meeting = Meeting()
        for kind in KINDS:
            meeting.step(kind, BODY)
        app.save(meeting)
        if snapshots:
            app.take_snapshot(meeting.id)
        known.append(meeting.id)
    try:
        yield app, known
    finally:
        app.close()
