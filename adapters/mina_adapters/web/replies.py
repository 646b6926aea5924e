"""A request and a reply as values, the same for every framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

PLAIN = {
    "Content-Type": "application/json",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
"""The headers that every JSON answer carries."""


class Principal(Protocol):
    """Who asks, as the host's `principal` says. `tenant` is None in a host without tenants."""

    @property
    def id(self) -> str: ...

    @property
    def tenant(self) -> str | None: ...


@dataclass(frozen=True)
class Asked:
    """A request. `path`: the template's ids, decoded; `query`: one value each; principal None: nobody known (401)."""

    principal: Principal | None
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content_type: str | None = None


@dataclass(frozen=True)
class Reply:
    """A reply. `body` is what `content` encodes as JSON, or bytes that are JSON already."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=lambda: dict(PLAIN))

    @property
    def content(self) -> bytes:
        """The body's bytes."""
        return self.body if isinstance(self.body, bytes) else msgspec.json.encode(self.body)


def as_json(value: Any) -> Any:
    """Dataclasses, and what is in them, as JSON values: every field, also one that only its class has a value for."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: as_json(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, (list, tuple)):
        return [as_json(one) for one in value]
    if isinstance(value, dict):
        return {name: as_json(one) for name, one in value.items()}
    return value
