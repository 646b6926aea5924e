"""Under gevent everything waits in Python: while greenlets of ours wait for a database, the hub turns."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from running import case_from_argv, run_case

from mina_pipeline import Pipeline, Segment, Settings

GREENLETS = 20
HELD = 2.0  # s for which another process keeps the lock
LONGEST = 1.0
"""The longest gap (s) of a ticker that sleeps 10 ms. No measure of speed: a wait in C would make it HELD or more."""
PREFIXES = count(1)

HOLDER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("ROLLBACK")
"""

ROW_HOLDER = """
import psycopg, sys, time
with psycopg.connect(sys.argv[1]) as connection:
    connection.execute(sys.argv[3])
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
    connection.rollback()
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/test.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def prefix() -> str:
    """Fresh tables; gevent itself is imported in the cases' processes only."""
    if find_spec("gevent") is None:
        pytest.skip("gevent is not installed")
    return f"gevent{os.getpid()}_{next(PREFIXES)}_"


def test_greenlets_finish_their_sessions(url: str, prefix: str) -> None:
    """20 greenlets start, record and finalize at once, 4 worker greenlets reveal all, a subscription hears of it."""
    run_case(__file__, "greenlets", url, prefix, gevent=True)


def test_the_hub_turns_while_a_lock_is_held(url: str, prefix: str) -> None:
    """While another process holds the lock that all greenlets wait for, a ticker goes on, and then they do."""
    run_case(__file__, "locked", url, prefix, 20, gevent=True)


def test_the_hub_turns_while_the_pool_is_empty(url: str, prefix: str) -> None:
    """Two connections for 20 greenlets, both waiting for a lock: the others wait in Python."""
    run_case(__file__, "locked", url, prefix, 2, gevent=True)


def test_psycopg_waits_in_python(postgres_url: str, prefix: str) -> None:
    """Imported after gevent patched, psycopg's C wait is not in use."""
    run_case(__file__, "psycopg_wait", postgres_url, prefix, gevent=True)


# --- the cases, each in a process of its own with gevent's patches


def greenlets(url: str, prefix: str) -> None:
    import gevent

    p, heard = Pipeline.open(url, settings=Settings(table_prefix=prefix, poll=0.05)), list[Any]()
    p.subscribe(heard.append)

    def a_meeting(n: int) -> str:
        session_id = p.start_session(f"Meeting {n}").session_id
        for line in range(5):
            p.record(session_id, [Segment(f"Ada will send report {line}.", line * 1000, line * 1000 + 900)])
        p.finalize(session_id)
        return session_id

    with p.workers(4):
        jobs = [gevent.spawn(a_meeting, n) for n in range(GREENLETS)]
        gevent.joinall(jobs, timeout=40, raise_error=True)
        sessions = {job.value for job in jobs}
        assert len(sessions) == GREENLETS
        with gevent.Timeout(40):
            while {s.session_id for s in p.sessions(state="revealed")} != sessions:
                gevent.sleep(0.05)
            while {event.session_id for event in heard if event.type == "dashboard_refresh"} != sessions:
                gevent.sleep(0.05)
    assert all(p.verify(session_id) == [] for session_id in sessions)
    with gevent.Timeout(15):
        p.close()


def locked(url: str, prefix: str, pool: str) -> None:
    import gevent

    settings = Settings(table_prefix=prefix, poll=0.05, pool_size=int(pool), lock_timeout=20)
    p, gaps = Pipeline.open(url, settings=settings), list[float]()
    sessions = ["held"] * GREENLETS if url.startswith("postgresql") else [f"s{n}" for n in range(GREENLETS)]
    for session_id in sorted(set(sessions)):
        p.start_session(session_id=session_id)
    p.get("s0" if "s0" in sessions else "held")
    if url.startswith("postgresql"):
        row = f"UPDATE {prefix}sessions SET version = version WHERE session_id = 'held'"
        holder = [sys.executable, "-c", ROW_HOLDER, url, str(HELD), row]
    else:
        holder = [sys.executable, "-c", HOLDER, url.removeprefix("sqlite:///"), str(HELD)]

    def tick() -> None:
        while True:
            before = time.monotonic()
            gevent.sleep(0.01)
            gaps.append(time.monotonic() - before)

    with subprocess.Popen(holder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        began, ticker = time.monotonic(), gevent.spawn(tick)
        jobs = [gevent.spawn(p.record, s, [Segment(f"Word {n}", n, n + 1)]) for n, s in enumerate(sessions)]
        readers = [gevent.spawn(p.sessions) for _ in range(3)]
        gevent.joinall([*jobs, *readers], timeout=40, raise_error=True)
        waited = time.monotonic() - began
        ticker.kill()
    assert waited > HELD / 2, f"nobody waited: {waited}"
    assert all(job.successful() for job in jobs)
    assert len(gaps) > 20
    assert max(gaps) < LONGEST, f"the hub stood still for {max(gaps)} s"
    with gevent.Timeout(15):
        p.close()


def psycopg_wait(url: str, prefix: str) -> None:
    from psycopg import pq, waiting

    Pipeline.open(url, settings=Settings(table_prefix=prefix)).close()
    assert pq.__impl__ in ("binary", "c")
    assert waiting.wait.__name__ in ("wait_poll", "wait_select", "wait_selector")


if __name__ == "__main__":
    case_from_argv({name: found for name, found in list(globals().items()) if callable(found)})
