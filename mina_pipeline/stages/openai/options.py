"""What a deployment may want otherwise of the openai provider, and how the environment names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Any

import msgspec

from ...errors import InvalidInput
from ...llm.budget import Limits
from ...llm.prices import MILLIONTH, Price, read_prices

ALSO = {"api_key": "OPENAI_API_KEY", "base_url": "OPENAI_BASE_URL"}
"""Names that the openai package has made usual."""
APIS = ("chat", "responses")
SMALLEST = 2_000


@dataclass(frozen=True, kw_only=True)
class Options:
    """Durations in seconds, money in the currency of `prices`. Each has its `MINA_OPENAI_…` in the environment."""

    model: str = "gpt-5.4-mini"
    base_url: str | None = None
    """An OpenAI-compatible server; None: OpenAI's."""
    api_key: str | None = field(default=None, repr=False)
    api: str = "chat"
    """chat (completions, what every compatible server has) | responses."""
    name: str = "openai"
    """The provider's name in the log, and that of its circuit breaker and limits."""
    temperature: float | None = None
    """None: the model's own; some models take no other."""
    seed: int | None = None
    """Not sent to the responses API, which knows none."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of each request, as the server names them; in the environment a JSON object."""
    concurrency: int = 16
    """How many requests this process has out at once."""
    call_timeout: float = 60.0
    """How long one whole request may take, however slowly its answer drips in."""
    tries: int = 3
    """How often one answer is asked for while the server fails for a moment."""
    context_tokens: int = 128_000
    """What prompt and answer together may have."""
    output_tokens: int = 8_192
    """What one answer may have, thinking included."""
    chunk_tokens: int = 12_000
    """How much of a transcript is read at once, for tasks, summary and sentiment."""
    refine_tokens: int = 2_500
    """How much of it is refined at once."""
    prices: Mapping[str, Price] = field(default_factory=dict)
    """By model: (input, output) for a million tokens; in the environment "model=0.25/2,…"."""
    session_tokens: int | None = None
    session_money: float | None = None
    day_tokens: int | None = None
    """A day is UTC's."""
    day_money: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "prices", read_prices(self.prices))
        for name in ("model", "name"):
            if not getattr(self, name):
                raise InvalidInput(name, "must not be empty")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise InvalidInput("api_key", "has characters that no key has")
        if self.api not in APIS:
            raise InvalidInput("api", f"{' or '.join(APIS)}, not {self.api!r}")
        if self.base_url is not None and not self.base_url.startswith(("http://", "https://")):
            raise InvalidInput("base_url", "must begin with http:// or https://")
        for name in ("concurrency", "call_timeout", "tries", "output_tokens", "chunk_tokens", "refine_tokens"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 < value <= 10_000_000:
                raise InvalidInput(name, f"must be a number above 0, not {value!r}")
        for name in ("session_money", "day_money"):
            money = getattr(self, name)
            if money is not None and not (isfinite(money) and money >= 0):
                raise InvalidInput(name, f"must be 0 or more, not {money}")
        if self.context_tokens < SMALLEST:
            raise InvalidInput("context_tokens", f"must be at least {SMALLEST}")
        if self.limits.in_money and self.model not in self.prices:
            raise InvalidInput("prices", f"has no {self.model}, and there is a budget in money")

    @property
    def limits(self) -> Limits:
        return Limits(
            session_tokens=self.session_tokens,
            session_money=millionths(self.session_money),
            day_tokens=self.day_tokens,
            day_money=millionths(self.day_money),
        )

    @property
    def answer_tokens(self) -> int:
        """For one answer, where the model's context is small."""
        return min(self.output_tokens, self.context_tokens // 3)

    def room(self, around: int) -> int:
        """Tokens of data for which a prompt has room beside its rules (`around`): estimates err, so a margin is off."""
        return max(100, int((self.context_tokens - self.answer_tokens - around) * 0.85))

    @property
    def key(self) -> str:
        """The key to send. A server of one's own may want none; InvalidInput where OpenAI's would."""
        if self.api_key:
            return self.api_key
        if self.base_url is None:
            raise InvalidInput("OPENAI_API_KEY", "is not set; give api_key, or the base_url of a server without")
        return "none"

    @classmethod
    def read(cls, environ: Mapping[str, str], **given: Any) -> Options:
        """What is given, over what the environment says; a None that is given counts as not given."""
        known = {one.name: one for one in fields(cls)}
        if unknown := given.keys() - known.keys():
            raise InvalidInput(min(unknown), f"is none of {', '.join(known)}")
        found: dict[str, Any] = {}
        for name, one in known.items():
            variable = next((v for v in (f"MINA_OPENAI_{name.upper()}", ALSO.get(name, "")) if environ.get(v)), None)
            if variable is not None:
                found[name] = value_of(variable, environ[variable], str(one.type))
        return cls(**found | {name: value for name, value in given.items() if value is not None})


def value_of(variable: str, text: str, kind: str) -> Any:
    """A variable's text as its option's type."""
    try:
        if kind == "Mapping[str, Any]":
            return msgspec.json.decode(text, type=dict[str, Any])
        return int(text) if kind.startswith("int") else float(text) if kind.startswith("float") else text
    except ValueError:
        raise InvalidInput(variable, f"{text!r} does not read as {kind.removesuffix(' | None')}") from None


def millionths(money: float | None) -> int | None:
    return None if money is None else int(round(money * MILLIONTH, 3))
