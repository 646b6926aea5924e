"""A TCP proxy before PostgreSQL that cuts a connection at the worst of moments."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType

import sqlalchemy as sa


class CuttingProxy:
    """Passes everything on until a client's bytes hold the armed mark; once, it then cuts that connection.

    The server has got those bytes in any case. `when`: "at once", while the server is at work on them, or
    "after reply", when the server's answer has come and the client has not seen it.
    """

    def __init__(self, url: str) -> None:
        server = sa.make_url(url)
        host = str(server.query.get("host") or server.host)
        port = server.port or 5432
        self.server = (host, port) if not host.startswith("/") else f"{host}/.s.PGSQL.{port}"
        self.door = socket.create_server(("127.0.0.1", 0))
        own = server.set(
            host="127.0.0.1", port=self.door.getsockname()[1], query={"sslmode": "disable", "gssencmode": "disable"}
        )
        self.url = own.render_as_string(hide_password=False)
        self.mark: bytes | None = None
        self.when = ""
        self.cuts = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def cut(self, mark: str, when: str) -> None:
        self.mark, self.when = mark.encode(), when

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.door.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX if isinstance(self.server, str) else socket.AF_INET)
            server.connect(self.server)
            swallow = threading.Event()
            threading.Thread(target=self.forward, args=(client, server, swallow), daemon=True).start()
            threading.Thread(target=self.back, args=(client, server, swallow), daemon=True).start()

    def forward(self, client: socket.socket, server: socket.socket, swallow: threading.Event) -> None:
        for data in received(client):
            if self.mark is not None and self.mark in data:
                self.mark = None
                self.cuts += 1
                swallow.set()
                server.sendall(data)
                if self.when == "at once":
                    break
            else:
                server.sendall(data)
        if not (swallow.is_set() and self.when == "after reply"):
            hang_up(client, server)

    def back(self, client: socket.socket, server: socket.socket, swallow: threading.Event) -> None:
        for data in received(server):
            if swallow.is_set():
                break
            try:
                client.sendall(data)
            except OSError:
                break
        hang_up(client, server)

    def __enter__(self) -> CuttingProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.door.close()


def received(end: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            data = end.recv(1 << 16)
        except OSError:
            return
        if not data:
            return
        yield data


def hang_up(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
