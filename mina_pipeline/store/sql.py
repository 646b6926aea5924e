"""The store in a SQL database, through SQLAlchemy: reads, claims and the connections they run on.

An append is compiled in sqlite.py and postgresql.py; everything else is the same SQL on both.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy import event as sa_event
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from ..codec import recorded
from ..errors import ForeignSchema, LeaseLost, MinaError, MissingExtra, RetryTransaction, StoreUnreachable
from ..events import Position, RecordedEvent
from ..ports import Append, Claimed
from ..projections import KEYS, Op, Row
from . import postgresql, sqlite
from .memory import FIRST_ERA, UNFINISHED
from .tables import SCHEMA_VERSION, Schema, build_schema

SCHEMA_LOCK = 7_263_044_111  # one advisory lock for whoever makes the tables
CHUNK = 500  # ids in one IN list


class SqlStore:
    """A Store over one engine, or inside one connection of a host's."""

    def __init__(self, engine: Engine, schema: Schema, host: Connection | None = None, root: SqlStore | None = None):
        self.engine = engine
        self.schema = schema
        self.host = host
        self.root = root or self
        self.dialect = postgresql if engine.dialect.name == "postgresql" else sqlite
        if root is None:
            self.callbacks: list[Callable[[str], None]] = []
            # SQLite has one writer at a time: threads of ours queue here, not in its busy handler.
            self.write_lock = threading.RLock()

    # --- connections

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        if self.host is not None:
            yield self.host
            return
        with self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self, several: bool = False) -> Iterator[Connection]:
        """A transaction of ours that commits on the way out, or the host's, which we leave open.

        On PostgreSQL one statement is its own transaction; `several` asks for a real one around more.
        """
        if self.host is not None:
            with retryable(self.engine):
                yield self.host
            return
        if self.dialect is postgresql and not several:
            with self.engine.connect() as connection:
                yield connection
            return
        options = {"isolation_level": "READ COMMITTED"} if self.dialect is postgresql else {"mina_write": True}
        lock = nullcontext() if self.dialect is postgresql else self.root.write_lock
        with lock, self.engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection

    def using(self, connection: Any) -> SqlStore:
        host = host_connection(connection)
        if not same_database(host.engine, self.engine):
            raise MinaError("using(): this connection is to another database than the pipeline's")
        if not host.in_transaction():
            raise MinaError("using(): no transaction is open on this connection; use `with engine.begin() as c:`")
        if autocommits(host):
            raise MinaError("using(): this connection is in AUTOCOMMIT; it needs a transaction to be part of")
        return SqlStore(self.engine, self.schema, host, self.root)

    def on_commit(self, callback: Callable[[str], None]) -> None:
        self.root.callbacks.append(callback)

    def announce(self, session_id: str) -> None:
        for callback in self.root.callbacks:
            callback(session_id)

    def close(self) -> None:
        self.engine.dispose()

    def fetch(self, statement: sa.Executable) -> list[Row]:
        with self.reading() as connection:
            found = connection.execute(statement)
            columns = list(map(str, found.keys()))  # SQLAlchemy's are a subclass of str
            return [dict(zip(columns, row, strict=True)) for row in found]

    # --- EventStore

    def load(self, session_id: str | int) -> Row | None:
        sessions = self.schema["sessions"]
        column = sessions.c.id if isinstance(session_id, int) else sessions.c.session_id
        rows = self.fetch(sa.select(sessions).where(column == session_id))
        return rows[0] if rows else None

    def append(self, append: Append) -> bool:
        if self.host is None and self.dialect is postgresql:
            with self.engine.connect() as connection:  # autocommit: one statement, one round trip
                done = self.dialect.append(connection, self.schema, append)
        else:
            with self.writing() as connection:
                done = self.dialect.append(connection, self.schema, append)
        if not done:
            self.raise_if_lease_lost(append)
            return False
        if self.host is None:
            self.announce(append.session_id)
        else:
            announce_after_commit(self.host, self.root, append.session_id)
        return True

    def raise_if_lease_lost(self, append: Append) -> None:
        if append.guard is None:
            return
        work, guard = self.schema["work"], append.guard
        mine = sa.select(work.c.run).where(
            work.c.session_id == append.session_id, work.c.stage == guard.stage, work.c.token == guard.token
        )
        if not self.fetch(mine):
            raise LeaseLost(append.session_id, guard.stage, guard.run)

    def events(self, session_id: str, after: int = 0, limit: int | None = None) -> list[Row]:
        events = self.schema["events"]
        return self.fetch(
            sa.select(events)
            .where(events.c.session_id == session_id, events.c.version > after)
            .order_by(events.c.version)
            .limit(limit)
        )

    def command(self, session_id: str, command_id: str) -> str | None:
        events = self.schema["events"]
        rows = self.fetch(
            sa.select(events.c.fingerprint).where(
                events.c.session_id == session_id,
                events.c.command_id == command_id,
                events.c.fingerprint.is_not(None),
            )
        )
        return str(rows[0]["fingerprint"]) if rows else None

    def feed(self, after: Position | None, limit: int | None) -> list[RecordedEvent]:
        events = self.schema["events"]
        key = sa.tuple_(events.c.era, events.c.feed_xid, events.c.seq)
        query = sa.select(events).order_by(events.c.era, events.c.feed_xid, events.c.seq).limit(limit)
        if after is not None:
            query = query.where(key > sa.tuple_(*map(sa.literal, (after.era, after.feed_xid, after.seq))))
        if self.dialect is postgresql:
            query = query.where(sa.or_(events.c.era < FIRST_ERA, events.c.feed_xid < sa.text(postgresql.SAFE_HEAD)))
        return [recorded(row) for row in self.fetch(query)]

    def head(self) -> Position:
        if self.dialect is postgresql:
            with self.reading() as connection:
                xmin = connection.exec_driver_sql(f"SELECT {postgresql.SAFE_HEAD}").scalar_one()
            return Position(FIRST_ERA, int(xmin), -1)
        rows = self.fetch(sa.select(sa.func.coalesce(sa.func.max(self.schema["events"].c.seq), 0).label("seq")))
        return Position(FIRST_ERA, 0, int(rows[0]["seq"]))

    def draw_id(self) -> int:
        with self.writing() as connection:
            return int(self.dialect.draw_id(connection, self.schema))

    # --- WorkQueue

    def claim(
        self, now: int, owner: str, token: str, until: int, definitions: Sequence[tuple[str, int]]
    ) -> Claimed | None:
        work = self.schema["work"]
        free = sa.or_(work.c.until.is_(None), work.c.until <= now)
        pick = (
            sa.select(work.c.session_id, work.c.kind, work.c.stage)
            .where(work.c.due_at <= now, free, self.known(definitions))
            .order_by(work.c.due_at, work.c.session_id, work.c.stage)
            .limit(1)
            .with_for_update(skip_locked=True)  # SQLite renders nothing: its transaction is exclusive anyway
            .cte("pick")
        )
        take = (
            sa.update(work)
            .where(sa.tuple_(work.c.session_id, work.c.kind, work.c.stage).in_(sa.select(pick)))
            .values(owner=owner, token=token, until=until, attempts=work.c.attempts + 1)
            .returning(work)
        )
        with self.reading() as connection:  # an idle worker takes no write lock
            if connection.execute(sa.select(sa.exists(sa.select(work.c.stage).where(
                    work.c.due_at <= now, free, self.known(definitions))))).scalar() is not True:  # fmt: skip
                return None
        with self.writing() as connection:
            row = connection.execute(take).mappings().first()
        return None if row is None else Claimed(**{name: row[name] for name in Claimed.__dataclass_fields__})

    def known(self, definitions: Sequence[tuple[str, int]]) -> sa.ColumnElement[bool]:
        work = self.schema["work"]
        return sa.tuple_(work.c.definition, work.c.definition_version).in_(list(definitions))

    def renew(self, tokens: Sequence[str], until: int) -> int:
        work = self.schema["work"]
        held = sa.select(work.c.token).where(work.c.token.in_(tokens)).with_for_update(skip_locked=True).cte("held")
        renewed = sa.update(work).where(work.c.token.in_(sa.select(held))).values(until=until)
        with self.writing() as connection:
            return len(connection.execute(renewed.returning(work.c.token)).all())

    def give_back(self, token: str) -> None:
        work = self.schema["work"]
        free = {"owner": None, "token": None, "until": None, "attempts": work.c.attempts - 1}
        with self.writing() as connection:
            connection.execute(sa.update(work).where(work.c.token == token).values(**free))

    def next_due(self, definitions: Sequence[tuple[str, int]]) -> int | None:
        work = self.schema["work"]
        due = sa.case((work.c.until > work.c.due_at, work.c.until), else_=work.c.due_at)
        rows = self.fetch(sa.select(sa.func.min(due).label("due")).where(self.known(definitions)))
        return None if rows[0]["due"] is None else int(rows[0]["due"])

    # --- Views

    def known_segments(self, session_id: str, segment_ids: Sequence[str]) -> list[Row]:
        segments, found = self.schema["segments"], list[Row]()
        for start in range(0, len(segment_ids), CHUNK):
            found += self.fetch(
                sa.select(segments).where(
                    segments.c.session_id == session_id,
                    segments.c.segment_id.in_(segment_ids[start : start + CHUNK]),
                )
            )
        return found

    def rows(self, table: str, session_id: str) -> list[Row]:
        rows = self.schema[table]
        by = "ordinal" if table in ("segments", "tasks") else KEYS[table][-1]
        return self.fetch(sa.select(rows).where(rows.c.session_id == session_id).order_by(rows.c[by]))

    def sessions(
        self, state: str | None, tenant: str | None, stuck_before: int | None, before: int | None, limit: int
    ) -> list[Row]:
        sessions = self.schema["sessions"]
        query = sa.select(sessions).order_by(sessions.c.id.desc()).limit(limit)
        if state is not None:
            query = query.where(sessions.c.state == state)
        if tenant is not None:
            query = query.where(sessions.c.tenant == tenant)
        if before is not None:
            query = query.where(sessions.c.id < before)
        if stuck_before is not None:
            query = query.where(sessions.c.state.not_in(UNFINISHED), sessions.c.updated_at < stuck_before)
        return self.fetch(query)

    def correct(self, session_id: str, expected: int, ops: Sequence[Op]) -> bool:
        sessions = self.schema["sessions"]
        lock = sa.update(sessions).values(version=expected).where(
            sessions.c.session_id == session_id, sessions.c.version == expected
        )  # fmt: skip
        with self.writing(several=True) as connection:
            if connection.execute(lock).rowcount == 0:
                return False
            for op in ops:
                sqlite.run_op(connection, self.schema, op)
        return True


