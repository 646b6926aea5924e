"""What a model answered, as it is recorded: the receipt of what was paid for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """One recorded answer. value: JSON; cost: in the host's currency, None where the model has no price.

    Tokens and cost are of every request that it took, those whose answers were of no use included.
    """

    value: Any
    model: str
    tokens_in: int
    tokens_out: int
    cost: float | None
    provider: str = "openai"
    temperature: float | None = None
    seed: int | None = None
