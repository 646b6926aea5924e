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
