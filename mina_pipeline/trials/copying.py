"""A session's log up to a stage, as the one append that makes a fork of it. Reads the parent, writes nothing."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from ..codec import GENESIS, chain, clean, decode, digest, encode, recorded
from ..errors import IllegalTransition, SessionNotFound
from ..events import (
    Event,
    SessionErased,
    SessionStarted,
    StageFailed,
    StageProgress,
    StageReady,
    StageStarted,
    StageWaiting,
)
from ..ports import Append, Ids
from ..projections import READ_MODELS, Delays, Op, Row
from ..recovery import folded
from ..states import State, replay

FORK = "fork"
"""The word that refusals use for what was asked."""
UNDER_WAY = (StageStarted, StageProgress, StageWaiting)
GIVEN = ("era", "feed_xid", "seq")
"""What a store gives an event, each time anew."""


@dataclass(frozen=True)
class Prefix:
    """A log up to where a stage began: rows with their events, oldest first, and the state that they fold to.

    stages: the names of those that are still to be made, in declared order.
    """

    parent: str
    events: tuple[tuple[Row, Event], ...]
    state: State

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(stage.name for stage in self.state.stages if stage.status != "done")


@dataclass(frozen=True)
class Named:
    """What a fork has of its own. `definition` is the name that it pins; title None: as the parent's."""

    session_id: str
    id: int
    definition: str
    title: str | None = None


def prefix(parent: str, rows: Sequence[Row], stage: str | None) -> Prefix:
    """The parent's events before the first run of the stage (None: of any), without runs of others under way then.

    Those are made anew too: half of their checkpoints would be another provider's. SessionNotFound where there are no
    rows; InvalidInput where the session has no such stage; IllegalTransition where it is not finalized, the stage has
    not begun yet, or content is gone. What only a later release can read is UpgradeNeeded.
    """
    if not rows:
        raise SessionNotFound(parent)
    events = [(row, decode(recorded(row))) for row in rows]
    state = replay(event for _, event in events)
    if stage is not None:
        state.stage(stage)  # else it has none such, and says which there are
    if any(isinstance(event, SessionErased) for _, event in events):
        raise IllegalTransition(parent, state.public, FORK, "its content was erased: there is nothing to try again")
    if state.stats is None:
        raise IllegalTransition(parent, state.public, FORK, "it was never finalized: finalize it first")
    begins = (isinstance(event, StageStarted) and stage in (None, event.stage) for _, event in events)
    end = next((n for n, this in enumerate(begins) if this), None)
    if end is None:
        what = "no stage has" if stage is None else f"{stage} has not"
        raise IllegalTransition(parent, state.public, FORK, f"{what} begun: wait for it, or fork from an earlier one")
    if any(row["content"] is None and row["digest"] is not None for row, _ in events[:end]):
        raise IllegalTransition(parent, state.public, FORK, "its log has lost content: see `mina verify`")
    kept = tuple(settled(events[:end]))
    return Prefix(parent, kept, replay(event for _, event in kept))


def settled(events: Sequence[tuple[Row, Event]]) -> Iterator[tuple[Row, Event]]:
    """Those that are not of a run which is under way at their end."""
    state = replay(event for _, event in events)
    runs = {(stage.name, stage.run) for stage in state.stages if stage.status in ("running", "waiting")}
    for row, event in events:
        if not (isinstance(event, UNDER_WAY) and (event.stage, event.run) in runs):
            yield row, event


def copy(prefix: Prefix, named: Named, at: int, ids: Ids, delays: Delays) -> Append:
    """The append of the fork: recorded at `at` (µs), as its log is; the parent's has the times of the meeting.

    Event ids, salts, hashes and the trace are new. Versions are the parent's, unless a run was left out: then they
    close up, and what an outcome had read (`input_version`) is told by the new ones.
    """
    versions = [row["version"] for row, _ in prefix.events]
    event_ids = {row["event_id"]: ids.uuid() for row, _ in prefix.events}
    trace_id, previous, rows = ids.uuid(), GENESIS, list[Row]()
    for version, (old, event) in enumerate(prefix.events, 1):
        row = {name: value for name, value in old.items() if name not in GIVEN}
        row |= texts(prefix, named, event, versions)
        row |= {
            "event_id": event_ids[old["event_id"]],
            "session_id": named.session_id,
            "version": version,
            "skippable": bool(old["skippable"]),
            "recorded_at": at,
            "trace_id": trace_id,
            "causation_id": event_ids.get(old["causation_id"]),
        }
        salt = None if row["content"] is None else ids.salt()
        row |= {"salt": salt, "digest": digest(salt or b"", row["content"])}
        row["hash"] = previous = chain(previous, row)
        rows.append(row)
    # The very fold that verify compares with: an op for each event would have some keys twice.
    tables, columns = folded([{**row, **dict.fromkeys(GIVEN, 0)} for row in rows], delays)
    ops = tuple(op for table in READ_MODELS for op in inserts(table, tables.by_key[table].values()))
    return Append(named.session_id, 0, tuple(rows), {**columns, "hash": previous, "trace_id": trace_id}, ops, at)


def texts(prefix: Prefix, named: Named, event: Event, versions: Sequence[int]) -> Row:
    """The stored texts of an event that is not copied as it is; of others nothing."""
    changed: Event | None = None
    if isinstance(event, SessionStarted):
        own = {"id": named.id, "definition": named.definition, "parent": prefix.parent}
        title = event.title if named.title is None else clean(named.title)
        changed = msgspec.structs.replace(event, **own, title=title)
    elif isinstance(event, (StageReady, StageFailed)):
        read = bisect_right(versions, event.input_version)
        if read != event.input_version:
            changed = msgspec.structs.replace(event, input_version=read)
    if changed is None:
        return {}
    text = encode(changed)
    return {"schema_version": text.schema_version, "data": text.data, "content": text.content}


def inserts(table: str, rows: Iterable[Row]) -> Iterator[Op]:
    by_columns: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        by_columns.setdefault(tuple(row), []).append(row)
    for alike in by_columns.values():
        yield Op("insert", table, tuple(alike))
