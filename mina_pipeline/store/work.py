"""The work queue, and what workers of all processes share, in SQL. Cost by the rows in it, never by history."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from ..projections import Row
from ..work_shapes import BreakerState, Claimed, Lease, Wanted, WorkerSeen
from .connections import Link
from .queue import BESIDE, ramp, shown_breaker
from .tables import Schema
from .work_texts import CLAIMED, WorkTexts

T = TypeVar("T")
Named = dict[str, Any]
Definitions = Sequence[tuple[str, int]]


class SqlWork:
    """The WorkQueue and Fleet roles of a SqlStore."""

    schema: Schema
    postgresql: bool
    work: WorkTexts
    reading: Callable[[Callable[[Link], Any]], Any]
    writing: Callable[..., Any]
    found = False
    """Whether the last claim was given something: where not, an idle worker looks before it takes the write lock."""

    def changing(self, write: Callable[[Link], T], again: bool = True) -> T:
        """A write that need not outlive a power cut: whatever is lost with it is claimed, or found out, again."""
        done: T = self.writing(write, again=again, durable=False)
        return done

    def read(self, text: str, values: Named) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self.reading(lambda link: link.rows(text, values))
        return found

    def write(self, text: str, values: Named) -> int:
        return int(self.changing(lambda link: link.count(text, values)))

    # --- WorkQueue

    def claim(self, now: int, owner: str, token: str, lease: int, wanted: Wanted) -> Claimed | None:
        texts = self.work
        values: Named = {"now": now, "owner": owner, "token": token, "lease": lease, **definitions(wanted)}
        session_id, stage = wanted.only or ("", "")
        limits = () if wanted.only else wanted.limits
        values |= {"session_id": session_id, "stage": stage, "exclude": texts.list(wanted.exclude)}
        values |= {"no_upgrades": texts.list(wanted.no_upgrades)}
        for n, (group, room) in enumerate(limits):
            values |= {f"group{n}": texts.list(group), f"most{n}": room}
        least, most = wanted.attempts
        values |= {"least": least, "most": 0 if most is None else most}
        flags = (
            bool(wanted.exclude),
            len(limits),
            bool(wanted.no_upgrades),
            wanted.only is not None,
            least > 0,
            most is not None,
        )
        condition = texts.wanted(len(wanted.definitions), *flags)
        text = texts.claim(condition)

        def take(link: Link) -> list[tuple[Any, ...]]:
            found = link.rows(text, values)
            if found and not self.postgresql:
                found = [(*found[0], *session) for session in link.rows(texts.session, {"now": now, "id": found[0][0]})]
            return found

        if not self.postgresql:
            if not self.found and not self.read(f"SELECT 1 FROM {texts.work} WHERE {condition} LIMIT 1", values):
                return None
            found = self.changing(take)
        elif limits:
            found = self.changing(lambda link: alone(link, self.schema, text, values), again=False)
        else:  # not again where the connection breaks: a second row would have the same token
            found = self.changing(take, again=False)
        self.found = bool(found)
        if not found:
            return None
        here = len(CLAIMED)
        begun_at, session = found[0][here], found[0][here + 1 :]
        row = dict(zip(CLAIMED, found[0][:here], strict=True))
        row["tries"], row["created_at"] = row["tries"] or 0, row["created_at"] or row["due_at"]
        return Claimed(**row, begun_at=begun_at, session=dict(zip(texts.session_columns, session, strict=False)))

    def renew(self, now: int, tokens: Sequence[str], lease: int) -> list[str]:
        values = {"now": now, "tokens": self.work.list(tokens), "lease": lease}
        self.write(self.work.renew, values)
        return [token for (token,) in self.read(self.work.still_held, values)]

    def give_back(self, token: str) -> None:
        self.write(self.work.give_back, {"token": token})

    def postpone(self, now: int, token: str, delay: int, tried: bool = False) -> bool:
        return self.write(self.work.postpone, {"now": now, "token": token, "delay": delay, "tried": int(tried)}) == 1

    def next_due(self, now: int, definitions: Definitions, exclude: Collection[str] = ()) -> int | None:
        text = self.work.next_due(len(definitions), bool(exclude))
        values = {"now": now, "exclude": self.work.list(exclude), **numbered(definitions)}
        due = self.read(text, values)[0][0]
        return None if due is None else int(due)

    def oldest_due(
        self,
        now: int,
        definitions: Definitions,
        exclude: Collection[str] = (),
        limited: Collection[str] = (),
        attempts: int = 0,
    ) -> int | None:
        text = self.work.oldest_due(len(definitions), bool(exclude), bool(limited), attempts > 0)
        lists = {"exclude": self.work.list(exclude), "limited": self.work.list(limited), "least": attempts}
        found = self.read(text, {"now": now, **lists, **numbered(definitions)})
        return int(found[0][0]) if found else None

    def spread(self, now: int, stages: Collection[str], pace: int) -> int:
        texts = self.work
        values: Named = {"now": now, "stages": self.work.list(stages)}
        due = texts.update(due_at=f"{texts.now} + {texts('delay')}")
        one = f"{due} WHERE session_id = {texts('id')} AND kind = {texts('kind')} AND stage = {texts('stage')}"

        def spread(link: Link) -> int:
            rows = link.rows(texts.pending, values)
            for place, (session_id, kind, stage) in enumerate(rows):
                key = {"id": session_id, "kind": kind, "stage": stage}
                # A row that has been claimed meanwhile is busy with what it is wanted for.
                link.count(f"{one} AND {texts.free}", {"now": now, "delay": ramp(place, len(rows), pace), **key})
            return len(rows)

        return self.changing(spread)

    def release(self, now: int, session_id: str, kind: str, stage: str) -> bool:
        return self.write(self.work.release, {"now": now, "id": session_id, "kind": kind, "stage": stage}) == 1

    def work_rows(self, now: int, limit: int | None = None) -> list[Row]:
        text = self.work.rows + ("" if limit is None else f" LIMIT {int(limit)}")
        columns = (*self.work.work_columns, *BESIDE)
        return [dict(zip(columns, row, strict=True)) for row in self.read(text, {"now": now})]

    def silence(self, now: int, session_id: str) -> int | None:
        found = self.read(self.work.silence, {"now": now, "id": session_id})
        return int(found[0][0]) if found else None

    def leases(self, now: int) -> list[Lease]:
        return list(map(Lease._make, self.read(self.work.leases, {"now": now})))

    def touch(self, now: int, session_id: str) -> None:
        self.write(self.work.touch, {"now": now, "id": session_id})

    # --- Fleet

    def breakers(self, now: int) -> list[BreakerState]:
        found = self.read(self.work.breakers, {"now": now})
        return [shown_breaker(dict(zip(self.work.breaker_columns, row, strict=True)), now) for row in found]

    def trip_breaker(self, now: int, provider: str, pause: int, reason: str, probe: str | None = None) -> bool:
        values = {"now": now, "provider": provider, "pause": pause, "reason": reason, "probe": probe}
        return self.changed(self.work.trip, values)

    def take_probe(self, now: int, provider: str, probe: str, lease: int) -> bool:
        return self.changed(self.work.take_probe, {"now": now, "provider": provider, "probe": probe, "lease": lease})

    def close_breaker(self, now: int, provider: str, probe: str) -> bool:
        return self.changed(self.work.close, {"now": now, "provider": provider, "probe": probe})

    def changed(self, text: str, values: Named) -> bool:
        return bool(self.changing(lambda link: link.rows(text, values)))

    def worker_seen(self, now: int, name: str, started_at: int, details: Mapping[str, Any]) -> None:
        text = msgspec.json.encode(details).decode()
        values = {"now": now, "name": name, "age": now - started_at, "details": text}
        self.changing(lambda link: (link.count(self.work.forget, values), link.count(self.work.seen, values)))

    def worker_gone(self, name: str) -> None:
        self.write(self.work.gone, {"name": name})

    def workers_seen(self, now: int) -> list[WorkerSeen]:
        found = self.read(self.work.workers, {"now": now})
        return [WorkerSeen(name, since, seen, msgspec.json.decode(text)) for name, since, seen, text in found]


def definitions(wanted: Wanted) -> Named:
    return numbered(wanted.definitions)


def numbered(definitions: Definitions) -> Named:
    names = {f"name{n}": name for n, (name, _) in enumerate(definitions)}
    return names | {f"version{n}": version for n, (_, version) in enumerate(definitions)}


def alone(link: Any, schema: Schema, text: str, values: Named) -> list[tuple[Any, ...]]:
    """A claim while nobody else counts and claims: a limit is a limit across all workers.

    All is one message, with the values in it: the server needs nothing more of us to let the others go on, even if
    this process is stopped here. The claim is a statement of its own, and sees what was committed before the lock.
    """
    from psycopg import ClientCursor

    write = ClientCursor(link.driver).mogrify
    lock = write(b"SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (schema.sql("work"),))
    try:
        cursor = link.driver.execute(f"BEGIN; {lock}; {write(text.encode(), values)}; COMMIT", prepare=False)
        cursor.nextset()
        cursor.nextset()
        found: list[tuple[Any, ...]] = cursor.fetchall()
    except BaseException:
        link.count("ROLLBACK")
        raise
    return found
