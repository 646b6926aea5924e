"""PostgreSQL: the engine's settings, and an append as one statement, one round trip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from operator import itemgetter
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import URL, Engine, event

from ..ports import Append
from ..projections import KEYS, Op, Row
from ..settings import Settings
from .connections import Link
from .tables import Schema, event_columns

MARK = "%s"
IS_ONE_OF = "= ANY(CAST(%s AS text[]))"
SAFE_HEAD = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
JSON = msgspec.json.Encoder()
XID = "pg_current_xact_id()::text::bigint"
NOW = "(extract(epoch FROM statement_timestamp()) * 1000000)::bigint"
"""The database's clock in µs; of the statement, so that an index can be asked for what is due by it."""
CLOCKED = {"work": frozenset({"due_at", "until", "created_at"}), "sessions": frozenset({"touched_at"})}
"""The columns that hold times by that clock. Values for them are relative to when an append was made."""
NOT_CLOCKED: frozenset[str] = frozenset()


def engine(url: URL, settings: Settings) -> Engine:
    """An engine in autocommit: every statement of ours is a transaction, and says so where it is not."""
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    made = sa.create_engine(
        url,
        pool_size=settings.pool_size + 1,
        max_overflow=0,
        isolation_level="AUTOCOMMIT",
        connect_args={
            "connect_timeout": 10,
            "application_name": "mina_pipeline",
            "client_encoding": "utf8",
            "prepare_threshold": None if settings.transaction_pooling else 1,
        },
    )
    if not settings.transaction_pooling:

        @event.listens_for(made, "connect")
        def configure(connection: Any, _record: object) -> None:
            # A database or a role may have other defaults. The level is what the guards are written for.
            was, connection.autocommit = connection.autocommit, True
            connection.execute(
                f"SET lock_timeout = {max(1, int(settings.lock_timeout * 1000))};"
                "SET default_transaction_isolation = 'read committed';"
                "SET idle_in_transaction_session_timeout = 0;"
                # Every statement of ours finds its few rows by an index. A plan that was made while the tables were
                # still small would read all of them, and a connection keeps its plans.
                "SET plan_cache_mode = force_generic_plan;"
                "SET enable_seqscan = off; SET enable_bitmapscan = off;"
                "SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off"
            )
            connection.autocommit = was

    return made


# --- an append


def append(link: Link, schema: Schema, append: Append) -> bool:
    return bool(link.rows(*append_statement(schema, append))[0][0] == 1)


def append_statement(schema: Schema, append: Append) -> tuple[str, list[Any]]:
    """One statement of CTEs, which counts 1 where it took effect. The order of locks is session row, then work row,
    always.

    Each part after the guard reads from it, so where the guard matches no row nothing is written at all.
    """
    session, guard, events = relative("sessions", append.session, append.at), append.guard, append.events
    text, pick = compiled(
        schema,
        append.expected == 0,
        append.command_id is not None,
        guard is not None,
        tuple(session),
        len(events) == 1,
        tuple([op_shape(op) for op in append.ops]),
    )
    where: tuple[Any, ...] = () if append.expected == 0 else (append.session_id, append.expected)
    if append.command_id is not None and where:
        command: tuple[Any, ...] = (append.session_id, append.command_id)
    else:
        command = ()
    values: list[Any]
    if guard is None:
        values = [*session.values(), *where, *command]
    else:
        values = [*where, guard.kind, guard.stage, guard.run, guard.token, *command, *session.values()]
    if len(events) == 1:
        values += pick(events[0])
    else:
        values.append(json_rows(events))
    for op in append.ops:
        values += op_values(op, append.at)
    return text, values


@cache
def numbered(text: str) -> str:
    """The statement with PostgreSQL's own marks, $1, $2 and so on, for psycopg's."""
    first, *rest = text.split(MARK)
    return first + "".join(f"${n}{part}" for n, part in enumerate(rest, 1))


OpShape = tuple[str, str, tuple[str, ...], bool]
"""What an operation's text depends on: kind, table, columns, one row or several. Never a value."""


def op_shape(op: Op) -> OpShape:
    return (op.kind, op.table, tuple(op.rows[0]), len(op.rows) == 1)


