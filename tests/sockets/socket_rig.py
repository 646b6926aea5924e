"""Rooms without a server: a real pipeline in memory, and sockets that are queues, read by nobody but the test."""

from __future__ import annotations

import json
import queue
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from mina_adapters.sockets.doors import SocketDoors
from mina_adapters.sockets.members import Client
from mina_adapters.sockets.outlet import Outlet
from mina_adapters.sockets.rooms import Rooms
from mina_adapters.web.doors import Doors
from mina_adapters.web.settings import WebSettings
from socket_hosts import User
from socketio.packet import Packet

from mina_pipeline import Pipeline, Session


class Line:
    """What engineio has for a connection."""

    closed = False

    def __init__(self) -> None:
        self.queue: queue.Queue[Any] = queue.Queue()

    def heard(self) -> list[tuple[str, Any]]:
        """Take what waits: names and payloads."""
        found = list[tuple[str, Any]]()
        while not self.queue.empty():
            text = self.queue.get().data
            found.append(tuple(json.loads(text[text.index("[") :])))
        return found


class Server:
    packet_class = Packet


class QueueOutlet(Outlet):
    def __init__(self) -> None:
        self.lines: dict[tuple[str, str], Line] = {}

    @property
    def server(self) -> Any:
        return Server()

    def put(self, sockets: Sequence[Any], packets: Sequence[Any]) -> list[Any]:
        large = self.large(packets)
        full = [socket for socket in sockets if self.full(socket, large)]
        for socket in sockets:
            for packet in () if socket in full else packets:
                socket.queue.put(packet)
        return full

    def socket(self, sid: str, namespace: str) -> Any:
        return self.lines.setdefault((sid, namespace), Line())

    def gone(self, socket: Any) -> bool:
        return bool(socket.closed)

    def cut(self, socket: Any, last: Sequence[Any]) -> None:
        socket.closed = True

    def enter(self, sid: str, namespace: str, room: str) -> None: ...

    def leave(self, sid: str, namespace: str, room: str) -> None: ...


class Rig:
    def __init__(self, pipeline: Pipeline, authorize: Callable[..., bool], settings: WebSettings) -> None:
        self.pipeline = pipeline
        self.outlet = QueueOutlet()
        self.sockets = SocketDoors(Doors(pipeline, authorize, settings), self.outlet, lambda _: nullcontext())

    @property
    def rooms(self) -> Rooms:
        return self.sockets.rooms

    def connect(self, sid: str, user: str = "ann@acme", namespace: str = "/live-transcription") -> Client:
        """Without a dashboard, unless another namespace is asked for."""
        self.sockets.connect(namespace, sid, {}, User.named(user))
        return self.rooms.clients[namespace, sid]

    def ask(self, client: Client, event: str, **data: Any) -> dict[str, Any]:
        return self.sockets.answer(client, event, data)

    def watches(self) -> int:
        """Places in the log that are held."""
        return sum(len(room.watches) for room in list(self.pipeline.live.rooms.values()))


@contextmanager
def rig(authorize: Callable[[Any, Session | None, str], bool] | None = None, **settings: Any) -> Iterator[Rig]:
    with Pipeline.open("memory://") as pipeline:
        yield Rig(pipeline, authorize or (lambda *_: True), WebSettings(**settings))
