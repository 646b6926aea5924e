"""What observers hear of a claim: that it runs, and what became of it, once."""

from __future__ import annotations

from .attempts import Made
from .leases import Held
from .observers import Observers, StageRun
from .ports import Clock
from .sessions import Loaded


def stage_run(held: Held, begun: Loaded, provider: str | None) -> StageRun:
    claimed, row = held.claimed, begun.row
    held.run = StageRun(
        session_id=claimed.session_id,
        trace_id=row["trace_id"],
        tenant=row["tenant"],
        definition=claimed.definition,
        stage=claimed.stage,
        run=claimed.run,
        provider=provider,
        kind=claimed.kind,
        takeover=claimed.attempts > 1,
        claim=claimed.token,
    )
    return held.run


def ended(observers: Observers, clock: Clock, held: Held, made: Made, after: Loaded) -> None:
    run, row, fields = held.run, after.row, made.fields
    if run is None or held.told:
        return
    held.told = True
    error_type = fields.get("error_type")
    observers.ended(run, fields["outcome"], fields.get("reason"), held.began_at, clock.now(), error_type)
    if after.state.status == "revealed" and row.get("revealed_at") == row["updated_at"]:
        finalized_at, revealed_at = row["finalized_at"], row["revealed_at"]
        observers.revealed(run.session_id, run.trace_id, run.tenant, finalized_at, revealed_at)


def waiting(observers: Observers, held: Held, reason: str, delay: int) -> None:
    """delay: in µs."""
    if held.run is not None and not held.told:
        held.told = True
        observers.waiting(held.run, reason, delay / 1e6)
