"""Doors in memory, with a host that answers for the rights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asking import Host
from mina_adapters.web.doors import Doors
from mina_adapters.web.settings import WebSettings

from mina_pipeline import Pipeline, Settings


@pytest.fixture
def memory() -> Iterator[Pipeline]:
    with Pipeline.open("memory://", settings=Settings(poll=0.05)) as pipeline:
        yield pipeline


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def make_doors(memory: Pipeline, host: Host) -> Callable[..., Doors]:
    def make(**settings: Any) -> Doors:
        return Doors(memory, host.authorize, WebSettings(**{"rate": 1e6, "burst": 10**6, **settings}))

    return make


@pytest.fixture
def doors(make_doors: Callable[..., Doors]) -> Doors:
    return make_doors()
