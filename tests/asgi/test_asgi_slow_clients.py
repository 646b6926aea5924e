"""Clients that take little or nothing: they hold up nobody, and those that take nothing are dropped."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from asgi_serving import STREAM, Host, build, eventually, say, serving
from starlette.middleware.base import BaseHTTPMiddleware

from mina_pipeline import Pipeline

Serve = Callable[..., Host]
pytestmark = pytest.mark.usefixtures("session")


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_a_client_that_takes_nothing_holds_up_nobody_and_is_dropped(serve: Serve, rooms: Pipeline, http: str) -> None:
    """Another hears everything meanwhile; the stalled ones' connections end, and one resumes by version."""
    host = serve(stalled=1.0, keep_alive=100.0, config={"http": http})
    through = rooms.get("s1").version + 100
    writer = threading.Thread(target=say, args=(rooms, 100, "x" * 90_000))
    with ExitStack() as stack:
        stalled = [
            stack.enter_context(socket.create_connection(("127.0.0.1", host.port), timeout=20)) for _ in range(2)
        ]
        upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n"
        for connection, path, more in zip(
            stalled, (STREAM, "/api/sessions/s1/ws"), ("", upgrade.format("dGhlIHNhbXBsZSBub25jZQ==")), strict=True
        ):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(f"GET {path}?after=0 HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode())
            assert connection.recv(20).startswith((b"HTTP/1.1 200", b"HTTP/1.1 101"))
        with host.stream(f"{STREAM}?after=0") as reader:
            writer.start()
            assert reader.versions(through) == list(range(1, through + 1))
            writer.join()
        eventually(lambda: host.open == 0 and not rooms.live.rooms)
        with host.stream(STREAM, {"Last-Event-ID": "90"}) as reader:
            assert reader.versions(through) == list(range(91, through + 1))


@contextmanager
def taking_little(host: Host) -> Iterator[socket.socket]:
    """A client of the stream from its beginning, with small buffers, that has read nothing yet."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", host.port))
        connection.sendall(f"GET {STREAM}?after=0 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        yield connection


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_a_client_that_takes_nothing_is_dropped_behind_middleware(rooms: Pipeline, http: str) -> None:
    """Its connection ends too, though a queue of the middleware's lies between."""
    through = say(rooms, 40, "x" * 200_000)

    async def passing(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    app = build(rooms, stalled=1.0, thin_over=1_000_000)
    app.add_middleware(BaseHTTPMiddleware, dispatch=passing)
    app.add_middleware(BaseHTTPMiddleware, dispatch=passing)
    with serving(app, http=http) as host, taking_little(host):
        eventually(lambda: rooms.live.rooms)
        eventually(lambda: host.open == 0 and not rooms.live.rooms)
        with host.stream(STREAM, {"Last-Event-ID": str(through - 1)}) as reader:
            assert reader.versions(through) == [through]


@pytest.mark.parametrize("middleware", [False, True])
def test_a_client_that_takes_little_is_kept(rooms: Pipeline, middleware: bool) -> None:
    """Within `stalled` it takes something, a small part of one write: it hears everything, however long that takes."""
    through = say(rooms, 40, "x" * 200_000)

    async def passing(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    app = build(rooms, stalled=1.0, thin_over=1_000_000)
    if middleware:
        app.add_middleware(BaseHTTPMiddleware, dispatch=passing)
    with serving(app) as host, taking_little(host) as connection:
        until, read = time.monotonic() + 3.0, bytearray()
        while time.monotonic() < until:
            read += connection.recv(4096)
            time.sleep(0.05)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000)
        while f"\nid: {through}\n".encode() not in read[-400_000:]:
            more = connection.recv(1_000_000)
            assert more, "it was dropped"
            read += more
