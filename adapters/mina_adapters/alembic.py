"""Keeps a host's Alembic autogenerate from dropping mina_pipeline's tables. Alembic loads it by itself (a plugin).

Its name in pyproject.toml begins with `alembic.autogenerate.`, which Alembic uses where a host says nothing; a host
that lists `autogenerate_plugins` may leave it out with `~alembic.autogenerate.mina_pipeline`.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from alembic.operations.ops import UpgradeOps
    from alembic.runtime.plugins import Plugin

# This file is imported by every `import alembic`, also of hosts that only have mina_pipeline installed: so it
# imports nothing of ours, and knows our tables by heart.
FIRST = frozenset("meta counters events sessions segments artefacts analytics summaries tasks work".split())
"""The tables that every release of ours has had, without the prefix."""
OURS = FIRST | {"breakers", "workers", "budgets", "reservations"}
"""All tables that this release knows."""
VERSION_TABLE = "alembic_version"


def setup(plugin: Plugin) -> None:
    """Called by Alembic, once, when it is imported."""
    from alembic.util import DispatchPriority

    plugin.add_autogenerate_comparator(keep_ours, "autogenerate", "mina_pipeline", priority=DispatchPriority.LAST)


def keep_ours(context: AutogenContext, upgrade_ops: UpgradeOps) -> Any:
    """After the comparison: take out the drops of our tables and of their indexes."""
    from alembic.operations.ops import DropTableOp, ModifyTableOps
    from alembic.util import PriorityDispatchResult

    dropped = [op for op in upgrade_ops.ops if isinstance(op, DropTableOp)]
    kept: set[tuple[str | None, str]] = set()
    for space in {op.schema for op in dropped}:
        ours = our_tables(context.inspector.get_table_names(schema=space))
        kept |= {(space, op.table_name) for op in dropped if op.schema == space and op.table_name in ours}
    upgrade_ops.ops = [
        op
        for op in upgrade_ops.ops
        if not (isinstance(op, (DropTableOp, ModifyTableOps)) and (op.schema, op.table_name) in kept)
    ]
    return PriorityDispatchResult.CONTINUE


def our_tables(there: Collection[str]) -> set[str]:
    """Those that mina_pipeline made: under one prefix its version table and all the rest. One alone is a host's own."""
    found: set[str] = set()
    for name in there:
        prefix = name.removesuffix(VERSION_TABLE)
        if prefix and prefix != name and {prefix + table for table in FIRST} <= set(there):
            found |= {name} | {prefix + table for table in OURS}
    return found


class Plugins(ModuleType):
    """This module, and the collection of it: before 1.20.1 Alembic iterates over what the entry point names."""

    def __iter__(self) -> Iterator[ModuleType]:
        yield self


sys.modules[__name__].__class__ = Plugins
