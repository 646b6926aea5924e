"""A clock that may be wrong, ids that repeat themselves, and a store with a clock of its own."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from ...ports import Append, Store
from ...projections import Op, Row
from ...work_shapes import BreakerState, Claimed, Wanted, WorkerSeen
from .schedule import Schedule

CLOCKED = {"work": ("due_at", "until", "created_at"), "sessions": ("touched_at",)}
BESIDE = (*CLOCKED["work"], *CLOCKED["sessions"])


@dataclass
class SimulatedClock:
    """A machine's: `skew` (µs) is what its wall clock is off by; the monotonic one is right."""

    schedule: Schedule
    skew: int = 0

    def now(self) -> int:
        return self.schedule.now + self.skew

    def monotonic(self) -> float:
        return self.schedule.now / 1e6


class SimulatedIds:
    """In the order in which they were drawn."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.counter = count(1)

    def uuid(self) -> str:
        drawn = f"{next(self.counter):032x}"
        return f"{drawn[:8]}-{drawn[8:12]}-7{drawn[13:16]}-8{drawn[17:20]}-{drawn[20:]}"

    def salt(self) -> bytes:
        return self.rng.randbytes(16)


class OwnTime:
    """A store that goes by its own clock, and gives and takes times relative to the host's, as PostgreSQL does."""

    def __init__(self, store: Store, clock: SimulatedClock) -> None:
        self.store = store
        self.clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def append(self, append: Append) -> bool:
        here = self.clock.now()
        session = moved(here - append.at, CLOCKED["sessions"])(append.session)
        return self.store.append(replace(append, session=session, ops=self.stored(append.ops, append.at), at=here))

    def correct(self, now: int, session_id: str, expected: int, ops: Sequence[Op]) -> bool:
        return self.store.correct(now, session_id, expected, self.stored(ops, now))

    def stored(self, ops: Sequence[Op], at: int) -> tuple[Op, ...]:
        by = self.clock.now() - at
        return tuple(replace(op, rows=tuple(map(moved(by, CLOCKED.get(op.table, ())), op.rows))) for op in ops)

    def claim(self, now: int, owner: str, token: str, lease: int, wanted: Wanted) -> Claimed | None:
        here = self.clock.now()
        found = self.store.claim(here, owner, token, lease, wanted)
        by = now - here
        if found is None:
            return None
        begun_at = None if found.begun_at is None else found.begun_at + by
        return replace(found, due_at=found.due_at + by, created_at=found.created_at + by, begun_at=begun_at)

    def renew(self, now: int, tokens: Sequence[str], lease: int) -> list[str]:
        return self.store.renew(self.clock.now(), tokens, lease)

    def postpone(self, now: int, token: str, delay: int, tried: bool = False) -> bool:
        return self.store.postpone(self.clock.now(), token, delay, tried)

    def next_due(self, now: int, definitions: Sequence[tuple[str, int]], exclude: Collection[str] = ()) -> int | None:
        here = self.clock.now()
        due = self.store.next_due(here, definitions, exclude)
        return None if due is None else due - here + now

    def oldest_due(
        self,
        now: int,
        definitions: Sequence[tuple[str, int]],
        exclude: Collection[str] = (),
        limited: Collection[str] = (),
        attempts: int = 0,
    ) -> int | None:
        here = self.clock.now()
        due = self.store.oldest_due(here, definitions, exclude, limited, attempts)
        return None if due is None else due - here + now

    def spread(self, now: int, stages: Collection[str], pace: int) -> int:
        return self.store.spread(self.clock.now(), stages, pace)

    def release(self, now: int, session_id: str, kind: str, stage: str) -> bool:
        return self.store.release(self.clock.now(), session_id, kind, stage)

    def touch(self, now: int, session_id: str) -> None:
        self.store.touch(self.clock.now(), session_id)

    def silence(self, now: int, session_id: str) -> int | None:
        return self.store.silence(self.clock.now(), session_id)

    def work_rows(self, now: int, limit: int | None = None) -> list[Row]:
        here = self.clock.now()
        return [moved(now - here, BESIDE)(row) for row in self.store.work_rows(here, limit)]

    def breakers(self, now: int) -> list[BreakerState]:
        here = self.clock.now()
        by = now - here
        return [
            replace(one, changed_at=one.changed_at + by, retry_at=None if one.retry_at is None else one.retry_at + by)
            for one in self.store.breakers(here)
        ]

    def trip_breaker(self, now: int, provider: str, pause: int, reason: str, probe: str | None = None) -> bool:
        return self.store.trip_breaker(self.clock.now(), provider, pause, reason, probe)

    def take_probe(self, now: int, provider: str, probe: str, lease: int) -> bool:
        return self.store.take_probe(self.clock.now(), provider, probe, lease)

    def close_breaker(self, now: int, provider: str, probe: str) -> bool:
        return self.store.close_breaker(self.clock.now(), provider, probe)

    def worker_seen(self, now: int, name: str, started_at: int, details: Mapping[str, Any]) -> None:
        here = self.clock.now()
        self.store.worker_seen(here, name, started_at + here - now, details)

    def workers_seen(self, now: int) -> list[WorkerSeen]:
        here = self.clock.now()
        by = now - here
        return [
            replace(one, started_at=one.started_at + by, seen_at=one.seen_at + by)
            for one in self.store.workers_seen(here)
        ]


def moved(by: int, times: Collection[str]) -> Any:
    """A row with these times so much later."""

    def move(row: Row) -> Row:
        return {name: value + by if name in times and value is not None else value for name, value in row.items()}

    return move
