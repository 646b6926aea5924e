"""What workers share: breakers, and who is alive; how often and since when a row of work is there."""

from __future__ import annotations

from typing import Any

from alembic.operations import Operations
from sqlalchemy import BigInteger, Column, Integer, Text

revision = "0002"
down_revision = "0001"


def upgrade(op: Operations, prefix: str, namespace: str | None) -> None:
    def table(name: str, *columns: Column[Any]) -> None:
        op.create_table(prefix + name, *columns, schema=namespace)

    def required(name: str, kind: Any) -> Column[Any]:
        return Column(name, kind, nullable=False)

    op.add_column(f"{prefix}work", Column("tries", Integer), schema=namespace)
    op.add_column(f"{prefix}work", Column("created_at", BigInteger), schema=namespace)
    op.create_index(f"{prefix}work_until", f"{prefix}work", ["until"], schema=namespace)
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
    timers(op, prefix, namespace)


def timers(op: Operations, prefix: str, namespace: str | None) -> None:
    """Sessions that are open already have theirs from now on: half an hour of silence, a minute to the reveal."""
    space = f'"{namespace}".' if namespace else ""
    for name, since, micros, condition in (
        ("recording", "touched_at", 1_800_000_000, "= 'recording'"),
        ("reveal", "updated_at", 60_000_000, "NOT IN ('recording', 'finalized', 'revealed', 'cancelled')"),
    ):
        op.execute(
            f'INSERT INTO {space}"{prefix}work" (session_id, kind, stage, run, definition, definition_version, due_at,'
            f" attempts, tries, created_at) SELECT session_id, 'timer', '{name}', 1, definition, definition_version,"
            f' {since} + {micros}, 0, 0, {since} FROM {space}"{prefix}sessions" WHERE state {condition}'
        )
