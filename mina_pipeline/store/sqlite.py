"""SQLite: the engine's settings, and an append as one guarded batch in one IMMEDIATE transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import URL, Connection, Engine, event

from ..errors import StoreUnreachable
from ..ports import Append
from ..projections import KEYS, Op, Row
from .memory import FIRST_ERA
from .tables import Schema

BUSY_TIMEOUT_MS = 30_000


def engine(url: URL) -> Engine:
    """An engine on a file: WAL, synchronous=FULL (an acknowledged event survives a power cut)."""
    if not url.database or url.database == ":memory:":
        raise StoreUnreachable(str(url), "SQLite in memory is one connection's own; use memory:// instead")
    made = sa.create_engine(url, pool_size=10, max_overflow=40)

    @event.listens_for(made, "connect")
    def configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # BEGIN is ours to say
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(made, "begin")
    def begin(connection: Connection) -> None:
        # A deferred transaction that reads first and writes then cannot wait for another writer.
        write = connection.get_execution_options().get("mina_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return made


def immediate(host: Engine) -> Engine:
    """Make a host's engine begin its transactions with BEGIN IMMEDIATE, as `Pipeline.using` wants on SQLite."""

    @event.listens_for(host, "connect")
    def autocommit(connection: Any, _record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(host, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return host


def append(connection: Connection, schema: Schema, append: Append) -> bool:
    """Guard first: where it matches no row, nothing has been written."""
    if not guarded(connection, schema, append):
        return False
    rows = [{**row, "era": FIRST_ERA, "feed_xid": 0} for row in append.events]
    run_op(connection, schema, Op("insert", "events", tuple(rows)))
    for op in append.ops:
        run_op(connection, schema, op)
    return True


def guarded(connection: Connection, schema: Schema, append: Append) -> bool:
    sessions = schema["sessions"].name
    row = append.session
    if append.expected == 0:
        row = {**row, "era": FIRST_ERA, "feed_xid": 0}
        text = f"INSERT INTO {sessions} ({', '.join(row)}) VALUES ({marks(row)}) ON CONFLICT DO NOTHING"
        return connection.exec_driver_sql(text, tuple(row.values())).rowcount == 1
    text = f"UPDATE {sessions} SET {assignments(row)} WHERE session_id = ? AND version = ?"
    values: tuple[Any, ...] = (*row.values(), append.session_id, append.expected)
    if append.guard is not None:
        guard = append.guard
        text += (
            f" AND EXISTS (SELECT 1 FROM {schema['work'].name} WHERE session_id = ? AND kind = 'stage'"
            " AND stage = ? AND run = ? AND token = ?)"
        )
        values += (append.session_id, guard.stage, guard.run, guard.token)
    return connection.exec_driver_sql(text, values).rowcount == 1


def run_op(connection: Connection, schema: Schema, op: Op) -> None:
    """Carry out one row operation, on any database: this is also what rebuild uses."""
    table = schema[op.table]
    keys = KEYS.get(op.table, ())
    if op.kind == "prune":
        last = table.c[keys[-1]]
        where = table.c.session_id == op.rows[0]["session_id"]
        connection.execute(sa.delete(table).where(where, last.not_in(op.keep)))
        return
    if connection.dialect.name != "sqlite":
        run_core(connection, table, keys, op)
        return
    columns = tuple(op.rows[0])
    values = [tuple(row[column] for column in columns) for row in op.rows]
    text = statement(op.kind, table.name, columns, keys)
    if op.kind in ("update", "delete"):
        others = [] if op.kind == "delete" else [column for column in columns if column not in keys]
        values = [tuple(row[column] for column in (*others, *keys)) for row in op.rows]
    connection.exec_driver_sql(text, values)


def statement(kind: str, table: str, columns: Sequence[str], keys: Sequence[str]) -> str:
    where = " AND ".join(f"{key} = ?" for key in keys)
    if kind == "delete":
        return f"DELETE FROM {table} WHERE {where}"
    others = [column for column in columns if column not in keys]
    if kind == "update":
        return f"UPDATE {table} SET {assignments(others)} WHERE {where}"
    text = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks(columns)})"
    if kind == "upsert":
        sets = ", ".join(f"{column} = excluded.{column}" for column in others)
        text += f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {sets}"
    return text


def run_core(connection: Connection, table: sa.Table, keys: Sequence[str], op: Op) -> None:
    from sqlalchemy.dialects.postgresql import insert

    if op.kind in ("insert", "upsert"):
        query = insert(table)
        if op.kind == "upsert":
            sets = {column: query.excluded[column] for column in op.rows[0] if column not in keys}
            query = query.on_conflict_do_update(index_elements=list(keys), set_=sets)
        connection.execute(query, list(op.rows))
        return
    for row in op.rows:
        where = [table.c[key] == row[key] for key in keys]
        if op.kind == "delete":
            connection.execute(sa.delete(table).where(*where))
        else:
            connection.execute(sa.update(table).where(*where).values({c: v for c, v in row.items() if c not in keys}))


def draw_id(connection: Connection, schema: Schema) -> int:
    text = (
        f"INSERT INTO {schema['counters'].name} (name, value) VALUES ('session', 1)"
        " ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value"
    )
    return int(connection.exec_driver_sql(text).scalar_one())


def marks(columns: Sequence[str] | Row) -> str:
    return ", ".join("?" for _ in columns)


def assignments(columns: Sequence[str] | Row) -> str:
    return ", ".join(f"{column} = ?" for column in columns)
