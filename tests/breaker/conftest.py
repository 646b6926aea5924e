"""A fleet on each store."""

from __future__ import annotations

import pytest
from trial import Trial

from mina_pipeline import Pipeline


@pytest.fixture
def trial(pipeline: Pipeline) -> Trial:
    return Trial(pipeline.store)