@contextmanager
def retryable(engine: Engine) -> Iterator[None]:
    """Inside a host's transaction: what the database gives up reaches the host as RetryTransaction."""
    try:
        yield
    except OperationalError as error:
        advice = ""
        if engine.dialect.name == "sqlite":
            advice = " On SQLite begin the transaction with BEGIN IMMEDIATE (mina_pipeline.store.sqlite.immediate)."
        raise RetryTransaction(f"the database gave up the host's transaction; run it again.{advice}") from error


def autocommits(host: Connection) -> bool:
    """Whether this connection commits each statement by itself (the server does not know: ask the driver)."""
    option = host.get_execution_options().get("isolation_level")
    driver = host.connection.driver_connection
    return option == "AUTOCOMMIT" or (host.dialect.name == "postgresql" and bool(getattr(driver, "autocommit", False)))


def same_database(one: Engine, other: Engine) -> bool:
    if one.dialect.name != other.dialect.name:
        return False
    names = [engine.url.database or "" for engine in (one, other)]
    if one.dialect.name == "sqlite":
        names = [os.path.abspath(name) for name in names]
    return names[0] == names[1]


def host_connection(connection: Any) -> Connection:
    """A Connection out of a Connection, a Session or a scoped_session."""
    if isinstance(connection, Connection):
        return connection
    get = getattr(connection, "connection", None)
    found = get() if callable(get) else None
    if not isinstance(found, Connection):
        raise MinaError("using() takes a SQLAlchemy Connection, Session or scoped_session")
    return found


