"""Clients of the web's transports, from the socket up: what they do not read stays unread."""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
from abc import abstractmethod
from contextlib import ExitStack, suppress
from typing import Any
from urllib.parse import quote

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from mina_pipeline.guarantees import Guarantees
from mina_pipeline.testing.clients import PATIENCE, Client

BUFFER = 65_536  # bytes that the machine keeps for a client that does not read
ABORT = struct.pack("ii", 1, 0)


def dialled(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    made.settimeout(PATIENCE)
    try:
        made.connect(("127.0.0.1", port))
    except OSError:
        made.close()
        raise
    return made


def hang_up(connection: socket.socket) -> None:
    """No bytes either way, and not a word; whoever reads from it wakes."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)  # at its close a reset, not an end
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def upgraded(port: int, path: str) -> ClientConnection:
    """A WebSocket that takes four messages ahead of its reader, and no more."""
    url, taken = f"ws://127.0.0.1:{port}{path}", dialled(port)
    return connect(url, sock=taken, max_size=None, max_queue=4, compression=None, proxy=None).__enter__()


class ReadingClient(Client):
    """A thread reads while it may."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = threading.Event()
        self.reading.set()
        self.ended = False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        with suppress(OSError, ConnectionClosed, ValueError):
            self.read()
        self.put_end()

    @abstractmethod
    def read(self) -> None: ...

    @property
    @abstractmethod
    def connection(self) -> socket.socket: ...

    def stall(self) -> None:
        self.reading.clear()

    def resume(self) -> None:
        self.reading.set()

    def drop(self) -> None:
        hang_up(self.connection)
        self.ended = True
        self.reading.set()
        self.thread.join(PATIENCE)
        self.connection.close()

    def close(self) -> None:
        self.drop()


class SseClient(ReadingClient):
    """Server-sent events, as a browser reads them."""

    def __init__(self, port: int, path: str, last: int | None) -> None:
        super().__init__()
        self.rest = self.raw = b""
        self.socket = dialled(port)
        try:
            self.chunked = self.asked(path, last)
        except BaseException:
            self.socket.close()
            raise
        self.thread.start()

    def read(self) -> None:
        while True:
            self.reading.wait()
            if self.ended:
                return
            if not select.select([self.socket], [], [], 0.2)[0]:
                continue
            read = self.socket.recv(65_536)
            if not read:
                return
            *events, self.rest = (self.rest + (self.dechunked(read) if self.chunked else read)).split(b"\n\n")
            for event in events:
                self.event(event.decode())

    def asked(self, path: str, last: int | None) -> bool:
        """Ask for the stream, and read the answer's head; whether its body comes in chunks. OSError: a refusal."""
        header = "" if last is None else f"Last-Event-ID: {last}\r\n"
        self.socket.sendall(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n{header}\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            read = self.socket.recv(1)
            if not read:
                raise ConnectionError("the server has hung up")
            head += read
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise ConnectionError(head.decode())
        return b"transfer-encoding: chunked" in head.lower()

    def dechunked(self, read: bytes) -> bytes:
        self.raw += read
        body = b""
        while b"\r\n" in self.raw:
            size, _, rest = self.raw.partition(b"\r\n")
            length = int(size, 16)
            if len(rest) < length + 2:
                break
            body, self.raw = body + rest[:length], rest[length + 2 :]
        return body

    def event(self, text: str) -> None:
        fields = dict(line.split(": ", 1) for line in text.split("\n") if not line.startswith(":"))
        if fields.get("event") == "reset":
            self.put_reset()
        elif "data" in fields:
            self.put(int(fields["id"]), fields["event"], json.loads(fields["data"]))

    @property
    def connection(self) -> socket.socket:
        return self.socket


class WsClient(ReadingClient):
    """Our own WebSocket."""

    def __init__(self, port: int, path: str) -> None:
        super().__init__()
        self.socket = upgraded(port, path)
        self.thread.start()

    def read(self) -> None:
        while True:
            self.reading.wait()
            self.said(json.loads(self.socket.recv()))

    def said(self, message: dict[str, Any]) -> None:
        if message["event"] == "reset":
            self.put_reset()
        else:
            self.put(message["data"]["version"], message["event"], message["data"])

    @property
    def connection(self) -> socket.socket:
        found: socket.socket = self.socket.socket
        return found


class SocketIoClient(ReadingClient):
    """Socket.IO 5 over a WebSocket, spoken by hand, so that nothing is read that it does not ask for."""

    namespace = "/live"

    def __init__(self, port: int) -> None:
        super().__init__()
        self.socket = upgraded(port, "/socket.io/?EIO=4&transport=websocket")
        self.answers: dict[int, Any] = {}
        assert str(self.socket.recv())[0] == "0"
        self.socket.send(f"40{self.namespace},")
        answer = str(self.socket.recv())
        assert answer.startswith(f"40{self.namespace},"), answer
        self.thread.start()

    def read(self) -> None:
        while True:
            self.reading.wait()
            text = str(self.socket.recv())
            if text[0] == "2":
                self.socket.send("3")
            elif text.startswith("4"):
                self.said(text[1], text[2:].removeprefix(f"{self.namespace},"))

    def said(self, kind: str, text: str) -> None:
        if kind == "2":
            name, data = json.loads(text)
            assert name != "error", data
            if "version" in data:  # a hint of a session that it has not joined has none
                self.put(data["version"], name, data)
        elif kind == "3":
            number, _, answer = text.partition("[")
            with self.changed:
                self.answers[int(number)] = json.loads(f"[{answer}")[0]
                self.changed.notify_all()

    def join(self, session_id: str, after: int | None = None) -> None:
        number = len(self.answers) + 1
        asked = {"session_id": session_id} | ({} if after is None else {"after": after})
        self.socket.send(f"42{self.namespace},{number}{json.dumps(['join_session', asked])}")
        self.wait_for(lambda: number in self.answers)
        answer = self.answers[number]
        assert "error" not in answer, answer
        if answer.get("reset"):
            self.put_reset()

    @property
    def connection(self) -> socket.socket:
        found: socket.socket = self.socket.socket
        return found


class WebHarness:
    """Clients of one server, by what they speak: sse, ws or socketio."""

    def __init__(self, port: int, speaks: str, guarantees: Guarantees, stack: ExitStack) -> None:
        self.port = port
        self.speaks = speaks
        self.guarantees = guarantees
        self.stack = stack

    def connect(self, session_id: str, after: int | None = None) -> Client:
        client = self.dial(session_id, after)
        self.stack.callback(client.close)
        return client

    def dial(self, session_id: str, after: int | None) -> Client:
        path = f"/api/sessions/{quote(session_id)}"
        query = "" if after is None else f"?after={after}"
        match self.speaks:
            case "sse" if after:
                return SseClient(self.port, f"{path}/stream", after)  # as a browser that comes back
            case "sse":
                return SseClient(self.port, f"{path}/stream{query}", None)
            case "ws":
                return WsClient(self.port, f"{path}/ws{query}")
            case _:
                client = SocketIoClient(self.port)
                client.join(session_id, after)
                return client
