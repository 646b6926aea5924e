"""What hosts bring along: rights that ask the pipeline, middleware, Socket.IO beside the routes."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import pytest
import socketio
from asgi_serving import Host, Person, build, everybody, serving
from mina_adapters.socketio import mina_socketio
from mina_adapters.starlette import AsgiDoors
from mina_adapters.streams.asgi import Events, Streams
from mina_adapters.web.doors import Doors
from mina_adapters.web.hosts import takes_one
from mina_adapters.web.settings import WebSettings

from mina_pipeline import Pipeline, Settings

Serve = Callable[..., Host]


@pytest.fixture
def narrow() -> Iterator[Pipeline]:
    """A pipeline with one place for all that waits."""
    with Pipeline.open("memory://", settings=Settings(poll=0.05, pool_size=1)) as pipeline:
        pipeline.start_session(session_id="s1")
        yield pipeline


def test_authorize_may_ask_the_pipeline(narrow: Pipeline) -> None:
    """An async authorize that awaits p.aio gets its place, though requests at once hold all of the doors'."""

    async def allows(principal: Any, session: Any, action: str) -> bool:
        return (await narrow.aio.get("s1")).session_id == "s1"

    with serving(build(narrow, authorize=allows)) as host, ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(host.ask, "GET", "/api/sessions/s1") for _ in range(5)]
        assert [one.result()[0] for one in asked] == [200] * 5


def joining(port: int, header: dict[str, str]) -> str:
    """A Socket.IO client joins the session: what it is told."""
    with socketio.SimpleClient(handle_sigint=False, websocket_extra_options={"suppress_origin": True}) as client:
        client.connect(f"http://127.0.0.1:{port}", headers=header, transports=["websocket"])
        return str(client.call("join_session", {"session_id": "s1"}, timeout=20))


def test_authorize_of_sockets_may_ask_the_pipeline(narrow: Pipeline) -> None:
    """So do sockets at once."""

    async def allows(principal: Any, session: Any, action: str) -> bool:
        return (await narrow.aio.get("s1")).session_id == "s1"

    sio = socketio.AsyncServer(async_mode="asgi")
    mina_socketio(sio, narrow, principal=Person, authorize=allows)
    with serving(socketio.ASGIApp(sio)) as host, ThreadPoolExecutor(5) as pool:
        told = [pool.submit(joining, host.port, {}) for _ in range(5)]
        assert len({one.result() for one in told}) == 1 and "error" not in told[0].result()


WHO: ContextVar[str] = ContextVar("who", default="nobody")


@pytest.mark.parametrize("colour", ["plain", "async"])
def test_a_plain_principal_of_a_socket_holds_up_no_loop(rooms: Pipeline, colour: str) -> None:
    """It is called in a worker thread, with the request's context variables; an async one on the loop."""
    asked: list[tuple[bool, str]] = []

    def on_loop() -> bool:
        try:
            return asyncio.get_running_loop().is_running()
        except RuntimeError:
            return False

    def plain(connection: Any) -> Person:
        asked.append((on_loop(), WHO.get()))
        return Person(connection.headers["x-name"])

    async def later(connection: Any) -> Person:
        return plain(connection)

    rooms.start_session(session_id="s1")
    sio = socketio.AsyncServer(async_mode="asgi")
    mina_socketio(sio, rooms, principal=plain if colour == "plain" else later, authorize=everybody)
    inner = socketio.ASGIApp(sio)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        WHO.set("ann")
        await inner(scope, receive, send)

    with serving(app) as host:
        joining(host.port, {"X-Name": "ann"})
    assert asked == [(colour == "async", "ann")]


def test_what_a_function_takes() -> None:
    """What has to be given something is given the connection; what may be left out is left out."""
    assert takes_one(lambda connection: None) and takes_one(lambda connection, /: None)
    for function in (lambda: None, lambda connection=None: None, lambda *args, **kwargs: None):
        assert not takes_one(function)


def test_bounds_hold_for_routes_and_sockets_together(rooms: Pipeline) -> None:
    """All doors of a pipeline count a principal's requests and streams once; other settings, or pipelines, apart."""
    settings = WebSettings(max_watches=1)
    routes, sockets = AsgiDoors(rooms, Person, everybody, settings).doors, Doors(rooms, everybody, settings)
    assert routes.rates is sockets.rates and routes.watches is sockets.watches
    assert Doors(rooms, everybody, WebSettings(max_watches=2)).watches is not routes.watches
    with Pipeline.open("memory://") as other:
        assert Doors(other, everybody, settings).watches is not routes.watches
        gone = weakref.ref(other)
    del other
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("framework", ["starlette", "fastapi"])
def test_head_is_get_without_its_body(serve: Serve, rooms: Pipeline, framework: str) -> None:
    """In both frameworks, for requests and streams."""
    rooms.start_session(session_id="s1")
    host = serve(framework=framework)
    for path in ("/api/sessions/s1", "/api/sessions/s1/stream"):
        assert host.ask("HEAD", path)[:2] == (200, b"")


def test_a_hub_goes_with_its_loop() -> None:
    """A host that runs one loop after another, each with its streams, keeps none of them."""
    streams = Streams(None, WebSettings())  # type: ignore[arg-type]  # nothing is opened
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def one() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        Events(streams, "s1").leave()

    for _ in range(3):
        asyncio.run(one())
    gc.collect()
    assert not streams.hubs and [loop() for loop in loops] == [None] * 3


def test_a_stream_leaves_with_all_its_duties() -> None:
    """One that raises keeps no other from its turn."""

    done: list[str] = []

    def fails() -> None:
        raise RuntimeError("this duty fails")

    async def one() -> None:
        stream = Events(Streams(None, WebSettings()), "s1")  # type: ignore[arg-type]
        for duty in (lambda: done.append("first"), fails, lambda: done.append("last")):
            stream.at_the_end(duty)
        with pytest.raises(RuntimeError, match="this duty fails"):
            stream.leave()
        assert not stream.hub.streams

    asyncio.run(one())
    assert sorted(done) == ["first", "last"]
