"""Host apps with real servers, and clients as browsers are: python-socketio's, over WebSocket or long polling."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from socket import SHUT_RDWR
from typing import Any

import socketio
from mina_adapters.web.settings import WebSettings
from socketio.exceptions import ConnectionError

from mina_pipeline import Pipeline, Session

NINE = (
    "refinement_started refinement_ready analytics_started analytics_ready tasks_started tasks_ready"
    " summary_started summary_ready post_transcription_reveal"
).split()
SPEECH = [{"text": "We will ship it on Friday.", "start_ms": 0, "end_ms": 4000, "speaker": "A", "confidence": 0.9}]
NAMESPACES = ["/", "/live", "/live-transcription"]


def until(holds: Callable[[], Any], within: float = 20.0) -> Any:
    """Wait until something holds, and what it is; AssertionError where it does not in time."""
    end = time.monotonic() + within
    while not (found := holds()):
        assert time.monotonic() < end, "it did not come to hold in time"
        time.sleep(0.005)
    return found


@dataclass(frozen=True)
class User:
    """A principal of the test hosts: who is asked for as `id@tenant` in a header."""

    id: str
    tenant: str | None

    @classmethod
    def named(cls, text: str | None) -> User | None:
        if not text:
            return None
        user, _, tenant = text.partition("@")
        return cls(user, tenant or None)


@dataclass
class Host:
    """A running server over a pipeline. denied: (user id, action) that authorize refuses; looks: called by it."""

    pipeline: Pipeline
    settings: WebSettings
    denied: set[tuple[str, str]] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    looks: Callable[[str], None] = lambda action: None
    url: str = ""
    server: Any = None  # the socketio server
    loop: asyncio.AbstractEventLoop | None = None

    def authorize(self, principal: Any, session: Session | None, action: str) -> bool:
        self.asked.append(action)
        self.looks(action)
        return (principal.id, action) not in self.denied

    async def authorize_later(self, principal: Any, session: Session | None, action: str) -> bool:
        return self.authorize(principal, session, action)


@contextmanager
def flask_host(pipeline: Pipeline, settings: WebSettings, manager: Any = None, late: bool = False) -> Iterator[Host]:
    """Flask-SocketIO in threads, on werkzeug. late: the SocketIO object gets its app last, as in app factories."""
    from flask import Flask, request
    from flask_socketio import SocketIO
    from mina_adapters.sockets.flask import attach
    from mina_adapters.web.doors import Doors
    from werkzeug.serving import make_server

    host, app = Host(pipeline, settings), Flask("host")
    options: dict[str, Any] = {"async_mode": "threading", "cors_allowed_origins": "*"}
    if manager is not None:
        options["client_manager"] = manager
    sio = SocketIO() if late else SocketIO(app, **options)
    doors = Doors(pipeline, host.authorize, settings)
    attach(app, sio, doors, lambda: User.named(request.headers.get("X-User")), settings)
    if late:
        sio.init_app(app, **options)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    host.url, host.server = f"http://127.0.0.1:{server.server_port}", sio.server
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        for socket in list(sio.server.eio.sockets.values()):
            socket.close(wait=False, abort=True)
        sio.server.shutdown() if sio.server.eio.service_task_handle else None


@contextmanager
def asgi_host(pipeline: Pipeline, settings: WebSettings, manager: Any = None, late: bool = False) -> Iterator[Host]:
    """python-socketio's AsyncServer on uvicorn. late: authorize is async."""
    import uvicorn
    from mina_adapters.socketio import mina_socketio

    host = Host(pipeline, settings)
    sio = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*", client_manager=manager)
    authorize: Any = host.authorize_later if late else host.authorize
    mina_socketio(
        sio,
        pipeline,
        principal=lambda connection: User.named(connection.headers.get("X-User")),
        authorize=authorize,
        settings=settings,
    )
    config = uvicorn.Config(socketio.ASGIApp(sio), "127.0.0.1", 0, log_level="critical", ws="wsproto")
    server = uvicorn.Server(config)

    async def run() -> None:
        host.loop = asyncio.get_running_loop()
        await server.serve()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    until(lambda: server.started)
    host.url, host.server = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", sio
    try:
        yield host
    finally:
        server.should_exit = server.force_exit = True
        thread.join()


HOSTS = {"threading": flask_host, "asgi": asgi_host}


class Listener:
    """A client, and all that it has heard, as (namespace, name, payload)."""

    def __init__(
        self,
        url: str,
        user: str | None = "ann@acme",
        namespaces: list[str] | None = None,
        headers: dict[str, str] | None = None,
        transport: str = "websocket",
    ) -> None:
        self.heard: list[tuple[str, str, Any]] = []
        self.client = socketio.Client(
            reconnection=False, handle_sigint=False, websocket_extra_options={"suppress_origin": True}
        )
        trigger = self.client.eio._trigger_event  # a thread for each message, which would mix up their order
        self.client.eio._trigger_event = lambda *given, run_async=False, **more: trigger(*given, **more)
        self.namespaces = namespaces or NAMESPACES
        for namespace in self.namespaces:
            self.client.on("*", self.listen(namespace), namespace=namespace)
        sent = {**({"X-User": user} if user else {}), **(headers or {})}
        refused: list[Any] = []
        for namespace in self.namespaces:
            self.client.on("connect_error", lambda *why: refused.append(why), namespace=namespace)
        self.client.connect(url, headers=sent, transports=[transport], namespaces=self.namespaces, wait=False)
        until(lambda: refused or len(self.client.namespaces) == len(self.namespaces))
        if refused:
            self.close()
            raise ConnectionError(str(refused[0]))

    def listen(self, namespace: str) -> Callable[..., None]:
        return lambda name, payload=None: self.heard.append((namespace, name, payload))

    def ask(self, event: str, namespace: str = "/", **data: Any) -> dict[str, Any]:
        """Emit, and wait for the acknowledgement."""
        answer: dict[str, Any] = self.client.call(event, data or None, namespace=namespace, timeout=30)
        return answer

    def say(self, event: str, namespace: str = "/", **data: Any) -> None:
        self.client.emit(event, data or None, namespace=namespace)

    def names(self, namespace: str = "/") -> list[str]:
        return [name for where, name, _ in list(self.heard) if where == namespace]

    def versions(self, session_id: str, namespace: str = "/") -> list[int]:
        """Of a session's events that came by its room, as they came."""
        return [
            payload["version"]
            for where, _, payload in list(self.heard)
            if where == namespace and payload.get("session_id") == session_id and "version" in payload
        ]

    def errors(self, namespace: str = "/") -> list[str]:
        return [p["error_type"] for where, name, p in list(self.heard) if where == namespace and name == "error"]

    def close(self) -> None:
        """Go away as a closed browser does; a farewell would be waited for."""
        line = getattr(self.client.eio, "ws", None)
        if line is None:  # its long poll ends with the server's patience, or with the server
            threading.Thread(target=self.client.disconnect, daemon=True).start()
            return
        with suppress(OSError, AttributeError):  # the server has ended it
            line.sock.shutdown(SHUT_RDWR)
        if self.client.eio.read_loop_task is not None:
            self.client.eio.read_loop_task.join(0.5)
        line.shutdown()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
