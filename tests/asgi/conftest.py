"""A pipeline in memory, and each framework's app with our doors in it, on a real uvicorn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest
from asgi_serving import Host, build, serving

from mina_pipeline import Pipeline, Settings

Serve = Callable[..., Host]


@pytest.fixture
def rooms() -> Iterator[Pipeline]:
    with Pipeline.open("memory://", settings=Settings(poll=0.05)) as pipeline:
        yield pipeline


@pytest.fixture
def serve(rooms: Pipeline) -> Iterator[Serve]:
    """Serve an app of `build` with its options; uvicorn's are in `config`."""
    with ExitStack() as stack:

        def start(config: dict[str, Any] | None = None, **options: Any) -> Host:
            running: AbstractContextManager[Host] = serving(build(rooms, **options), **(config or {}))
            return stack.enter_context(running)

        yield start


@pytest.fixture
def session(rooms: Pipeline) -> None:
    """One to stream."""
    rooms.start_session(session_id="s1")
