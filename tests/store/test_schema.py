"""Migrations: what they make, that many may run them at once, and what an open refuses."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from mina_adapters import alembic as plugin
from sqlalchemy import Engine

from mina_pipeline import Settings
from mina_pipeline.errors import ForeignSchema, SchemaOutdated, StoreBusy, StoreUnreachable
from mina_pipeline.store import feed
from mina_pipeline.store import schema as store_schema
from mina_pipeline.store.migrations import runner
from mina_pipeline.store.schema import HEAD, TABLES, prepare, present, upgrade, upgrade_sql
from mina_pipeline.store.sql import make_engine
from mina_pipeline.store.tables import Schema, build_schema

NUMBERS = count(1)
SHOWN = "the database"
LATER = """
import sqlalchemy as sa
revision, down_revision = "0002", "0001"
def upgrade(op, prefix, namespace):
    op.create_table(prefix + "notes", sa.Column("note", sa.Text, primary_key=True), schema=namespace)
    op.add_column(prefix + "work", sa.Column("note", sa.Text), schema=namespace)
"""


def connect_to(url: str) -> Engine:
    return make_engine(url, Settings())[0]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/test.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = connect_to(url)
    yield engine
    engine.dispose()


@pytest.fixture
def schema() -> Schema:
    return build_schema(f"m{os.getpid()}_{next(NUMBERS)}_")


@pytest.fixture
def second_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release with one revision more."""
    folder = tmp_path / "versions"
    folder.mkdir()
    (folder / "0002_notes.py").write_text(LATER)
    home = Path(runner.__file__).parent
    monkeypatch.setattr(
        runner, "scripts", lambda: ScriptDirectory(str(home), version_locations=[str(home / "versions"), str(folder)])
    )
    monkeypatch.setattr(store_schema, "HEAD", "0002")
    monkeypatch.setitem(store_schema.TABLES, "0002", frozenset({"notes"}))


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


OPENING = """
    import sys
    from mina_pipeline import Settings
    from mina_pipeline.store.schema import prepare
    from mina_pipeline.store.sql import make_engine
    engine, schema, _ = make_engine(sys.argv[1], Settings(table_prefix=sys.argv[2]))
    """

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
    engine: Engine, schema: Schema, second_revision: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a revision on only what came after is printed."""
    migrate_to_first(engine, schema, monkeypatch)
    text = upgrade_sql(engine.dialect.name, schema, present(engine, schema, SHOWN))
    assert "notes" in text and "fingerprint" not in text
    run_script(engine, text)
    assert present(engine, schema, SHOWN) == "0002"


def run_script(engine: Engine, text: str) -> None:
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        if engine.dialect.name == "sqlite":
            driver.executescript(text)
        else:
            driver.execute(text)


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


def migrate_to_first(engine: Engine, schema: Schema, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        home = Path(runner.__file__).parent
        patch.setattr(runner, "scripts", lambda: ScriptDirectory(str(home)))
        patch.setattr(store_schema, "HEAD", "0001")
        assert upgrade(engine, schema, SHOWN) == (None, "0001")


def test_an_older_schema_is_brought_up_to_date(
    engine: Engine, schema: Schema, second_revision: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open migrates an older schema and keeps its rows; with auto_migrate=False it names both versions."""
    migrate_to_first(engine, schema, monkeypatch)
    before = meta(engine, schema)
    with pytest.raises(SchemaOutdated) as error:
        prepare(engine, schema, SHOWN, auto_migrate=False)
    assert (error.value.found, error.value.wanted) == ("0001", "0002")
    assert upgrade(engine, schema, SHOWN) == ("0001", "0002")
    assert upgrade(engine, schema, SHOWN) == ("0002", "0002")
    prepare(engine, schema, SHOWN, auto_migrate=False)
    assert "notes" in tables(engine, schema) and meta(engine, schema) == before


def test_a_later_releases_schema_is_accepted(engine: Engine, schema: Schema) -> None:
    """A schema of a revision that this release does not know is used as it is: migrations only expand."""
    prepare(engine, schema, SHOWN)
    set_version(engine, schema, "0099")
    prepare(engine, schema, SHOWN, auto_migrate=False)
    assert upgrade(engine, schema, SHOWN) == ("0099", "0099")


def test_a_table_in_the_way_of_the_next_revision_is_refused(
    engine: Engine, schema: Schema, second_revision: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host's table of a name that a migration would take is named before anything is changed."""
    migrate_to_first(engine, schema, monkeypatch)
    later = build_schema(schema.prefix)
    sa.Table(f"{schema.prefix}notes", later.metadata, sa.Column("mine", sa.Text))
    later.metadata.create_all(engine)
    later.by_name["notes"] = later.metadata.tables[f"{schema.prefix}notes"]
    with pytest.raises(ForeignSchema, match=f"{schema.prefix}notes"):
        prepare(engine, later, SHOWN)
    assert present(engine, schema, SHOWN) == "0001"


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
