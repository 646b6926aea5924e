"""The guarded client: every call within its deadline, its budget and the server's limit; blips tried again, bounded."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from time import monotonic
from typing import Any, Protocol

from ..errors import InvalidInput, ProviderUnavailable
from ..forks import forget_at_fork
from ..log import logger
from ..text import clean_text
from .answers import Answer
from .budget import SESSION, Budget, MemoryBudget, Refused, Reservation
from .connection import TICK, Connection, within
from .prices import Price
from .requests import Reply, Request
from .tokens import estimate
from .verdicts import CallFailed, Cancelled, Verdict, unusable

OVERRUN = 2
"""Some servers answer longer than they were asked to: so many times as long is still within what is reserved."""
PATIENCE = 2.0
"""Seconds: a wait that the server asks for and that is no longer than this holds a thread, a longer one is durable."""
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 2.0

Remaining = Callable[[], float]


class Sender(Protocol):
    """Who puts a request on the wire."""

    def send(self, request: Request, connection: Connection, seconds: float) -> Reply: ...


def today() -> date:
    return datetime.now(UTC).date()


@dataclass
class Tally:
    """What the requests of one answer have cost so far."""

    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None

    def add(self, tokens_in: int, tokens_out: int, price: Price | None) -> None:
        self.tokens_in += tokens_in
        self.tokens_out += tokens_out
        if price is not None:
            self.cost = (self.cost or 0.0) + price.cost(tokens_in, tokens_out)


@dataclass(eq=False, kw_only=True)
class ModelClient:
    """Asks a model. Safe to use from many threads; one for each server, which `concurrency` is a limit of.

    call_timeout: seconds for one whole request, however slowly its answer drips in. tries: requests for one answer,
    where a server fails for a moment; `useless_tries`: where what it answers cannot be used.
    proven: the server has answered, and nothing failed since.
    """

    sender: Sender
    provider: str = "openai"
    prices: Mapping[str, Price] = field(default_factory=dict)
    budget: Budget = field(default_factory=MemoryBudget)
    in_money: bool = False
    concurrency: int = 16
    call_timeout: float = 60.0
    tries: int = 3
    useless_tries: int = 2
    today: Callable[[], date] = today

    def __post_init__(self) -> None:
        for name in ("concurrency", "call_timeout", "tries", "useless_tries"):
            if getattr(self, name) <= 0:
                raise InvalidInput(name, "must be above 0")
        self.forget()
        forget_at_fork(self)

    def forget(self) -> None:
        """In a forked child: the calls that are out are the parent's."""
        self.slots = threading.Semaphore(self.concurrency)
        self.settled = threading.Condition()
        self.out: dict[str, int] = {}
        self.proven = False

    def answer(self, request: Request, session_id: str, validate: Callable[[str], Any], remaining: Remaining) -> Answer:
        """Ask until there is an answer to record.

        validate: the answer's text to JSON, ValueError where it is not of the schema. The value is {"answer": …}, or
        {"none": why} for what was paid for and is of no use: refusal | cut off | unusable answer.
        Raises ProviderUnavailable (what may pass; tried again here already, so only later), CallFailed (degrade or
        split), GaveUp, Cancelled.
        """
        from tenacity import Retrying, retry_if_exception, stop_never

        tally = Tally()
        failures: list[CallFailed] = []

        def passes(error: BaseException) -> bool:
            if not isinstance(error, CallFailed):
                return False
            failures.append(error)
            return self.once_more(failures)

        tries = Retrying(
            retry=retry_if_exception(passes),
            stop=stop_never,  # once_more counts: useless answers and blips have limits of their own
            wait=lambda _: pause(failures),
            sleep=lambda seconds: idle(seconds, remaining),
            reraise=True,
        )
        try:
            reply, value = tries(self.once, request, session_id, validate, remaining, tally)
        except CallFailed as error:
            if error.reason != "budget":
                place = {"provider": self.provider, "model": request.model, "status": error.status, "code": error.code}
                logger(__name__).warning("model call failed", **place, reason=error.reason, tries=len(failures))
            self.proven = self.proven and error.verdict in (Verdict.DEGRADE, Verdict.SPLIT)
            if error.reason == "unusable answer":
                reply, value = None, {"none": error.reason}
            elif error.verdict in (Verdict.RETRY, Verdict.WAIT):
                raise ProviderUnavailable(self.provider, error.reason, error.retry_after or 0.0) from None
            else:
                raise
        else:
            self.proven = True
        return Answer(
            value=value,
            model=clean_text((reply and reply.model) or request.model)[:100],
            tokens_in=tally.tokens_in,
            tokens_out=tally.tokens_out,
            cost=tally.cost,
            provider=self.provider,
            temperature=request.temperature,
            seed=request.seed,
        )

    def once_more(self, failures: list[CallFailed]) -> bool:
        """Whether to ask again at once after these."""
        last = failures[-1]
        if last.reason == "unusable answer":
            return sum(failure.reason == last.reason for failure in failures) < self.useless_tries
        short = last.verdict is Verdict.WAIT and last.retry_after is not None and last.retry_after <= PATIENCE
        return (short or last.verdict is Verdict.RETRY) and len(failures) < self.tries

    def once(
        self, request: Request, session_id: str, validate: Callable[[str], Any], remaining: Remaining, tally: Tally
    ) -> tuple[Reply, Any]:
        """One request, paid for: (reply, the value to record); CallFailed, Cancelled."""
        with held(self.slots, remaining):
            reservation = self.reserve(request, session_id, remaining)
            try:
                reply = self.send(request, reservation, remaining, tally)
            finally:
                self.over(session_id)
        if reply.finish == "refusal":
            return reply, {"none": "refusal"}
        if reply.finish == "length":
            return reply, {"none": "cut off"}
        try:
            return reply, {"answer": validate(reply.text)}
        except (ValueError, RecursionError):  # whose text may quote the answer
            raise unusable() from None

    def send(self, request: Request, reservation: Reservation, remaining: Remaining, tally: Tally) -> Reply:
        """Put it on the wire, and settle what it cost whichever way it ends."""
        price, connection = self.prices.get(request.model), Connection()
        seconds = self.call_timeout
        # In doubt, until there is better to know: what it would have cost.
        likely = (request.likely_input, request.max_output)
        spent: tuple[int, int] | None = likely
        try:
            reply = within(connection, lambda: self.sender.send(request, connection, seconds), seconds, remaining)
            spent = counted(reply, request)
            return reply
        except CallFailed as error:
            spent = likely if error.in_doubt else None
            raise
        except Cancelled:
            spent = likely if connection.asked else None
            raise
        finally:
            if spent is None:
                self.budget.release(reservation)
            else:
                self.budget.settle(reservation, sum(spent), price.money(*spent) if price else 0)
                tally.add(*spent, price)

    def reserve(self, request: Request, session_id: str, remaining: Remaining) -> Reservation:
        """Set aside what the call may cost at most; CallFailed (budget) where too little is left.

        While other calls are out, that have more set aside than they will cost, this waits for them first.
        """
        tokens_in, tokens_out = request.largest_input, request.max_output * OVERRUN
        price = self.prices.get(request.model)
        if price is None and self.in_money:
            raise InvalidInput("prices", f"has no {request.model}, and there is a budget in money")
        money = price.money(tokens_in, tokens_out) if price else 0
        with held(self.settled, remaining):
            while True:
                found = self.budget.reserve(session_id, self.today(), tokens_in + tokens_out, money)
                if not isinstance(found, Refused):
                    self.out[session_id] = self.out.get(session_id, 0) + 1
                    return found
                if not (self.out.get(session_id) if found.scope == SESSION else self.out):
                    raise CallFailed(Verdict.DEGRADE, "budget")
                if remaining() <= 0:
                    raise Cancelled
                self.settled.wait(TICK)

    def over(self, session_id: str) -> None:
        with self.settled:
            left = self.out.pop(session_id, 1) - 1
            if left > 0:
                self.out[session_id] = left
            self.settled.notify_all()


