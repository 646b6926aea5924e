"""What opening a store does to its tables: many at once, killed, older, newer and foreign ones."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from tablesight import (
    OPENING,
    SHOWN,
    connect_to,
    meta,
    migrate_to_present,
    python,
    set_version,
    tables,
)

from mina_pipeline.errors import ForeignSchema, SchemaOutdated, StoreBusy, StoreUnreachable
from mina_pipeline.store import feed
from mina_pipeline.store import schema as store_schema
from mina_pipeline.store.schema import HEAD, prepare, present, upgrade
from mina_pipeline.store.tables import Schema, build_schema

# --- many at once, and killed


def test_many_processes_open_an_empty_database_at_once(url: str, schema: Schema) -> None:
    """Eight processes that open one empty database together all succeed, and it is migrated once."""
    code = (
        OPENING
        + """
    print("ready", flush=True)
    sys.stdin.readline()
    prepare(engine, schema, "it")
    """
    )
    processes = [python(code, url, schema.prefix) for _ in range(8)]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    outcomes = [(process.communicate(timeout=60)[1], process.returncode) for process in processes]
    assert outcomes == [("", 0)] * 8
    engine = connect_to(url)
    assert present(engine, schema, SHOWN) == HEAD
    assert meta(engine, schema).keys() == {"era", "store_id"}
    engine.dispose()


def test_threads_open_different_databases_at_once(tmp_path: Path, schema: Schema) -> None:
    """Migrations in several threads of one process do not meet in Alembic's globals."""
    engines = [connect_to(f"sqlite:///{tmp_path}/{n}.db") for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda engine: prepare(engine, schema, SHOWN), engines))
    assert {present(engine, schema, SHOWN) for engine in engines} == {HEAD}
    for engine in engines:
        engine.dispose()


def test_a_killed_migration_leaves_nothing_half_made(url: str, schema: Schema) -> None:
    """A process killed between two tables leaves a database that the next open makes from the start."""
    code = (
        OPENING
        + """
    import os, signal
    from alembic.operations import Operations
    create_table, made = Operations.create_table, []
    def deadly(self, *args, **options):
        if len(made) == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        made.append(1)
        return create_table(self, *args, **options)
    Operations.create_table = deadly
    prepare(engine, schema, "it")
    """
    )
    process = python(code, url, schema.prefix)
    process.communicate(timeout=60)
    assert process.returncode == -9
    engine = connect_to(url)
    assert tables(engine, schema) == set()
    prepare(engine, schema, SHOWN)
    assert tables(engine, schema) == set(schema.by_name) | {"alembic_version"}
    engine.dispose()


