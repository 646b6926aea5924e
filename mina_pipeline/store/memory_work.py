"""Tables in memory, and the work queue and the fleet over them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from ..projections import KEYS, REVEAL, Op, Row
from ..work_shapes import BreakerState, Claimed, Lease, Wanted, WorkerSeen
from .queue import BESIDE, FORGOTTEN, full_stages, ramp, shown_breaker

CLAIMED = tuple(name for name in Claimed.__dataclass_fields__ if name not in ("begun_at", "session"))


class Tables:
    """Rows by table and key, and what an Op does to them."""

    def __init__(self) -> None:
        self.by_key: dict[str, dict[tuple[Any, ...], Row]] = {table: {} for table in KEYS}
        self.events: dict[str, list[Row]] = {}
        self.log: list[Row] = []
        self.breakers: dict[str, Row] = {}
        self.workers: dict[str, WorkerSeen] = {}
        self.ids = 0

    def apply(self, op: Op) -> None:
        """Carry out one operation; KeyError where an insert meets a row that is there."""
        rows, key_columns = self.by_key[op.table], KEYS[op.table]
        if op.kind == "prune":
            session_id = op.rows[0]["session_id"]
            for key in [k for k in rows if k[0] == session_id and k[-1] not in op.keep]:
                del rows[key]
            return
        for row in op.rows:
            key = tuple(row[column] for column in key_columns)
            if op.kind == "insert":
                if key in rows:
                    raise KeyError(f"{op.table} has a row {key} already")
                rows[key] = dict(row)
            elif op.kind == "delete":
                rows.pop(key, None)
            elif op.kind == "upsert":
                rows.setdefault(key, {}).update(row)
            elif key in rows:
                rows[key].update(row)


class MemoryWork(ABC):
    """The WorkQueue and Fleet roles of a MemoryStore."""

    @abstractmethod
    def _write(self) -> AbstractContextManager[Tables]:
        """The tables, to write to."""

    @property
    @abstractmethod
    def _view(self) -> Tables:
        """The tables, to read from."""

    # --- WorkQueue

    def claim(self, now: int, owner: str, token: str, lease: int, wanted: Wanted) -> Claimed | None:
        with self._write() as tables:
            rows = [row for row in tables.by_key["work"].values() if known(row, wanted.definitions, wanted.exclude)]
            if wanted.only is not None:
                rows = [row for row in rows if (row["session_id"], row["stage"]) == wanted.only and free(row, now)]
            else:
                full = full_stages(wanted, [row for row in tables.by_key["work"].values() if not free(row, now)])
                rows = [row for row in rows if due(row) <= now and claimable(row, wanted, full)]
            rows = [row for row in rows if wanted.only is None or row["kind"] == "stage"]
            if not rows:
                return None
            row = min(rows, key=lambda row: (row["due_at"], row["session_id"], row["stage"]))
            row.update(owner=owner, token=token, until=now + lease, attempts=row["attempts"] + 1)
            session = tables.by_key["sessions"].get((row["session_id"],), {})
            reveal = tables.by_key["work"].get((row["session_id"], *REVEAL))
            begun_at = reveal["created_at"] if reveal else None
            return Claimed(**{name: row[name] for name in CLAIMED}, begun_at=begun_at, session=dict(session))

    def renew(self, now: int, tokens: Sequence[str], lease: int) -> list[str]:
        with self._write() as tables:
            rows = [row for row in tables.by_key["work"].values() if row["token"] in tokens]
            for row in rows:
                row["until"] = now + lease
            return [row["token"] for row in rows]

    def give_back(self, token: str) -> None:
        with self._write() as tables:
            for row in tables.by_key["work"].values():
                if row["token"] == token:
                    row.update(owner=None, token=None, until=None, attempts=row["attempts"] - 1)

    def postpone(self, now: int, token: str, delay: int, tried: bool = False) -> bool:
        with self._write() as tables:
            rows = [row for row in tables.by_key["work"].values() if row["token"] == token]
            for row in rows:
                row.update(
                    owner=None, token=None, until=None, attempts=0, due_at=now + delay, tries=row["tries"] + tried
                )
            return bool(rows)

    def next_due(self, now: int, definitions: Sequence[tuple[str, int]], exclude: Collection[str] = ()) -> int | None:
        rows = list(self._view.by_key["work"].values())
        return min((due(row) for row in rows if known(row, definitions, exclude)), default=None)

    def oldest_due(
        self,
        now: int,
        definitions: Sequence[tuple[str, int]],
        exclude: Collection[str] = (),
        limited: Collection[str] = (),
        attempts: int = 0,
    ) -> int | None:
        rows = [row for row in list(self._view.by_key["work"].values()) if row["kind"] == "stage" and due(row) <= now]
        rows = [row for row in rows if row["stage"] not in limited and known(row, definitions, exclude)]
        rows = [row for row in rows if row["attempts"] >= attempts]
        return min((row["due_at"] for row in rows), default=None)

    def spread(self, now: int, stages: Collection[str], pace: int) -> int:
        with self._write() as tables:
            rows = [row for row in tables.by_key["work"].values() if row["stage"] in stages and pending(row, now)]
            for place, row in enumerate(sorted(rows, key=lambda row: (row["due_at"], row["session_id"]))):
                row["due_at"] = now + ramp(place, len(rows), pace)
            return len(rows)

    def release(self, now: int, session_id: str, kind: str, stage: str) -> bool:
        with self._write() as tables:
            row = tables.by_key["work"].get((session_id, kind, stage))
            if row is not None:
                row.update(owner=None, token=None, until=None, due_at=min(row["due_at"], now))
            return row is not None

    def work_rows(self, now: int, limit: int | None = None) -> list[Row]:
        sessions = self._view.by_key["sessions"]
        rows = sorted([*self._view.by_key["work"].values()], key=lambda row: (row["due_at"], row["session_id"]))
        return [
            {**row, **{name: sessions.get((row["session_id"],), {}).get(name) for name in BESIDE}}
            for row in rows[:limit]
        ]

    def leases(self, now: int) -> list[Lease]:
        rows = [row for row in list(self._view.by_key["work"].values()) if row["until"] is not None]
        return [Lease(*(row[name] for name in Lease._fields)) for row in rows]

    def touch(self, now: int, session_id: str) -> None:
        with self._write() as tables:
            row = tables.by_key["sessions"].get((session_id,))
            if row is not None:
                row["touched_at"] = max(row["touched_at"], now)

    def silence(self, now: int, session_id: str) -> int | None:
        row = self._view.by_key["sessions"].get((session_id,))
        return None if row is None else now - int(row["touched_at"])

    # --- Fleet

    def breakers(self, now: int) -> list[BreakerState]:
        return [shown_breaker(row, now) for _, row in sorted(self._view.breakers.items())]

    def trip_breaker(self, now: int, provider: str, pause: int, reason: str, probe: str | None = None) -> bool:
        with self._write() as tables:
            row = tables.breakers.get(provider)
            if probe is not None and (row is None or row["probe"] != probe):
                return False
            if probe is None and row is not None and row["state"] == "open":
                return False
            opens = row["opens"] + 1 if row is not None else 1
            tables.breakers[provider] = {
                "provider": provider,
                "state": "open",
                "opens": opens,
                "retry_at": now + pause,
                "changed_at": now if row is None or row["state"] == "closed" else row["changed_at"],
                "reason": reason,
                "probe": None,
                "probe_until": None,
            }
            return True

    def take_probe(self, now: int, provider: str, probe: str, lease: int) -> bool:
        with self._write() as tables:
            row = tables.breakers.get(provider)
            if row is None or row["state"] != "open" or row["retry_at"] > now:
                return False
            if row["probe"] is not None and row["probe_until"] > now:
                return False
            row.update(probe=probe, probe_until=now + lease)
            return True

    def close_breaker(self, now: int, provider: str, probe: str) -> bool:
        with self._write() as tables:
            row = tables.breakers.get(provider)
            if row is None or row["probe"] != probe:
                return False
            row.update(
                state="closed", opens=0, retry_at=None, changed_at=now, reason=None, probe=None, probe_until=None
            )
            return True

    def worker_seen(self, now: int, name: str, started_at: int, details: Mapping[str, Any]) -> None:
        with self._write() as tables:
            for silent in [one for one, row in tables.workers.items() if row.seen_at < now - FORGOTTEN]:
                del tables.workers[silent]
            tables.workers[name] = WorkerSeen(name, started_at, now, dict(details))

    def worker_gone(self, name: str) -> None:
        with self._write() as tables:
            tables.workers.pop(name, None)

    def workers_seen(self, now: int) -> list[WorkerSeen]:
        return sorted(self._view.workers.values(), key=lambda row: (row.seen_at, row.name))


def due(row: Row) -> int:
    return int(row["due_at"] if row["until"] is None else max(row["due_at"], row["until"]))


def free(row: Row, now: int) -> bool:
    return row["until"] is None or row["until"] <= now


def pending(row: Row, now: int) -> bool:
    """An upgrade that nobody has."""
    return free(row, now) and row["kind"] == "upgrade"


def known(row: Row, definitions: Sequence[tuple[str, int]], exclude: Collection[str]) -> bool:
    return (row["definition"], row["definition_version"]) in definitions and row["session_id"] not in exclude


def claimable(row: Row, wanted: Wanted, full: Collection[str]) -> bool:
    least, most = wanted.attempts
    if row["attempts"] < least or (most is not None and row["attempts"] >= most):
        return False
    if row["kind"] == "timer":
        return True
    return row["stage"] not in full and not (row["kind"] == "upgrade" and row["stage"] in wanted.no_upgrades)
