"""A shorter way to uvicorn's clients: bytes framed once for all of them, and written straight to the connection.

Through ASGI each message is framed anew for each client, which costs more than the write. Where the server, the
connection's state and all that lies between are ones that are known here, a stream writes what the server itself would
have written; at any other time, and for any other server, it goes through `send`. Both may be mixed freely.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

HTTP = ("uvicorn.protocols.http.httptools_impl", "RequestResponseCycle")
WEBSOCKET = ("uvicorn.protocols.websockets.websockets_sansio_impl", "WebSocketsSansIOProtocol")
PASSING_ON = {
    "starlette._exception_handler",
    "starlette.middleware.errors",
    "starlette.middleware.cors",
    "starlette.websockets",
}
"""Whose wrappers of `send` leave a body, or a message, as it is."""


class Lane:
    """A connection that takes framed bytes, as long as it is `free`."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.transport: asyncio.WriteTransport = server.transport

    def free(self) -> bool:
        raise NotImplementedError


class HttpLane(Lane):
    """A chunked response under way."""

    def free(self) -> bool:
        cycle = self.server
        return not (
            cycle.flow.write_paused or cycle.disconnected or cycle.response_complete or self.transport.is_closing()
        )


class WebSocketLane(Lane):
    """An open WebSocket without extensions."""

    def free(self) -> bool:
        server = self.server
        return server.writable.is_set() and not (
            server.close_sent or server.disconnected or self.transport.is_closing()
        )


def lane_below(send: Callable[..., Any]) -> Lane | None:
    """The lane of a response, or of a WebSocket, that has begun; None where it is not one that is known here."""
    server = server_below(send, only_passing_on=True)
    kind = (type(server).__module__, type(server).__name__)
    try:
        if kind == HTTP and server.chunked_encoding is True and server.response_started:
            lane: Lane = HttpLane(server)
        elif kind == WEBSOCKET and server.handshake_complete and not server.conn.extensions:
            lane = WebSocketLane(server)
        else:
            return None
        return lane if lane.free() else None
    except AttributeError:  # another release of uvicorn
        return None


def transport_below(send: Callable[..., Any]) -> asyncio.WriteTransport | None:
    """The connection itself, for what ASGI has no word: let go of this client now, whatever it has not taken."""
    transport = getattr(server_below(send), "transport", None)
    return transport if isinstance(transport, asyncio.WriteTransport) else None


def server_below(send: Callable[..., Any], only_passing_on: bool = False) -> Any:
    """The object whose method `send` is, below what frameworks and middleware have wrapped around it."""
    found: Any = send
    for _ in range(20):
        owner = getattr(found, "__self__", None)
        if hasattr(owner, "transport"):
            return owner
        around = found.func if isinstance(found, partial) else found
        if only_passing_on and getattr(around, "__module__", None) not in PASSING_ON:
            return None
        found = inner(found, owner)
    return None


def inner(found: Any, owner: Any) -> Any:
    """The `send` that a wrapper was made around."""
    if isinstance(found, partial):
        return found.keywords.get("send")
    code, cells = getattr(found, "__code__", None), getattr(found, "__closure__", None)
    if code is not None and cells and "send" in code.co_freevars:
        return cells[code.co_freevars.index("send")].cell_contents
    return getattr(owner, "_send", None)  # Starlette's WebSocket


def chunk(body: bytes) -> bytes:
    """A body in HTTP's chunked coding."""
    return b"%x\r\n%s\r\n" % (len(body), body)


def text_frame(text: bytes) -> bytes:
    """A server's WebSocket message in one frame."""
    size = len(text)
    if size < 126:
        return b"\x81" + size.to_bytes(1, "big") + text
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + text
    return b"\x81\x7f" + size.to_bytes(8, "big") + text
