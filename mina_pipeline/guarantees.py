"""What a live transport guarantees to its clients, as data: adapters declare it, a shipped suite holds them to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Slow = Literal["lags", "dropped", "holds up"]
"""What becomes of a client that takes nothing: it gets all of it later (lags); its connection is ended, and it comes
back with its last version (dropped); everybody waits for it (holds up)."""


@dataclass(frozen=True, kw_only=True)
class Guarantees:
    """What holds for every client and session. `mina_pipeline.testing.transports.TransportContract` proves it.

    ordered: a session's events come in the order of their versions, without a gap.
    exactly_once: on one connection each version comes once; without it at least once, and clients drop by version.
    resumes: a client that comes back with the last version it has gets what is after it, and nothing else.
    resets: one that comes back with a version that the session does not have is told so, and hears what comes next.
    early: a session can be watched before it is there.
    whole: payloads are the whole wire view, the refined transcript as well; without it a field may be missing where
    `href` says where it is.
    slow: what becomes of a client that takes nothing.
    thin_over: bytes of an event's payload over which its big fields are left out and `href` says where they are; None:
    never.
    many: one connection can watch several sessions.
    """

    ordered: bool = True
    exactly_once: bool = True
    resumes: bool = True
    resets: bool = True
    early: bool = True
    whole: bool = True
    slow: Slow = "lags"
    thin_over: int | None = None
    many: bool = False
