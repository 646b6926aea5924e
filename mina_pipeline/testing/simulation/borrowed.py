"""What a history borrows of the process that it runs in: the library's randomness, its short waits, its logs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from .world import World

NEVER = ("session cannot be worked on", "observer raised")
"""Log lines that no fault of a plan explains."""


@contextmanager
def borrowed(world: World) -> Iterator[None]:
    """While the block runs they are this world's."""
    waits = random.Random(f"waits {world.plan.seed}")
    with (
        patch("tenacity.wait.random", waits),
        patch("mina_pipeline.attempts.random", waits, create=True),
        patch("tenacity.nap.time", SimpleNamespace(sleep=world.schedule.sleep)),
        patch("structlog.is_configured", lambda: False),
        patch("mina_pipeline.log.fallback", lambda _: TraceLogger(world)),
    ):
        yield


class TraceLogger:
    """The library's log lines, in the trace."""

    def __init__(self, world: World) -> None:
        self.world = world

    def info(self, event: str, **fields: Any) -> None:
        if event != "event appended":
            self.write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self.write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self.write("error", event, fields)
        if event in NEVER:
            self.world.ledger.broken(0, f"{event}: {fields}")

    def write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        said = " ".join(f"{name}={value}" for name, value in fields.items())
        self.world.schedule.note(f"{level}: {event} {said}")
