"""The shipped suite sees what a transport does wrong: each of these is a watch with one fault."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
from core_harness import WatchClient, WatchHarness

from mina_pipeline import Pipeline, Settings
from mina_pipeline.testing import clients
from mina_pipeline.testing.clients import Client
from mina_pipeline.testing.transports import TransportContract


class Loses(WatchClient):
    def put(self, version: int, name: str, payload: Any) -> None:
        if version != 3:
            super().put(version, name, payload)


class Doubles(WatchClient):
    def put(self, version: int, name: str, payload: Any) -> None:
        super().put(version, name, payload)
        super().put(version, name, payload)


class Swaps(WatchClient):
    held: Any = None

    def put(self, version: int, name: str, payload: Any) -> None:
        if version % 2:
            super().put(version, name, payload)
            if self.held:
                super().put(*self.held)
        else:
            self.held = (version, name, payload)


class Renames(WatchClient):
    def put(self, version: int, name: str, payload: Any) -> None:
        super().put(version, name.upper(), payload)


class Strips(WatchClient):
    def put(self, version: int, name: str, payload: Any) -> None:
        super().put(version, name, {key: value for key, value in payload.items() if key != "trace_id"})


class StartsOver(WatchClient):
    def __init__(self, pipeline: Pipeline, session_id: str, after: int | None) -> None:
        super().__init__(pipeline, session_id, 0)


class StartsNow(WatchClient):
    def __init__(self, pipeline: Pipeline, session_id: str, after: int | None) -> None:
        super().__init__(pipeline, session_id, None)


class SaysNothing(WatchClient):
    def put_reset(self) -> None:
        pass


ORDER = "test_all_of_a_session_arrives_in_order"
FAULTS = [
    (Loses, ORDER),
    (Doubles, ORDER),
    (Doubles, "test_what_is_sent_twice_arrives_once"),
    (Swaps, ORDER),
    (Renames, "test_names_and_payloads_are_the_wire_view"),
    (Strips, "test_names_and_payloads_are_the_wire_view"),
    (StartsOver, "test_from_now_on"),
    (StartsOver, "test_coming_back_again_and_again"),
    (StartsNow, "test_a_long_history"),
    (SaysNothing, "test_a_version_that_is_not_known"),
]


@pytest.fixture
def pipeline() -> Iterator[Pipeline]:
    with Pipeline.open("memory://", settings=Settings(poll=0.05)) as pipeline:
        yield pipeline


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[ExitStack]:
    monkeypatch.setattr(clients, "PATIENCE", 0.3)
    with ExitStack() as stack:
        yield stack


class Faulty(WatchHarness):
    made: type[WatchClient]

    def connect(self, session_id: str, after: int | None = None) -> Client:
        client = self.made(self.pipeline, session_id, after)
        self.stack.callback(client.close)
        return client


@pytest.mark.parametrize(("fault", "test"), FAULTS, ids=lambda one: getattr(one, "__name__", one))
def test_a_fault_is_seen(fault: type[WatchClient], test: str, pipeline: Pipeline, stack: ExitStack) -> None:
    """The suite's test fails on a transport that loses, doubles, swaps, changes, or does not resume."""
    harness = Faulty(pipeline, stack)
    harness.made = fault
    with pytest.raises(AssertionError):
        getattr(TransportContract(), test)(pipeline, harness)


def test_a_size_that_is_not_kept_is_seen(pipeline: Pipeline, stack: ExitStack) -> None:
    """Who declares a size sends nothing larger."""
    harness = WatchHarness(pipeline, stack)
    harness.guarantees = replace(harness.guarantees, thin_over=10_000)
    with pytest.raises(AssertionError):
        TransportContract().test_what_is_too_large_comes_thin(pipeline, harness)
