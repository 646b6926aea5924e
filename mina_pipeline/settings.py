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
    """How long a stage may go without a checkpoint before it is cut off."""
    reveal_deadline: float = 60.0
    """How long after its first stage began a session waits for providers that are away; policy `wait` waits longer."""
    recording_grace: float = 1800.0
    """A recording without a sign of life for so long is finalized."""
    wait_maximum: float = 86_400.0
    """The longest that a stage of policy wait waits, before it fails."""
    retry_tries: int = 3
    """How often a stage is tried within one attempt when its provider fails for a moment."""
    retry_first: float = 1.0
    """The first durable wait after an attempt; each further one is twice as long, up to retry_longest."""
    retry_longest: float = 60.0
    breaker_failures: int = 5
    """So many failures of a provider in a row open its circuit breaker."""
    breaker_pause: float = 30.0
    """How long it then stays open; each time it opens again twice as long, up to breaker_longest."""
    breaker_longest: float = 300.0
    upgrade_delay: float = 60.0
    """How long after the reveal a result that is degraded for an outage is first tried anew."""
    upgrade_pace: float = 0.2
    """When a provider is back, one pending upgrade begins each so many seconds (half as fast at first)."""
    upgrade_tries: int = 20
    upgrade_maximum: float = 259_200.0
    """After so many seconds (three days), or so many tries, a degraded result stays as it is."""
    late_segments: bool = False
    """Whether `record` is accepted after finalize; the stages then run once more after the reveal."""
    limits: str = ""
    """How many stages run at once, across all workers, by stage and by provider: "summary=4,openai=8"."""
    policies: str = ""
    """What becomes of a stage while its provider is away, where not as the stage says: "summary=wait,tasks=fail"."""
    fair_wait: float = 5.0
    """A worker goes on with the same session's next stage unless another session has waited for longer than this."""
    shutdown_grace: float = 10.0
    """How long ending workers let running stages go on, before they hand them back."""
    hung_threads: int = 8
    """So many stages that were cut off and have not come back make a worker process end."""
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
        for name, most in self.limited.items():
            if not 0 < most <= LARGEST:
                raise InvalidInput("settings.limits", f"{name} must be at least 1, not {most}")
        for name, policy in self.policy.items():
            if policy not in ("degrade", "wait", "fail"):
                raise InvalidInput("settings.policies", f"{name} is degrade, wait or fail, not {policy!r}")
        if self.synchronous not in ("FULL", "NORMAL"):
            raise InvalidInput("settings.synchronous", f"FULL or NORMAL, not {self.synchronous!r}")

    @property
    def limited(self) -> dict[str, int]:
        """`limits` by name; InvalidInput where it does not read so."""
        found = pairs("settings.limits", self.limits)
        try:
            return {name: int(most) for name, most in found.items()}
        except ValueError:
            raise InvalidInput("settings.limits", f'name=number,…, not "{self.limits}"') from None

    @property
    def policy(self) -> dict[str, str]:
        """`policies` by stage."""
        return pairs("settings.policies", self.policies)

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


def pairs(setting: str, text: str) -> dict[str, str]:
    """Read "a=1,b=2"; InvalidInput where it does not read so."""
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not (name.strip() and equals and value.strip()):
            raise InvalidInput(setting, f'name=value,…, not "{text}"')
        found[name.strip()] = value.strip()
    return found
