"""The same server in a process of its own, and its remote control."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from .ledger import Counts, Exchange, exchange_from_json
from .replies import Reply, to_json
from .requests import Request

PATIENCE = 30.0
"""Seconds in which a server must answer its remote control."""


class RemoteServer:
    """Scripts and reads a server in another process, by its base_url."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def script(
        self, *replies: Reply, model: str | None = None, path: str | None = None, contains: str | None = None
    ) -> None:
        """As OpenAIServer.script, without functions."""
        self.send(replies, model, path, contains, forever=False)

    def always(
        self, reply: Reply, *, model: str | None = None, path: str | None = None, contains: str | None = None
    ) -> None:
        """As OpenAIServer.always, without functions."""
        self.send([reply], model, path, contains, forever=True)

    def send(
        self, replies: Sequence[Reply], model: str | None, path: str | None, contains: str | None, *, forever: bool
    ) -> None:
        rule = {"model": model, "path": path, "contains": contains, "forever": forever}
        self.ask("POST", "/script", {"replies": [to_json(reply) for reply in replies], **rule})

    @property
    def exchanges(self) -> list[Exchange]:
        """All that came in and how it ended, in the order of arrival; without the keys that were sent."""
        return [exchange_from_json(written) for written in self.ask("GET", "/requests")]

    @property
    def requests(self) -> list[Request]:
        """All that came in, in the order of arrival."""
        return [exchange.request for exchange in self.exchanges]

    def counts(self) -> Counts:
        """Totals by now."""
        return Counts(**self.ask("GET", "/counts"))

    def wait(self, requests: int = 0, *, idle: bool = False, timeout: float = 10.0) -> bool:
        """Until so many requests have come in and, if idle, none is going on; False after so many seconds."""
        deadline = time.monotonic() + timeout
        while True:
            counts = self.counts()
            if counts.requests >= requests and not (idle and counts.in_flight):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)

    def clear(self) -> None:
        """Forget scripts and counts."""
        self.ask("POST", "/clear", {})

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request of the remote control. Raises ValueError where the server refuses it."""
        connection = http.client.HTTPConnection(urlsplit(self.base_url).netloc, timeout=PATIENCE)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), {"Connection": "close"})
            answer = connection.getresponse()
            found = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise ValueError(found["error"]["message"])
        return found


class OpenAIServerProcess(RemoteServer):
    """A server in a new process, from entering the context to leaving it.

    script: a JSON file of what POST /script takes. answer: "package.module:function", of a module that can be imported
    here.
    """

    def __init__(self, *, port: int = 0, script: str | Path | None = None, answer: str | None = None) -> None:
        super().__init__("")
        self.arguments = ["--port", str(port)]
        if script is not None:
            self.arguments += ["--script", str(script)]
        if answer is not None:
            self.arguments += ["--answer", answer]
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> OpenAIServerProcess:
        command = [sys.executable, "-m", "mina_pipeline.testing.openai_server", *self.arguments]
        found = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=found)
        assert self.process.stdout is not None
        self.base_url = self.process.stdout.readline().strip()
        if not self.base_url:
            self.close()
            raise RuntimeError("the server did not start; its standard error says why")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process at once; may be called twice."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.communicate()
