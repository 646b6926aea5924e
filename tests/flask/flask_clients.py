"""A server in a process of its own, and a client of its streams that reads what comes, line by line."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

HOST = Path(__file__).with_name("flask_host.py")
PATIENCE = 20.0
USERS = count(1)
GUNICORN = [
    "-m",
    "gunicorn",
    "--log-level",
    "error",
    "--no-control-socket",
    "flask_host:app()",
]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def command(server: str, port: int, grace: int) -> list[str]:
    """The arguments of the interpreter that serve flask_host by one of the servers."""
    bind = ["--bind", f"127.0.0.1:{port}", "--graceful-timeout", str(grace)]
    match server:
        case "gthread":
            return [*GUNICORN, *bind, "-k", "gthread", "--threads", "8", "--preload", "--workers", "2"]
        case "gevent":
            return [*GUNICORN, *bind, "-k", "gevent"]
        case _:
            return [str(HOST), server, str(port)]


@contextmanager
def served(server: str, environment: Mapping[str, str], grace: int = 0) -> Iterator[tuple[int, int]]:
    """A server that answers, until the block ends; its port and process id. It must end by itself when it is told to.

    grace: seconds that gunicorn waits for open responses then.
    """
    port = free_port()
    with subprocess.Popen(
        [sys.executable, *command(server, port, grace)],
        env={
            **os.environ,
            **environment,
            "PYTHONPATH": os.pathsep.join([str(HOST.parent), os.environ.get("PYTHONPATH", "")]),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            until_answering(port, process)
            yield port, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                said, _ = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        assert b"Traceback" not in said, said.decode()


def until_answering(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None, process.stdout and process.stdout.read().decode()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.02)
    raise AssertionError("the server does not answer")


def ask(port: int, method: str, path: str, body: Any = None, *, user: str = "ann", **headers: str) -> tuple[int, Any]:
    """Status and JSON of one request. body: an object, or an iterator of bytes, which goes out chunked."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    given = json.dumps(body).encode() if isinstance(body, dict) else body
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    chunked = given is not None and not isinstance(given, bytes)
    connection.request(method, path, given, {"X-User": user, **named}, encode_chunked=chunked)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text) if answer.headers.get_content_type() == "application/json" else text


class Events:
    """One stream. `next()` gives its next event as (name, id, data); comments are counted in `comments`."""

    def __init__(self, port: int, path: str, *, user: str | None = None, **headers: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if user is None:
            user = f"user {next(USERS)}"  # one of its own: streams that are closed count until the next keep-alive
        self.connection.request("GET", path, headers={"X-User": user, **named})
        self.answer = self.connection.getresponse()
        self.status = self.answer.status
        self.comments = 0
        self.retry: int | None = None

    def next(self) -> tuple[str, int | None, Any] | None:
        """None at the stream's end."""
        name, number, data = "message", None, None
        while line := self.answer.readline().decode():
            field, _, value = line.rstrip("\n").partition(": ")
            match field:
                case "":
                    if line == "\n" and data is not None:
                        return name, number, data
                    self.comments += line.startswith(":")
                case "event":
                    name = value
                case "id":
                    number = int(value)
                case "data":
                    data = json.loads(value)
                case "retry":
                    self.retry = int(value)
        return None

    def up_to(self, name: str) -> list[tuple[str, int | None, Any]]:
        found = []
        while event := self.next():
            found.append(event)
            if event[0] == name:
                return found
        raise AssertionError(f"the stream ended before {name}")

    def close(self) -> None:
        self.answer.close()
        self.connection.close()

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
