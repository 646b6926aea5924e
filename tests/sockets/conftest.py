"""Socket.IO servers of both kinds, with a pipeline on SQLite."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from mina_adapters.web.settings import WebSettings
from socket_hosts import HOSTS, Host

from mina_pipeline import Pipeline, Settings


@pytest.fixture(params=list(HOSTS))
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Start a host of each kind; several share one database."""
    with ExitStack() as stack:

        def start(manager: Any = None, late: bool = False, engine: Any = None, **settings: Any) -> Host:
            url = f"sqlite:///{tmp_path}/sockets.db"
            given = Settings(**{"poll": 0.05, **(engine or {})})
            pipeline = stack.enter_context(Pipeline.open(url, settings=given))
            web = WebSettings(**{"max_watches": 0, **settings})
            return stack.enter_context(HOSTS[request.param](pipeline, web, manager, late))

        vars(start)["kind"] = request.param
        yield start


@pytest.fixture
def host(serve: Callable[..., Host]) -> Host:
    return serve()
