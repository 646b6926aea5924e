"""Runs the revisions on a connection, or writes them down as SQL. The only file of ours that needs Alembic to run."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.schema import CreateSchema

from ..schema import VERSION_TABLE
from ..tables import Schema


def scripts() -> ScriptDirectory:
    return ScriptDirectory(str(Path(__file__).parent))


def upgrade(connection: Connection, schema: Schema) -> None:
    """Bring the tables to the newest revision, within the transaction that the caller has begun."""
    assert connection.in_transaction()  # Alembic then begins and commits nothing itself
    context = MigrationContext.configure(connection, opts=options(schema))
    missing = schema.namespace and schema.namespace not in sa.inspect(connection).get_schema_names()
    run(context, schema, make_namespace=bool(missing))


def upgrade_sql(dialect_name: str, schema: Schema, start: str | None) -> str:
    """The same as SQL text in one transaction, from revision `start` (None: an empty database)."""
    text = StringIO()
    offline = {"as_sql": True, "literal_binds": True, "transactional_ddl": True, "output_buffer": text}
    opts = {**options(schema), **offline, "starting_rev": start}
    context = MigrationContext.configure(dialect_name=dialect_name, opts=opts)
    with context.begin_transaction():
        run(context, schema, make_namespace=bool(schema.namespace) and start is None)
    return text.getvalue()


def options(schema: Schema) -> dict[str, Any]:
    script = scripts()
    return {
        "script": script,
        "fn": lambda heads, _context: script._upgrade_revs("head", heads),
        "version_table": schema.prefix + VERSION_TABLE,
        "version_table_schema": schema.namespace,
    }


def run(context: MigrationContext, schema: Schema, make_namespace: bool) -> None:
    # No env.py and no `alembic.op`: those are global to the process, and Pipeline.open may well be called by
    # several threads, or from within a host's own migration. Each revision is handed its Operations instead.
    op = Operations(context)
    if make_namespace and schema.namespace:
        op.execute(CreateSchema(schema.namespace, if_not_exists=True))
    context.run_migrations(op=op, prefix=schema.prefix, namespace=schema.namespace)
