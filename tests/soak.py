"""How much a fault proof does: a little in every test run, the promised counts with MINA_SOAK=1."""

from __future__ import annotations

import os
import random
import time


def share(ci: int, soak: int) -> int:
    """The count for this run."""
    return soak if os.environ.get("MINA_SOAK") == "1" else ci


def dice() -> random.Random:
    """Randomness of a printed seed; MINA_SEED brings one back."""
    seed = int(os.environ.get("MINA_SEED") or time.time_ns() % 1_000_000)
    print(f"MINA_SEED={seed}")
    return random.Random(seed)
