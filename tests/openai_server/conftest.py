"""A fake server, the real client that asks it, and each API in turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from minutes import Ask, chat, responses
from openai import OpenAI

from mina_pipeline.testing.openai_server import OpenAIServer


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


@pytest.fixture
def client(server: OpenAIServer) -> Iterator[OpenAI]:
    with OpenAI(base_url=server.base_url, api_key="test", max_retries=0, timeout=10) as client:
        yield client


@pytest.fixture(params=[chat, responses])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Each API in turn."""
    return request.param
