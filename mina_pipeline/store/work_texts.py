"""The work queue's statements. Times are kept by the database's clock on PostgreSQL, and shown by the host's: `now` is
what lies between."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from ..work_shapes import Claimed, Lease
from . import postgresql
from .queue import BESIDE, FORGOTTEN
from .tables import Schema

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

    def wanted(
        self,
        definitions: int,
        exclude: bool,
        limits: int,
        no_upgrades: bool,
        only: bool,
        least: bool = False,
        most: bool = False,
    ) -> str:
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
        text += f" AND attempts >= {self('least')}" if least else ""
        text += f" AND attempts < {self('most')}" if most else ""
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

    def oldest_due(self, definitions: int, exclude: bool, limited: bool, attempts: bool) -> str:
        ours = self.known(definitions) + (f" AND NOT (session_id {self.one_of('exclude')})" if exclude else "")
        ours += f" AND NOT (stage {self.one_of('limited')})" if limited else ""
        ours += f" AND attempts >= {self('least')}" if attempts else ""
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
