"""The readers of another process: each hears of commits in its way, reads the event, and notes when it had it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from mina_pipeline import Pipeline

from . import peer as peers
from .places import connect_postgresql, connect_sqlite
from .raw import SCHEMA

CHANNEL = "bench"
POLL = 0.25  # s, as Settings.poll
GLANCE = 0.002
Key = tuple[str, int]  # session and version
Heard = Callable[[Key], None]
Ready = Callable[[], None]
Reader = Callable[[str, Heard, Ready], None]

now = time.monotonic_ns  # one clock for all processes of a machine
COLUMNS = ", ".join(column.name for column in SCHEMA["events"].columns)


def main(read: Reader, url: str, pipe: Connection, patience: float) -> None:
    """Read until as many events were heard of as the writer says at its end; answer when each was."""
    heard: dict[Key, int] = {}
    ready = threading.Event()
    note = partial(note_once, heard)
    threading.Thread(target=read, args=(url, note, ready.set), daemon=True).start()
    ready.wait(30)
    time.sleep(0.3)  # where a thread of the reader's connects by itself
    pipe.send("ready")
    wanted, until = pipe.recv(), time.monotonic() + patience
    while len(heard) < wanted and time.monotonic() < until:
        time.sleep(0.01)
    pipe.send(heard)
    os._exit(0)  # whatever threads a reader has


def note_once(heard: dict[Key, int], key: Key) -> None:
    heard.setdefault(key, now())


def one_event(mark: str, connection: Any) -> Callable[[Key], Any]:
    text = f"SELECT {COLUMNS} FROM mina_events WHERE session_id = {mark} AND version = {mark}"
    cursor = connection.cursor()
    return lambda key: cursor.execute(text, key).fetchall()[0]


def ours(url: str, heard: Heard, ready: Ready) -> None:
    with Pipeline.open(url) as p, p.subscribe(lambda event: heard((event.session_id, event.version))):
        ready()
        threading.Event().wait()


def poll(url: str, heard: Heard, ready: Ready) -> None:
    """Every 0.25 s: what is new?"""
    since = new_events(url)
    ready()
    while True:
        time.sleep(POLL)
        for key in since():
            heard(key)


def glance(url: str, heard: Heard, ready: Ready) -> None:
    """Every 2 ms: has anybody committed? It costs no read of the database."""
    connection = connect_sqlite(url)
    since, seen = new_events(url), None
    since()
    ready()
    while True:
        time.sleep(GLANCE)
        found = connection.execute("PRAGMA data_version").fetchone()[0]
        if found != seen:
            seen = found
            for key in since():
                heard(key)


def new_events(url: str) -> Callable[[], list[Key]]:
    connection = connect_sqlite(url)
    last = connection.execute("SELECT max(seq) FROM mina_events").fetchone()[0]
    text = f"SELECT seq, session_id, version, {COLUMNS} FROM mina_events WHERE seq > ? ORDER BY seq"

    def since() -> list[Key]:
        nonlocal last
        found = connection.execute(text, (last,)).fetchall()
        if found:
            last = found[-1][0]
        return [(row[1], row[2]) for row in found]

    return since


def listen(url: str, heard: Heard, ready: Ready) -> None:
    connection, reading = connect_postgresql(url), connect_postgresql(url)
    connection.execute(f"LISTEN {CHANNEL}")
    see = one_event("%s", reading)
    ready()
    for told in connection.notifies():
        session_id, version = told.payload.split()
        key = session_id, int(version)
        see(key)
        heard(key)


def peer(url: str, heard: Heard, ready: Ready) -> None:
    with peers.recorder(url, 3) as recorder, recorder.subscribe(gt=None) as subscription:
        ready()
        for found in subscription:
            heard((str(found.originator_id), found.originator_version))
