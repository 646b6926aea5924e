"""The stages that this process has code for: whose provider each asks, its policy, and the limits on them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from .settings import Settings
from .stages.base import PIPELINE, Stage


class StageCode:
    """What this process knows of its stages: whose provider they use, their policies, and the limits on them."""

    def __init__(self, code: Mapping[tuple[str, int], Mapping[str, Stage]], provider: Any, settings: Settings) -> None:
        self.pipeline = str(provider.name)
        self.settings = settings
        self.every = [stage for stages in code.values() for stage in stages.values()]
        self.policies = settings.policy

    def unknown(self) -> list[str]:
        """Names in the settings' policies that no stage here has: a slip of the pen, or another process's stages."""
        return sorted(self.policies.keys() - {stage.shape.name for stage in self.every})

    def provider_of(self, stage: Stage) -> str:
        """By name; a stage of the host's that names none is said to be made by the pipeline's."""
        return self.pipeline if stage.provider in (None, PIPELINE) else str(stage.provider)

    def asks(self, stage: Stage) -> str | None:
        """The provider that the stage asks and that may be away."""
        name = None if stage.provider is None else self.provider_of(stage)
        return None if name == "offline" else name

    def policy(self, stage: Stage) -> str:
        return self.policies.get(stage.shape.name, stage.policy)

    def can_fall_back(self, stage: Stage) -> bool:
        return stage.fallback is not None and self.asks(stage) is not None

    @cached_property
    def by_provider(self) -> dict[str, frozenset[str]]:
        """The stages that ask each provider."""
        names = {name for stage in self.every if (name := self.asks(stage)) is not None}
        return {name: frozenset(s.shape.name for s in self.every if self.asks(s) == name) for name in sorted(names)}

    @cached_property
    def limits(self) -> list[tuple[frozenset[str], int]]:
        """How many of a group of stages may run at once: by stage, and by provider."""
        stages = {stage.shape.name for stage in self.every}
        groups = {name: frozenset({name}) for name in stages} | self.by_provider
        return [(groups[name], most) for name, most in self.settings.limited.items() if name in groups]

    @cached_property
    def limited(self) -> frozenset[str]:
        return frozenset(name for group, _ in self.limits for name in group)
