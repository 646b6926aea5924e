"""The simulation finds what is wrong: each planted bug, within so many seeds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from known import KNOWN
from planted import PLANTED

from mina_pipeline.testing.simulation import simulate

SEEDS = 2_000
"""At the time of writing a renewed dead lease is found by the 623rd, each other by the 300th; a change of the library
may draw other histories."""


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant: Callable[[pytest.MonkeyPatch], None]) -> None:
    """A library that is broken on purpose breaks a promise, which the history names."""
    for seed in range(SEEDS):
        with pytest.MonkeyPatch.context() as patch:
            plant(patch)
            history = simulate(seed, without=KNOWN)
        if history.broken:
            print(f"{plant.__name__}: {history.broken[0]} ({history.replay})")
            return
    pytest.fail(f"{plant.__name__} was not found by {SEEDS} histories")
