"""Web servers and workers as processes, on ports of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from mina_pipeline.testing.clients import PATIENCE

SERVERS = Path(__file__).parent / "web_servers.py"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class WebProcess:
    """A server of `web_servers.py`; a context manager. It can be killed, and started again on the same port."""

    def __init__(self, kind: str, url: str, prefix: str) -> None:
        self.given = (kind, str(free_port()), url, prefix)
        self.port = int(self.given[1])
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, str(SERVERS), *self.given], stdin=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
                return
            except OSError:
                assert self.process.poll() is None, "the server has ended"
                assert time.monotonic() < end, "the server does not answer"
                time.sleep(0.05)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> WebProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class WorkerProcess:
    """`mina worker`; a context manager."""

    def __init__(self, url: str, prefix: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mina_pipeline", "worker", "--db", url, "--concurrency", "2"],
            env={**os.environ, "MINA_TABLE_PREFIX": prefix, "MINA_POLL": "0.1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
