"""A pipeline in memory, and each framework's app with our doors in it, on a real uvicorn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest
from asgi_serving import Host, Person, serving
from fastapi import FastAPI
from mina_adapters.fastapi import mina_router
from mina_adapters.starlette import mina_routes
from mina_adapters.web.settings import WebSettings
from starlette.applications import Starlette
from starlette.routing import Mount

from mina_pipeline import Pipeline, Settings

Serve = Callable[..., Host]


def everybody(principal: Any, session: Any, action: str) -> bool:
    return True


@pytest.fixture
def rooms() -> Iterator[Pipeline]:
    with Pipeline.open("memory://", settings=Settings(poll=0.05)) as pipeline:
        yield pipeline


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


@pytest.fixture
def serve(rooms: Pipeline) -> Iterator[Serve]:
    """Serve an app of `build` with its options; uvicorn's are in `config`."""
    with ExitStack() as stack:

        def start(config: dict[str, Any] | None = None, **options: Any) -> Host:
            running: AbstractContextManager[Host] = serving(build(rooms, **options), **(config or {}))
            return stack.enter_context(running)

        yield start
