"""The work queue, and what workers of all processes share, in SQL. Cost by the rows in it, never by history.

Times are kept by the database's clock on PostgreSQL, and shown by the host's: `now` is what lies between.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from ..ports import BreakerState, Claimed, Lease, Wanted, WorkerSeen
from ..projections import Row
from . import postgresql
from .connections import Link
from .queue import BESIDE, FORGOTTEN, ramp, shown_breaker
from .tables import Schema

T = TypeVar("T")
Named = dict[str, Any]
Definitions = Sequence[tuple[str, int]]
CLAIMED = tuple(name for name in Claimed.__dataclass_fields__ if name not in ("begun_at", "session"))
TIMES = frozenset("due_at until created_at retry_at changed_at probe_until started_at seen_at touched_at".split())
FREE = {"owner": "NULL", "token": "NULL", "until": "NULL"}


class WorkTexts:
    """The statements, with named parameters. `now` is always among them: the host's µs."""

    def __init__(self, schema: Schema, on_postgresql: bool) -> None:
        self.on_postgresql = on_postgresql
        self.work, self.sessions, self.breaker_table, self.worker_table = (
            schema.sql(name) for name in ("work", "sessions", "breakers", "workers")
        )
        self.now = postgresql.NOW if on_postgresql else self.mark("now")
        self.work_columns = tuple(column.name for column in schema["work"].columns)
        self.session_columns = tuple(column.name for column in schema["sessions"].columns)
        self.breaker_columns = tuple(column.name for column in schema["breakers"].columns)
        free = f"(until IS NULL OR until <= {self.now})"
        self.free, self.due = free, f"due_at <= {self.now} AND {free}"
        self.skip_locked = " FOR UPDATE SKIP LOCKED" if on_postgresql else ""
        self.begun_at = (
            f"(SELECT {self.host_time('r.created_at')} FROM {self.work} AS r WHERE r.session_id = s.session_id"
            " AND r.kind = 'timer' AND r.stage = 'reveal')"
        )
        self.session = (
            f"SELECT {self.begun_at}, {', '.join(self.session_columns)} FROM {self.sessions} AS s"
            f" WHERE session_id = {self('id')}"
        )
        self.give_back = self.update(**FREE, attempts="attempts - 1") + f" WHERE token = {self('token')}"
        later = f"{self.now} + {self('delay')}"
        postponed = self.update(**FREE, attempts="0", due_at=later, tries=f"coalesce(tries, 0) + {self('tried')}")
        self.postpone = f"{postponed} WHERE token = {self('token')}"
        soon = f"CASE WHEN due_at > {self.now} THEN {self.now} ELSE due_at END"
        self.release = self.update(**FREE, due_at=soon) + (
            f" WHERE session_id = {self('id')} AND kind = {self('kind')} AND stage = {self('stage')}"
        )
        self.renew = self.renewal()
        self.still_held = f"SELECT token FROM {self.work} WHERE token {self.one_of('tokens')}"
        self.pending = (
            f"SELECT session_id, kind, stage FROM {self.work} WHERE stage {self.one_of('stages')} AND {free}"
            " AND kind = 'upgrade' ORDER BY due_at, session_id"
        )
        beside = self.shown(BESIDE, "s.")
        self.rows = (
            f"SELECT {self.shown(self.work_columns, 'w.')}, {beside} FROM {self.work} AS w"
            f" LEFT JOIN {self.sessions} AS s ON s.session_id = w.session_id ORDER BY w.due_at, w.session_id, w.stage"
        )
        self.leases = f"SELECT {self.shown(Lease._fields)} FROM {self.work} WHERE until IS NOT NULL"
        self.silence = f"SELECT {self.now} - touched_at FROM {self.sessions} WHERE session_id = {self('id')}"
        self.touch = (
            f"UPDATE {self.sessions} SET touched_at = {self.now}"
            f" WHERE session_id = {self('id')} AND touched_at < {self.now}"
        )

    def mark(self, name: str) -> str:
        return f"CAST(%({name})s AS bigint)" if self.on_postgresql and name == "now" else self(name)

    def __call__(self, name: str) -> str:
        return f"%({name})s" if self.on_postgresql else f":{name}"

    def one_of(self, name: str) -> str:
        return f"= ANY({self(name)})" if self.on_postgresql else f"IN (SELECT value FROM json_each({self(name)}))"

    def list(self, values: Collection[str]) -> Any:
        """The parameter for `one_of`."""
        return [*values] if self.on_postgresql else msgspec.json.encode([*values]).decode()

    def host_time(self, expression: str) -> str:
        """A time of the database's as one of the host's."""
        return f"{expression} - {self.now} + {self.mark('now')}" if self.on_postgresql else expression

    def shown(self, columns: Sequence[str], of: str = "") -> str:
        return ", ".join(self.host_time(of + name) if name in TIMES else of + name for name in columns)

    def update(self, **columns: str) -> str:
        return f"UPDATE {self.work} SET " + ", ".join(f"{name} = {to}" for name, to in columns.items())

    def known(self, count: int) -> str:
        marks = ", ".join(f"({self(f'name{n}')}, {self(f'version{n}')})" for n in range(count))
        return f"(definition, definition_version) IN ({'VALUES ' if not self.on_postgresql else ''}{marks})"

    def wanted(self, definitions: int, exclude: bool, limits: int, no_upgrades: bool, only: bool) -> str:
        """The condition for a row that may be claimed; limits: how many groups of stages have one."""
        if only:
            one = f"session_id = {self('session_id')} AND kind = 'stage' AND stage = {self('stage')}"
            return f"{one} AND {self.free} AND {self.known(definitions)}"
        text = f"{self.due} AND {self.known(definitions)}"
        if exclude:
            text += f" AND NOT (session_id {self.one_of('exclude')})"
        for n in range(limits):
            group = f"stage {self.one_of(f'group{n}')}"
            held = f"SELECT count(*) FROM {self.work} WHERE kind <> 'timer' AND until > {self.now} AND {group}"
            text += f" AND (kind = 'timer' OR NOT ({group}) OR ({held}) < {self(f'most{n}')})"
        if no_upgrades:
            text += f" AND NOT (kind = 'upgrade' AND stage {self.one_of('no_upgrades')})"
        return text

    def pick(self, condition: str) -> str:
        return (
            f"SELECT session_id, kind, stage FROM {self.work} WHERE {condition}"
            f" ORDER BY due_at, session_id, stage LIMIT 1{self.skip_locked}"
        )

    def claim(self, condition: str) -> str:
        """Take the longest-due row that nobody else is just taking; on PostgreSQL its session's row comes with it."""
        until = f"{self.now} + {self('lease')}"
        taken = self.update(owner=self("owner"), token=self("token"), until=until, attempts="attempts + 1")
        keys = "(session_id, kind, stage)"
        if not self.on_postgresql:
            return f"{taken} WHERE {keys} IN ({self.pick(condition)}) RETURNING {self.shown(CLAIMED)}"
        session = ", ".join([self.begun_at, *(f"s.{name}" for name in self.session_columns)])
        return (
            f"WITH pick AS MATERIALIZED ({self.pick(condition)}), taken AS ({taken}"
            f" WHERE {keys} IN (SELECT session_id, kind, stage FROM pick) RETURNING {', '.join(CLAIMED)})"
            f" SELECT {self.shown(CLAIMED, 't.')}, {session}, set_config('synchronous_commit', 'off', TRUE)"
            " FROM taken AS t"
            f" JOIN {self.sessions} AS s ON s.session_id = t.session_id"
        )

    def renewal(self) -> str:
        """A row that is locked at the moment holds up no other lease."""
        until = f"{self.now} + {self('lease')}"
        if not self.on_postgresql:
            return self.update(until=until) + f" WHERE token {self.one_of('tokens')}"
        mine = f"SELECT token FROM {self.work} WHERE token {self.one_of('tokens')} FOR UPDATE SKIP LOCKED"
        return f"WITH mine AS MATERIALIZED ({mine}) {self.update(until=until)} WHERE token IN (SELECT token FROM mine)"

    def next_due(self, definitions: int, exclude: bool) -> str:
        """Two looks at an index: the first that nobody has, and the first lease to end."""
        ours = self.known(definitions) + (f" AND NOT (session_id {self.one_of('exclude')})" if exclude else "")
        free = f"SELECT due_at AS at FROM {self.work} WHERE until IS NULL AND {ours} ORDER BY due_at LIMIT 1"
        held = f"SELECT min(until) AS at FROM {self.work} WHERE until IS NOT NULL AND {ours}"
        both = f"SELECT * FROM ({free}) AS a UNION ALL SELECT * FROM ({held}) AS b"
        return f"SELECT {self.host_time('min(at)')} FROM ({both}) AS c"

    def oldest_due(self, definitions: int, exclude: bool, limited: bool) -> str:
        ours = self.known(definitions) + (f" AND NOT (session_id {self.one_of('exclude')})" if exclude else "")
        ours += f" AND NOT (stage {self.one_of('limited')})" if limited else ""
        return (
            f"SELECT {self.host_time('due_at')} FROM {self.work} WHERE {self.due} AND kind = 'stage'"
            f" AND {ours} ORDER BY due_at LIMIT 1"
        )

    # --- the fleet

    @property
    def breakers(self) -> str:
        return f"SELECT {self.shown(self.breaker_columns)} FROM {self.breaker_table} ORDER BY provider"

    @property
    def trip(self) -> str:
        retry_at, reason = f"{self.now} + {self('pause')}", self("reason")
        mine = f"CAST({self('probe')} AS text)"
        return (
            f"INSERT INTO {self.breaker_table} AS b (provider, state, opens, retry_at, changed_at, reason)"
            f" VALUES ({self('provider')}, 'open', 1, {retry_at}, {self.now}, {reason})"
            f" ON CONFLICT (provider) DO UPDATE SET state = 'open', opens = b.opens + 1, retry_at = {retry_at},"
            f" changed_at = CASE WHEN b.state = 'open' THEN b.changed_at ELSE {self.now} END, reason = {reason},"
            " probe = NULL, probe_until = NULL"
            f" WHERE {mine} IS NULL AND b.state <> 'open' OR b.probe = {mine} RETURNING provider"
        )

    @property
    def take_probe(self) -> str:
        return (
            f"UPDATE {self.breaker_table} SET probe = {self('probe')}, probe_until = {self.now} + {self('lease')}"
            f" WHERE provider = {self('provider')} AND state = 'open' AND retry_at <= {self.now}"
            f" AND (probe IS NULL OR probe_until <= {self.now}) RETURNING provider"
        )

    @property
    def close(self) -> str:
        return (
            f"UPDATE {self.breaker_table} SET state = 'closed', opens = 0, retry_at = NULL, changed_at = {self.now},"
            f" reason = NULL, probe = NULL, probe_until = NULL"
            f" WHERE provider = {self('provider')} AND probe = {self('probe')} RETURNING provider"
        )

    @property
    def seen(self) -> str:
        started = f"{self.now} - {self('age')}"
        return (
            f"INSERT INTO {self.worker_table} (name, started_at, seen_at, details)"
            f" VALUES ({self('name')}, {started}, {self.now}, {self('details')})"
            f" ON CONFLICT (name) DO UPDATE SET seen_at = {self.now}, details = excluded.details"
        )

    @property
    def forget(self) -> str:
        return f"DELETE FROM {self.worker_table} WHERE seen_at < {self.now} - {FORGOTTEN}"

    @property
    def gone(self) -> str:
        return f"DELETE FROM {self.worker_table} WHERE name = {self('name')}"

    @property
    def workers(self) -> str:
        columns = self.shown(("name", "started_at", "seen_at", "details"))
        return f"SELECT {columns} FROM {self.worker_table} ORDER BY seen_at, name"


