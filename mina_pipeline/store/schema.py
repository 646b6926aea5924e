"""Whether the tables are those of this release, and bringing them there: at every open, and by `mina db upgrade`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from ..errors import ForeignSchema, SchemaOutdated, StoreBusy, StoreUnreachable
from .connections import backoff
from .refusals import Locked, first_line, refusal
from .tables import Schema

HEAD = "0004"
"""The newest revision of this release. A constant: an up-to-date database is opened without importing Alembic."""

TABLES: dict[str, frozenset[str]] = {
    "0001": frozenset("meta counters events sessions segments artefacts analytics summaries tasks work".split()),
    "0002": frozenset({"breakers", "workers"}),
    "0003": frozenset(),
    "0004": frozenset({"budgets", "reservations"}),
}
"""The tables that each revision added, without the prefix."""

VERSION_TABLE = "alembic_version"
LOCK = 7_263_044_111  # one advisory lock for whoever makes or changes tables in a database
LOCK_WAIT = 30.0  # seconds, for others to finish their migration
TABLE_WAIT = 5.0  # seconds: whoever waits for a table's lock makes all who come later wait behind it

T = TypeVar("T")


def prepare(engine: Engine, schema: Schema, shown: str, auto_migrate: bool = True) -> None:
    """Make the tables, or bring them up to date; nothing where a later release did. `shown`: the URL, for errors.

    The engine is in AUTOCOMMIT. SchemaOutdated (only without `auto_migrate`), ForeignSchema, StoreBusy (others
    migrate for longer than LOCK_WAIT), StoreUnreachable.
    """

    def ready() -> bool:
        with engine.connect() as connection:
            found = revision(connection, schema, shown)
            if is_current(found):
                return not era_is_behind(connection, schema)
            if not auto_migrate:
                raise SchemaOutdated(shown, found or "none", HEAD)
            return False

    if not patiently(engine, shown, ready):
        upgrade(engine, schema, shown)


def upgrade(engine: Engine, schema: Schema, shown: str) -> tuple[str | None, str]:
    """Migrate under the lock, and begin a new era where the database was restored; the revisions (from, to).

    From None: there was nothing. From and to are the same where there was nothing to do. Errors as `prepare`'s.
    """

    def migrate() -> tuple[str | None, str]:
        with locked(engine) as connection:
            # Only now is it certain: whoever held the lock before us may have migrated.
            found = revision(connection, schema, shown)
            current = is_current(found)
            if not current:
                from .migrations import runner

                runner.upgrade(connection, schema)
            if era_is_behind(connection, schema):
                from .feed import raise_era

                raise_era(connection, schema)
            return found, found if current and found else HEAD

    return patiently(engine, shown, migrate)


def upgrade_sql(dialect_name: str, schema: Schema, start: str | None) -> str:
    """What `upgrade` would run from revision `start` on (None: an empty database), as SQL text; "" for nothing."""
    if is_current(start):
        return ""
    from .migrations import runner

    return runner.upgrade_sql(dialect_name, schema, start)


def present(engine: Engine, schema: Schema, shown: str) -> str | None:
    """The revision that the tables are at, None where there are none of ours. ForeignSchema, StoreUnreachable."""
    if engine.dialect.name == "sqlite" and not os.path.exists(engine.url.database or ""):
        return None  # looking would make the file

    def look() -> str | None:
        with engine.connect() as connection:
            return revision(connection, schema, shown)

    return patiently(engine, shown, look)


def is_current(found: str | None) -> bool:
    """Also a later release's: migrations only expand, so this release runs on it."""
    return found is not None and int(found) >= int(HEAD)


def revision(connection: Connection, schema: Schema, shown: str) -> str | None:
    """The revision that the tables are at, None where there are none of our names; ForeignSchema."""
    there = set(sa.inspect(connection).get_table_names(schema=schema.namespace))
    version_table = schema.prefix + VERSION_TABLE
    names = {schema.prefix + name for name in schema.by_name} | {version_table}
    if not names & there:
        return None
    found = version_in(connection, schema) if version_table in there else None
    expected = {schema.prefix + name for at, added in TABLES.items() if found and at <= found for name in added}
    foreign = (names & there) - expected - {version_table} if found else names & there
    if foreign:
        raise ForeignSchema(
            shown,
            f"it has tables of our names ({', '.join(sorted(foreign))}) that are not mina_pipeline's; "
            "choose another database, or another MINA_TABLE_PREFIX",
        )
    if expected - there:
        raise ForeignSchema(
            shown,
            f"its schema is version {found}, but tables are missing ({', '.join(sorted(expected - there))}); restore "
            "them, or choose another database, or another MINA_TABLE_PREFIX",
        )
    return found


def version_in(connection: Connection, schema: Schema) -> str | None:
    """What our version table says; None where it is not a number of ours, so the table another's of the same name."""
    table = sa.table(schema.prefix + VERSION_TABLE, sa.column("version_num"), schema=schema.namespace)
    columns = sa.inspect(connection).get_columns(table.name, schema=schema.namespace)
    if [column["name"] for column in columns] != ["version_num"]:
        return None
    rows = connection.execute(sa.select(table.c.version_num)).scalars().all()
    numbers = [str(row) for row in rows if len(row) == len(HEAD) and row.isdecimal()]
    return numbers[0] if len(numbers) == len(rows) == 1 else None


def era_is_behind(connection: Connection, schema: Schema) -> bool:
    if connection.dialect.name != "postgresql":
        return False
    from . import feed

    return feed.era_is_behind(connection, schema)


# --- the lock


@contextmanager
def locked(engine: Engine) -> Iterator[Connection]:
    """A transaction that only one process at a time is in; it commits on the way out, or leaves nothing behind."""
    if engine.dialect.name == "postgresql":
        # A lock of the transaction, not of the session: a pooling proxy may change sessions, and a killed
        # process gives both up together.
        with engine.connect().execution_options(isolation_level="READ COMMITTED") as connection, connection.begin():
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_WAIT:g}s'")
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{TABLE_WAIT:g}s'")
            yield connection
        return
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # the engine is in autocommit: SQLAlchemy begins nothing
        try:
            yield connection
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            connection.rollback()
            raise


def patiently(engine: Engine, shown: str, attempt: Callable[[], T]) -> T:
    """Run it again while SQLite is locked, in all LOCK_WAIT seconds; each attempt is a transaction, or only reads.

    On SQLite a read may meet a lock as well: another process is changing the journal mode, or recovering the log.
    """
    for _ in backoff(LOCK_WAIT):
        try:
            return attempt()
        except DBAPIError as error:
            if not isinstance(refusal(error, shown), Locked):
                raise StoreUnreachable(shown, first_line(error.orig or error)) from error
            if engine.dialect.name == "postgresql":  # it has waited already
                break
    raise StoreBusy(f"{shown}: the schema", LOCK_WAIT)
