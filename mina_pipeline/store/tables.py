"""The tables, as SQLAlchemy knows them. `migrations/` makes them; a test holds the two equal."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, LargeBinary, MetaData, Text

Big = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER counts by itself on SQLite


@dataclass(frozen=True, eq=False)
class Schema:
    """The tables under one prefix, in a PostgreSQL schema (None: the connection's own). `by_name` has no prefix."""

    metadata: MetaData
    by_name: dict[str, sa.Table]
    prefix: str
    namespace: str | None
    names: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> sa.Table:
        return self.by_name[name]

    def sql(self, name: str) -> str:
        """A table's, or the sequence's, full name as it stands in SQL text."""
        if name not in self.names:
            space = f'"{self.namespace}".' if self.namespace else ""
            self.names[name] = f'{space}"{self.prefix}{name}"'
        return self.names[name]


def build_schema(prefix: str = "mina_", namespace: str | None = None) -> Schema:
    """All tables with their indexes, named with `prefix`; `namespace` is a PostgreSQL schema."""
    metadata = MetaData(schema=namespace)
    by_name: dict[str, sa.Table] = {}

    def table(name: str, *items: sa.schema.SchemaItem) -> None:
        by_name[name] = sa.Table(prefix + name, metadata, *items)

    def index(name: str, *columns: str, **options: Any) -> Index:
        return Index(f"{prefix}{name}", *columns, **options)

    def required(name: str, kind: Any) -> Column[Any]:
        return Column(name, kind, nullable=False)

    table("meta", Column("name", Text, primary_key=True), required("value", Text))
    table("counters", Column("name", Text, primary_key=True), required("value", BigInteger))
    table(
        "events",
        Column("seq", Big, primary_key=True, autoincrement=True),
        required("era", Integer),
        required("feed_xid", BigInteger),
        required("event_id", Text),
        required("session_id", Text),
        required("version", Integer),
        required("type", Text),
        required("schema_version", Integer),
        required("skippable", Boolean),
        required("recorded_at", BigInteger),
        required("trace_id", Text),
        Column("causation_id", Text),
        Column("command_id", Text),
        Column("fingerprint", Text),
        Column("actor", Text),
        required("data", Text),
        Column("content", Text),
        Column("salt", LargeBinary),
        Column("digest", LargeBinary),
        required("hash", LargeBinary),
        index("events_version", "session_id", "version", unique=True),
        index("events_feed", "era", "feed_xid", "seq").ddl_if("postgresql"),  # SQLite has one writer: seq is the order
        # Only a command's first event carries the fingerprint, so only it is held unique.
        index(
            "events_command",
            "session_id",
            "command_id",
            unique=True,
            sqlite_where=sa.text("fingerprint IS NOT NULL"),
            postgresql_where=sa.text("fingerprint IS NOT NULL"),
        ),
    )
    table(
        "sessions",
        Column("session_id", Text, primary_key=True),
        required("id", BigInteger),
        required("version", Integer),
        required("hash", LargeBinary),
        required("state", Text),
        required("snapshot", Text),
        required("fold_version", Integer),
        required("era", Integer),
        required("feed_xid", BigInteger),
        required("definition", Text),
        required("definition_version", Integer),
        required("trace_id", Text),
        Column("title", Text),
        Column("meeting_id", Text),
        Column("tenant", Text),
        Column("timezone", Text),
        Column("locale", Text),
        required("metadata", Text),
        Column("parent", Text),
        required("started_at", BigInteger),
        required("created_at", BigInteger),
        required("updated_at", BigInteger),
        required("touched_at", BigInteger),
        Column("finalized_at", BigInteger),
        Column("revealed_at", BigInteger),
        required("total_segments", Integer),
        Column("total_duration", Float),
        Column("average_confidence", Float),
        index("sessions_id", "id", unique=True),
        index("sessions_state", "state", "id"),
        index("sessions_tenant", "tenant", "id"),
    )
    table(
        "segments",
        Column("session_id", Text, primary_key=True),
        Column("segment_id", Text, primary_key=True),
        required("ordinal", Integer),
        Column("meeting_id", Text),
        required("start_ms", BigInteger),
        required("end_ms", BigInteger),
        Column("speaker", Text),
        required("text", Text),
        Column("confidence", Float),
        required("version", Integer),
        Column("refined_text", Text),
        Column("refined_run", Integer),
        index("segments_ordinal", "session_id", "ordinal", unique=True),
    )
    table(
        "artefacts",
        Column("session_id", Text, primary_key=True),
        Column("stage", Text, primary_key=True),
        Column("meeting_id", Text),
        required("run", Integer),
        required("outcome", Text),
        Column("reason", Text),
        Column("provider", Text),
        required("input_version", Integer),
        required("duration_ms", BigInteger),
        required("version", Integer),
        Column("error", Text),
        Column("body", Text),
    )
    table(
        "analytics",
        Column("session_id", Text, primary_key=True),
        Column("meeting_id", Text),
        Column("total_duration_minutes", Float),
        Column("word_count", Integer),
        Column("average_confidence", Float),
        Column("segment_count", Integer),
        Column("words_per_minute", Float),
        Column("participant_count", Integer),
        required("details", Text),
    )
    table(
        "summaries",
        Column("session_id", Text, primary_key=True),
        Column("meeting_id", Text),
        Column("brief", Text),
        Column("detailed", Text),
        Column("sentiment", Text),
        Column("model", Text),
        Column("confidence_score", Float),
        required("details", Text),
    )
    table(
        "tasks",
        Column("session_id", Text, primary_key=True),
        Column("task_id", Text, primary_key=True),
        Column("meeting_id", Text),
        required("ordinal", Integer),
        required("title", Text),
        Column("description", Text),
        Column("task_type", Text),
        Column("priority", Text),
        Column("assigned_to", Text),
        Column("due_date", Text),
        Column("due_text", Text),
        Column("confidence_score", Float),
        Column("evidence", Text),
        required("completed", Boolean),
        Column("quotes", Text),
    )
    table(
        "work",
        Column("session_id", Text, primary_key=True),
        Column("kind", Text, primary_key=True),
        Column("stage", Text, primary_key=True),
        required("run", Integer),
        required("definition", Text),
        required("definition_version", Integer),
        required("due_at", BigInteger),
        Column("owner", Text),
        Column("token", Text),
        Column("until", BigInteger),
        required("attempts", Integer),
        Column("tries", Integer),
        Column("created_at", BigInteger),
        index("work_due", "due_at", "session_id", "stage"),
        index("work_token", "token"),
        index("work_until", "until"),
    )
    table(
        "breakers",
        Column("provider", Text, primary_key=True),
        required("state", Text),
        required("opens", Integer),
        Column("retry_at", BigInteger),
        required("changed_at", BigInteger),
        Column("reason", Text),
        Column("probe", Text),
        Column("probe_until", BigInteger),
    )
    table(
        "workers",
        Column("name", Text, primary_key=True),
        required("started_at", BigInteger),
        required("seen_at", BigInteger),
        required("details", Text),
    )
    table(
        "budgets",
        Column("scope", Text, primary_key=True),
        Column("name", Text, primary_key=True),
        required("tokens", BigInteger),
        required("money", BigInteger),
        required("reserved_tokens", BigInteger),
        required("reserved_money", BigInteger),
    )
    table(
        "reservations",
        Column("key", Text, primary_key=True),
        required("session_id", Text),
        required("day", Text),
        required("tokens", BigInteger),
        required("money", BigInteger),
    )
    sa.Sequence(f"{prefix}session_ids", metadata=metadata, schema=namespace)
    return Schema(metadata, by_name, prefix, namespace)


GIVEN = frozenset({"seq", "era", "feed_xid"})
"""The columns of `events` that the store gives at the append."""


@cache
def event_columns(schema: Schema) -> tuple[str, ...]:
    """The columns of `events` that an Append's rows have."""
    return tuple(column.name for column in schema["events"].columns if column.name not in GIVEN)
