"""Settings: what a deployment may want otherwise. Every one has a `MINA_…` name in the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from .errors import InvalidInput

LARGEST = 1_000_000
"""Of any number here: seconds (11 days) or counts; beyond it some clock or database overflows."""
SWITCH = {"1": True, "0": False, "true": True, "false": False}


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
    table_schema: str = ""
    """The PostgreSQL schema that the tables are in; empty: the connection's own, as a rule `public`."""
    auto_migrate: bool = True
    """Whether opening a pipeline brings an older schema up to date; otherwise `mina db upgrade` does."""
    pool_size: int = 20
    """How many connections this process opens at most, beside one that listens and one that SQLite writes on."""
    pool_timeout: float = 30.0
    """How long a caller waits for one of them to be free, before StoreBusy."""
    lock_timeout: float = 10.0
    """How long our own connections wait for a lock: a row's on PostgreSQL, the database's on SQLite."""
    transaction_pooling: bool = False
    """The URL leads through a proxy such as PgBouncer in transaction mode: no prepared statements, no LISTEN."""
    synchronous: str = "FULL"
    """SQLite's own setting. NORMAL is faster, and a power cut may take back what was acknowledged last."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (int, float)) and not isinstance(value, bool) and not 0 < value <= LARGEST:
                raise InvalidInput(f"settings.{field.name}", f"must be above 0 and at most {LARGEST}, not {value}")
        if self.renew >= self.lease:
            raise InvalidInput("settings.renew", "must be shorter than the lease")
        for name in ("table_prefix", "table_schema"):
            value = getattr(self, name)
            if (value or name == "table_prefix") and not (value.isidentifier() and value.isascii()):
                raise InvalidInput(f"settings.{name}", "letters, digits and _ only")
            if len(value) > 40:
                raise InvalidInput(f"settings.{name}", "at most 40 characters: PostgreSQL's names end at 63")
        if self.synchronous not in ("FULL", "NORMAL"):
            raise InvalidInput("settings.synchronous", f"FULL or NORMAL, not {self.synchronous!r}")

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
                given[field.name] = SWITCH[environ[name].lower()] if kind is bool else kind(environ[name])
            except (ValueError, KeyError):
                wanted = " or ".join(SWITCH) if kind is bool else kind.__name__
                raise InvalidInput(name, f"{environ[name]!r} is no {wanted}") from None
        return cls(**given)
