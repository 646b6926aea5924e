"""The events of Socket.IO on a Flask-SocketIO server, in its threads or greenlets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from engineio.packet import Packet
from flask import Flask, request
from flask_socketio import SocketIO

from mina_pipeline import InvalidInput

from ..web.doors import Doors
from ..web.replies import Principal
from ..web.settings import WebSettings
from .doors import SocketDoors, refused
from .members import Client
from .outlet import Outlet


def attach(
    app: Flask,
    socketio: SocketIO,
    doors: Doors,
    ask: Callable[[], Principal | None],
    settings: WebSettings,
) -> None:
    """Handle the events of the settings' three namespaces. `ask` is called once for each connection, within its
    request context; WebError refuses.

    The `connect` and `disconnect` of these namespaces are ours: a host that has handlers of its own for them moves one
    or the other to another namespace. Before or after `socketio.init_app`.
    """
    outlet = ThreadedOutlet(socketio)

    @contextmanager
    def within(client: Client) -> Iterator[None]:
        """The context in which Flask-SocketIO runs a socket's handlers, for our threads."""
        environ = outlet.server.get_environ(client.sid, client.namespace)
        if environ is None:  # it is gone
            with app.app_context():
                yield
            return
        with app.request_context(environ) as context:
            if (saved := environ.get("saved_session")) is not None:
                setattr(context, "_session" if hasattr(context, "_session") else "session", saved)
            vars(request._get_current_object()).update(sid=client.sid, namespace=client.namespace)  # type: ignore[attr-defined]
            yield

    sockets = SocketDoors(doors, outlet, within)

    def listen(namespace: str) -> None:
        def connect(auth: Any = None) -> None:
            check_patched(socketio)
            try:
                sockets.connect(namespace, sid(), request.environ, ask())
            except Exception as error:
                raise refused(error) from None

        def disconnect(*_: Any) -> None:
            sockets.disconnect(namespace, sid())

        def handler(event: str) -> Callable[..., Any]:
            def handle(*given: Any) -> Any:
                client = sockets.admit(namespace, sid())
                return sockets.answer(client, event, *given) if isinstance(client, Client) else client

            return handle

        socketio.on_event("connect", connect, namespace)
        socketio.on_event("disconnect", disconnect, namespace)
        for event in sockets.events[namespace]:
            socketio.on_event(event, handler(event), namespace)

    for namespace in sockets.events:
        listen(namespace)


def sid() -> str:
    """Of the socket whose event this is."""
    return str(request.sid)  # type: ignore[attr-defined]


def check_patched(socketio: Any) -> None:
    """InvalidInput where the server runs on gevent and the threads are not its own."""
    if str(socketio.async_mode).startswith("gevent"):
        from gevent.monkey import is_module_patched

        if not is_module_patched("threading"):
            raise InvalidInput("async_mode", "gevent needs `gevent.monkey.patch_all()` before all other imports")


class ThreadedOutlet(Outlet):
    """The sockets of a server that has a thread, or a greenlet, for each of them."""

    def __init__(self, socketio: SocketIO) -> None:
        self.socketio: Any = socketio  # its server may be made later

    @property
    def server(self) -> Any:
        return self.socketio.server

    def put(self, sockets: Sequence[Any], packets: Sequence[Packet]) -> list[Any]:
        full: list[Any] = []
        large = self.large(packets)
        for socket in sockets:
            self.hand(socket, packets, large, full)
        return full

    def enter(self, sid: str, namespace: str, room: str) -> None:
        self.enter_here(sid, namespace, room)

    def leave(self, sid: str, namespace: str, room: str) -> None:
        self.leave_here(sid, namespace, room)

    def cut(self, socket: Any, last: Sequence[Packet]) -> None:
        for packet in last:
            socket.queue.put(packet)
        # In a thread of its own, since the host's disconnect handlers run in it.
        self.server.start_background_task(socket.close, wait=False, abort=True)