@cache
def compiled(
    schema: Schema,
    first: bool,
    by_command: bool,
    by_token: bool,
    session: tuple[str, ...],
    one_event: bool,
    ops: tuple[OpShape, ...],
) -> tuple[str, Callable[[Row], tuple[Any, ...]]]:
    """The statement for every append of this shape, and what picks an event row's values in its order."""
    columns = event_columns(schema)
    parts = [
        first_row(schema, session) if first else next_row(schema, session, by_command, by_token),
        events_part(schema, columns, one_event),
        *(f"op{n} AS ({op_text(schema, op)})" for n, op in enumerate(ops)),
    ]
    return f"WITH {', '.join(parts)} SELECT count(*) FROM guard", itemgetter(*columns)


RETURNING = "RETURNING s.session_id, s.era, s.feed_xid"


def now_part(schema: Schema) -> str:
    """The era and this transaction's id; read in the statement, since another process may have raised the era."""
    era = f"SELECT value::integer FROM {schema.sql('meta')} WHERE name = 'era'"
    return f"now AS (SELECT ({era}) AS era, {XID} AS xid)"


def first_row(schema: Schema, columns: Sequence[str]) -> str:
    given = ", ".join(clocked("sessions", column, mark(schema, "sessions", column)) for column in columns)
    return (
        f"{now_part(schema)}, guard AS (INSERT INTO {schema.sql('sessions')} AS s"
        f" ({', '.join(columns)}, era, feed_xid) SELECT {given}, now.era, now.xid FROM now"
        f" ON CONFLICT DO NOTHING {RETURNING})"
    )


def next_row(schema: Schema, columns: Sequence[str], by_command: bool, by_token: bool) -> str:
    """The session row's update where it is at the expected version, the command is new, the token is the row's."""
    sessions, work = schema.sql("sessions"), schema.sql("work")
    sets = ", ".join(f"{c} = {clocked('sessions', c, mark(schema, 'sessions', c))}" for c in columns)
    # A transaction of the host's that is older than the last append must not sort before it.
    sets += ", era = now.era, feed_xid = CASE WHEN s.era = now.era THEN greatest(s.feed_xid, now.xid) ELSE now.xid END"
    here, fresh = "session_id = %s AND version = %s", ""
    if by_command:
        fresh = (
            f" AND NOT EXISTS (SELECT 1 FROM {schema.sql('events')} AS e WHERE e.session_id = %s"
            " AND e.command_id = %s AND e.fingerprint IS NOT NULL)"
        )
    if not by_token:
        return (
            f"{now_part(schema)}, guard AS (UPDATE {sessions} AS s SET {sets} FROM now WHERE {here}{fresh} {RETURNING})"
        )
    return (
        f"{now_part(schema)}, here AS MATERIALIZED (SELECT session_id AS held FROM {sessions}"
        f" WHERE {here} FOR UPDATE),"
        f" mine AS MATERIALIZED (SELECT held FROM {work} AS w JOIN here ON w.session_id = held"
        f" WHERE w.kind = %s AND w.stage = %s AND w.run = %s AND w.token = %s{fresh} FOR UPDATE OF w),"
        f" guard AS (UPDATE {sessions} AS s SET {sets} FROM now, mine WHERE session_id = held {RETURNING})"
    )


def events_part(schema: Schema, columns: tuple[str, ...], one: bool) -> str:
    into = f"appended AS (INSERT INTO {schema.sql('events')} ({', '.join(columns)}, era, feed_xid)"
    if one:
        return f"{into} SELECT {marks(schema, 'events', columns)}, guard.era, guard.feed_xid FROM guard)"
    chosen = fields(schema, "events", columns, "e")
    rows = recordset(schema, "events", columns, "e")
    return f"{into} SELECT {chosen}, guard.era, guard.feed_xid FROM guard, {rows} ORDER BY e.version)"


# --- row operations


