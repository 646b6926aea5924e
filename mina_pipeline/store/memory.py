"""The store in memory: dicts, with transactions that begin, write and commit like a database's."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from typing import Any

from ..codec import recorded
from ..errors import SECOND_DOOR, LeaseLost, MinaError, StoreBusy
from ..events import FIRST_ERA, Position, RecordedEvent
from ..forks import forget_at_fork
from ..ports import Append, BreakerState, Claimed, FeedStall, Head, Header, Wake, Wanted, WorkerSeen
from ..projections import KEYS, Op, Row
from ..states import FINISHED
from .queue import BESIDE, FORGOTTEN, full_stages, ramp, shown_breaker

CLAIMED = tuple(name for name in Claimed.__dataclass_fields__ if name != "session")


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


class MemoryTransaction:
    """A transaction on a MemoryStore: `begin`, then writes that only it sees, then `commit` or `rollback`.

    The first write takes the store's write lock and holds it to the end, as SQLite does. A context manager:
    commits on the way out, rolls back on an exception.
    """

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.tables: Tables | None = None
        self.touched: dict[str, int] = {}

    @property
    def view(self) -> Tables:
        return self.store.tables if self.tables is None else self.tables

    def write(self) -> Tables:
        """The tables to write to: a copy, from the first write on."""
        if self.tables is None:
            if not self.store.lock.acquire(timeout=self.store.lock_timeout):
                raise StoreBusy("the memory store's lock", self.store.lock_timeout)
            self.tables = deepcopy(self.store.tables)
        return self.tables

    def commit(self) -> None:
        if self.tables is not None:
            self.store.tables = self.tables
            self.end()
        touched, self.touched = self.touched, {}
        for session_id, version in touched.items():
            self.store.announce(session_id, version)

    def rollback(self) -> None:
        self.touched = {}
        if self.tables is not None:
            self.end()

    def end(self) -> None:
        self.tables = None
        self.store.lock.release()

    def __enter__(self) -> MemoryTransaction:
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is None:
            self.commit()
        else:
            self.rollback()


class MemoryStore:
    """A Store for tests and trials: nothing outlives the process."""

    lock_timeout = 10.0

    def __init__(self, transaction: MemoryTransaction | None = None, root: MemoryStore | None = None) -> None:
        self.root = root or self
        self.transaction = transaction
        self.inside = transaction is not None
        if root is None:
            self.tables = Tables()
            self.lock = threading.Lock()
            self.callbacks: list[Wake] = []
            self.hosting: dict[int, MemoryTransaction] = {}
            self.paused = False
            forget_at_fork(self)

    def begin(self) -> MemoryTransaction:
        """A transaction for `Pipeline.using`."""
        return MemoryTransaction(self.root)

    def using(self, connection: Any) -> MemoryStore:
        if not isinstance(connection, MemoryTransaction) or connection.store is not self.root:
            raise MinaError("using() on a memory pipeline takes a transaction of its own store (store.begin())")
        self.root.hosting[threading.get_ident()] = connection
        return MemoryStore(connection, self.root)

    def on_commit(self, callback: Wake) -> None:
        self.root.callbacks.append(callback)

    def listen(self) -> None:
        """There is no other process."""

    def announce(self, session_id: str, version: int) -> None:
        for callback in self.root.callbacks:
            callback(session_id, version)

    def close(self) -> None:
        """Nothing to let go of."""

    def pause(self) -> None:
        """Before a fork: the child's copy of the tables has every append whole."""
        self.paused = self.lock.acquire(timeout=1.0)  # a host's transaction may hold it; that one writes to a copy

    def resume(self) -> None:
        if self.paused:
            self.paused = False
            self.lock.release()

    def forget(self) -> None:
        """In a forked child: a lock that was held at that moment is held for ever."""
        self.lock, self.hosting, self.paused = threading.Lock(), {}, False

    # A store's own appends lock, change in place and unlock; the copies are for a host's transactions.
    def _write(self) -> _Writing:
        return _Writing(self)

    @property
    def _view(self) -> Tables:
        return self.root.tables if self.transaction is None else self.transaction.view

    # --- EventStore

    def load(self, session_id: str | int) -> Row | None:
        sessions = self._view.by_key["sessions"]
        if isinstance(session_id, int):
            row = next((row for row in list(sessions.values()) if row["id"] == session_id), None)
        else:
            row = sessions.get((session_id,))
        return dict(row) if row else None

    def append(self, append: Append) -> bool:
        with self._write() as tables:
            session = tables.by_key["sessions"].get((append.session_id,))
            if (session["version"] if session else 0) != append.expected:
                return False
            if append.command_id is not None and known_command(tables, append.session_id, append.command_id):
                return False
            if append.guard is not None:
                guard = append.guard
                work = tables.by_key["work"].get((append.session_id, guard.kind, guard.stage))
                if work is None or work["token"] != guard.token or work["run"] != guard.run:
                    raise LeaseLost(append.session_id, guard.stage, guard.run)
            fresh = {**(session or {}), **append.session}
            for op in append.ops:
                tables.apply(op)
            log = tables.events.setdefault(append.session_id, [])
            for event in append.events:
                row = {**event, "era": FIRST_ERA, "feed_xid": 0, "seq": len(tables.log) + 1}
                log.append(row)
                tables.log.append(row)
            tables.by_key["sessions"][(append.session_id,)] = fresh
        version = append.expected + len(append.events)
        if self.transaction is None:
            self.announce(append.session_id, version)
        else:
            self.transaction.touched[append.session_id] = version
        return True

    def events(self, session_id: str, after: int = 0, limit: int | None = None) -> list[Row]:
        rows = self._view.events.get(session_id, [])
        return [dict(row) for row in rows[after : None if limit is None else after + limit]]

    def command(self, session_id: str, command_id: str) -> str | None:
        return known_command(self._view, session_id, command_id)

    def feed(self, after: Position | None, limit: int | None) -> list[RecordedEvent]:
        start = after.seq if after else 0
        rows = self._view.log[start : None if limit is None else start + limit]
        return [recorded(row) for row in rows]

    def headers(self, after: Position | None, limit: int) -> tuple[list[Header], Position | None]:
        start = after.seq if after else 0
        rows = self._view.log[start : start + limit]
        found = [(row["session_id"], row["version"], row["type"]) for row in rows]
        return found, Position(FIRST_ERA, 0, start + len(rows)) if rows else None

    def head(self) -> Head:
        return Head(Position(FIRST_ERA, 0, len(self._view.log)), {})

    def feed_stall(self) -> FeedStall | None:
        return None

    def draw_id(self) -> int:
        with self._write() as tables:
            tables.ids += 1
            return tables.ids

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
            return Claimed(**{name: row[name] for name in CLAIMED}, session=dict(session))

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

    def oldest_due(self, now: int, definitions: Sequence[tuple[str, int]]) -> int | None:
        rows = [row for row in list(self._view.by_key["work"].values()) if row["kind"] == "stage" and due(row) <= now]
        return min((row["due_at"] for row in rows if known(row, definitions, ())), default=None)

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

    def touch(self, now: int, session_id: str) -> None:
        with self._write() as tables:
            row = tables.by_key["sessions"].get((session_id,))
            if row is not None:
                row["touched_at"] = max(row["touched_at"], now)

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

    # --- Views

    def known_segments(self, session_id: str, segment_ids: Sequence[str]) -> list[Row]:
        rows = self._view.by_key["segments"]
        return [dict(rows[session_id, one]) for one in segment_ids if (session_id, one) in rows]

    def rows(self, table: str, session_id: str) -> list[Row]:
        rows = [dict(row) for key, row in list(self._view.by_key[table].items()) if key[0] == session_id]
        by = "ordinal" if table in ("segments", "tasks") else KEYS[table][-1]
        return sorted(rows, key=lambda row: row[by])

    def sessions(
        self, state: str | None, tenant: str | None, stuck_before: int | None, before: int | None, limit: int
    ) -> list[Row]:
        rows = [
            dict(row)
            for row in list(self._view.by_key["sessions"].values())
            if (state is None or row["state"] == state)
            and (tenant is None or row["tenant"] == tenant)
            and (before is None or row["id"] < before)
            and (stuck_before is None or (row["state"] not in FINISHED and row["updated_at"] < stuck_before))
        ]
        return sorted(rows, key=lambda row: -row["id"])[:limit]

    def correct(self, now: int, session_id: str, expected: int, ops: Sequence[Op]) -> bool:
        with self._write() as tables:
            session = tables.by_key["sessions"].get((session_id,))
            if session is None or session["version"] != expected:
                return False
            for op in ops:
                tables.apply(op)
            return True


