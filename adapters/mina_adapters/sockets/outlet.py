"""How frames reach this process's sockets: encoded once for all, put into each socket's queue, waiting for nobody."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from engineio.packet import MESSAGE
from engineio.packet import Packet as EnginePacket
from socketio.exceptions import SocketIOError
from socketio.packet import EVENT, Packet

from mina_pipeline.frames import ENCODER, Frame

from ..web.settings import WebSettings
from ..web.telling import told

BOUND = 1_000
"""Packets that may wait in a socket's queue; one with more is cut, to come back and join with its version."""
HEAVY = 4_000_000
"""Characters that may wait there when a large packet comes; so many small ones are bounded by their number."""
LARGE = HEAVY // BOUND


class Outlet(ABC):
    """A Socket.IO server's sockets here. Nothing goes through a message queue: each process serves its own.

    Packets are put straight into the queue that engineio keeps for each connection. What `emit` adds to that is a
    look at the ping, which may run the host's disconnect handlers in our thread, or raise for one socket and leave
    out the next.
    """

    bound = BOUND
    heavy = HEAVY

    @property
    @abstractmethod
    def server(self) -> Any:
        """The socketio.Server or AsyncServer."""

    @abstractmethod
    def put(self, sockets: Sequence[Any], packets: Sequence[EnginePacket]) -> list[Any]:
        """Put packets into engine sockets' queues, in this order. Those are returned whose queue is full: they got
        nothing, so nothing may follow."""

    def waiting(self, socket: Any) -> tuple[int, int]:
        """Packets in a socket's queue, and their characters."""
        return int(socket.queue.qsize()), weight(queued(socket.queue))

    def large(self, packets: Sequence[EnginePacket]) -> bool:
        """Whether the characters in a queue have to be counted before these go into it."""
        return weight(packets) > LARGE * len(packets)

    def full(self, socket: Any, large: bool) -> bool:
        """Whether a socket's queue takes no more. It is walked for large packets alone: that costs as much as it
        holds."""
        count = socket.queue.qsize()
        return count > self.bound or (large and count > 0 and weight(queued(socket.queue)) > self.heavy)

    def hand(self, socket: Any, packets: Sequence[EnginePacket], large: bool, full: list[Any]) -> None:
        """Put packets into one socket's queue, where it takes them; else it is one of the full."""
        if socket.closed:
            return
        if self.full(socket, large):
            full.append(socket)
            return
        queue = socket.queue
        for packet in packets:
            queue.put_nowait(packet)

    def enter_here(self, sid: str, namespace: str, room: str) -> None:
        with suppress(ValueError, KeyError, SocketIOError):  # it is gone, or the room has the name of a socket
            self.server.manager.basic_enter_room(sid, namespace, room)

    def leave_here(self, sid: str, namespace: str, room: str) -> None:
        with suppress(ValueError, KeyError, SocketIOError):
            self.server.manager.basic_leave_room(sid, namespace, room)

    @abstractmethod
    def enter(self, sid: str, namespace: str, room: str) -> None:
        """Let a socket hear what the host emits to a room, too."""

    @abstractmethod
    def leave(self, sid: str, namespace: str, room: str) -> None: ...

    @abstractmethod
    def cut(self, socket: Any, last: Sequence[EnginePacket]) -> None:
        """End a connection behind what waits in its queue, and last words, so that its client comes back. Waits for
        nobody.

        Not by a Socket.IO disconnect: browsers' clients do not come back after one.
        """

    def socket(self, sid: str, namespace: str) -> Any:
        """The engine socket of a socket here; None where it is gone."""
        return self.server.eio.sockets.get(self.server.manager.eio_sid_from_sid(sid, namespace))

    def gone(self, socket: Any) -> bool:
        return socket.closed or self.server.eio.sockets.get(socket.sid) is not socket

    def packets(self, frames: Iterable[Frame], namespace: str, settings: WebSettings) -> list[EnginePacket]:
        """Frames as packets, each made once for a namespace, whoever hears it."""
        cls = self.server.packet_class

        def encode(frame: Frame) -> list[EnginePacket]:
            return encoded(cls, namespace, *told(frame, settings))

        form = (cls, namespace, settings.thin_over, settings.prefix)
        return [packet for frame in frames for packet in frame.encoded(form, encode)]

    def hint(self, frame: Frame, namespace: str, settings: WebSettings) -> list[EnginePacket]:
        """A dashboard's hint, made once for a namespace: the event without its version. Who is about to join the
        session, and goes on after the last version that it has heard, must not take it for one of the room's."""
        cls = self.server.packet_class

        def encode(frame: Frame) -> list[EnginePacket]:
            name, payload, _ = told(frame, settings)
            return encoded(cls, namespace, name, {key: value for key, value in payload.items() if key != "version"})

        found: list[EnginePacket] = frame.encoded((cls, namespace, settings.thin_over, settings.prefix, "hint"), encode)
        return found

    def words(self, namespace: str, name: str, payload: Any) -> list[EnginePacket]:
        """An event for one socket."""
        return encoded(self.server.packet_class, namespace, name, payload)


def queued(queue: Any) -> list[Any]:
    """What is in a queue of threads, greenlets or a loop; a copy, made at once, since others take out of it."""
    return list(queue._queue if hasattr(queue, "_queue") else queue.queue)


def weight(packets: Iterable[Any]) -> int:
    """Characters, or bytes, of packets; None is the end of a connection."""
    return sum(len(packet.data) for packet in packets if packet is not None and isinstance(packet.data, (str, bytes)))


def encoded(cls: Any, namespace: str, name: str, payload: Any, json: bytes | None = None) -> list[EnginePacket]:
    """An event in the server's serialization: one packet, or several where a host's has attachments."""
    if cls is not Packet:
        texts = cls(EVENT, namespace=namespace, data=[name, payload]).encode()
        return [EnginePacket(MESSAGE, text) for text in (texts if isinstance(texts, list) else [texts])]
    head = "" if namespace == "/" else namespace + ","
    body = (ENCODER.encode(payload) if json is None else json).decode()
    packet = EnginePacket(MESSAGE, f"{EVENT}{head}[{msgspec.json.encode(name).decode()},{body}]")
    packet.encode()  # kept in the packet, for all who are sent it
    return [packet]
