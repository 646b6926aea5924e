"""What came in, how it ended, and how much of it there was at once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .requests import Request


@dataclass
class Exchange:
    """A request and its end.

    reply: the kind of reply, "Status 429" for errors. status: what the client was sent, None if nothing. tokens_in,
    tokens_out: what was billed, 0 for what is no answer. ended: monotonic seconds, None while it goes on. outcome:
    "going", "sent" to its end, "broken" by the server as scripted, "gone": the client, or the server was closed.
    """

    request: Request
    reply: str = ""
    status: int | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    ended: float | None = None
    outcome: str = "going"


@dataclass(frozen=True)
class Counts:
    """Totals since the start or the last clear().

    tokens_in, tokens_out: of every answer that was made, whether or not it reached the client; errors, garbage and
    what broke before its first byte cost nothing. connections: those that carried a request; in_flight: requests that
    came in and have not ended; most_…: the most at one time. left: scripted replies that nobody has taken.
    """

    requests: int = 0
    by_path: Mapping[str, int] = field(default_factory=dict)
    by_model: Mapping[str, int] = field(default_factory=dict)
    by_reply: Mapping[str, int] = field(default_factory=dict)
    tokens_in: int = 0
    tokens_out: int = 0
    connections: int = 0
    most_connections: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    left: int = 0


class Ledger:
    """Counts and keeps. Safe to use from many threads."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.open: set[int] = set()
        self.clear()

    def clear(self) -> None:
        """Forget what was; what goes on is forgotten too and ends uncounted."""
        with self.changed:
            self.exchanges: list[Exchange] = []
            self.going: set[int] = set()
            self.most_in_flight = self.connections = 0
            self.most_connections = len(self.open)
            self.last = 0

    def arrive(self, connection: int, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> Exchange:
        """Count a request that came over a connection."""
        with self.changed:
            self.last += 1
            exchange = Exchange(Request(self.last, path, body, headers, time.monotonic()))
            self.exchanges.append(exchange)
            if connection not in self.open:
                self.open.add(connection)
                self.connections += 1
            self.going.add(id(exchange))
            self.most_in_flight = max(self.most_in_flight, len(self.going))
            self.most_connections = max(self.most_connections, len(self.open))
            self.changed.notify_all()
            return exchange

    def note(self, exchange: Exchange, reply: str, status: int | None, cost: tuple[int, int]) -> None:
        """What it will get, and what that costs."""
        with self.changed:
            exchange.reply, exchange.status = reply, status
            exchange.tokens_in, exchange.tokens_out = cost

    def end(self, exchange: Exchange, outcome: str) -> None:
        with self.changed:
            exchange.ended, exchange.outcome = time.monotonic(), outcome
            self.going.discard(id(exchange))
            self.changed.notify_all()

    def disconnect(self, connection: int) -> None:
        with self.changed:
            self.open.discard(connection)
            self.changed.notify_all()

    def wait(self, requests: int, idle: bool, seconds: float) -> bool:
        """Until so many requests have come in, and if idle: all have ended; False where it is not so by then."""
        with self.changed:
            return self.changed.wait_for(lambda: len(self.exchanges) >= requests and not (idle and self.going), seconds)

    def history(self) -> list[Exchange]:
        """Copies, in the order of arrival."""
        with self.changed:
            return [replace(exchange) for exchange in self.exchanges]

    def counts(self, left: int) -> Counts:
        with self.changed:
            requests = [exchange.request for exchange in self.exchanges]
            return Counts(
                requests=len(requests),
                by_path=dict(Counter(request.path for request in requests)),
                by_model=dict(Counter(request.model for request in requests)),
                by_reply=dict(Counter(exchange.reply for exchange in self.exchanges if exchange.reply)),
                tokens_in=sum(exchange.tokens_in for exchange in self.exchanges),
                tokens_out=sum(exchange.tokens_out for exchange in self.exchanges),
                connections=self.connections,
                most_connections=self.most_connections,
                in_flight=len(self.going),
                most_in_flight=self.most_in_flight,
                left=left,
            )


def exchange_to_json(exchange: Exchange) -> dict[str, Any]:
    """As its fields are; keys stay out of it."""
    found = asdict(exchange)
    found["request"]["headers"].pop("authorization", None)
    return found


def exchange_from_json(written: dict[str, Any]) -> Exchange:
    return Exchange(**{**written, "request": Request(**written["request"])})
