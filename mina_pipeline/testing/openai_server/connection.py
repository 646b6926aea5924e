"""HTTP/1.1 on a socket: reads requests, and sends replies whole, in drops, in part or not at all."""

from __future__ import annotations

import json
import selectors
import socket
import struct
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, cast

from .bodies import Made, error
from .ledger import Exchange
from .replies import Broken, Drip, Hang, Reply, Reset, Status

if TYPE_CHECKING:
    from .server import OpenAIServer

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
LEAVE = 1.0
"""Seconds that closing waits for the threads of connections; one may be in a test's own function."""


class Gone(Exception):
    """The client left, or the server is being closed."""


class Listener(TCPServer):
    """One thread a connection, all of which end when it closes."""

    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], owner: OpenAIServer) -> None:
        self.owner = owner
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self.open: dict[socket.socket, threading.Thread] = {}
        super().__init__(address, Handler)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), name="openai-server", daemon=True)
        self.thread.start()

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(target=self.serve, args=(request, client_address), name="openai-server", daemon=True)
        with self.lock:
            self.open[request] = thread
        thread.start()

    def serve(self, request: socket.socket, client_address: Any) -> None:
        """The whole life of a connection."""
        try:
            self.finish_request(request, client_address)
        except Exception as failure:
            # a client may go at any time; only what else happens is a fault of ours
            if not isinstance(failure, OSError) and not self.closing.is_set():
                self.owner.errors.append(failure)
        finally:
            self.shutdown_request(request)
            with self.lock:
                del self.open[request]

    def stop(self) -> None:
        """Close the port and every connection, also where a reply hangs or drips."""
        self.closing.set()
        self.shutdown()
        self.thread.join()
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # a process that was forked meanwhile holds the port open, too
        self.server_close()
        with self.lock:
            threads = list(self.open.values())
            for connection in self.open:
                # wakes whoever waits on it
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + LEAVE
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        self.listener = cast(Listener, self.server)
        super().setup()
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.connection, selectors.EVENT_READ)

    def finish(self) -> None:
        self.selector.close()
        self.listener.owner.ledger.disconnect(id(self))
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a test's output is its own."""

    def version_string(self) -> str:
        return "mina-pipeline"

    def do_GET(self) -> None:
        self.take(b"")

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isdecimal():
            self.close_connection = True
            self.send(0, error(Status(411, "The request needs a Content-Length.")))
            return
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            return
        self.take(body)

    def take(self, body: bytes) -> None:
        """Answer one request: of the API, or of whoever controls the server."""
        owner, path = self.listener.owner, self.path.partition("?")[0]
        if not path.startswith("/v1/"):
            self.send(0, owner.control(self.command, path, body))
            return
        try:
            parsed = json.loads(body) if body else {}
        except ValueError:
            parsed = None
        headers = {name.lower(): value for name, value in self.headers.items()}
        known = parsed if isinstance(parsed, dict) else {}
        exchange = owner.ledger.arrive(id(self), path, known, headers)
        try:
            self.carry_out(exchange, owner.choose(self.command, exchange.request, isinstance(parsed, dict)))
        except (Gone, OSError):
            self.close_connection = True
            owner.ledger.end(exchange, "gone")

    def carry_out(self, exchange: Exchange, chosen: tuple[Reply, Made | None]) -> None:
        """Do to the client what was chosen for it; a reply that breaks before its headers has no response."""
        (reply, made), ledger = chosen, self.listener.owner.ledger
        inner = reply.reply if isinstance(reply, Drip | Broken) else reply
        ledger.note(exchange, reply.name, made.status if made else None, made.tokens if made else (0, 0))
        self.pause(reply.delay + (inner.delay if inner is not reply else 0))
        number = exchange.request.number
        if isinstance(reply, Broken):
            if made is not None:
                self.wfile.write(self.head(number, made) + made.body[: reply.after])
            if isinstance(reply, Hang):
                with suppress(Gone):
                    self.pause(reply.seconds)
            self.close_connection = True
            ledger.end(exchange, "broken")
            if isinstance(reply, Reset):
                self.reset()
            return
        assert made is not None
        body = made.body
        if isinstance(reply, Drip):
            self.wfile.write(self.head(number, made))
            for start in range(0, len(body) - reply.chunk, reply.chunk):
                self.pause(reply.every)
                self.wfile.write(body[start : start + reply.chunk])
            self.pause(reply.every)
            last = body[(max(0, len(body) - 1) // reply.chunk) * reply.chunk :]
        else:
            last = self.head(number, made) + body
        # before the last byte is out: who has the whole reply must find it counted, and no longer in flight
        ledger.end(exchange, "sent")
        self.wfile.write(last)

    def send(self, number: int, made: Made) -> None:
        self.wfile.write(self.head(number, made) + made.body)

    def head(self, number: int, made: Made) -> bytes:
        """The status line and the headers."""
        try:
            phrase = HTTPStatus(made.status).phrase
        except ValueError:
            phrase = "Unknown"
        headers = {
            "server": self.version_string(),
            "date": self.date_time_string(),
            "x-request-id": f"req_{number}",
            "content-length": str(len(made.body)),
            "connection": "close" if self.close_connection else "keep-alive",
            **made.headers,
        }
        lines = [f"HTTP/1.1 {made.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def pause(self, seconds: float | None) -> None:
        """Wait so long, or for ever. Raises Gone as soon as the client or the server goes."""
        closing = self.listener.closing
        if seconds != 0 and self.selector.select(seconds):
            if self.connection.recv(1, socket.MSG_PEEK) == b"":
                raise Gone
            closing.wait(seconds)  # it has sent its next request already, so its going would not be seen
        if closing.is_set():
            raise Gone

    def reset(self) -> None:
        """Close at once with RST, dropping what is unsent."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.rfile.close()  # else the socket stays open behind it
        self.connection.close()
