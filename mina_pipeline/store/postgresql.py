"""PostgreSQL: the engine's settings, and an append as one statement, one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import URL, Connection, Engine

from ..ports import Append
from ..projections import KEYS, Op
from .memory import FIRST_ERA
from .tables import Schema

SAFE_HEAD = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
XID = "pg_current_xact_id()::text::bigint"


def engine(url: URL) -> Engine:
    """An engine in autocommit: every statement of ours is a transaction, and says so where it is not."""
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    return sa.create_engine(
        url,
        pool_size=10,
        max_overflow=40,
        pool_pre_ping=True,
        isolation_level="AUTOCOMMIT",
        connect_args={"connect_timeout": 10, "application_name": "mina_pipeline"},
    )


def append(connection: Connection, schema: Schema, append: Append) -> bool:
    """One statement of CTEs. The order of locks is session row, then work row, always.

    Each part after the guard reads from it, so where the guard matches no row nothing is written at all.
    """
    text = Text(schema)
    parts = [*guard_parts(text, append), events_part(text, append)]
    parts += [f"op{n} AS ({op_part(text, op, n)})" for n, op in enumerate(append.ops)]
    query = f"WITH {', '.join(parts)} SELECT count(*) FROM guard"
    return bool(connection.exec_driver_sql(query, text.values).scalar_one() == 1)


class Text:
    """A statement under way: names for its parameters, casts for its columns."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.values: dict[str, Any] = {}

    def param(self, value: Any) -> str:
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f"%({name})s"

    def cast(self, table: str, column: str, value: Any) -> str:
        return f"{self.param(value)}::{sql_type(self.schema[table].c[column])}"

    def unnest(self, table: str, rows: Sequence[dict[str, Any]], alias: str) -> str:
        """Rows as a table expression: one array a column."""
        columns = list(rows[0])
        arrays = (f"{self.param([row[c] for row in rows])}::{sql_type(self.schema[table].c[c])}[]" for c in columns)
        return f"unnest({', '.join(arrays)}) AS {alias}({', '.join(columns)})"


def sql_type(column: sa.Column[Any]) -> str:
    match column.type:
        case sa.Text():
            return "text"
        case sa.Boolean():
            return "boolean"
        case sa.Float():
            return "float8"
        case sa.LargeBinary():
            return "bytea"
        case sa.BigInteger():
            return "bigint"
        case _:
            return "integer"


def guard_parts(text: Text, append: Append) -> list[str]:
    sessions = text.schema["sessions"].name
    returning = "RETURNING session_id, era, feed_xid"
    if append.expected == 0:
        columns = ", ".join(append.session)
        values = ", ".join(text.cast("sessions", c, v) for c, v in append.session.items())
        return [
            f"guard AS (INSERT INTO {sessions} ({columns}, era, feed_xid) SELECT {values}, {FIRST_ERA}, {XID}"
            f" ON CONFLICT DO NOTHING {returning})"
        ]
    here = f"session_id = {text.param(append.session_id)} AND version = {text.param(append.expected)}"
    sets = ", ".join(f"{c} = {text.cast('sessions', c, v)}" for c, v in append.session.items())
    sets += (
        f", era = {FIRST_ERA}, feed_xid = CASE WHEN {sessions}.era = {FIRST_ERA}"
        f" THEN greatest({sessions}.feed_xid, {XID}) ELSE {XID} END"
    )
    if append.guard is None:
        return [f"guard AS (UPDATE {sessions} SET {sets} WHERE {here} {returning})"]
    work, guard = text.schema["work"].name, append.guard
    return [
        f"here AS MATERIALIZED (SELECT session_id AS held FROM {sessions} WHERE {here} FOR UPDATE)",
        f"mine AS MATERIALIZED (SELECT held FROM {work} JOIN here ON {work}.session_id = held"
        f" WHERE kind = 'stage' AND stage = {text.param(guard.stage)} AND run = {text.param(guard.run)}"
        f" AND token = {text.param(guard.token)} FOR UPDATE OF {work})",
        f"guard AS (UPDATE {sessions} SET {sets} FROM mine WHERE session_id = held {returning})",
    ]


def events_part(text: Text, append: Append) -> str:
    columns = ", ".join(append.events[0])
    rows = text.unnest("events", append.events, "e")
    chosen = ", ".join(f"e.{column}" for column in append.events[0])
    return (
        f"appended AS (INSERT INTO {text.schema['events'].name} ({columns}, era, feed_xid)"
        f" SELECT {chosen}, guard.era, guard.feed_xid FROM guard, {rows} ORDER BY e.version)"
    )


def op_part(text: Text, op: Op, n: int) -> str:
    table, keys = text.schema[op.table].name, KEYS[op.table]
    if op.kind == "prune":
        session_id = text.param(op.rows[0]["session_id"])
        keep = text.param(list(op.keep))
        return (
            f"DELETE FROM {table} USING guard WHERE {table}.session_id = {session_id}"
            f" AND NOT ({keys[-1]} = ANY({keep}::text[]))"
        )
    rows, columns = text.unnest(op.table, op.rows, "r"), list(op.rows[0])
    match = " AND ".join(f"{table}.{key} = r.{key}" for key in keys)
    others = [column for column in columns if column not in keys]
    if op.kind == "delete":
        return f"DELETE FROM {table} USING guard, {rows} WHERE {match}"
    if op.kind == "update":
        sets = ", ".join(f"{column} = r.{column}" for column in others)
        return f"UPDATE {table} SET {sets} FROM guard, {rows} WHERE {match}"
    chosen = ", ".join(f"r.{column}" for column in columns)
    query = f"INSERT INTO {table} ({', '.join(columns)}) SELECT {chosen} FROM guard, {rows}"
    if op.kind == "upsert":
        sets = ", ".join(f"{column} = excluded.{column}" for column in others)
        query += f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {sets}"
    return query


def draw_id(connection: Connection, schema: Schema) -> int:
    return int(connection.exec_driver_sql(f"SELECT nextval('{schema.prefix}session_ids')").scalar_one())
