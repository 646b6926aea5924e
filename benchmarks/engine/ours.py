"""Ours: sessions driven by `p.workers(n)` through four stages that do nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.store.places import Place
from benchmarks.store.race import Figures, in_threads
from mina_pipeline import Pipeline

from .stages import NOTHING, STAGES

CLIENTS = 8
WARM = 24  # sessions before the clock runs: connections are open then, statements prepared
LOOK = 0.005  # s between two looks at how many are revealed
PATIENCE = 120.0


@contextmanager
def opened(place: Place) -> Iterator[tuple[Pipeline, Any]]:
    """A pipeline over a fresh database, and a raw connection to look at it."""
    url = place.new()
    try:
        with Pipeline.open(url, definition=NOTHING) as p:
            connection = place.connect(url)
            yield p, connection
            connection.close()
    finally:
        place.drop(url)


def clients(p: Pipeline, sessions: int) -> list[str]:
    """Start and finalize sessions from 8 threads; their ids."""
    ids: list[str] = []

    def client(n: int) -> Callable[[], None]:
        def run() -> None:
            for _ in range(n, sessions, CLIENTS):
                session_id = p.start_session().session_id
                p.finalize(session_id)
                ids.append(session_id)

        return run

    in_threads([client(n) for n in range(CLIENTS)])
    return ids


def await_revealed(connection: Any, count: int) -> None:
    """Until so many sessions are revealed, as another connection sees it."""
    until = time.monotonic() + PATIENCE
    while (found := revealed(connection)) < count:
        if time.monotonic() > until:
            raise TimeoutError(f"{found} of {count} sessions revealed")
        time.sleep(LOOK)


def revealed(connection: Any) -> int:
    found: int = connection.execute("SELECT count(*) FROM mina_sessions WHERE state = 'revealed'").fetchone()[0]
    return found


def check(p: Pipeline, ids: list[str]) -> None:
    for session_id in ids:
        session = p.get(session_id)
        ended = [stage.outcome for stage in session.stages.values()]
        assert (session.state, ended) == ("revealed", ["ok"] * len(STAGES)), f"{session.state}, {ended}"


def whole(place: Place, workers: int, sessions: int) -> Figures:
    """The clock includes the starts and finalizes; the workers are there already."""
    with opened(place) as (p, connection), p.workers(workers):
        clients(p, WARM)
        await_revealed(connection, WARM)
        began = time.perf_counter()
        ids = clients(p, sessions)
        await_revealed(connection, WARM + sessions)
        seconds = time.perf_counter() - began
        check(p, ids)
    return {"sessions/s": sessions / seconds}


def backlog(place: Place, workers: int, sessions: int) -> Figures:
    """All are finalized before the clock, which begins with the first worker's start."""
    with opened(place) as (p, connection):
        with p.workers(workers):
            clients(p, WARM)
            await_revealed(connection, WARM)
        ids = clients(p, sessions)
        began = time.perf_counter()
        with p.workers(workers):
            await_revealed(connection, WARM + sessions)
            seconds = time.perf_counter() - began
        check(p, ids)
    return {"sessions/s": sessions / seconds}
