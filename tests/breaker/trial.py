"""What the tests of circuit breakers have in common: a clock to move by hand, a fleet to watch and to hold up."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from mina_pipeline import Settings
from mina_pipeline.errors import StoreUnreachable
from mina_pipeline.llm.breaker import Admission, Breaker

T = TypeVar("T")
NAME = "model"
SETTINGS = Settings(breaker_failures=3, breaker_pause=30, breaker_longest=200, stage_deadline=120)
# PostgreSQL goes by its own clock, which a test cannot set.
by_hand = pytest.mark.parametrize("url", ["memory", "sqlite"], indirect=True)


class HandClock:
    """Goes on when told to."""

    def __init__(self) -> None:
        self.elapsed = 0.0

    def now(self) -> int:
        return 1_800_000_000_000_000 + round(self.elapsed * 1e6)

    def monotonic(self) -> float:
        return 50.0 + self.elapsed

    def sleep(self, seconds: float) -> None:
        self.elapsed += seconds


class CountedIds:
    """id-1, id-2, …; `dice` is the first byte of every salt: 128 is the middle."""

    def __init__(self) -> None:
        self.count = 0
        self.dice = 128

    def uuid(self) -> str:
        self.count += 1
        return f"id-{self.count}"

    def salt(self) -> bytes:
        return bytes([self.dice] + [0] * 15)


class Watched:
    """A fleet whose calls are counted, which can be out of reach, and held up."""

    def __init__(self, fleet: Any) -> None:
        self.fleet = fleet
        self.calls: Counter[str] = Counter()
        self.down = False
        self.held: dict[str, tuple[threading.Event, threading.Event]] = {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self.calls[name] += 1
            if self.down:
                raise StoreUnreachable("test://", "down")
            answer = getattr(self.fleet, name)(*args)
            if name in self.held:
                answered, heard = self.held.pop(name)
                answered.set()
                assert heard.wait(20)
            return answer

        return call


class Trial:
    """A fleet's processes, of which each has a breaker of the one provider; `told`: what they all told."""

    def __init__(self, fleet: Any) -> None:
        self.fleet = Watched(fleet)
        self.clock = HandClock()
        self.ids = CountedIds()
        self.told: list[tuple[str, str | None]] = []

    def process(self, settings: Settings = SETTINGS) -> Breaker:
        return Breaker(NAME, self.fleet, self.clock, self.ids, settings, self.tell)

    def tell(self, provider: str, state: str, reason: str | None) -> None:
        assert provider == NAME
        self.told.append((state, reason))

    @contextmanager
    def late(self, question: str, call: Callable[[], object]) -> Iterator[None]:
        """In the block another thread's call waits to hear what the store has answered it already."""
        answered, heard = self.fleet.held[question] = threading.Event(), threading.Event()
        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        try:
            assert answered.wait(20)
            yield
        finally:
            heard.set()
            thread.join(20)
        assert not thread.is_alive()

    def row(self) -> Any:
        return next((row for row in self.fleet.fleet.breakers(self.clock.now()) if row.provider == NAME), None)

    @property
    def retry_in(self) -> float:
        return float(self.row().retry_at - self.clock.now()) / 1e6


def fail(breaker: Breaker, times: int = 1) -> None:
    """So many calls that go, and fail."""
    for _ in range(times):
        admission = breaker.admit()
        assert admission.allowed
        breaker.failed(admission, "outage")


def probe(breaker: Breaker) -> Admission:
    """The probe, which must be there for the taking."""
    admission = breaker.admit()
    assert admission.allowed and admission.probe is not None
    return admission


def goes(breaker: Breaker) -> bool:
    """Whether calls go freely."""
    admission = breaker.admit()
    return admission.allowed and admission.probe is None


def together(count: int, call: Callable[[int], T]) -> list[T]:
    """So many threads that begin at one moment; what each got."""
    barrier = threading.Barrier(count)

    def one(number: int) -> T:
        barrier.wait(20)
        return call(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))
