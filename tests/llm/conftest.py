"""A client whose pauses are short, for the tests that do not tell how long they are."""

from __future__ import annotations

import pytest


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long the client's pauses are is not told here."""
    monkeypatch.setattr("mina_pipeline.llm.client.FIRST_PAUSE", 0.01)
