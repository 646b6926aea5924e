"""What every store's work queue has in common, whatever it is kept in."""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt

from ..projections import Row
from ..work_shapes import BreakerState, Wanted

BESIDE = ("id", "state", "tenant", "trace_id", "updated_at", "touched_at", "finalized_at")
"""The session's columns that stand beside a row of work."""
FORGOTTEN = 86_400_000_000  # µs: a worker that has been silent for so long is not coming back


def full_stages(wanted: Wanted, held: Iterable[Row]) -> set[str]:
    """The stages of which no more may be begun now; held: the rows that workers have."""
    stages = [row["stage"] for row in held if row["kind"] != "timer"]
    full = (group for group, most in wanted.limits if sum(stage in group for stage in stages) >= most)
    return {stage for group in full for stage in group}


def ramp(place: int, count: int, pace: int) -> int:
    """When (µs from now) the one in this place (the first is 0) of `count` is due: few at first, then each `pace`."""
    return int(2 * pace * sqrt(count * (place + 1)))


def shown_breaker(row: Row, now: int) -> BreakerState:
    probing = row["state"] == "open" and row["probe"] is not None and row["probe_until"] > now
    fields = {name: row[name] for name in ("provider", "opens", "retry_at", "changed_at", "reason")}
    return BreakerState(**fields, state="half_open" if probing else row["state"])
