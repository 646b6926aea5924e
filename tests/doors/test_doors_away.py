"""The database is away while clients watch: they stay, and see everything once when it is back."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from asgi_serving import Host
from doors_outage import Outage, own_cluster
from doors_returning import Returning, all_have, insist
from soak import share
from socket_hosts import until
from web_clients import SseClient, WsClient
from web_servers import fastapi_app, flask_app, socketio_app, uvicorn, werkzeug

from mina_pipeline import Pipeline, Segment, Settings
from mina_pipeline.testing.clients import Client

AWAY = share(3, 60)  # s
AGAIN = 1.5  # s in which a stream tries again to read
RESTARTS = share(1, 5)
PATIENCE = 60.0
PREFIXES = count(1)
SPOKEN = (("flask", "sse"), ("flask", "socketio"), ("fastapi", "sse"), ("fastapi", "ws"), ("fastapi", "socketio"))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class Watched:
    """A session that another pipeline writes, with clients of every kind on two servers over a database's address."""

    def __init__(self, url: str, served: str, stack: ExitStack) -> None:
        given = Settings(table_prefix=f"a{os.getpid()}_{next(PREFIXES)}_", poll=0.05)
        self.pipeline, one, two = (
            stack.enter_context(Pipeline.open(at, settings=given)) for at in (url, served, served)
        )
        self.ports = {
            "flask": stack.enter_context(werkzeug(flask_app(one, "threading"))),
            "fastapi": stack.enter_context(uvicorn(socketio_app(two))),
        }
        stack.enter_context(self.pipeline.workers(1))
        self.session_id = self.pipeline.start_session("Call").session_id
        self.said = 0
        self.stay, self.leave = [
            [Returning(self.ports[kind], self.session_id, speaks) for kind, speaks in SPOKEN] for _ in range(2)
        ]
        for client in self.clients:
            stack.callback(client.close)
        self.say()
        until(all_have(self.clients, 2), PATIENCE)

    @property
    def clients(self) -> list[Returning]:
        return [*self.stay, *self.leave]

    def say(self, times: int = 1) -> None:
        for _ in range(times):
            self.said += 1
            segment = Segment("We will send it.", self.said, self.said, segment_id=f"s{self.said}")
            insist(lambda: self.pipeline.record(self.session_id, [segment]))  # noqa: B023

    def to_the_reveal(self) -> None:
        insist(lambda: self.pipeline.finalize(self.session_id))
        until(lambda: insist(lambda: self.pipeline.get(self.session_id)).state == "revealed", PATIENCE)

    def check(self) -> None:
        """Everybody has seen each version once, in order; who was not cut off, on the connection that it had."""
        last = insist(lambda: self.pipeline.get(self.session_id)).version
        until(all_have(self.clients, last), PATIENCE)
        for client in self.clients:
            assert client.seen == list(range(1, last + 1)), (client.speaks, client.came_back)
            assert client.names[-1] == "dashboard_refresh"
        assert [(client.speaks, client.came_back) for client in self.stay] == [(speaks, 0) for _, speaks in SPOKEN]


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_database_that_is_away(postgres_url: str, stack: ExitStack) -> None:
    """Whoever is connected stays so. Who comes during the outage is told 503, tries again, and resumes."""
    proxy = stack.enter_context(Outage(postgres_url))
    watched = Watched(postgres_url, proxy.url, stack)
    proxy.leave()
    back = time.monotonic() + AWAY
    watched.say(2)
    for client in watched.leave:
        client.drop()
    for kind in watched.ports:
        http = Host(watched.ports[kind], None)
        for path in ("", "/stream", "/events"):
            status, told, headers = http.ask("GET", f"/api/sessions/{watched.session_id}{path}")
            assert (status, told["error_type"]) == (503, "StoreUnreachable") and int(headers["retry-after"]) > 0
    until(lambda: all(client.refusals for client in watched.leave), PATIENCE)
    watched.to_the_reveal()
    time.sleep(max(back - time.monotonic(), 0))
    assert {tuple(client.seen) for client in watched.clients} == {(1, 2)}
    proxy.come_back()
    watched.check()
    assert [client.came_back > 0 for client in watched.leave] == [True] * len(SPOKEN)
    assert all(any(" 503 " in met for met in client.refusals) for client in watched.leave if client.speaks == "sse")


class Halting(Client):
    """Stops reading at the first event."""

    def put(self, version: int, name: str, payload: Any) -> None:
        if version == 1:
            self.stall()
        super().put(version, name, payload)


class HaltingSse(Halting, SseClient): ...


class HaltingWs(Halting, WsClient): ...


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_in_the_middle_of_the_log(postgres_url: str, stack: ExitStack) -> None:
    """Whoever is still being sent the log when the database goes gets the rest when it is back, by the same stream."""
    proxy = stack.enter_context(Outage(postgres_url))
    given = Settings(table_prefix=f"a{os.getpid()}_{next(PREFIXES)}_", poll=0.05)
    p, served = (stack.enter_context(Pipeline.open(at, settings=given)) for at in (postgres_url, proxy.url))
    flask = stack.enter_context(werkzeug(flask_app(served)))
    fastapi = stack.enter_context(uvicorn(fastapi_app(served)))
    session_id = p.start_session("Call").session_id
    text = "All of it. " * 4_000
    engine = sa.create_engine(postgres_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as host:  # at once, for speed
        for n in range(400):  # more than sockets hold, and several times what a read gives and a room keeps
            p.using(host).record(session_id, [Segment(text, n, n)])
    engine.dispose()
    last, path = p.get(session_id).version, f"/api/sessions/{session_id}"
    clients: list[Client] = []
    for client in (
        HaltingSse(flask, f"{path}/stream?after=0", None),
        HaltingSse(fastapi, f"{path}/stream?after=0", None),
        HaltingWs(fastapi, f"{path}/ws?after=0"),
    ):
        client.wait_for(1)
        stack.callback(client.close)
        clients.append(client)
    proxy.leave()
    for client in clients:
        client.resume()
    time.sleep(2 * AGAIN)  # what was read before comes, and then it is tried again in vain
    assert all(1 <= client.last() < last and not client.gone for client in clients)
    proxy.come_back()
    for client in clients:
        client.wait_for(last)
        assert client.versions() == list(range(1, last + 1))


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.skipif(os.environ.get("MINA_SOAK") != "1", reason="a database server of its own: MINA_SOAK=1")
def test_a_database_that_restarts(tmp_path: Path, stack: ExitStack) -> None:
    """Restarted as after a crash, again and again, while servers, writer and workers use it."""
    cluster = stack.enter_context(own_cluster(tmp_path))
    watched = Watched(cluster.url, cluster.url, stack)
    for _ in range(RESTARTS):
        watched.say(2)
        watched.leave[0].drop()
        cluster.restart()
        watched.say(2)
    watched.to_the_reveal()
    watched.check()