def test_a_failed_migration_leaves_nothing_half_made(
    engine: Engine, schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in the middle is raised, takes back all, and leaves connections that can be used."""
    with monkeypatch.context() as patch:
        from alembic.operations import Operations

        patch.setattr(Operations, "create_index", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare(engine, schema, SHOWN)
    assert tables(engine, schema) == set()
    prepare(engine, schema, SHOWN)


def test_an_open_waits_for_another_migration(engine: Engine, schema: Schema, holder: Callable[[], Any]) -> None:
    """While another holds the lock an open waits, then finds the work done or does it."""
    release = holder()
    timer = threading.Timer(0.4, release)
    timer.start()
    began = time.monotonic()
    prepare(engine, schema, SHOWN)
    assert time.monotonic() - began > 0.3
    timer.join()


def test_an_open_does_not_wait_for_ever(
    engine: Engine, schema: Schema, holder: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the lock stays taken, StoreBusy says so after the wait, and nothing was written."""
    release = holder()
    monkeypatch.setattr(store_schema, "LOCK_WAIT", 0.3)
    with pytest.raises(StoreBusy):
        prepare(engine, schema, SHOWN)
    release()
    assert tables(engine, schema) == set()


@pytest.fixture
def holder(engine: Engine) -> Callable[[], Callable[[], None]]:
    """Takes the lock as another process would; call the result to give it back."""

    def hold() -> Callable[[], None]:
        engine.connect().close()  # the file and its journal mode are there
        if engine.dialect.name == "sqlite":
            file = sqlite3.connect(str(engine.url.database), isolation_level=None, check_same_thread=False)
            file.execute("BEGIN IMMEDIATE")
            return file.close
        other = engine.connect()
        other.exec_driver_sql(f"SELECT pg_advisory_lock({store_schema.LOCK})")

        def release() -> None:
            other.exec_driver_sql(f"SELECT pg_advisory_unlock({store_schema.LOCK})")
            other.close()

        return release

    return hold


# --- older, newer and foreign


def test_without_auto_migrate_nothing_is_made(engine: Engine, schema: Schema) -> None:
    """auto_migrate=False refuses an empty database, says what to run, and leaves it empty."""
    with pytest.raises(SchemaOutdated, match="`mina db upgrade`") as error:
        prepare(engine, schema, SHOWN, auto_migrate=False)
    assert (error.value.found, error.value.wanted) == ("none", HEAD)
    assert tables(engine, schema) == set()


def test_an_older_schema_is_brought_up_to_date(
    engine: Engine, schema: Schema, next_revision: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open migrates an older schema and keeps its rows; with auto_migrate=False it names both versions."""
    migrate_to_present(engine, schema, monkeypatch)
    before = meta(engine, schema)
    with pytest.raises(SchemaOutdated) as error:
        prepare(engine, schema, SHOWN, auto_migrate=False)
    assert (error.value.found, error.value.wanted) == ("0004", "0005")
    assert upgrade(engine, schema, SHOWN) == ("0004", "0005")
    assert upgrade(engine, schema, SHOWN) == ("0005", "0005")
    prepare(engine, schema, SHOWN, auto_migrate=False)
    assert "notes" in tables(engine, schema) and meta(engine, schema) == before


def test_a_later_releases_schema_is_accepted(engine: Engine, schema: Schema) -> None:
    """A schema of a revision that this release does not know is used as it is: migrations only expand."""
    prepare(engine, schema, SHOWN)
    set_version(engine, schema, "0099")
    prepare(engine, schema, SHOWN, auto_migrate=False)
    assert upgrade(engine, schema, SHOWN) == ("0099", "0099")


def test_a_table_in_the_way_of_the_next_revision_is_refused(
    engine: Engine, schema: Schema, next_revision: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host's table of a name that a migration would take is named before anything is changed."""
    migrate_to_present(engine, schema, monkeypatch)
    later = build_schema(schema.prefix)
    sa.Table(f"{schema.prefix}notes", later.metadata, sa.Column("mine", sa.Text))
    later.metadata.create_all(engine)
    later.by_name["notes"] = later.metadata.tables[f"{schema.prefix}notes"]
    with pytest.raises(ForeignSchema, match=f"{schema.prefix}notes"):
        prepare(engine, later, SHOWN)
    assert present(engine, schema, SHOWN) == "0004"


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE {p}events (mine TEXT)"],
        ["CREATE TABLE {p}alembic_version (version_num VARCHAR(32))", "INSERT INTO {p}alembic_version VALUES ('ae10')"],
        ["CREATE TABLE {p}alembic_version (version_num VARCHAR(32))"],
        ["CREATE TABLE {p}alembic_version (mine TEXT)", "CREATE TABLE {p}events (mine TEXT)"],
    ],
)
def test_tables_that_are_not_ours_are_refused(engine: Engine, schema: Schema, statements: list[str]) -> None:
    """Tables of our names that we did not make are named, with what to do, and left alone."""
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement.format(p=schema.prefix))
    before = tables(engine, schema)
    for door in (prepare, upgrade, present):
        with pytest.raises(ForeignSchema, match=f"{schema.prefix}(events|alembic_version).*MINA_TABLE_PREFIX"):
            door(engine, schema, SHOWN)
    assert tables(engine, schema) == before


def test_a_lost_table_is_named(engine: Engine, schema: Schema) -> None:
    """A schema that lacks one of its tables is refused by that table's name, not made whole in silence."""
    prepare(engine, schema, SHOWN)
    schema["work"].drop(engine)
    with pytest.raises(ForeignSchema, match=f"missing.*{schema.prefix}work"):
        prepare(engine, schema, SHOWN)


def test_a_database_that_does_not_answer(tmp_path: Path, schema: Schema) -> None:
    """An unreachable database raises StoreUnreachable; looking does not make a SQLite file."""
    engine = connect_to(f"sqlite:///{tmp_path}/no/such.db")
    with pytest.raises(StoreUnreachable, match=SHOWN):
        prepare(engine, schema, SHOWN)
    assert present(connect_to(f"sqlite:///{tmp_path}/new.db"), schema, SHOWN) is None  # never connects
    assert list(tmp_path.iterdir()) == []


# --- the quick open


def test_an_up_to_date_database_opens_without_alembic(url: str, schema: Schema) -> None:
    """Opening a database that is up to date imports no Alembic and writes nothing."""
    engine = connect_to(url)
    prepare(engine, schema, SHOWN)
    engine.dispose()
    code = (
        OPENING
        + """
    prepare(engine, schema, "it")
    print([name for name in sys.modules if name.split(".")[0] == "alembic"])
    """
    )
    assert python(code, url, schema.prefix).communicate(timeout=60) == ("[]\n", "")


def test_a_restored_database_begins_an_era_once(
    postgres_url: str, schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the log came from another cluster the open raises the era, in a transaction under the lock."""
    engine = connect_to(postgres_url)
    prepare(engine, schema, SHOWN)
    behind, raised = [True, True, False], []

    def raise_era(connection: sa.Connection, _schema: Schema) -> None:
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        raised.append(connection.exec_driver_sql(held).scalar())

    monkeypatch.setattr(feed, "era_is_behind", lambda *_: behind.pop(0))
    monkeypatch.setattr(feed, "raise_era", raise_era)
    prepare(engine, schema, SHOWN, auto_migrate=False)
    prepare(engine, schema, SHOWN, auto_migrate=False)
    assert raised == [1] and behind == []
    engine.dispose()
