"""Settings: what a deployment may want otherwise. Every one has a `MINA_…` name in the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from .errors import InvalidInput


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All durations are in seconds. `Settings.from_env()` reads `MINA_LEASE`, `MINA_POLL`, … over the defaults."""

    lease: float = 15.0
    """How long a claim holds without being renewed."""
    renew: float = 5.0
    """How often a running stage's claim is renewed."""
    stage_deadline: float = 120.0
    reveal_deadline: float = 60.0
    recording_grace: float = 1800.0
    wait_maximum: float = 86_400.0
    poll: float = 0.25
    """How often an idle worker or relay looks by itself."""
    claims_before_poison: int = 20
    """A stage claimed so often without an outcome has failed: it kills its workers."""
    attempts: int = 200
    """How often a command is decided again after other writers won, before SessionBusy."""
    table_prefix: str = "mina_"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (int, float)) and not value > 0:
                raise InvalidInput(f"settings.{field.name}", f"must be above 0, not {value}")
        if self.renew >= self.lease:
            raise InvalidInput("settings.renew", "must be shorter than the lease")
        if not self.table_prefix.isidentifier() or not self.table_prefix.isascii():
            raise InvalidInput("settings.table_prefix", "letters, digits and _ only")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """The defaults with what the environment says; InvalidInput names a variable that is no number."""
        given: dict[str, Any] = {}
        for field in fields(cls):
            name = f"MINA_{field.name.upper()}"
            if name not in environ:
                continue
            kind: Any = type(field.default)
            try:
                given[field.name] = kind(environ[name])
            except ValueError:
                raise InvalidInput(name, f"{environ[name]!r} is no {kind.__name__}") from None
        return cls(**given)
