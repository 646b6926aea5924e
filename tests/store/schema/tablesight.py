"""Looking at tables from outside, and processes that open a store."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from mina_pipeline import Settings
from mina_pipeline.store import schema as store_schema
from mina_pipeline.store.migrations import runner
from mina_pipeline.store.schema import upgrade
from mina_pipeline.store.sql import make_engine
from mina_pipeline.store.tables import Schema

NUMBERS = count(1)
SHOWN = "the database"


def connect_to(url: str) -> Engine:
    return make_engine(url, Settings())[0]


def tables(engine: Engine, schema: Schema) -> set[str]:
    """The names in the database that begin with the prefix, without it."""
    names = sa.inspect(engine).get_table_names(schema=schema.namespace)
    return {name.removeprefix(schema.prefix) for name in names if name.startswith(schema.prefix)}


def described(engine: Engine, schema: Schema) -> dict[str, Any]:
    """All that a reader or writer could tell apart about our tables, with the prefix taken out."""
    inspector = sa.inspect(engine)
    found: dict[str, Any] = {}
    for name in schema.by_name:
        table = schema.prefix + name
        columns = [
            (c["name"], str(c["type"]), c["nullable"], str(c["default"]).replace(schema.prefix, ""))
            for c in inspector.get_columns(table, schema=schema.namespace)
        ]
        indexes = [
            (
                i["name"],
                i["column_names"],
                i["unique"],
                {option: str(value) for option, value in i.get("dialect_options", {}).items()},
            )
            for i in inspector.get_indexes(table, schema=schema.namespace)
        ]
        key = inspector.get_pk_constraint(table, schema=schema.namespace)
        found[name] = [
            columns,
            sorted((str(n).removeprefix(schema.prefix), *rest) for n, *rest in indexes),
            key["constrained_columns"],
            str(key["name"]).removeprefix(schema.prefix),
        ]
    if engine.dialect.name == "postgresql":
        names = inspector.get_sequence_names(schema=schema.namespace)
        found["sequences"] = sorted(n.removeprefix(schema.prefix) for n in names if n.startswith(schema.prefix))
    return found


def meta(engine: Engine, schema: Schema) -> dict[str, str]:
    with engine.connect() as connection:
        return {row.name: row.value for row in connection.execute(sa.select(schema["meta"]))}


def set_version(engine: Engine, schema: Schema, version: str) -> None:
    table = sa.table(f"{schema.prefix}alembic_version", sa.column("version_num"), schema=schema.namespace)
    with engine.connect() as connection:
        connection.execute(table.update().values(version_num=version))


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def migrate_to_present(engine: Engine, schema: Schema, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        home = Path(runner.__file__).parent
        patch.setattr(runner, "scripts", lambda: ScriptDirectory(str(home)))
        patch.setattr(store_schema, "HEAD", "0004")
        assert upgrade(engine, schema, SHOWN) == (None, "0004")


OPENING = """
    import sys
    from mina_pipeline import Settings
    from mina_pipeline.store.schema import prepare
    from mina_pipeline.store.sql import make_engine
    engine, schema, _ = make_engine(sys.argv[1], Settings(table_prefix=sys.argv[2]))
    """
