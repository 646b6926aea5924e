"""What one would write without us: nothing is stored, nobody is asked who they are, nothing can be resumed."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from . import event
from .emitter import Emitter
from .server import on_uvicorn, on_werkzeug

Served = tuple[int, Emitter]
ROOM = "room"


def sse_starlette() -> Served:
    from sse_starlette import EventSourceResponse
    from starlette.applications import Starlette
    from starlette.routing import Route

    queues: set[asyncio.Queue[int]] = set()
    texts: dict[int, str] = {}

    async def stream(request: Any) -> Any:
        mine: asyncio.Queue[int] = asyncio.Queue()
        queues.add(mine)

        async def events() -> AsyncIterator[dict[str, str]]:
            try:
                while True:
                    version = await mine.get()
                    yield {"id": str(version), "event": event.NAME, "data": texts[version]}
            finally:
                queues.discard(mine)

        return EventSourceResponse(events())

    async def emit(versions: Sequence[int]) -> None:
        for version in versions:
            texts[version] = event.text(version)
            for one in queues:
                one.put_nowait(version)

    port, loop = on_uvicorn(Starlette(routes=[Route("/sse", stream)]))
    return port, Emitter(emit, loop)


def starlette_ws() -> Served:
    """A queue and a task a client: the plainest endpoint."""
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocketDisconnect

    queues: set[asyncio.Queue[str]] = set()

    async def endpoint(socket: Any) -> None:
        mine: asyncio.Queue[str] = asyncio.Queue()
        await socket.accept()
        queues.add(mine)
        try:
            while True:
                await socket.send_text(await mine.get())
        except WebSocketDisconnect:
            queues.discard(mine)

    async def emit(versions: Sequence[int]) -> None:
        for version in versions:
            text = event.message(version)
            for one in queues:
                one.put_nowait(text)

    port, loop = on_uvicorn(Starlette(routes=[WebSocketRoute("/ws", endpoint)]))
    return port, Emitter(emit, loop)


def socketio() -> Served:
    import socketio

    sio = socketio.AsyncServer(async_mode="asgi")

    @sio.event
    async def connect(sid: str, environ: Any) -> None:
        await sio.enter_room(sid, ROOM)

    async def emit(versions: Sequence[int]) -> None:
        for version in versions:
            await sio.emit(event.NAME, event.payload(version), room=ROOM)

    port, loop = on_uvicorn(socketio.ASGIApp(sio))
    return port, Emitter(emit, loop)


def flask() -> Served:
    """Server-sent events of a queue a client."""
    from flask import Flask, Response

    app, queues = Flask(__name__), set[queue.SimpleQueue[bytes]]()

    @app.get("/sse")
    def stream() -> Response:
        mine: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        queues.add(mine)

        def events() -> Iterator[bytes]:
            try:
                yield b": here\n\n"
                while True:
                    yield mine.get()
            finally:
                queues.discard(mine)

        return Response(events(), mimetype="text/event-stream")

    async def emit(versions: Sequence[int]) -> None:
        for version in versions:
            data = event.sse(version)
            for one in list(queues):
                one.put(data)

    return on_werkzeug(app), Emitter(emit, None)


def flask_socketio() -> Served:
    from flask import Flask
    from flask_socketio import SocketIO, join_room

    app = Flask(__name__)
    sio = SocketIO(app, async_mode="threading")

    @sio.on("connect")
    def connect() -> None:
        join_room(ROOM)

    async def emit(versions: Sequence[int]) -> None:
        for version in versions:
            sio.emit(event.NAME, event.payload(version), to=ROOM)

    return on_werkzeug(app), Emitter(emit, None)
