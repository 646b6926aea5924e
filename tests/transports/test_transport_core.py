"""The transports of the core pass the shipped suite: watches on every store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from core_harness import JsonLinesHarness, WatchHarness

from mina_pipeline import Pipeline
from mina_pipeline.testing.transports import TransportContract


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class TestWatch(TransportContract):
    """p.watch: a thread for each client."""

    @pytest.fixture
    def transport(self, pipeline: Pipeline, stack: ExitStack) -> WatchHarness:
        return WatchHarness(pipeline, stack)


class TestJsonLines(TransportContract):
    """p.subscribe with the JSON lines adapter on a pipe."""

    @pytest.fixture
    def url(self) -> str:
        return "memory://"

    @pytest.fixture
    def transport(self, pipeline: Pipeline, stack: ExitStack) -> JsonLinesHarness:
        return JsonLinesHarness(pipeline, stack)