class _Writing:
    """The write lock around one method, or the host transaction's."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store

    def __enter__(self) -> Tables:
        if self.store.transaction is not None:
            return self.store.transaction.write()
        self.refuse_second_door(self.store.root)
        if not self.store.root.lock.acquire(timeout=self.store.lock_timeout):
            raise StoreBusy("the memory store's lock", self.store.lock_timeout)
        return self.store.root.tables

    def refuse_second_door(self, root: MemoryStore) -> None:
        open_here = root.hosting.get(threading.get_ident())
        if open_here is not None and open_here.tables is not None:
            raise MinaError(SECOND_DOOR)

    def __exit__(self, *_: object) -> None:
        if self.store.transaction is None:
            self.store.root.lock.release()


def due(row: Row) -> int:
    return int(row["due_at"] if row["until"] is None else max(row["due_at"], row["until"]))


def free(row: Row, now: int) -> bool:
    return row["until"] is None or row["until"] <= now


def pending(row: Row, now: int) -> bool:
    """An upgrade, or a stage that waits, which nobody has."""
    return free(row, now) and (row["kind"] == "upgrade" or (row["kind"] == "stage" and row["due_at"] > now))


def known(row: Row, definitions: Sequence[tuple[str, int]], exclude: Collection[str]) -> bool:
    return (row["definition"], row["definition_version"]) in definitions and row["session_id"] not in exclude


def claimable(row: Row, wanted: Wanted, full: Collection[str]) -> bool:
    if row["kind"] == "timer":
        return True
    return row["stage"] not in full and not (row["kind"] == "upgrade" and row["stage"] in wanted.no_upgrades)


def known_command(tables: Tables, session_id: str, command_id: str) -> str | None:
    for row in tables.events.get(session_id, []):
        if row["command_id"] == command_id and row["fingerprint"] is not None:
            return str(row["fingerprint"])
    return None
