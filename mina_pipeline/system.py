"""The machine's own clock and randomness: what the ports Clock and Ids are, where nobody brings others."""

from __future__ import annotations

import secrets
import time

from uuid_utils import uuid7


class SystemClock:
    """The host's clock."""

    def now(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()


class SystemIds:
    """UUIDv7 and the system's randomness."""

    def uuid(self) -> str:
        return str(uuid7())

    def salt(self) -> bytes:
        return secrets.token_bytes(16)
