"""The host apps of examples/ as processes of their own, asked as a browser asks: HTTP, SSE, Socket.IO."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import socketio

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE = 30.0
SAID = "WEBVTT\n\n1\n00:00.000 --> 00:03.000\n<v Ann>bob can you send the budget by friday\n"
SAID += "\n2\n00:03.000 --> 00:04.000\n<v Bob>sure\n"


def started(name: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(EXAMPLES / f"{name}_app" / "app.py"), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


class App:
    """An app that has said where it listens."""

    def __init__(self, process: subprocess.Popen[str], database: str) -> None:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on http://127.0.0.1:"), (line, process.stderr and process.stderr.read())
        self.process = process
        self.database = database
        self.url = line.split()[-1]
        self.http = httpx.Client(base_url=self.url, timeout=PATIENCE)

    def start(self, title: str) -> dict[str, Any]:
        """A session with a transcript, over HTTP."""
        made: dict[str, Any] = self.http.post("/api/sessions", json={"title": title}).raise_for_status().json()
        self.record(made["session_id"])
        return made

    def record(self, session_id: str) -> None:
        path = f"/api/sessions/{session_id}/transcript"
        self.http.post(path, content=SAID, headers={"Content-Type": "text/plain"}).raise_for_status()

    @contextmanager
    def watching(self, session_id: str, after: int = 0) -> Iterator[Callable[[], list[dict[str, Any]]]]:
        """Watch by SSE; the function gives all events up to and with dashboard_refresh, the last of a session."""
        path = f"/api/sessions/{session_id}/stream?after={after}"
        with self.http.stream("GET", path) as stream:
            assert stream.status_code == 200
            lines = stream.iter_lines()

            def to_the_end() -> list[dict[str, Any]]:
                found: list[dict[str, Any]] = []
                name = ""
                for line in lines:
                    if line.startswith("event: "):
                        name = line.removeprefix("event: ")
                    elif line.startswith("data: "):
                        found.append({"event": name, **json.loads(line.removeprefix("data: "))})
                        if name == "dashboard_refresh":
                            return found
                raise AssertionError("the stream ended early")

            yield to_the_end

    @contextmanager
    def socket(self, namespace: str, heard: Callable[[str, Any], None]) -> Iterator[socketio.Client]:
        client = socketio.Client(reconnection=False)
        client.on("*", handler=heard, namespace=namespace)
        client.connect(self.url, namespaces=[namespace], wait_timeout=PATIENCE, transports=["websocket"])
        try:
            yield client
        finally:
            client.disconnect()

    def end(self, told: signal.Signals = signal.SIGTERM) -> int:
        self.http.close()
        self.process.send_signal(told)
        out, err = self.process.communicate(timeout=PATIENCE)
        assert "Traceback" not in err, err
        assert out == ""
        return self.process.returncode


@contextmanager
def running(name: str, database: str) -> Iterator[App]:
    process = started(name, "--port", "0", "--db", database)
    app: App | None = None
    try:
        app = App(process, database)
        yield app
    finally:
        if app is not None and process.poll() is None:
            assert app.end() == 0
        if process.poll() is None:
            process.kill()
            process.communicate()


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it did not come to hold in time"
        time.sleep(0.02)


def failed(name: str, arguments: Sequence[str]) -> tuple[int, str]:
    """The exit code and the last words of an app that cannot start."""
    process = started(name, *arguments)
    _, err = process.communicate(timeout=PATIENCE)
    return process.returncode, err