PENDING: WeakKeyDictionary[Connection, dict[str, SqlStore]] = WeakKeyDictionary()
"""Sessions that a host's open transaction wrote to, by connection."""


def announce_after_commit(host: Connection, root: SqlStore, session_id: str) -> None:
    """Wake the waiting when the host commits, and not if it rolls back. A hint: readers poll as well."""
    if host not in PENDING:
        PENDING[host] = {}
        sa_event.listen(host, "commit", announce_pending)
        sa_event.listen(host, "rollback", forget_pending)
    PENDING[host][session_id] = root


def announce_pending(host: Connection) -> None:
    pending, PENDING[host] = PENDING[host], {}
    for session_id, root in pending.items():
        root.announce(session_id)


def forget_pending(host: Connection) -> None:
    PENDING[host] = {}


# --- opening


def open_sql(url: str, prefix: str = "mina_") -> SqlStore:
    """Connect, and make the tables where they are missing.

    StoreUnreachable, ForeignSchema (tables of our names that are not ours), MissingExtra (no psycopg).
    """
    try:
        parsed = sa.make_url(url)
        engine = postgresql.engine(parsed) if parsed.get_backend_name() == "postgresql" else sqlite.engine(parsed)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{url.split(':')[0]}://", "postgres") from error
    except ArgumentError as error:
        raise StoreUnreachable(url.split("@")[-1], f"not a database URL ({error})") from error
    shown = engine.url.render_as_string(hide_password=True)
    schema = build_schema(prefix)
    store = SqlStore(engine, schema)
    try:
        prepare(store, shown)
    except DatabaseError as error:
        engine.dispose()
        raise StoreUnreachable(shown, str(error.orig).strip().splitlines()[0]) from error
    except ForeignSchema:
        engine.dispose()
        raise
    return store


