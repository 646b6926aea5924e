"""Time that tests move by hand, and a provider that can be away."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from away import Time

from mina_pipeline import Pipeline


@pytest.fixture
def at(url: str) -> Time:
    """The time of a test: it stands still on memory and SQLite; on PostgreSQL the database's own goes on beside it."""
    return Time(time.time_ns() // 1000, running=url.startswith("postgresql"))


@pytest.fixture
def timed(opened: Callable[..., Pipeline], at: Time) -> Callable[..., Pipeline]:
    """Open pipelines whose clock is `at`."""

    def open_pipeline(**options: Any) -> Pipeline:
        given = {"retry_tries": 1, **options.pop("settings", {})}
        pipeline = opened(clock=at, settings=given, **options)
        at.stores.append(pipeline.store)
        return pipeline

    return open_pipeline
