"""A pipeline over a store that can be held up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from live_places import Faltering, over

from mina_pipeline import Pipeline


@pytest.fixture
def store() -> Faltering:
    return Faltering()


@pytest.fixture
def faltering(store: Faltering) -> Iterator[Pipeline]:
    with over(store) as pipeline:
        yield pipeline