def prepare(store: SqlStore, shown: str) -> None:
    with store.engine.connect() as connection:
        if schema_version(connection, store.schema, shown) == str(SCHEMA_VERSION):
            return
    with store.writing(several=True) as connection:
        if store.dialect is postgresql:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(SCHEMA_LOCK)))
        if schema_version(connection, store.schema, shown) is None:
            store.schema.metadata.create_all(connection)
            meta = store.schema["meta"]
            connection.execute(meta.insert(), [{"name": "schema_version", "value": str(SCHEMA_VERSION)},
                                               {"name": "era", "value": str(FIRST_ERA)}])  # fmt: skip


def schema_version(connection: Connection, schema: Schema, shown: str) -> str | None:
    """The version of our schema in this database, None where it has none of our tables; else ForeignSchema."""
    there = set(sa.inspect(connection).get_table_names())
    ours = {table.name for table in schema.by_name.values()}
    if not ours & there:
        return None
    foreign = f"it has tables of our names ({', '.join(sorted(ours & there))}) that are not mina_pipeline's"
    remedy = "; choose another database, or another MINA_TABLE_PREFIX"
    meta = schema["meta"]
    if not ours <= there or {c["name"] for c in sa.inspect(connection).get_columns(meta.name)} != {
        "name",
        "value",
    }:
        raise ForeignSchema(shown, foreign + remedy)
    version = connection.execute(sa.select(meta.c.value).where(meta.c.name == "schema_version")).scalar()
    if version != str(SCHEMA_VERSION):
        raise ForeignSchema(shown, f"its schema is version {version}, this release knows {SCHEMA_VERSION}")
    return str(version)
