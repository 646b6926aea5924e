"""The statements of the hot path, written once for a schema and a dialect."""

from __future__ import annotations

from ..projections import KEYS
from . import feed, postgresql, sqlite
from .tables import Schema
from .work_texts import WorkTexts

HEADER = ("session_id", "version", "type")


class Texts:
    """Each attribute is a statement's text, or the columns of one."""

    def __init__(self, schema: Schema, on_postgresql: bool) -> None:
        self.schema = schema
        self.on_postgresql = on_postgresql
        self.order = ("era", "feed_xid", "seq") if on_postgresql else ("seq",)
        self.work = WorkTexts(schema, on_postgresql)
        self.mark = mark = postgresql.MARK if on_postgresql else sqlite.MARK
        one_of = postgresql.IS_ONE_OF if on_postgresql else sqlite.IS_ONE_OF
        events, sessions, work = (schema.sql(name) for name in ("events", "sessions", "work"))
        self.session_columns, self.all_event_columns, self.segment_columns = (
            tuple(column.name for column in schema[name].columns) for name in ("sessions", "events", "segments")
        )
        row = f"SELECT {', '.join(self.session_columns)} FROM {sessions}"
        self.load = f"{row} WHERE session_id = {mark}"
        self.load_by_id = f"{row} WHERE id = {mark}"
        self.every = f"SELECT {', '.join(self.all_event_columns)} FROM {events}"
        self.events = f"{self.every} WHERE session_id = {mark} AND version > {mark} ORDER BY version"
        self.place = f"SELECT {', '.join(self.order)} FROM {events} WHERE session_id = {mark} AND version = {mark}"
        self.event_id = f"SELECT event_id FROM {events} WHERE session_id = {mark} AND version = {mark}"
        self.command = (
            f"SELECT fingerprint FROM {events} WHERE session_id = {mark} AND command_id = {mark}"
            " AND fingerprint IS NOT NULL"
        )
        self.mine = (
            f"SELECT 1 FROM {work} WHERE session_id = {mark} AND kind = {mark} AND stage = {mark} AND run = {mark}"
            f" AND token = {mark}"
        )
        self.segments = (
            f"SELECT {', '.join(self.segment_columns)} FROM {schema.sql('segments')}"
            f" WHERE session_id = {mark} AND segment_id {one_of}"
        )
        self.versions = f"SELECT session_id, version FROM {sessions} WHERE session_id {one_of}"
        chosen = ", ".join(f"e.{column}" for column in HEADER)
        wanted = "unnest(CAST(%s AS text[]), CAST(%s AS integer[])) AS w (key, value) JOIN"
        if not on_postgresql:
            wanted = "json_each(?) AS w CROSS JOIN"  # in this order: by the index, session by session
        self.headers_after = (
            f"SELECT {chosen} FROM {wanted} {events} AS e ON e.session_id = w.key AND e.version > w.value"
            " ORDER BY e.session_id, e.version"
        )
        self.last_seq = f"SELECT coalesce(max(seq), 0) FROM {events}"

    def rows(self, table: str) -> tuple[tuple[str, ...], str]:
        """The columns and the text for one session's rows of a read model."""
        columns = tuple(str(column.name) for column in self.schema[table].columns)
        by = "ordinal" if table in ("segments", "tasks") else KEYS[table][-1]
        of = f"{self.schema.sql(table)} WHERE session_id = {self.mark} ORDER BY {by}"
        return columns, f"SELECT {', '.join(columns)} FROM {of}"

    def feed(self, after: bool, limit: bool) -> str:
        return self.page(self.all_event_columns, after, limit)

    def headers(self, after: bool) -> str:
        return self.page(HEADER, after, True)

    def page(self, columns: tuple[str, ...], after: bool, limit: bool) -> str:
        chosen = ", ".join(columns)
        if self.on_postgresql:
            return feed.feed_text(self.schema, chosen, after, limit)
        where = f" WHERE seq > {self.mark}" if after else ""
        text = f"SELECT {chosen} FROM {self.schema.sql('events')}{where} ORDER BY seq"
        return text + (f" LIMIT {self.mark}" if limit else "")
