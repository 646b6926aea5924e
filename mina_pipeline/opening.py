"""What `Pipeline.open` is given, as what it is made of: a store, the workflows it can finish, a provider."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .errors import InvalidInput, StoreUnreachable, UpgradeNeeded
from .ports import Store
from .settings import Settings
from .stages.base import Workflow
from .stages.standard import WORKFLOWS


def open_store(url: str, settings: Settings) -> Store:
    """The store for a URL; drivers are imported here, when they are asked for."""
    if url == "memory://":
        from .store.memory import MemoryStore

        return MemoryStore()
    if not url.startswith(("sqlite:", "postgresql:", "postgresql+psycopg:")):
        raise StoreUnreachable(
            url.split("@")[-1].split("?")[0], "not a URL of ours; memory://, sqlite:///file.db or postgresql://…"
        )
    from .store.sql import open_sql

    return open_sql(url, settings)


def known_workflows(definition: str | Workflow | Sequence[Workflow]) -> list[Workflow]:
    """The one for new sessions first, then every other that this process can finish."""
    standard = {workflow.key[0]: workflow for workflow in WORKFLOWS}
    if isinstance(definition, str):
        if definition not in standard:
            raise UpgradeNeeded("definition", definition, ", ".join(standard))
        chosen = [standard[definition]]
    else:
        chosen = [definition] if isinstance(definition, Workflow) else list(definition)
    keys = {workflow.key for workflow in chosen}
    return [*chosen, *(workflow for workflow in WORKFLOWS if workflow.key not in keys)]


def find_provider(provider: Any) -> Any:
    """By its name: openai is configured by MINA_OPENAI_… and OPENAI_…, and makes no request before a stage asks."""
    if provider == "offline":
        from .stages.offline import OfflineProvider

        return OfflineProvider()
    if provider == "openai":
        from .stages.openai import provider as openai

        return openai()
    if isinstance(provider, str):
        raise InvalidInput("provider", f'{provider!r} is not here; "offline", "openai", or an object of your own')
    return provider


def share(provider: Any, store: Store, new_key: Callable[[], str]) -> Any:
    """A provider that keeps to a budget as one that keeps to it together with every process of this database."""
    sharing = getattr(provider, "sharing", None)
    return provider if sharing is None else sharing(lambda limits: store.budget(limits, new_key))
