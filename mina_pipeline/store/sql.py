"""The store in a SQL database, through SQLAlchemy: the log, the work queue and the read models.

An append is compiled in sqlite.py and postgresql.py; everything else is the same SQL on both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import ArgumentError, DatabaseError

from ..codec import recorded
from ..errors import LeaseLost, MinaError, MissingExtra, SessionBusy, StoreBusy, StoreUnreachable
from ..events import FIRST_ERA, Position, RecordedEvent
from ..llm.budget import Budget, Limits
from ..ports import Append, FeedStall, Head, Header, Wake
from ..projections import Op, Row
from ..settings import Settings
from ..text import storable
from . import feed, postgresql, sqlite
from .budgets import SqlBudget
from .connections import Link, OwnLink, Rows, Values, backoff
from .host import AUTOCOMMITS, HostLink, announce_after_commit, host_connection
from .pipelined import Pipelined
from .refusals import Collided, Locked, Lost, Unprepared, first_line, shown_url
from .shared import Shared
from .tables import Schema, build_schema
from .texts import Texts
from .work import SqlWork

T = TypeVar("T")
TRIES = 3  # of one statement, when connections break under it


class SqlStore(SqlWork):
    """A Store over one engine, or inside one connection of a host's."""

    def __init__(self, shared: Shared, host: HostLink | None = None, texts: Texts | None = None) -> None:
        self.shared = shared
        self.schema = shared.schema
        self.host = host
        self.inside = host is not None
        self.postgresql = shared.engine.dialect.name == "postgresql"
        self.texts = texts or Texts(shared.schema, self.postgresql)
        self.work = self.texts.work
        if host is None and self.postgresql:
            shared.pipelined = Pipelined(shared.lender, shared.schema, shared.settings.lock_timeout, self.append_own)

    @property
    def engine(self) -> Engine:
        return self.shared.engine

    # --- connections

    def reading(self, read: Callable[[Link], T]) -> T:
        """A read. Run again where a connection broke under it, or where SQLite's file was locked for a moment."""
        if self.host is not None:
            return read(self.host)
        if self.postgresql:
            return self.own(read)
        for _ in backoff(self.shared.settings.lock_timeout):
            try:
                return self.own(read)
            except Locked:
                continue
        raise StoreBusy("the database file", self.shared.settings.lock_timeout)

    def writing(self, write: Callable[[Link], T], again: bool = True, durable: bool = True) -> T:
        """A write in one transaction of ours, or in the host's. again: it may be run twice where a connection broke.

        durable: it outlives a power cut. (PostgreSQL's statements say so themselves.)
        """
        if self.host is not None:
            return write(self.host)
        if self.shared.writer is None:
            return self.own(write, again)
        self.shared.hosts.refuse_second_door()
        if not durable:
            return self.shared.writer.shared(write)
        with self.shared.writer.transaction() as link:
            return write(link)

    def own(self, act: Callable[[OwnLink], T], again: bool = True) -> T:
        """Do it on a connection of ours; on another one where that breaks, or where it lost to another's statement."""
        for left in range(TRIES - 1, -1, -1):
            try:
                with self.shared.lender.lend() as link:
                    return act(link)
            except Unprepared:
                self.shared.lender.stop_preparing()
            except (Lost, Collided) as error:
                if not left or not (again or isinstance(error, Collided)):
                    raise
            except Locked:
                if self.postgresql:
                    raise StoreBusy("a lock", self.shared.settings.lock_timeout) from None
                raise
        raise StoreBusy("a connection that keeps its statements", 0)

    def refuse_second_door(self) -> None:
        if self.host is None:
            self.shared.hosts.refuse_second_door()

    def rows_of(self, text: str, values: Values = ()) -> Rows:
        """What `reading` does for one statement, with fewer frames: every load comes through here."""
        if self.host is not None:
            return self.host.rows(text, values)
        lender = self.shared.lender
        link = lender.take()
        try:
            found: Rows = link.cursor.execute(text, values).fetchall()
        except BaseException as error:
            meant = lender.settled(link, error)
            if not isinstance(meant, (Lost, Locked, Unprepared)):
                if meant is error:
                    raise
                raise meant from error
            return self.reading(lambda link: link.rows(text, values))
        lender.give(link)
        return found

    def fetch(self, statement: sa.Executable) -> list[Row]:
        return self.reading(lambda link: link.fetch(statement))

    def using(self, connection: Any) -> SqlStore:
        host = host_connection(connection)
        self.shared.hosts.check(host)
        link = HostLink(host)
        if not self.postgresql:
            self.shared.hosts.refuse_second_door(beside=host)
            sqlite.take_write_lock(link, self.schema)
            if not getattr(host.connection.driver_connection, "in_transaction", True):
                raise MinaError(AUTOCOMMITS)
        self.shared.hosts.brought(link)
        return SqlStore(self.shared, link, self.texts)

    def on_commit(self, callback: Wake) -> None:
        self.shared.callbacks.append(callback)

    def listen(self) -> None:
        self.shared.listen()

    def close(self) -> None:
        self.shared.close()

    # --- EventStore

    def load(self, session_id: str | int) -> Row | None:
        if not storable(session_id):
            return None
        found = self.rows_of(self.texts.load_by_id if isinstance(session_id, int) else self.texts.load, (session_id,))
        return dict(zip(self.texts.session_columns, found[0], strict=True)) if found else None

    def append(self, append: Append) -> bool:
        self.refuse_second_door()
        if self.host is not None:
            done = self.append_inside(self.host, append)
        else:
            together = self.shared.writer or self.shared.pipelined
            done = together.append(append) if together else self.append_own(append)
        if not done:
            self.raise_if_lease_lost(append)
            return False
        version = append.expected + len(append.events)
        if self.host is None:
            self.shared.committed(append.session_id, version, append.brings_work)
        else:
            given = (append.session_id, version, append.brings_work)
            announce_after_commit(self.host.connection, self.shared.committed, *given)
        return True

    def append_inside(self, host: HostLink, append: Append) -> bool:
        if self.postgresql:
            return postgresql.append(host, self.schema, append)
        with host.connection.begin_nested():  # all of it or nothing, also where the host carries on after an error
            return sqlite.append_all(host, self.schema, [append])[0]

    def append_own(self, append: Append, uncertain: Lost | None = None) -> bool:
        """One statement on PostgreSQL. Where the connection broke under it, the log says whether it took effect.

        uncertain: it did so under a try before.
        """
        lender = self.shared.lender
        for _ in range(TRIES):
            try:
                link = lender.take()
                try:
                    done = postgresql.append(link, self.schema, append)
                except BaseException as error:
                    meant = lender.settled(link, error)
                    if meant is error:
                        raise
                    raise meant from error
                lender.give(link)
                # The very same append again: if the first did take effect after all, this one matched no row.
                return done or (uncertain is not None and self.holds(append))
            except Unprepared:
                lender.stop_preparing()
            except Lost as lost:
                uncertain = lost
            except MinaError as refused:
                if uncertain is not None:
                    raise uncertain from None  # this try wrote nothing; the first is still unknown
                if isinstance(refused, Collided):
                    return False
                if isinstance(refused, Locked):
                    raise SessionBusy(append.session_id, 1) from None
                raise
        raise uncertain or StoreBusy("a connection that keeps its statements", 0)

    def holds(self, append: Append) -> bool:
        """Whether the log has the first event of this append."""
        found = self.rows_of(self.texts.event_id, (append.session_id, append.expected + 1))
        return [(append.events[0]["event_id"],)] == found

    def raise_if_lease_lost(self, append: Append) -> None:
        if append.guard is None:
            return
        guard = append.guard
        if not self.rows_of(self.texts.mine, (append.session_id, guard.kind, guard.stage, guard.run, guard.token)):
            raise LeaseLost(append.session_id, guard.stage, guard.run)

    def events(self, session_id: str, after: int = 0, limit: int | None = None) -> list[Row]:
        columns = self.texts.all_event_columns
        if not storable(session_id):
            return []
        if limit is None:
            found = self.rows_of(self.texts.events, (session_id, after))
        else:
            found = self.rows_of(self.texts.events + f" LIMIT {self.texts.mark}", (session_id, after, limit))
        return [dict(zip(columns, row, strict=True)) for row in found]

    def command(self, session_id: str, command_id: str) -> str | None:
        found = self.rows_of(self.texts.command, (session_id, command_id))
        return str(found[0][0]) if found else None

    def feed(self, after: Position | None, limit: int | None) -> list[RecordedEvent]:
        place, text = self.place(after), self.texts.feed(after is not None, limit is not None)
        columns = self.texts.all_event_columns
        found = self.rows_of(text, place if limit is None else (*place, limit))
        return [recorded(dict(zip(columns, row, strict=True))) for row in found]

    def headers(self, after: Position | None, limit: int) -> tuple[list[Header], Position | None]:
        # Rows of three columns are read half as fast again as rows with their positions: only the last one's is wanted.
        found = self.rows_of(self.texts.headers(after is not None), (*self.place(after), limit))
        if not found:
            return [], None
        return found, self.position(self.rows_of(self.texts.place, found[-1][:2])[0])

    def versions(self, session_ids: Sequence[str]) -> dict[str, int]:
        ids = list(session_ids) if self.postgresql else sqlite.json_array(session_ids)
        return dict(self.rows_of(self.texts.versions, (ids,)))

    def headers_after(self, versions: Mapping[str, int]) -> list[Header]:
        wanted: tuple[Any, ...] = (list(versions), list(versions.values()))
        if not self.postgresql:
            wanted = (msgspec.json.encode(versions).decode(),)
        return self.rows_of(self.texts.headers_after, wanted)

    def place(self, position: Position | None) -> tuple[int, ...]:
        """A position as the columns that this database orders the feed by."""
        if position is None:
            return ()
        return (position.era, position.feed_xid, position.seq) if self.postgresql else (position.seq,)

    def position(self, place: tuple[int, ...]) -> Position:
        return Position(*place) if self.postgresql else Position(FIRST_ERA, 0, *place)

    def head(self) -> Head:
        if self.postgresql:
            return self.reading(lambda link: feed.head(link, self.schema))
        return Head(Position(FIRST_ERA, 0, int(self.rows_of(self.texts.last_seq)[0][0])), {})

    def feed_stall(self) -> FeedStall | None:
        return self.reading(lambda link: feed.stall(link, self.schema)) if self.postgresql else None

    def draw_id(self) -> int:
        self.refuse_second_door()
        draw = postgresql.draw_id if self.postgresql else sqlite.draw_id
        return self.writing(lambda link: draw(link, self.schema), durable=False)  # the append that uses it is

    # --- Budgets

    def budget(self, limits: Limits, new_key: Callable[[], str]) -> Budget:
        return SqlBudget(self.schema, limits, new_key, self.writing, self.reading, self.postgresql)

    # --- Views

    def known_segments(self, session_id: str, segment_ids: Sequence[str]) -> list[Row]:
        ids = list(segment_ids) if self.postgresql else sqlite.json_array(segment_ids)
        found = self.rows_of(self.texts.segments, (session_id, ids))
        return [dict(zip(self.texts.segment_columns, row, strict=True)) for row in found]

    def rows(self, table: str, session_id: str) -> list[Row]:
        columns, text = self.texts.rows(table)
        return [dict(zip(columns, row, strict=True)) for row in self.rows_of(text, (session_id,))]

    def sessions(self, state: str | None, tenant: str | None, before: int | None, limit: int) -> list[Row]:
        if not all(storable(one) for one in (state, tenant, before) if one is not None):
            return []
        sessions = self.schema["sessions"]
        query = sa.select(sessions).order_by(sessions.c.id.desc()).limit(limit)
        if state is not None:
            query = query.where(sessions.c.state == state)
        if tenant is not None:
            query = query.where(sessions.c.tenant == tenant)
        if before is not None:
            query = query.where(sessions.c.id < before)
        return self.fetch(query)

    def correct(self, now: int, session_id: str, expected: int, ops: Sequence[Op]) -> bool:
        self.refuse_second_door()
        correct = postgresql.correct if self.postgresql else sqlite.correct
        return self.writing(lambda link: correct(link, self.schema, now, session_id, expected, ops), again=False)


