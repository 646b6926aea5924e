"""Both kinds of host over one database, with the servers and clients of the other suites."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path += [str(TESTS / name) for name in ("doors", "sockets", "transports", "asgi", "engine", "examples", "store")]
