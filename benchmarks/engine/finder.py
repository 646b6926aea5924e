"""A new process that looks for interrupted work: `python -m benchmarks.engine.finder raw|ids|ours|hang URL`.

raw, ids, ours: find it, twice: a line each with the seconds of the reading alone and how many sessions it found.
hang: begin a session whose second stage never ends, say its id, and "hanging" once it runs (to be killed).
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.store.places import connect_postgresql, connect_sqlite


def main() -> None:
    what, url = sys.argv[1:]
    {"raw": raw, "ids": ids, "ours": ours, "hang": hang}[what](url)


def raw(url: str) -> None:
    """The limit: all rows of work, all columns, through the driver. It imports nothing of ours."""
    connection = connect(url)
    names = [column[0] for column in connection.execute("SELECT * FROM mina_work LIMIT 0").description]
    text = f"SELECT {', '.join(names)} FROM mina_work"
    told(lambda: connection.execute(text).fetchall(), names.index("session_id"))


def ids(url: str) -> None:
    """As little as can be asked: the ids of what somebody had claimed, as DBOS asks for ids."""
    connection = connect(url)
    told(lambda: connection.execute("SELECT session_id FROM mina_work WHERE token IS NOT NULL").fetchall(), 0)


def connect(url: str) -> Any:
    return (connect_sqlite if url.startswith("sqlite:") else connect_postgresql)(url)


def ours(url: str) -> None:
    from mina_pipeline import Pipeline

    from .stages import NOTHING

    with Pipeline.open(url, definition=NOTHING) as p:
        told(lambda: p.store.leases(p.clock.now()), 0)


def told(find: Callable[[], Iterable[Any]], session_id: Any) -> None:
    for _ in range(2):
        gc.disable()  # a collection of all that was imported falls on one read or another
        began = time.perf_counter()
        rows = find()
        seconds = time.perf_counter() - began
        gc.enable()
        print(seconds, len({row[session_id] for row in rows}), flush=True)


def hang(url: str) -> None:
    from mina_pipeline import Pipeline

    from .stages import HANGING

    with Pipeline.open(url, definition=HANGING) as p:
        session_id = p.start_session().session_id
        print(session_id, flush=True)
        p.finalize(session_id)
        p.run_until_idle()


if __name__ == "__main__":
    main()
