"""Live rooms and other processes: what they commit is heard of, also when LISTEN was lost; and a fork begins anew."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from live_places import taken, until

from mina_pipeline import Pipeline, Segment

Open = Callable[..., Pipeline]


def test_listening_that_was_lost(opened: Open, url: str, postgres_url: str) -> None:
    """What others commit is heard of by NOTIFY; what they commit while that is lost, when it is back."""
    if not url.startswith("postgresql"):
        pytest.skip("only PostgreSQL tells of commits")
    psycopg = pytest.importorskip("psycopg")
    p, other = opened(settings={"poll": 600.0}), opened()
    session_id = other.start_session(tenant="a").session_id
    listeners = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query ~ %s",
        (f"^LISTEN .*{p.settings.table_prefix}",),
    )
    with (
        p.watch(session_id) as watch,
        p.watch_dashboard("a") as board,
        psycopg.connect(postgres_url, autocommit=True) as admin,
    ):
        until(lambda: admin.execute(*listeners).fetchall() != [])
        assert taken(watch, other.record(session_id, [Segment("x", 0, 1)]).version) == [2]
        for (pid,) in admin.execute(*listeners).fetchall():
            admin.execute("SELECT pg_terminate_backend(%s)", (pid,))
        other.finalize(session_id)
        other.run_until_idle()
        last = other.get(session_id).version
        assert taken(watch, last) == list(range(3, last + 1))
        assert taken(board, 1) == [1]


def forks(url: str) -> None:
    """In a process of its own: watches before and after a fork, in both."""
    signal.alarm(60)
    p = Pipeline.open(url)
    p.start_session(session_id="s", tenant="a")
    watch, board = p.watch("s", 0), p.watch_dashboard("a")
    assert taken(watch, 1) == [1]
    child = os.fork()
    if not child:
        assert (p.live.rooms, p.live.boards, p.live.thread) == ({}, {}, None)
        watch.close()  # the parent's clients: nothing happens to them
        board.close()
        mine = p.watch("s")
        version = p.record("s", [Segment("from the child", 0, 1)]).version
        assert taken(mine, version) == [2]
        p.close()
        os._exit(0)
    assert taken(watch, 2) == [2]
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    p.finalize("s")
    p.run_until_idle()
    assert taken(board, 1) == [1]
    p.close()


def test_a_forked_child_has_rooms_of_its_own(url: str) -> None:
    """The parent's watches go on in the parent, and are nobody's in the child, which can watch by itself."""
    if url == "memory://":
        pytest.skip("memory is one process's own")
    environment: dict[str, Any] = {**os.environ, "MINA_TABLE_PREFIX": f"fork{os.getpid()}_", "MINA_POLL": "0.05"}
    done = subprocess.run(
        [sys.executable, __file__, url], env=environment, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    forks(sys.argv[1])
