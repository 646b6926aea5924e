"""A shorter way to uvicorn's clients: bytes framed once for all of them, and written straight to the connection.

Through ASGI each message is framed anew for each client, which costs more than the write. Where the server, the
connection's state and all that lies between are ones that are known here, a stream writes what the server itself would
have written; at any other time, and for any other server, it goes through `send`. Both may be mixed freely.
"""

from __future__ import annotations

import asyncio
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, cast

if sys.platform != "win32":
    from fcntl import ioctl
    from termios import TIOCOUTQ

    def kept_by_system(fd: int) -> int:
        """Bytes of a socket that the system has not brought to the other side; OSError where it does not say."""
        return int.from_bytes(ioctl(fd, TIOCOUTQ, bytes(4)), sys.byteorder)

else:

    def kept_by_system(fd: int) -> int:
        return 0


HTTP = ("uvicorn.protocols.http.httptools_impl", "RequestResponseCycle")
WEBSOCKET = ("uvicorn.protocols.websockets.websockets_sansio_impl", "WebSocketsSansIOProtocol")
PASSING_ON = {
    "starlette._exception_handler",
    "starlette.middleware.errors",
    "starlette.middleware.cors",
    "starlette.websockets",
}
"""Whose wrappers of `send` leave a body, or a message, as it is."""
SEND = ("send", "_send")
RECEIVE = ("receive", "wrapped_receive", "_receive")
"""What wrappers, Starlette's and others', call what they were made around."""


class Lane(ABC):
    """A connection that takes framed bytes, as long as it is `free`."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.transport: asyncio.WriteTransport = server.transport

    @abstractmethod
    def free(self) -> bool: ...


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
    server = server_below(send, SEND, only_passing_on=True)
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


def transport_below(send: Callable[..., Any], receive: Callable[..., Any]) -> asyncio.WriteTransport | None:
    """The connection itself, for what ASGI has no word: what this client has not taken, and to let go of it now.

    None where neither leads to the server: middleware may put a queue before `send`, as Starlette's BaseHTTPMiddleware
    does, which keeps `receive` though.
    """
    server = server_below(send, SEND) or server_below(receive, RECEIVE)
    transport = getattr(server, "transport", None)
    return cast(asyncio.WriteTransport, transport) if hasattr(transport, "get_write_buffer_size") else None


def untaken(transport: asyncio.WriteTransport) -> int:
    """Bytes that wait for the client: in the server, and where the system says so, in the system.

    The system tells the server of room only after a good part of its own buffer, megabytes maybe, has been taken.
    """
    waiting: int = transport.get_write_buffer_size()
    socket = transport.get_extra_info("socket")
    if socket is not None:
        with suppress(OSError, ValueError):  # it says nothing of sockets, or this one is closed
            waiting += kept_by_system(socket.fileno())
    return waiting


def server_below(way: Callable[..., Any], names: Sequence[str], only_passing_on: bool = False) -> Any:
    """The object whose method `way` is, below what frameworks and middleware have wrapped around it; None: unknown."""
    found: Any = way
    for _ in range(20):
        owner = getattr(found, "__self__", None)
        if hasattr(owner, "transport"):
            return owner
        around = found.func if isinstance(found, partial) else found
        if only_passing_on and getattr(around, "__module__", None) not in PASSING_ON:
            return None
        found = inner(found, owner, names)
    return None


def inner(found: Any, owner: Any, names: Sequence[str]) -> Any:
    """What a wrapper was made around: a bound argument, a variable of its closure, or its owner's attribute."""
    if isinstance(found, partial):
        known = dict(found.keywords)
    else:
        code, cells = getattr(found, "__code__", None), getattr(found, "__closure__", None)
        known = dict(zip(code.co_freevars, cells, strict=True)) if code is not None and cells else {}
        known = {name: known[name].cell_contents for name in names if name in known}
    return next((known[name] for name in names if name in known), getattr(owner, names[-1], None))


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
