"""Meetings on FastAPI, uvicorn and python-socketio: the pipeline, its doors and its workers inside a host app."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path
from typing import Any

import socketio
import uvicorn
from fastapi import FastAPI
from mina_adapters.fastapi import mina_router
from mina_adapters.socketio import mina_socketio

from mina_pipeline import Pipeline

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from local_host import arguments, bound, local, opened, page, ready

# --- the host app: all that the pipeline asks of it


def host_app(pipeline: Pipeline) -> Any:
    rights: dict[str, Any] = {"principal": local, "authorize": lambda principal, session, action: True}
    app = FastAPI()
    app.include_router(mina_router(pipeline, **rights))
    sio = socketio.AsyncServer(async_mode="asgi")  # browsers of the app's own origin only
    mina_socketio(sio, pipeline, **rights)
    return socketio.ASGIApp(sio, app)


# --- and what makes it a program on this machine


class Pages:
    """Before the app: the pages, and whoever does not mean this machine."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        method = scope.get("method", "GET")  # a WebSocket has none
        asked = scope["path"], headers.get("host", ""), headers.get("accept", "")
        found = page(method, *asked, '{"websocket": true}')
        if found is None:
            return await self.app(scope, receive, send)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        given = [(name.lower().encode(), value.encode()) for name, value in found.headers.items()]
        length = (b"content-length", str(len(found.body)).encode())
        await send({"type": "http.response.start", "status": found.status, "headers": [*given, length]})
        return await send({"type": "http.response.body", "body": b"" if method == "HEAD" else found.body})


class Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in sockets or ():
            ready(listening)


def main() -> None:
    given = arguments(__doc__, 8000)
    with bound(given.port) as listening, opened(given.db) as pipeline, pipeline.workers(2):
        # Our streams end when the server does; whatever else is slow is waited for that long.
        config = uvicorn.Config(Pages(host_app(pipeline)), log_level="critical", timeout_graceful_shutdown=2)
        server = Server(config)
        for told in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises what it was told once more when it has ended
            signal.signal(told, lambda *_: setattr(server, "should_exit", True))
        server.run(sockets=[listening])


if __name__ == "__main__":
    main()