class SqlWork:
    """The WorkQueue and Fleet roles of a SqlStore."""

    schema: Schema
    postgresql: bool
    work: WorkTexts
    reading: Callable[[Callable[[Link], Any]], Any]
    writing: Callable[..., Any]

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
        texts, values = self.work, {"now": now, "owner": owner, "token": token, "lease": lease, **definitions(wanted)}
        session_id, stage = wanted.only or (None, None)
        limits = () if wanted.only else wanted.limits
        values |= {"session_id": session_id, "stage": stage, "exclude": texts.list(wanted.exclude)}
        values |= {"no_upgrades": texts.list(wanted.no_upgrades)}
        for n, (group, most) in enumerate(limits):
            values |= {f"group{n}": texts.list(group), f"most{n}": most}
        flags = (bool(wanted.exclude), len(limits), bool(wanted.no_upgrades), wanted.only is not None)
        condition = texts.wanted(len(wanted.definitions), *flags)
        text = texts.claim(condition)

        def take(link: Link) -> list[tuple[Any, ...]]:
            found = link.rows(text, values)
            if found and not self.postgresql:
                found = [(*found[0], *session) for session in link.rows(texts.session, {"now": now, "id": found[0][0]})]
            return found

        if not self.postgresql:
            if not self.read(f"SELECT 1 FROM {texts.work} WHERE {condition} LIMIT 1", values):
                return None  # an idle worker takes no write lock
            found = self.changing(take)
        elif limits:
            found = self.changing(lambda link: alone(link, self.schema, text, values), again=False)
        else:  # not again where the connection breaks: a second row would have the same token
            found = self.changing(take, again=False)
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
        self, now: int, definitions: Definitions, exclude: Collection[str] = (), limited: Collection[str] = ()
    ) -> int | None:
        text = self.work.oldest_due(len(definitions), bool(exclude), bool(limited))
        lists = {"exclude": self.work.list(exclude), "limited": self.work.list(limited)}
        found = self.read(text, {"now": now, **lists, **numbered(definitions)})
        return int(found[0][0]) if found else None

    def spread(self, now: int, stages: Collection[str], pace: int) -> int:
        texts, values = self.work, {"now": now, "stages": self.work.list(stages)}
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
