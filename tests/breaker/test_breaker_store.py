"""The fleet's row: how often it is read, a store that is slow, away or out of date, or has its own clock."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from trial import NAME, Trial, by_hand, fail, goes, probe, together

from mina_pipeline import Pipeline, Settings
from mina_pipeline.errors import StoreUnreachable
from mina_pipeline.llm.breaker import Admission, Breaker
from mina_pipeline.system import SystemClock, SystemIds


@by_hand
def test_reads_cost_by_time(trial: Trial) -> None:
    """The store is read once a second, however many calls there are, whether it is closed, open or another's probe."""
    here, there = trial.process(), trial.process()

    def ten_seconds(within: Callable[[Breaker], object]) -> int:
        trial.fleet.calls.clear()
        for _ in range(100):
            trial.clock.sleep(0.1)
            for _ in range(20):
                within(here)
        assert set(trial.fleet.calls) <= {"breakers"}
        return trial.fleet.calls["breakers"]

    assert 9 <= ten_seconds(Breaker.admit) <= 10
    assert 9 <= ten_seconds(lambda breaker: breaker.succeeded(breaker.admit())) <= 10
    fail(there, 3)
    assert 9 <= ten_seconds(Breaker.admit) <= 10
    assert 9 <= ten_seconds(Breaker.away) <= 10
    trial.clock.sleep(30)
    probe(there)
    here.admit()  # asks for the slot once, and learns
    assert 9 <= ten_seconds(Breaker.admit) <= 11


@by_hand
def test_it_opens_once(trial: Trial) -> None:
    """Sixty calls in two processes that fail at one moment open it once, and one of them says so."""
    breakers = trial.process(), trial.process()
    out = [breakers[number % 2].admit() for number in range(60)]
    together(60, lambda number: breakers[number % 2].failed(out[number], "outage"))
    assert trial.row().opens == 1
    assert trial.told == [("open", "outage")]
    assert trial.fleet.calls["trip_breaker"] <= 2
    assert not breakers[0].admit().allowed and not breakers[1].admit().allowed


@by_hand
def test_a_store_out_of_reach(trial: Trial) -> None:
    """The store's errors are raised, and leave the breaker as it was: nothing is lost, closed or counted twice."""
    breaker = trial.process()
    fail(breaker, 2)
    third = breaker.admit()
    trial.fleet.down = True
    with pytest.raises(StoreUnreachable):
        breaker.failed(third, "outage")
    assert goes(breaker) and trial.told == []
    trial.clock.sleep(1)
    for call in (breaker.admit, breaker.away, breaker.admit):
        with pytest.raises(StoreUnreachable):
            call()
    trial.fleet.down = False
    fail(breaker)
    assert trial.row().opens == 1  # it was one short
    trial.clock.sleep(29.5)
    assert not breaker.admit().allowed
    trial.clock.sleep(0.5)
    trial.fleet.down = True
    with pytest.raises(StoreUnreachable):
        breaker.admit()
    trial.fleet.down = False
    trying = probe(breaker)
    trial.fleet.down = True
    with pytest.raises(StoreUnreachable):
        breaker.succeeded(trying)
    with pytest.raises(StoreUnreachable):
        breaker.failed(trying, "outage")
    trial.fleet.down = False
    assert not breaker.admit().allowed
    breaker.succeeded(trying)
    assert goes(breaker)
    assert [state for state, _ in trial.told] == ["open", "half_open", "closed"]


@by_hand
def test_a_slow_store_holds_up_one_call(trial: Trial) -> None:
    """While one thread waits for the store's answer, the others go by what is known, or are refused."""
    breaker = trial.process()
    fail(breaker, 2)
    third = breaker.admit()
    trial.clock.sleep(1)
    trial.fleet.calls.clear()
    with trial.late("breakers", breaker.admit):
        assert goes(breaker) and trial.fleet.calls["breakers"] == 1
    with trial.late("trip_breaker", lambda: breaker.failed(third, "outage")):
        assert not breaker.admit().allowed and trial.told == []
    assert trial.told == [("open", "outage")]


@by_hand
def test_an_answer_that_is_out_of_date(trial: Trial) -> None:
    """What the store said before this process opened the breaker does not close it again when it comes late."""
    breaker = trial.process()
    fail(breaker, 2)
    third = breaker.admit()
    trial.clock.sleep(1)
    with trial.late("breakers", breaker.admit):
        breaker.failed(third, "outage")
    assert breaker.state().state == "open" and not breaker.admit().allowed


@by_hand
def test_answers_out_of_order(trial: Trial) -> None:
    """Of two questions to the store the later one's answer holds, whichever comes last."""
    here, there = trial.process(), trial.process()
    fail(there, 3)
    trial.clock.sleep(30)
    assert not here.away() and here.state().state == "open"
    there.succeeded(probe(there))
    trial.clock.sleep(1)
    with trial.late("breakers", here.away):
        fail(there, 3)
        trial.clock.sleep(2)
        assert not here.admit().allowed
    assert here.state().state == "open"


@by_hand
def test_an_answer_after_more_was_learnt(trial: Trial) -> None:
    """A probe that hears late that it closed the breaker does not take it for closed when it is open again."""
    here, there = trial.process(), trial.process()
    fail(here, 3)
    trial.clock.sleep(30)
    trying = probe(here)
    with trial.late("close_breaker", lambda: here.succeeded(trying)):
        trial.clock.sleep(1)
        fail(there, 3)
        assert not here.admit().allowed
    assert not here.admit().allowed and here.state().state == "open"


@by_hand
def test_who_asks_too_late_looks_again(trial: Trial) -> None:
    """A process that was not given the slot learns of the probe's success with its next call."""
    here, there = trial.process(), trial.process()
    fail(here, 3)
    trial.clock.sleep(30)
    assert not here.away()
    trying = probe(there)
    assert not here.admit().allowed and trial.fleet.calls["take_probe"] == 2
    there.succeeded(trying)
    assert goes(here)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_store_with_a_clock_of_its_own(opened: Callable[..., Pipeline]) -> None:
    """Opened, refused, one probe, a longer pause, closed: in the database's time."""
    settings = Settings(breaker_failures=2, breaker_pause=1, breaker_longest=1.2)
    trial = Trial(opened().store)
    breakers = [Breaker(NAME, trial.fleet, SystemClock(), SystemIds(), settings) for _ in range(2)]
    out = [breakers[number % 2].admit() for number in range(8)]
    together(8, lambda number: breakers[number % 2].failed(out[number], "outage"))
    assert not any(breaker.admit().allowed for breaker in breakers)

    def next_probe() -> tuple[Breaker, Admission]:
        trials: list[tuple[Breaker, Admission]] = []
        until = time.monotonic() + 20
        while not trials:
            assert time.monotonic() < until
            time.sleep(0.02)
            said = together(8, lambda number: (breakers[number % 2], breakers[number % 2].admit()))
            trials = [(breaker, admission) for breaker, admission in said if admission.allowed]
        assert len(trials) == 1 and trials[0][1].probe is not None
        return trials[0]

    breaker, trying = next_probe()
    began = time.time_ns() // 1000
    breaker.failed(trying, "timeout")
    (row,) = trial.fleet.fleet.breakers(time.time_ns() // 1000)
    assert (row.state, row.opens, row.reason) == ("open", 2, "timeout")
    assert began + 700_000 < row.retry_at <= time.time_ns() // 1000 + 1_200_000
    breaker, trying = next_probe()
    breaker.succeeded(trying)
    assert goes(breaker)
    time.sleep(1.01)
    assert all(goes(breaker) for breaker in breakers)
