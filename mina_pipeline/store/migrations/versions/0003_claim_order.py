"""The index that claims go by has their whole order, so that the first is found without a sort of all that is due."""

from __future__ import annotations

from alembic.operations import Operations

revision = "0003"
down_revision = "0002"


def upgrade(op: Operations, prefix: str, namespace: str | None) -> None:
    table, index = f"{prefix}work", f"{prefix}work_due"
    op.drop_index(index, table, schema=namespace)
    op.create_index(index, table, ["due_at", "session_id", "stage"], schema=namespace)