def op_text(schema: Schema, op: OpShape) -> str:
    """A row operation that does nothing unless the CTE `guard` has a row."""
    kind, name, columns, one = op
    table, keys = schema.sql(name), KEYS[name]
    if kind == "prune":
        gone = f"NOT (t.{keys[-1]} {IS_ONE_OF})"
        return f"DELETE FROM {table} AS t USING guard WHERE t.session_id = %s AND {gone}"
    others = [column for column in columns if column not in keys]
    if kind in ("insert", "upsert"):
        query = f"INSERT INTO {table} ({', '.join(columns)}) SELECT "
        if one:
            query += f"{', '.join(clocked(name, c, mark(schema, name, c)) for c in columns)} FROM guard"
        else:
            query += f"{fields(schema, name, columns, 'r')} FROM guard, {recordset(schema, name, columns, 'r')}"
        if kind == "upsert":
            sets = ", ".join(f"{column} = excluded.{column}" for column in others)
            query += f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {sets}"
        return query
    if one:  # by its key, so that an index finds it
        match = " AND ".join(f"t.{key} = {mark(schema, name, key)}" for key in keys)
        if kind == "delete":
            return f"DELETE FROM {table} AS t USING guard WHERE {match}"
        sets = ", ".join(f"{c} = {clocked(name, c, mark(schema, name, c))}" for c in others)
        return f"UPDATE {table} AS t SET {sets} FROM guard WHERE {match}"
    rows = recordset(schema, name, columns, "r")
    match = " AND ".join(f"t.{key} = r.{key}" for key in keys)
    if kind == "delete":
        return f"DELETE FROM {table} AS t USING guard, {rows} WHERE {match}"
    sets = ", ".join(f"{column} = {fields(schema, name, (column,), 'r')}" for column in others)
    return f"UPDATE {table} AS t SET {sets} FROM guard, {rows} WHERE {match}"


def clocked(table: str, column: str, value: str) -> str:
    """A value, or where it is a time by the database's clock, that long from now."""
    return f"{NOW} + {value}" if column in CLOCKED.get(table, NOT_CLOCKED) else value


def relative(table: str, row: Row, at: int) -> Row:
    """The row with its clocked times as durations."""
    times = CLOCKED.get(table, NOT_CLOCKED)
    if times.isdisjoint(row):
        return row
    return {c: v - at if c in times and v is not None else v for c, v in row.items()}


def op_values(op: Op, at: int) -> list[Any]:
    """What the marks of `op_text` stand for. at: the host's time that clocked ones are relative to."""
    if op.kind == "prune":
        return [op.rows[0]["session_id"], list(op.keep)]
    rows = [relative(op.table, row, at) for row in op.rows]
    if len(rows) > 1:
        return [json_rows(rows)]
    row, keys = rows[0], KEYS[op.table]
    if op.kind in ("insert", "upsert"):
        return list(row.values())
    others = [] if op.kind == "delete" else [value for column, value in row.items() if column not in keys]
    return [*others, *(row[key] for key in keys)]


def correct(link: Link, schema: Schema, at: int, session_id: str, expected: int, ops: Sequence[Op]) -> bool:
    """Row operations under the session's row lock, while its version is the expected one: one statement."""
    guard = f"SELECT session_id FROM {schema.sql('sessions')} WHERE session_id = %s AND version = %s FOR UPDATE"
    parts = [f"guard AS MATERIALIZED ({guard})"]
    parts += [f"op{n} AS ({op_text(schema, op_shape(op))})" for n, op in enumerate(ops)]
    given = [session_id, expected, *(value for op in ops for value in op_values(op, at))]
    return bool(link.rows(f"WITH {', '.join(parts)} SELECT count(*) FROM guard", given)[0][0] == 1)


def recordset(schema: Schema, table: str, columns: Sequence[str], alias: str) -> str:
    """Rows as a table expression, from one JSON text: an array a column costs the driver several times as much."""
    types = (sql_type(schema[table].c[column]) for column in columns)
    shape = ", ".join(f"{c} {'text' if t == 'bytea' else t}" for c, t in zip(columns, types, strict=True))
    return f"json_to_recordset(CAST(%s AS json)) AS {alias}({shape})"


def fields(schema: Schema, table: str, columns: Sequence[str], alias: str) -> str:
    """The columns of a recordset as they are stored: JSON has bytes in base64."""
    return ", ".join(
        f"decode({alias}.{c}, 'base64')"
        if sql_type(schema[table].c[c]) == "bytea"
        else clocked(table, c, f"{alias}.{c}")
        for c in columns
    )


def json_rows(rows: Sequence[Row]) -> str:
    return JSON.encode(rows).decode()


def marks(schema: Schema, table: str, columns: Sequence[str]) -> str:
    return ", ".join(mark(schema, table, column) for column in columns)


def mark(schema: Schema, table: str, column: str) -> str:
    """A mark with its column's type: in a SELECT or an unnest nothing else says it."""
    return f"CAST(%s AS {sql_type(schema[table].c[column])})"


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


def draw_id(link: Link, schema: Schema) -> int:
    # The name stands in the text, not in a parameter: quoting is then the server's to read, as for tables.
    return int(link.rows(f"SELECT nextval('{schema.sql('session_ids')}')")[0][0])
