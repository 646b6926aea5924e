"""The first tables."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy import BigInteger, Boolean, Column, Float, Integer, LargeBinary, Text
from sqlalchemy.schema import CreateSequence

revision = "0001"
down_revision = None

Big = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER counts by itself on SQLite

STORE_ID = {
    "postgresql": "gen_random_uuid()::text",
    "sqlite": "lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-a'"
    " || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)))",
}
"""A random UUID that the database draws: SQL that was printed once may be run on several databases."""


def upgrade(op: Operations, prefix: str, namespace: str | None) -> None:
    dialect = op.get_context().dialect.name

    def table(name: str, *columns: Column[Any]) -> sa.Table:
        return op.create_table(prefix + name, *columns, schema=namespace)

    def index(table: str, name: str, *columns: str, **options: Any) -> None:
        op.create_index(f"{prefix}{table}_{name}", prefix + table, list(columns), schema=namespace, **options)

    def required(name: str, kind: Any) -> Column[Any]:
        return Column(name, kind, nullable=False)

    meta = table("meta", Column("name", Text, primary_key=True), required("value", Text))
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
    )
    index("events", "version", "session_id", "version", unique=True)
    if dialect == "postgresql":  # SQLite has one writer: seq is the order
        index("events", "feed", "era", "feed_xid", "seq")
    # Only a command's first event carries the fingerprint, so only it is held unique.
    index(
        "events",
        "command",
        "session_id",
        "command_id",
        unique=True,
        sqlite_where=sa.text("fingerprint IS NOT NULL"),
        postgresql_where=sa.text("fingerprint IS NOT NULL"),
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
    )
    index("sessions", "id", "id", unique=True)
    index("sessions", "state", "state", "id")
    index("sessions", "tenant", "tenant", "id")
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
    )
    index("segments", "ordinal", "session_id", "ordinal", unique=True)
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
    )
    index("work", "due", "due_at")
    index("work", "token", "token")
    if dialect == "postgresql":
        op.execute(CreateSequence(sa.Sequence(f"{prefix}session_ids", schema=namespace)))
    # Positions of the feed count within an era; a restored database begins the next one.
    op.execute(meta.insert().values(name="era", value="1"))
    op.execute(meta.insert().values(name="store_id", value=sa.literal_column(STORE_ID[dialect])))