# --- opening

DRIVERS = ("sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg")


def make_engine(url: str, settings: Settings) -> tuple[Engine, Schema, str]:
    """An engine for the URL, the tables it is to have, and the URL without its password; nothing is connected yet.

    StoreUnreachable for what is no database URL, MissingExtra where psycopg is not installed.
    """
    try:
        parsed = sa.make_url(url)
        if parsed.drivername not in DRIVERS:
            raise StoreUnreachable(shown_url(parsed), "not a database of ours; sqlite:///file.db or postgresql://…")
        on_postgresql = parsed.get_backend_name() == "postgresql"
        engine = (postgresql if on_postgresql else sqlite).engine(parsed, settings)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{url.split(':')[0]}://", "postgres") from error
    except (ArgumentError, ValueError) as error:
        raise StoreUnreachable(url.split("@")[-1].split("?")[0], f"not a database URL ({error})") from error
    schema = build_schema(settings.table_prefix, (settings.table_schema or None) if on_postgresql else None)
    return engine, schema, shown_url(parsed)


def open_sql(url: str, settings: Settings) -> SqlStore:
    """Connect, and bring the tables up to date.

    StoreUnreachable, ForeignSchema (tables of our names that are not ours), SchemaOutdated, MissingExtra (no psycopg).
    """
    from .schema import prepare

    engine, schema, shown = make_engine(url, settings)
    try:
        prepare(engine, schema, shown, settings.auto_migrate)
    except DatabaseError as error:
        engine.dispose()
        raise StoreUnreachable(shown, first_line(error.orig or error)) from error
    except MinaError:
        engine.dispose()
        raise
    return SqlStore(Shared(engine, schema, settings))
