"""The simulation finds what is wrong: each planted bug, within so many seeds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from known import KNOWN
from planted import PLANTED
from soak import share

from mina_pipeline.testing.simulation import simulate

SEEDS = 2_000
"""At the time of writing a renewed dead lease is found by the 623rd, each other by the 300th; a change of the library
may draw other histories."""

BEGIN = {"renew_a_dead_lease": 600}
"""Where a test run begins, for those that are rare; `make soak` begins at 0."""


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant: Callable[[pytest.MonkeyPatch], None]) -> None:
    """A library that is broken on purpose breaks a promise, which the history names."""
    first = 0 if share(0, 1) else BEGIN.get(plant.__name__, 0)
    for seed in range(first, first + SEEDS):
        with pytest.MonkeyPatch.context() as patch:
            plant(patch)
            history = simulate(seed, without=KNOWN)
        if history.broken:
            print(f"{plant.__name__}: {history.broken[0]} ({history.replay})")
            return
    pytest.fail(f"{plant.__name__} was not found by {SEEDS} histories")
