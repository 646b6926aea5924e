"""A golden log, read and folded: what the tests compare with what was recorded when the log was made.

`python -m golden.fold`, in tests/, prints one digest over the folds of all golden logs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, cast

import msgspec

from mina_pipeline.codec import decode, recorded
from mina_pipeline.projections import OPERATIONAL, READ_MODELS
from mina_pipeline.recovery import folded
from mina_pipeline.states import INITIAL, State, evolve

HERE = Path(__file__).parent
BYTES = ("salt", "digest", "hash")
PLACE = {"era": 1, "feed_xid": 0}  # where in the feed an event is, is no part of the log
Row = dict[str, Any]


def names(folder: Path = HERE) -> list[str]:
    """The golden logs that are there."""
    return sorted(path.stem for path in folder.glob("*.jsonl"))


def log(name: str, folder: Path = HERE) -> list[Row]:
    """The event rows of a golden log as a store would give them."""
    rows = []
    for seq, text in enumerate((folder / f"{name}.jsonl").read_text().splitlines(), 1):
        row = msgspec.json.decode(text)
        row |= {name: None if row[name] is None else bytes.fromhex(row[name]) for name in BYTES}
        rows.append({**row, **PLACE, "seq": seq})
    return rows


def fold(rows: list[Row]) -> Row:
    """The state after each event (defaults left out), the last with all fields, the read models, the session's row."""
    state, states = INITIAL, []
    for row in rows:
        state = evolve(state, decode(recorded(row)))
        states.append(brief(state))
    tables, columns = folded(rows)
    found = {
        "states": states,
        "last": in_full(state),
        # The snapshot is the last state again, as this release writes it.
        "session": {name: value for name, value in columns.items() if name not in ("snapshot", "fold_version")},
        "rows": {table: [durable(row) for _, row in sorted(tables.by_key[table].items())] for table in READ_MODELS},
    }
    return cast("Row", msgspec.json.decode(msgspec.json.encode(found)))


def durable(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in OPERATIONAL}


def brief(state: State) -> Row:
    """A state as snapshots have it."""
    found: Row = msgspec.to_builtins(state)
    return {**found, "stages": found.get("stages", [])}


def in_full(state: State) -> Any:
    """Every field of a state, defaults too, so that these are recorded as well."""
    if isinstance(state, msgspec.Struct):
        return {name: in_full(getattr(state, name)) for name in state.__struct_fields__}
    return [in_full(one) for one in state] if isinstance(state, tuple) else msgspec.to_builtins(state)


def recorded_fields(expected: Row, found: Row) -> Row:
    """A state found, without the fields that came after `expected`, a last state, was recorded."""
    stage = expected["stages"][0]
    stages = [{name: value for name, value in one.items() if name in stage} for one in found["stages"]]
    return {**{name: value for name, value in found.items() if name in expected}, "stages": stages}


def recorded_columns(expected: list[Row], found: list[Row]) -> list[Row]:
    """The rows found, without the columns that came after the expected ones were recorded."""
    later = {name for row in found for name in row} - {name for row in expected for name in row}
    return [{name: value for name, value in row.items() if name not in later} for row in found]


if __name__ == "__main__":
    digest = hashlib.sha256()
    for one in names():
        digest.update(msgspec.json.encode(fold(log(one))))
    print(digest.hexdigest())
