"""History by the million: a database of ours, and one of DBOS's, whose finished and interrupted rows SQL multiplies.

Ours: one session is really revealed, the worker of another really killed in its second stage. Copies have their
session row, one event (the log is not read here) and, where interrupted, their rows of work. DBOS: copies of the
status rows of a finished workflow and of one whose process was killed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from benchmarks.store.places import Place
from mina_pipeline import Pipeline

from . import peers
from .child import Child
from .stages import NOTHING


def numbers(place: Place, first: int, last: int) -> str:
    """A source g of rows n from first to last."""
    if place.name == "PostgreSQL":
        return f"generate_series({first}, {last}) AS g(n)"
    counting = f"WITH RECURSIVE g(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM g WHERE n < {last})"
    return f"({counting} SELECT n FROM g) AS g"


def clone(place: Place, run: Any, table: str, where: str, own: Mapping[str, str], first: int, last: int) -> None:
    """A copy of the rows for each n from first to last. own: SQL of n for what differs; empty: the database's own."""
    if first > last:
        return
    columns = [column[0] for column in run(f"SELECT * FROM {table} LIMIT 0").description]
    columns = [column for column in columns if own.get(column) != ""]
    chosen = ", ".join(own.get(column, f"t.{column}") for column in columns)
    run(f"INSERT INTO {table} ({', '.join(columns)}) SELECT {chosen} FROM {table} t, {numbers(place, first, last)}"
        f" WHERE {where}")  # fmt: skip


class Grown:
    """The copies in one database. `copy(run, kind, first, last)` makes some; `tables` have them, by these keys."""

    def __init__(self, place: Place, url: str, tables: Mapping[str, str], copy: Callable[..., None]) -> None:
        self.place, self.url, self.tables, self.copy = place, url, tables, copy
        self.done, self.size = 0, (0, 0)

    def to(self, done: int, interrupted: int) -> None:
        """Have so many of each; of the finished ones never fewer than before."""
        if (done, interrupted) == self.size:
            return
        connection = self.place.connect(self.url)
        connection.execute("BEGIN")
        self.copy(connection.execute, "done", self.done + 1, done)
        for table, key in self.tables.items():
            connection.execute(f"DELETE FROM {table} WHERE {key} >= 'open-' AND {key} < 'open.'")
        self.copy(connection.execute, "open", 1, interrupted)
        connection.execute("COMMIT")
        tables = ", ".join(self.tables)
        connection.execute("ANALYZE" if self.place.name == "SQLite" else f"VACUUM ANALYZE {tables}")
        connection.close()
        self.done, self.size = max(done, self.done), (done, interrupted)


# --- ours


@contextmanager
def ours(place: Place) -> Iterator[Grown]:
    url = place.new()
    try:
        with Pipeline.open(url, definition=NOTHING) as p:
            done = p.start_session(title="Weekly planning").session_id
            p.finalize(done)
            p.run_until_idle()
            assert p.get(done).state == "revealed"
        with Child("benchmarks.engine.finder", "hang", url) as child:
            killed = child.said[0]
            child.line()  # its second stage runs
        connection = place.connect(url)
        left = connection.execute("SELECT DISTINCT session_id FROM mina_work").fetchall()
        assert left == [(killed,)], left
        connection.close()
        yield Grown(place, url, dict.fromkeys(TABLES, "session_id"), copier(place, {"done": done, "open": killed}))
    finally:
        place.drop(url)


TABLES = ("mina_sessions", "mina_events", "mina_work")


def copier(place: Place, seeds: Mapping[str, str]) -> Callable[..., None]:
    offset = {"done": 10**9, "open": 2 * 10**9}

    def copy(run: Any, kind: str, first: int, last: int) -> None:
        last -= kind == "open"  # the one that was killed counts too
        session_id, seed = f"'{kind}-' || g.n", f"t.session_id = '{seeds[kind]}'"
        own = {"session_id": session_id, "id": f"{offset[kind]} + g.n", "seq": "", "event_id": f"'{kind}-' || g.n"}
        clone(place, run, "mina_sessions", seed, own, first, last)
        clone(place, run, "mina_events", f"{seed} AND t.version = 1", own, first, last)
        if kind == "open":
            clone(place, run, "mina_work", seed, own, first, last)

    return copy


# --- DBOS


@contextmanager
def dbos(place: Place) -> Iterator[Grown]:
    """The copies of the interrupted one are executor `dead`'s; the one that was killed is another's."""
    url = peers.dbos_database(place)
    table = "workflow_status" if place.name == "SQLite" else "dbos.workflow_status"

    def copy(run: Any, kind: str, first: int, last: int) -> None:
        status = "SUCCESS" if kind == "done" else "PENDING"
        own = {"workflow_uuid": f"'{kind}-' || g.n", "executor_id": "'dead'"}
        clone(place, run, table, f"t.status = '{status}' AND t.executor_id = 'seed'", own, first, last)

    try:
        with Child("benchmarks.engine.dbos_app", url, "seed") as child:
            child.ask("direct 1")
        with Child("benchmarks.engine.dbos_app", url, "seed", DBOS_HANGS="1") as child:
            child.ask("hang")
        yield Grown(place, url, {table: "workflow_uuid"}, copy)
    finally:
        place.drop(url)
