"""Migrations: what they make, on both databases, and printed as SQL."""

from __future__ import annotations

import re
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from mina_adapters import alembic as plugin
from sqlalchemy import Engine
from tablesight import (
    NUMBERS,
    SHOWN,
    connect_to,
    described,
    meta,
    migrate_to_present,
    set_version,
    tables,
)

from mina_pipeline.store.migrations import runner
from mina_pipeline.store.schema import HEAD, TABLES, prepare, present, upgrade_sql
from mina_pipeline.store.tables import Schema, build_schema

# --- what the migrations make


def test_the_migrations_make_the_tables_of_the_metadata(engine: Engine, schema: Schema) -> None:
    """Columns, types, nullability, defaults, keys, indexes and sequences are those that create_all would make."""
    prepare(engine, schema, SHOWN)
    plain = build_schema("x" + schema.prefix)
    plain.metadata.create_all(engine)
    migrated = described(engine, schema)
    assert migrated == described(engine, plain)
    assert ("seq", "BIGINT" if engine.dialect.name == "postgresql" else "INTEGER", False) in [
        column[:3] for column in migrated["events"][0]
    ]
    indexes = [index[0] for index in migrated["events"][1]]
    assert ("events_feed" in indexes) == ("sequences" in migrated) == (engine.dialect.name == "postgresql")


def test_alembic_sees_no_difference(engine: Engine, schema: Schema) -> None:
    """Alembic's own comparison of the migrated database with the metadata finds nothing to do."""
    prepare(engine, schema, SHOWN)

    def ours(name: str | None, kind: str, _parents: Any) -> bool:
        return kind != "table" or str(name).startswith(schema.prefix)

    def here(item: Any, name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:
        return not (engine.dialect.name == "sqlite" and name == f"{schema.prefix}events_feed")  # PostgreSQL's only

    opts = {
        "version_table": f"{schema.prefix}alembic_version",
        "include_name": ours,
        "include_object": here,
        "compare_server_default": True,
        "autogenerate_plugins": ["alembic.autogenerate.*", "~alembic.autogenerate.mina_pipeline"],
    }
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=opts), schema.metadata) == []


def test_meta_begins_with_an_era_and_an_id(engine: Engine, schema: Schema) -> None:
    """A new store is in era 1 and has a random id of its own."""
    other = build_schema(schema.prefix + "other_")
    prepare(engine, schema, SHOWN)
    prepare(engine, other, SHOWN)
    one, two = meta(engine, schema), meta(engine, other)
    assert one.keys() == {"era", "store_id"} and one["era"] == "1"
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", one["store_id"])
    assert one["store_id"] != two["store_id"]


def test_the_constants_are_those_of_the_revisions() -> None:
    """HEAD, the list of tables and the plugin's list say what the revisions and the metadata say."""
    directory = runner.scripts()
    revisions = [script.revision for script in directory.walk_revisions()][::-1]
    assert revisions == [f"{n:04}" for n in range(1, len(revisions) + 1)]
    assert directory.get_current_head() == HEAD == max(TABLES)
    assert set().union(*TABLES.values()) == set(build_schema().by_name) == plugin.OURS
    assert TABLES["0001"] == plugin.FIRST


def test_two_prefixes_live_in_one_database(engine: Engine, schema: Schema) -> None:
    """A second prefix gets tables and a version of its own."""
    other = build_schema(schema.prefix + "b_")
    prepare(engine, schema, SHOWN)
    assert present(engine, other, SHOWN) is None
    prepare(engine, other, SHOWN)
    set_version(engine, other, "0099")
    assert (present(engine, schema, SHOWN), present(engine, other, SHOWN)) == (HEAD, "0099")


def test_a_postgresql_schema_is_made_and_used(postgres_url: str) -> None:
    """With a namespace all our tables, the version's and the sequence lie in it, and none in the default schema."""
    engine = connect_to(postgres_url)
    schema = build_schema("mina_", f"Space{next(NUMBERS)}")
    prepare(engine, schema, SHOWN)
    prepare(engine, schema, SHOWN)
    assert tables(engine, schema) == set(schema.by_name) | {"alembic_version"}
    assert tables(engine, build_schema("mina_")) == set()
    assert described(engine, schema)["sequences"] == ["events_seq_seq", "session_ids"]
    assert meta(engine, schema)["era"] == "1"
    engine.dispose()


# --- as SQL text


def test_the_printed_sql_makes_the_same(engine: Engine, schema: Schema) -> None:
    """The SQL run by hand on an empty database gives a schema that an open takes as its own."""
    text = upgrade_sql(engine.dialect.name, schema, None)
    assert text.lstrip().startswith("BEGIN") and text.rstrip().endswith("COMMIT;")
    run_script(engine, text)
    prepare(engine, schema, SHOWN, auto_migrate=False)
    migrated = build_schema("x" + schema.prefix)
    prepare(engine, migrated, SHOWN)
    assert described(engine, schema) == described(engine, migrated)
    assert upgrade_sql(engine.dialect.name, schema, HEAD) == "" == upgrade_sql(engine.dialect.name, schema, "0099")


def test_the_printed_sql_makes_the_postgresql_schema(postgres_url: str) -> None:
    """The SQL for a namespace makes that first."""
    engine = connect_to(postgres_url)
    schema = build_schema("mina_", f"printed{next(NUMBERS)}")
    run_script(engine, upgrade_sql("postgresql", schema, None))
    assert present(engine, schema, SHOWN) == HEAD
    engine.dispose()


def test_the_printed_sql_goes_on_from_a_revision(
    engine: Engine, schema: Schema, next_revision: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a revision on only what came after is printed."""
    migrate_to_present(engine, schema, monkeypatch)
    text = upgrade_sql(engine.dialect.name, schema, present(engine, schema, SHOWN))
    assert "notes" in text and "fingerprint" not in text
    run_script(engine, text)
    assert present(engine, schema, SHOWN) == "0005"


def run_script(engine: Engine, text: str) -> None:
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        if engine.dialect.name == "sqlite":
            driver.executescript(text)
        else:
            driver.execute(text)
