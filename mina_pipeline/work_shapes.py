"""What workers of all processes share, as values: work in hand and work wanted, breakers, who is alive."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .projections import Row


@dataclass(frozen=True)
class Claimed:
    """A work row in a worker's hands until its lease ends, or until another claim takes a new token.

    kind: stage | upgrade | timer (then `stage` is the timer's name). attempts: claims without an outcome, this one
    counted; tries: ends without one that were in order. created_at: when the row came (µs, the host's clock); begun_at:
    when the session's first stage began, until the reveal.
    `session`: the session's row as it was at the claim.
    """

    session_id: str
    kind: str
    stage: str
    run: int
    definition: str
    definition_version: int
    token: str
    attempts: int
    tries: int
    created_at: int
    due_at: int
    begun_at: int | None
    session: Row = field(repr=False)


class Lease(NamedTuple):
    """A row of work that somebody has, or had: its lease ends, or ended, at `until` (host's µs)."""

    session_id: str
    kind: str
    stage: str
    run: int
    owner: str
    until: int
    attempts: int


@dataclass(frozen=True)
class Wanted:
    """What a worker can do, and may: which rows it claims.

    definitions: those it knows. exclude: session ids that it leaves to others. limits: how many rows of a group of
    stages may be in the hands of all workers at once. no_upgrades: stages whose provider is away. only: this session
    and stage, due or not, whatever the limits say. attempts: how often it was claimed before, from so often on and
    less than so often (None: whatever it is).
    """

    definitions: Sequence[tuple[str, int]]
    exclude: Collection[str] = ()
    limits: Sequence[tuple[frozenset[str], int]] = ()
    no_upgrades: Collection[str] = ()
    only: tuple[str, str] | None = None
    attempts: tuple[int, int | None] = (0, None)


@dataclass(frozen=True)
class BreakerState:
    """A provider's circuit breaker as the whole fleet has it. state: closed | open | half_open (a probe is out, and its
    lease is not over). Times: host's µs.

    retry_at: from when one probe may go (None while closed); opens: how often it has opened since it was last
    closed; changed_at: since when it is in this state; reason: what it opened for.
    """

    provider: str
    state: str
    opens: int
    retry_at: int | None
    changed_at: int
    reason: str | None


@dataclass(frozen=True)
class WorkerSeen:
    """A process with workers, by its last sign of life. details: concurrency, running, hung, definitions, providers."""

    name: str
    started_at: int
    seen_at: int
    details: Mapping[str, Any]
