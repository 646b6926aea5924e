"""Apps with our doors on a real uvicorn in a thread, and clients that read streams from it."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from fastapi import FastAPI
from mina_adapters.fastapi import mina_router
from mina_adapters.starlette import mina_routes
from mina_adapters.web.settings import WebSettings
from starlette.applications import Starlette
from starlette.routing import Mount

from mina_pipeline import Pipeline, Segment

STREAM = "/api/sessions/s1/stream"
PATIENCE = 20.0  # s that something may take before a test gives it up


def eventually(what: Callable[[], Any]) -> Any:
    """What it gives, once that is true."""
    until = time.monotonic() + PATIENCE
    while not (found := what()):
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)
    return found


@dataclass(frozen=True)
class Person:
    """A principal."""

    id: str = "ann"
    tenant: str | None = None


def everybody(principal: Any, session: Any, action: str) -> bool:
    return True


def build(
    pipeline: Pipeline,
    framework: str = "starlette",
    mount: str = "",
    include: dict[str, Any] | None = None,
    **given: Any,
) -> Any:
    """An app; given: principal, authorize, and fields of WebSettings."""
    rights = {"principal": given.pop("principal", Person), "authorize": given.pop("authorize", everybody)}
    settings = WebSettings(
        **{"keep_alive": 1000.0, **given}
    )  # it wakes streams too, and would hide a bell that is silent
    if framework == "fastapi":
        app = FastAPI()
        app.include_router(mina_router(pipeline, **rights, settings=settings), prefix=mount, **(include or {}))
        return app
    routes = mina_routes(pipeline, **rights, settings=settings)
    return Starlette(routes=[Mount(mount, routes=routes)] if mount else routes)


@contextmanager
def serving(app: Any, **config: Any) -> Iterator[Host]:
    """The app on a port of its own, until the block ends."""
    options = {"log_level": "critical", "lifespan": "off", "timeout_graceful_shutdown": 1, **config}
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, **options))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started)
        yield Host(server.servers[0].sockets[0].getsockname()[1], server)
    finally:
        server.should_exit = True
        thread.join()


class Host:
    """Where an app is served."""

    def __init__(self, port: int, server: Any) -> None:
        self.port = port
        self.server = server

    @property
    def open(self) -> int:
        """Connections that it has."""
        return len(self.server.server_state.connections)

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON (or text) and headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            sent = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
            connection.request(method, path, sent, dict(headers or {}))
            response = connection.getresponse()
            content = response.read()
            told = {name.lower(): value for name, value in response.getheaders()}
            plain = "json" not in told.get("content-type", "") or not content
            return response.status, content if plain else json.loads(content), told
        finally:
            connection.close()

    @contextmanager
    def stream(self, path: str, headers: Mapping[str, str] | None = None) -> Iterator[Reader]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", path, headers=dict(headers or {}))
            response = connection.getresponse()
            yield Reader(response)
        finally:
            connection.close()


class Reader:
    """Server-sent events, one at a time."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.response = response
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}

    def block(self) -> dict[str, str]:
        """The next block's fields ("" is a comment); empty at the end of the stream."""
        fields: dict[str, str] = {}
        while line := self.response.readline().decode().rstrip("\n"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        return fields

    def event(self) -> tuple[int | None, str, Any] | None:
        """The next event as (id, name, data), past comments and `retry`; None at the end."""
        while block := self.block():
            if "event" in block:
                number = int(block["id"]) if "id" in block else None
                return number, block["event"], json.loads(block["data"])
        return None

    def versions(self, through: int) -> list[int | None]:
        found: list[int | None] = []
        while not found or found[-1] != through:
            event = self.event()
            assert event is not None, f"the stream ended after {found}"
            found.append(event[0])
        return found


def say(pipeline: Pipeline, count: int = 1, text: str = "hello") -> int:
    """Record segments one by one; the version reached."""
    return [pipeline.record("s1", [Segment(text, 0, 1000)]).version for _ in range(count)][-1]
