"""The store in memory: dicts, with transactions that begin, write and commit like a database's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from ..codec import recorded
from ..errors import SECOND_DOOR, LeaseLost, MinaError, StoreBusy
from ..events import FIRST_ERA, Position, RecordedEvent
from ..forks import forget_at_fork
from ..llm.budget import Budget, Limits, MemoryBudget
from ..ports import Append, FeedStall, Head, Header, Wake
from ..projections import KEYS, Op, Row
from .memory_work import MemoryWork, Tables


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
            self.store.announce(session_id, version, True)

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


class MemoryStore(MemoryWork):
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

    def announce(self, session_id: str, version: int, work: bool) -> None:
        for callback in self.root.callbacks:
            callback(session_id, version, work)

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
            if append.guard is not None:
                guard = append.guard
                work = tables.by_key["work"].get((append.session_id, guard.kind, guard.stage))
                if work is None or work["token"] != guard.token or work["run"] != guard.run:
                    raise LeaseLost(append.session_id, guard.stage, guard.run)
            session = tables.by_key["sessions"].get((append.session_id,))
            if (session["version"] if session else 0) != append.expected:
                return False
            if append.command_id is not None and known_command(tables, append.session_id, append.command_id):
                return False
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
            self.announce(append.session_id, version, append.brings_work)
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

    def versions(self, session_ids: Sequence[str]) -> dict[str, int]:
        rows = ((one, self._view.by_key["sessions"].get((one,))) for one in session_ids)
        return {session_id: row["version"] for session_id, row in rows if row}

    def headers_after(self, versions: Mapping[str, int]) -> list[Header]:
        return [
            (session_id, row["version"], row["type"])
            for session_id in sorted(versions)
            for row in self._view.events.get(session_id, [])[versions[session_id] :]
        ]

    def head(self) -> Head:
        return Head(Position(FIRST_ERA, 0, len(self._view.log)), {})

    def feed_stall(self) -> FeedStall | None:
        return None

    def draw_id(self) -> int:
        with self._write() as tables:
            tables.ids += 1
            return tables.ids

    # --- Budgets

    def budget(self, limits: Limits, new_key: Callable[[], str]) -> Budget:
        return MemoryBudget(limits, new_key)

    # --- Views

    def known_segments(self, session_id: str, segment_ids: Sequence[str]) -> list[Row]:
        rows = self._view.by_key["segments"]
        return [dict(rows[session_id, one]) for one in segment_ids if (session_id, one) in rows]

    def rows(self, table: str, session_id: str) -> list[Row]:
        rows = [dict(row) for key, row in list(self._view.by_key[table].items()) if key[0] == session_id]
        by = "ordinal" if table in ("segments", "tasks") else KEYS[table][-1]
        return sorted(rows, key=lambda row: row[by])

    def sessions(self, state: str | None, tenant: str | None, before: int | None, limit: int) -> list[Row]:
        rows = [
            dict(row)
            for row in list(self._view.by_key["sessions"].values())
            if (state is None or row["state"] == state)
            and (tenant is None or row["tenant"] == tenant)
            and (before is None or row["id"] < before)
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


def known_command(tables: Tables, session_id: str, command_id: str) -> str | None:
    for row in tables.events.get(session_id, []):
        if row["command_id"] == command_id and row["fingerprint"] is not None:
            return str(row["fingerprint"])
    return None
