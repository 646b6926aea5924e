"""The peers: DBOS in a process of its own, procrastinate in this one."""

from __future__ import annotations

import asyncio
import time
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any
from uuid import uuid4

from benchmarks.store.places import Place
from benchmarks.store.race import Figures

from .child import Child

DBOS, PROCRASTINATE = (find_spec(name) is not None for name in ("dbos", "procrastinate"))
CONCURRENCY = 8
STEPS = 4
WARM = ("direct 8", "start 8", "queue 8")  # its first use of a queue takes a second longer


def versions() -> list[str]:
    def of(name: str) -> str:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            return f"{name} not installed: its rows are left out"

    return [of("dbos"), of("procrastinate")]


def dbos_database(place: Place) -> str:
    """A database for DBOS. On SQLite in WAL, as ours; by default it would keep a rollback journal."""
    url = place.new()
    place.connect(url).close()
    return url


class Dbos:
    """One application of DBOS, started when it is first asked, at rest between its turns. A context manager."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.url = ""
        self.child: Child | None = None

    def ask(self, command: str) -> float:
        if self.child is None:
            self.url = dbos_database(self.place)
            self.child = Child("benchmarks.engine.dbos_app", self.url, "alive")
            for command in WARM:
                self.child.ask(command)
        return self.child.ask(command)[0]

    def rate(self, mode: str, sessions: int) -> Figures:
        return {"sessions/s": self.ask(f"{mode} {sessions}")}

    def __enter__(self) -> Dbos:
        return self

    def __exit__(self, *_: object) -> None:
        if self.child is not None:
            self.child.kill()
        if self.url:
            self.place.drop(self.url)


def procrastinate_rate(place: Place, sessions: int) -> Figures:
    """Four jobs a session, each deferring the next; the first ones are deferred before the clock runs."""
    url = place.new()
    try:
        return asyncio.run(chained(url, sessions))
    finally:
        place.drop(url)


async def chained(url: str, sessions: int) -> Figures:
    import procrastinate

    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url, max_size=CONCURRENCY + 2))
    done: set[str] = set()

    @app.task(name="stage")
    async def stage(session: str, n: int) -> None:
        if n + 1 < STEPS:
            await deferred(session, n + 1)
        else:
            done.add(session)

    def deferred(session: str, n: int) -> Any:
        return stage.defer_async(session=session, n=n)

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for _ in range(sessions):
            await deferred(uuid4().hex, 0)
        began = time.perf_counter()
        await app.run_worker_async(
            wait=False, concurrency=CONCURRENCY, install_signal_handlers=False, listen_notify=False
        )
        seconds = time.perf_counter() - began
    assert len(done) == sessions, f"{len(done)} of {sessions} sessions finished"
    return {"sessions/s": sessions / seconds}
