"""The floor: an event is encoded once, and its bytes written to raw transports; and `websockets.broadcast`."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from . import event
from .emitter import Emitter
from .server import in_a_loop

Served = tuple[int, Emitter]

SSE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Peer(asyncio.Protocol):
    """A client's connection, once it has asked."""

    def __init__(self, room: set[asyncio.Transport], greet: Callable[[bytes], bytes]) -> None:
        self.room, self.greet, self.asked = room, greet, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.asked += data
        if self.transport not in self.room and self.asked.endswith(b"\r\n\r\n"):
            self.transport.write(self.greet(self.asked))
            self.room.add(self.transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.room.discard(self.transport)


def raw(greet: Callable[[bytes], bytes], encode: Callable[[Sequence[int]], bytes]) -> Served:
    room: set[asyncio.Transport] = set()

    async def emit(versions: Sequence[int]) -> None:
        encoded = encode(versions)
        for transport in room:
            transport.write(encoded)

    async def serve() -> int:
        server = await loop.create_server(lambda: Peer(room, greet), "127.0.0.1", 0, backlog=1024)
        return server.sockets[0].getsockname()[1]

    loop = in_a_loop(forever())
    return asyncio.run_coroutine_threadsafe(serve(), loop).result(), Emitter(emit, loop)


async def forever() -> None:
    await asyncio.Event().wait()


def sse() -> Served:
    return raw(lambda asked: SSE, chunk)


def chunk(versions: Sequence[int]) -> bytes:
    data = b"".join(map(event.sse, versions))
    return b"%x\r\n%b\r\n" % (len(data), data)


def ws() -> Served:
    return raw(accept, lambda versions: b"".join(map(frame, versions)))


def accept(asked: bytes) -> bytes:
    lines = [line.partition(b": ") for line in asked.split(b"\r\n")]
    key = next(value for name, _, value in lines if name.lower() == b"sec-websocket-key")
    proof = base64.b64encode(hashlib.sha1(key + GUID).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + proof + b"\r\n\r\n"
    )


def frame(version: int) -> bytes:
    data = event.message(version).encode()
    return b"\x81\x7e" + len(data).to_bytes(2, "big") + data  # all are between 126 and 65,535 bytes long


def broadcast() -> Served:
    from websockets.asyncio.server import Server, broadcast, serve

    servers: list[Server] = []

    async def stay(connection: Any) -> None:
        await connection.wait_closed()

    async def emit(versions: Sequence[int]) -> None:
        for version in versions:
            broadcast(servers[0].connections, event.message(version))

    async def begin() -> int:
        servers.append(await serve(stay, "127.0.0.1", 0, compression=None, ping_interval=None))
        return next(iter(servers[0].sockets)).getsockname()[1]

    loop = in_a_loop(forever())
    return asyncio.run_coroutine_threadsafe(begin(), loop).result(), Emitter(emit, loop)
