"""What tokens cost: the host's table, by model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, isfinite

from ..errors import InvalidInput
from ..settings import pairs

MILLIONTH = 1_000_000


@dataclass(frozen=True)
class Price:
    """In the host's currency, for a million tokens."""

    tokens_in: float
    tokens_out: float

    def __post_init__(self) -> None:
        if not all(isfinite(price) and price >= 0 for price in (self.tokens_in, self.tokens_out)):
            raise InvalidInput("prices", "a price is a number from 0")

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / MILLIONTH

    def money(self, tokens_in: int, tokens_out: int) -> int:
        """The cost as budgets count it: whole millionths, rounded up."""
        return ceil(round(tokens_in * self.tokens_in + tokens_out * self.tokens_out, 6))


Prices = Mapping[str, Price]


def read_prices(given: Mapping[str, Price | tuple[float, float]] | str) -> dict[str, Price]:
    """A table as given: {model: (in, out)}, or "model=in/out,…" from the environment; InvalidInput where it is not."""
    if not isinstance(given, str):
        try:
            return {name: price if isinstance(price, Price) else Price(*price) for name, price in given.items()}
        except TypeError:
            raise InvalidInput("prices", "is {model: (in, out)}, two numbers for a million tokens each") from None
    found: dict[str, Price] = {}
    for name, text in pairs("prices", given).items():
        into, slash, out = text.partition("/")
        try:
            found[name] = Price(float(into), float(out if slash else into))
        except ValueError:
            raise InvalidInput("prices", f'model=in/out,…, not "{given}"') from None
    return found
