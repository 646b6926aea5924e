"""A pipeline whose clock can be put forward."""

from __future__ import annotations

from typing import Any

import pytest
from later import Clock

from mina_pipeline import Pipeline, Settings


@pytest.fixture
def pipeline() -> Any:
    with Pipeline.open("memory://", clock=Clock(), settings=Settings(poll=0.05)) as opened:
        yield opened
