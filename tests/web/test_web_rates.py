"""Token buckets on a clock that the test turns, and how many streams are open."""

from __future__ import annotations

import pytest
from asking import ANN, BOB, Person
from mina_adapters.web.errors import WebError
from mina_adapters.web.rates import OpenWatches, Rates


class Turned:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def allowed(rates: Rates, person: Person) -> bool:
    try:
        rates.check(person)
    except WebError as refused:
        return refused.status != 429
    return True


def test_a_bucket_is_filled_at_its_rate_up_to_its_burst() -> None:
    """burst at once, then rate a second; what was refused costs nothing."""
    clock = Turned()
    rates = Rates(2.0, 3, clock)
    assert [allowed(rates, ANN) for _ in range(5)] == [True, True, True, False, False]
    assert allowed(rates, BOB)
    clock.seconds = 0.5
    assert [allowed(rates, ANN) for _ in range(2)] == [True, False]
    clock.seconds = 1000.0
    assert sum(allowed(rates, ANN) for _ in range(9)) == 3
    clock.seconds = 999.0  # a clock that ran backwards gives nothing
    assert not allowed(rates, ANN)


def test_the_wait_that_is_told_is_long_enough() -> None:
    """After Retry-After seconds there is one."""
    clock = Turned()
    rates = Rates(0.3, 1, clock)
    rates.check(ANN)
    with pytest.raises(WebError) as refused:
        rates.check(ANN)
    clock.seconds += int(refused.value.headers["Retry-After"])
    rates.check(ANN)


def test_principals_are_told_apart_by_tenant_and_id() -> None:
    """The same id in two tenants is two."""
    rates = Rates(1.0, 1, Turned())
    assert all(allowed(rates, person) for person in (Person("x", "red"), Person("x", "blue"), Person("x", None)))


def test_buckets_are_bounded() -> None:
    """Many principals fill no memory; the one unused for longest is forgotten."""
    rates = Rates(1.0, 1, Turned(), keys=10)
    for n in range(1000):
        rates.check(Person(f"p{n}"))
    assert len(rates.buckets) == 10
    assert not allowed(rates, Person("p999")) and allowed(rates, Person("p0"))


def test_open_streams_are_counted() -> None:
    """One more than allowed is refused until one is closed; by principal; nothing is kept of those that left."""
    watches = OpenWatches(2)
    for _ in range(2):
        watches.acquire(ANN)
    with pytest.raises(WebError) as refused:
        watches.acquire(ANN)
    assert refused.value.status == 429 and refused.value.headers["Retry-After"]
    watches.acquire(BOB)
    for who in (BOB, ANN):
        watches.release(who)
    watches.acquire(ANN)
    assert len(watches.open) == 1
    for _ in range(2):
        watches.release(ANN)
    assert not watches.open
    unbounded = OpenWatches(0)
    for _ in range(100):
        unbounded.acquire(ANN)
    assert unbounded.open
