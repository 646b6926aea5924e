"""A deterministic simulation: store, workers, supervisors, relays and people under faults drawn from a seed.

`simulate(seed)` lives through one history on its own clock and asks the seven promises of it; the same seed is the same
history, on every store and Python. `python -m mina_pipeline.testing.simulation` does so for many. Needs greenlet.
"""

from .history import History, simulate
from .ledger import Broken
from .plan import FAULTS

__all__ = ["FAULTS", "Broken", "History", "simulate"]
