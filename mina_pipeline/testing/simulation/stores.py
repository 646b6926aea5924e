"""The stores that histories can be lived through on; on each the same seed gives the same trace."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from ...opening import open_store
from ...ports import Clock, Store
from ...settings import Settings

NUMBERS = count(1)


@dataclass(frozen=True)
class Opened:
    """A fresh store. timed: itself, going by this clock of its own, where it has one."""

    store: Store
    timed: Callable[[Clock], Any] | None = None


@contextmanager
def fresh(url: str) -> Iterator[Opened]:
    """A store that nobody has written to: a file beside SQLite's, a schema of PostgreSQL's; gone at the end."""
    if not url.startswith("postgresql"):
        if url.startswith("sqlite"):
            url = f"{url}-{os.getpid()}-{next(NUMBERS)}"
        with closing(open_store(url, Settings(synchronous="NORMAL"))) as store:
            yield Opened(store)
        for ending in ("", "-wal", "-shm") if url.startswith("sqlite") else ():
            Path(url.partition(":///")[2] + ending).unlink(missing_ok=True)
        return
    import psycopg

    from ...store import postgresql

    link: Any  # its types would have statements literal
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as link:
        schema = f"simulated_{os.getpid()}_{next(NUMBERS)}"
        link.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        link.execute(f"CREATE SCHEMA {schema}")
        link.execute(f"CREATE TABLE {schema}.clock AS SELECT 0::bigint AS at")
        kept, postgresql.NOW = postgresql.NOW, f"(SELECT at FROM {schema}.clock)"
        try:
            with closing(open_store(url, Settings(table_schema=schema))) as store:
                yield Opened(store, lambda clock: Told(store, link, f"UPDATE {schema}.clock SET at = %s", clock))
        finally:
            postgresql.NOW = kept
            link.execute(f"DROP SCHEMA {schema} CASCADE")


@contextmanager
def closing(store: Store) -> Iterator[Store]:
    try:
        yield store
    finally:
        store.close()


FEED = frozenset({"feed", "headers", "head", "feed_stall"})
PATIENCE = 30.0
OPEN = "SELECT pg_snapshot_xmin(s) < pg_snapshot_xmax(s) FROM pg_current_snapshot() AS s"


class Told:
    """A PostgreSQL store whose server is told the time before each call. The feed is read when nobody else's open
    transaction holds it back: what strangers do in the cluster is no part of a history."""

    def __init__(self, store: Store, link: Any, statement: str, clock: Clock) -> None:
        self.store = store
        self.link = link
        self.statement = statement
        self.clock = clock
        self.told = -1

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)

        def call(*args: Any, **named: Any) -> Any:
            now = self.clock.now()
            if now != self.told:
                self.link.execute(self.statement, (now,))
                self.told = now
            until = time.monotonic() + PATIENCE
            while name in FEED and self.link.execute(OPEN).fetchone()[0]:
                if time.monotonic() > until:
                    raise RuntimeError("an open transaction of somebody else's holds the feed back")
                time.sleep(0.001)
            return method(*args, **named)

        setattr(self, name, call)
        return call
