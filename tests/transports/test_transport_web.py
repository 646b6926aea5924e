"""The web adapters pass the shipped suite, on real servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from web_clients import WebHarness
from web_servers import SOCKETS, STREAM, fastapi_app, flask_app, socketio_app, uvicorn, werkzeug

from mina_pipeline import Pipeline, Settings
from mina_pipeline.testing.transports import TransportContract


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def pipeline() -> Iterator[Pipeline]:
    with Pipeline.open("memory://", settings=Settings(poll=0.05)) as pipeline:
        yield pipeline


class TestFlaskSse(TransportContract):
    @pytest.fixture
    def transport(self, pipeline: Pipeline, stack: ExitStack) -> WebHarness:
        port = stack.enter_context(werkzeug(flask_app(pipeline)))
        return WebHarness(port, "sse", STREAM, stack)


class TestFlaskSocketIo(TransportContract):
    @pytest.fixture
    def transport(self, pipeline: Pipeline, stack: ExitStack) -> WebHarness:
        port = stack.enter_context(werkzeug(flask_app(pipeline, "threading")))
        return WebHarness(port, "socketio", SOCKETS, stack)


class TestFastapiSse(TransportContract):
    @pytest.fixture
    def transport(self, pipeline: Pipeline, stack: ExitStack) -> WebHarness:
        port = stack.enter_context(uvicorn(fastapi_app(pipeline)))
        return WebHarness(port, "sse", STREAM, stack)


class TestFastapiWebSocket(TransportContract):
    @pytest.fixture
    def transport(self, pipeline: Pipeline, stack: ExitStack) -> WebHarness:
        port = stack.enter_context(uvicorn(fastapi_app(pipeline)))
        return WebHarness(port, "ws", STREAM, stack)


class TestAsgiSocketIo(TransportContract):
    @pytest.fixture
    def transport(self, pipeline: Pipeline, stack: ExitStack) -> WebHarness:
        port = stack.enter_context(uvicorn(socketio_app(pipeline)))
        return WebHarness(port, "socketio", SOCKETS, stack)