class Lock(Protocol):
    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...


@contextmanager
def held(lock: Lock, remaining: Remaining) -> Iterator[None]:
    """Hold it, or stop waiting for it when the answer is no longer wanted: Cancelled."""
    while not lock.acquire(timeout=TICK):
        if remaining() <= 0:
            raise Cancelled
    try:
        yield
    finally:
        lock.release()


def counted(reply: Reply, request: Request) -> tuple[int, int]:
    """(input, output) tokens of a reply, estimated where the server did not count them."""
    tokens_in = request.likely_input if reply.tokens_in is None else max(0, reply.tokens_in)
    return tokens_in, estimate(reply.text) if reply.tokens_out is None else max(0, reply.tokens_out)


def pause(failures: list[CallFailed]) -> float:
    """Seconds before the next try: the server's own word, else doubling, with jitter."""
    last = failures[-1].retry_after
    if last is not None:
        return last
    return min(FIRST_PAUSE * 2.0 ** (len(failures) - 1), LONGEST_PAUSE) * random.uniform(0.5, 1.5)


def idle(seconds: float, remaining: Remaining) -> None:
    """Sleep, as long as the answer is still wanted; Cancelled."""
    ends = monotonic() + seconds
    wait = threading.Event()
    while (left := ends - monotonic()) > 0:
        if remaining() <= 0:
            raise Cancelled
        wait.wait(min(TICK, left))
