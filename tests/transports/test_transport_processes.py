"""Two web servers and a worker, each a process, on PostgreSQL: clients of both miss nothing, whatever is killed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from typing import TypeVar

import pytest
from soak import dice, share
from web_clients import SseClient
from web_processes import WebProcess, WorkerProcess

from mina_pipeline import Pipeline, Segment, Settings, StoreBusy, StoreUnreachable
from mina_pipeline.testing.clients import PATIENCE

SESSIONS = share(3, 100)
BEFORE, AFTER = 4, 4  # segments before and after the trouble
PREFIXES = count(1)
T = TypeVar("T")


class Follower:
    """A client that comes back with its last version whenever its connection ends, as browsers do."""

    def __init__(self, port: int, session_id: str) -> None:
        self.port = port
        self.session_id = session_id
        self.seen: list[int] = []
        self.names: list[str] = []
        self.came_back = -1
        self.ended = False
        self.thread = threading.Thread(target=self.follow, daemon=True)
        self.thread.start()

    def follow(self) -> None:
        while not self.ended:
            last = self.seen[-1] if self.seen else None
            try:
                client = SseClient(
                    self.port, f"/api/sessions/{self.session_id}/stream" + ("?after=0" if last is None else ""), last
                )
            except OSError:  # the server is away, or its database
                time.sleep(0.05)
                continue
            self.came_back += 1
            taken = 0
            while not self.ended and not (client.gone and taken == len(client.received)):
                new = client.received[taken:]
                taken += len(new)
                self.seen += [one.version for one in new]
                self.names += [one.name for one in new]
                time.sleep(0.01)
            client.close()

    def close(self) -> None:
        self.ended = True
        self.thread.join(PATIENCE)


def insist(command: Callable[[], T]) -> T:
    """Send a command until it is answered: it takes effect once."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return command()
        except (StoreUnreachable, StoreBusy):
            assert time.monotonic() < end
            time.sleep(0.05)


def until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 4 * PATIENCE
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.05)


@pytest.mark.soak
@pytest.mark.timeout(1_200)
def test_nothing_is_missed_when_servers_and_connections_die(postgres_url: str) -> None:
    """A server is killed and started again, and all of the database's connections are cut: everybody sees each version
    once, in order, up to the reveal."""
    psycopg = pytest.importorskip("psycopg")
    prefix, luck = f"w{os.getpid()}_{next(PREFIXES)}_", dice()
    with ExitStack() as stack:
        p = stack.enter_context(Pipeline.open(postgres_url, settings=Settings(table_prefix=prefix, poll=0.1)))
        servers = [stack.enter_context(WebProcess(kind, postgres_url, prefix)) for kind in ("threads", "asgi")]
        stack.enter_context(WorkerProcess(postgres_url, prefix))
        admin = stack.enter_context(psycopg.connect(postgres_url, autocommit=True))
        ids = [p.start_session(f"meeting {n}").session_id for n in range(SESSIONS)]
        followers = [Follower(server.port, session_id) for session_id in ids for server in servers]
        for follower in followers:
            stack.callback(follower.close)

        def say(session_id: str, number: int) -> None:
            insist(lambda: p.record(session_id, [Segment("We will send it.", number, number, segment_id=f"s{number}")]))

        def reached(version: int) -> bool:
            return all(follower.seen and follower.seen[-1] >= version for follower in followers)

        for number in range(BEFORE):
            for session_id in ids:
                say(session_id, number)
        until(lambda: reached(BEFORE + 1), "not everybody has heard what was before")
        killed = luck.choice(servers)
        killed.kill()
        for number in range(BEFORE, BEFORE + AFTER):
            for session_id in ids:
                say(session_id, number)
                insist(lambda one=session_id: p.finalize(one)) if number == BEFORE + AFTER - 1 else None  # type: ignore[misc]
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        killed.start()
        until(lambda: all(insist(lambda one=one: p.get(one)).state == "revealed" for one in ids), "not all is revealed")  # type: ignore[misc]
        last = {one: insist(lambda one=one: p.get(one)).version for one in ids}  # type: ignore[misc]
        until(
            lambda: all(follower.seen[-1] >= last[follower.session_id] for follower in followers),
            "not everybody has heard it all",
        )
        for follower in followers:
            assert follower.seen == list(range(1, last[follower.session_id] + 1))
            assert follower.names[-1] == "dashboard_refresh"
            assert follower.came_back > 0 or follower.port != killed.port
