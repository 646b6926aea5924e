"""Servers over one database, and each way there is to finish a recording, as a call that gives its numbers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from asgi_serving import Host
from socket_hosts import Listener
from web_clients import SocketIoClient, SseClient
from web_processes import WebProcess
from web_servers import flask_app, socketio_app, uvicorn, werkzeug

from mina_pipeline import Pipeline, Settings
from mina_pipeline.testing.clients import PATIENCE, Client

Numbers = dict[str, Any]
Door = Callable[[], Numbers]

STATISTICS = ("total_segments", "total_duration", "average_confidence")
PRESSED = (
    "import sys; from mina_pipeline.cli import main; import mina_pipeline.opening, mina_pipeline.store.sql;"
    "print('ready', flush=True); sys.stdin.readline(); main()"
)
RECORDER = "/live-transcription"


def statistics(told: Any) -> Numbers:
    """The numbers in an answer of `complete`, or of a socket; all three must be there."""
    return {name: told[name] for name in STATISTICS}


class Server:
    """A server, with a recorder's socket and a page's on it."""

    def __init__(self, port: int, stack: ExitStack) -> None:
        self.port = port
        self.http = Host(port, None)
        url = f"http://127.0.0.1:{port}"
        self.recorder = stack.enter_context(Listener(url, namespaces=[RECORDER]))
        self.page = stack.enter_context(Listener(url, namespaces=["/"]))

    def watching(self, session_id: str) -> Iterator[Client]:
        """One client by SSE, and one by Socket.IO."""
        yield SseClient(self.port, f"/api/sessions/{session_id}/stream?after=0", None)
        yield (socket := SocketIoClient(self.port))
        socket.join(session_id, 0)

    def post(self, path: str, body: Any = None) -> dict[str, Any]:
        status, told, _ = self.http.ask("POST", path, body)
        assert status == 200, (path, status, told)
        return dict(told)

    def complete(self, session_id: str, body: Any = None) -> Numbers:
        told = self.post(f"/api/sessions/{session_id}/complete", body)
        assert told["external_id"] == session_id and told["message"] and told["status"]
        return statistics(told)

    def finalize(self, number: int, session_id: str, body: Any = None) -> Numbers:
        told = self.post(f"/sessions/{number}/finalize", body)
        assert told["external_id"] == session_id and told["message"] and told["status"]
        return {"total_segments": told["finalized_segments"]}

    def finalize_session(self, session_id: str) -> Numbers:
        return statistics(self.page.ask("finalize_session", session_id=session_id, settings={}))

    def end_session(self) -> Numbers:
        return statistics(self.recorder.ask("end_session", RECORDER))


class Place:
    """A database, and what serves it: Flask and FastAPI in this process, on a pipeline each; beside PostgreSQL a
    FastAPI in another process, too."""

    def __init__(self, url: str, prefix: str, stack: ExitStack) -> None:
        self.url, self.prefix = url, prefix
        self.pipeline, second = (
            stack.enter_context(Pipeline.open(url, settings=Settings(table_prefix=prefix, poll=0.05))) for _ in range(2)
        )
        there = [stack.enter_context(WebProcess("asgi", url, prefix)).port] if url.startswith("postgresql") else []
        flask = stack.enter_context(werkzeug(flask_app(self.pipeline, "threading")))
        fastapi = stack.enter_context(uvicorn(socketio_app(second)))
        self.servers = [Server(port, stack) for port in (flask, fastapi, *there)]
        stack.enter_context(second.workers(1))

    @contextmanager
    def pressed(self, session_id: str) -> Iterator[Door]:
        """`mina finalize ID` as a process that has loaded, and waits for its key to be pressed."""
        asked = ["finalize", session_id, "--db", self.url, "--json"]
        with subprocess.Popen(
            [sys.executable, "-c", PRESSED, *asked],
            env={**os.environ, "MINA_TABLE_PREFIX": self.prefix},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"

            def press() -> Numbers:
                told, _ = process.communicate("\n", timeout=PATIENCE)
                assert process.returncode == 0
                return statistics(json.loads(told)["stats"])

            yield press
            process.kill()
