"""What models may cost: settled and set aside, by session and by day. The words that a task rests on."""

from __future__ import annotations

from typing import Any

from alembic.operations import Operations
from sqlalchemy import BigInteger, Column, Text

revision = "0004"
down_revision = "0003"


def upgrade(op: Operations, prefix: str, namespace: str | None) -> None:
    def required(name: str, kind: Any) -> Column[Any]:
        return Column(name, kind, nullable=False)

    op.create_table(
        f"{prefix}budgets",
        Column("scope", Text, primary_key=True),
        Column("name", Text, primary_key=True),
        required("tokens", BigInteger),
        required("money", BigInteger),
        required("reserved_tokens", BigInteger),
        required("reserved_money", BigInteger),
        schema=namespace,
    )
    op.create_table(
        f"{prefix}reservations",
        Column("key", Text, primary_key=True),
        required("session_id", Text),
        required("day", Text),
        required("tokens", BigInteger),
        required("money", BigInteger),
        schema=namespace,
    )
    op.add_column(f"{prefix}tasks", Column("quotes", Text), schema=namespace)
