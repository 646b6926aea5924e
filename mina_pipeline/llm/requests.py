"""What a model is asked, and what it replied; the digest that tells whether the same was asked before."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from .tokens import at_most, estimate

AROUND = 64
"""Tokens that a server adds to a prompt of ours (roles, separators), at most."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One question: the rules (`system`), the data (`user`), and the JSON schema of the answer.

    max_output: tokens that the answer may have, at most. extra: further fields of the body, as the server names them.
    """

    model: str
    system: str
    user: str
    name: str
    schema: Mapping[str, Any]
    max_output: int
    temperature: float | None = None
    seed: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of prompt, model and parameters."""
        fields = [getattr(self, name) for name in self.__dataclass_fields__]
        return hashlib.sha256(msgspec.json.encode(fields, order="deterministic")).hexdigest()

    @property
    def text(self) -> str:
        """All that is counted as input."""
        return self.system + self.user + msgspec.json.encode(self.schema).decode()

    @property
    def likely_input(self) -> int:
        return estimate(self.text) + AROUND

    @property
    def largest_input(self) -> int:
        return at_most(self.text) + AROUND


@dataclass(frozen=True)
class Reply:
    """What came back. finish: stop | length | refusal; text: as it came, not yet validated; tokens: None where the
    server did not count them."""

    text: str
    finish: str
    model: str | None
    tokens_in: int | None
    tokens_out: int | None
