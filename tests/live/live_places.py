"""What tests of the live rooms have in common: a pipeline over a store that can be held up, and clients that take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from mina_pipeline import Pipeline, Settings, StoreUnreachable
from mina_pipeline.frames import Frame
from mina_pipeline.live import Watch
from mina_pipeline.opening import find_provider, known_workflows
from mina_pipeline.ports import Header
from mina_pipeline.projections import Row
from mina_pipeline.store.memory import MemoryStore
from mina_pipeline.system import SystemClock, SystemIds

PATIENCE = 30.0


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it did not come to hold"
        time.sleep(0.005)


def taken(watch: Watch, last: int) -> list[int]:
    """The versions that a watch brings, until it has brought this one."""
    return [frame.version for frame in frames(watch, last)]


def frames(watch: Watch, last: int) -> list[Frame]:
    found: list[Frame] = []
    end = time.monotonic() + PATIENCE
    while watch.version < last:
        assert time.monotonic() < end, f"at {watch.version}, waiting for {last}"
        found += watch.take()
        if watch.version < last:
            watch.wait(0.1)
    return found


class Faltering(MemoryStore):
    """A memory store whose reads fail while it is `away`, or as often as `failing` says, or wait at a `gate`."""

    away = False
    blind = 0  # reads of headers that see nothing yet

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.gates: dict[str, tuple[threading.Event, threading.Event]] = {}
        self.failing: dict[str, int] = {}
        self.calls: list[str] = []

    def gate(self, call: str) -> tuple[threading.Event, threading.Event]:
        """The next call of this name stops; events: it has come, and it may go on."""
        self.gates[call] = made = threading.Event(), threading.Event()
        return made

    def reads(self, call: str) -> None:
        self.calls.append(call)
        gate = self.gates.pop(call, None)
        if gate is not None:
            gate[0].set()
            assert gate[1].wait(PATIENCE)
        self.failing[call] = left = self.failing.get(call, 0) - 1
        if self.away or left >= 0:
            raise StoreUnreachable("memory://", "away for a while")

    def load(self, session_id: str | int) -> Row | None:
        self.reads("load")
        return super().load(session_id)

    def events(self, session_id: str, after: int = 0, limit: int | None = None) -> list[Row]:
        self.reads("events")
        return super().events(session_id, after, limit)

    def versions(self, session_ids: Any) -> dict[str, int]:
        self.reads("versions")
        return super().versions(session_ids)

    def headers_after(self, versions: Mapping[str, int]) -> list[Header]:
        self.reads("headers_after")
        if self.blind:
            self.blind -= 1
            return []
        return super().headers_after(versions)

    def headers(self, after: Any, limit: int) -> Any:
        self.reads("headers")
        return super().headers(after, limit)


def over(store: MemoryStore, poll: float = 0.02) -> Pipeline:
    workflows = known_workflows("standard")
    return Pipeline(store, workflows, find_provider("offline"), Settings(poll=poll), SystemClock(), SystemIds())
