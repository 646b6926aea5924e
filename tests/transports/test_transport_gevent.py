"""Flask on gevent passes the shipped suite: one server process on SQLite, written by this one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from web_clients import WebHarness
from web_processes import WebProcess
from web_servers import SOCKETS, STREAM

from mina_pipeline import Pipeline, Settings
from mina_pipeline.testing.transports import TransportContract


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('gevent')}/web.db"


@pytest.fixture(scope="module")
def pipeline(url: str) -> Iterator[Pipeline]:
    with Pipeline.open(url, settings=Settings(poll=0.05)) as pipeline:
        yield pipeline


@pytest.fixture(scope="module")
def server(url: str, pipeline: Pipeline) -> Iterator[WebProcess]:
    with WebProcess("gevent", url, pipeline.settings.table_prefix) as server:
        yield server


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class TestGeventSse(TransportContract):
    @pytest.fixture
    def transport(self, server: WebProcess, stack: ExitStack) -> WebHarness:
        return WebHarness(server.port, "sse", STREAM, stack)


class TestGeventSocketIo(TransportContract):
    @pytest.fixture
    def transport(self, server: WebProcess, stack: ExitStack) -> WebHarness:
        return WebHarness(server.port, "socketio", SOCKETS, stack)
