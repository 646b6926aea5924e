"""The loops that p.aio runs on: asyncio, and trio where it is installed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    return name
