"""One verdict for all processes, one probe at a time: opening, probing, closing, and ends that come late."""

from __future__ import annotations

import pytest
from trial import NAME, Trial, by_hand, fail, goes, probe, together

from mina_pipeline.store.memory import MemoryStore


@by_hand
def test_failures_in_a_row_open_it_for_all(trial: Trial) -> None:
    """The third failure in a row opens it, here at once and elsewhere within a second, and it is told once."""
    here, there = trial.process(), trial.process()
    assert goes(there)
    fail(here, 2)
    assert trial.row() is None and goes(here)
    fail(here)
    refusal = here.admit()
    assert (refusal.allowed, refusal.probe) == (False, None)
    assert refusal.retry_at == trial.row().retry_at == trial.clock.now() + 30_000_000
    trial.clock.sleep(1)
    assert there.admit().retry_at == refusal.retry_at
    assert trial.told == [("open", "outage")]
    assert (here.state().state, here.state().opens, here.state().reason) == ("open", 1, "outage")
    trial.clock.sleep(28.9)
    assert not here.admit().allowed and not there.admit().allowed
    assert trial.fleet.calls["take_probe"] == 0


@by_hand
def test_a_success_begins_the_count_anew(trial: Trial) -> None:
    """Failures that are not in a row do not open it."""
    breaker = trial.process()
    for _ in range(5):
        fail(breaker, 2)
        breaker.succeeded(breaker.admit())
    assert trial.row() is None
    fail(breaker, 3)
    assert trial.row().state == "open"


@by_hand
def test_the_probe_closes_it_for_all(trial: Trial) -> None:
    """When its time has come one call goes as the probe; its answer closes the breaker, here and elsewhere."""
    here, there = trial.process(), trial.process()
    fail(here, 3)
    trial.clock.sleep(30)
    trying = probe(there)
    assert trial.row().state == "half_open"
    refusal = here.admit()
    assert not refusal.allowed
    assert 0 < (refusal.retry_at or 0) - trial.clock.now() <= 1_000_000  # not the whole lease: it may end any moment
    here.succeeded(refusal)  # a call that never went
    here.failed(refusal, "outage")
    assert here.state().state == "half_open" and here.circuit.current_state == "half-open"
    there.succeeded(trying)
    assert goes(there) and trial.row().state == "closed"
    trial.clock.sleep(1)
    assert goes(here)
    assert trial.told == [("open", "outage"), ("half_open", "outage"), ("closed", None)]
    fail(here, 2)
    assert goes(here)  # the count began anew
    fail(here)
    assert (trial.row().state, trial.row().opens) == ("open", 1) and 29.9 < trial.retry_in < 30.1


@by_hand
def test_one_probe_at_a_time(trial: Trial) -> None:
    """Of fifty threads in two processes exactly one goes as the probe, and the store is not asked by each of them."""
    breakers = trial.process(), trial.process()
    fail(breakers[0], 3)
    trial.clock.sleep(31)
    for _ in range(5):
        admissions = together(50, lambda number: breakers[number % 2].admit())
        assert [a.allowed for a in admissions].count(True) == 1
        (won,) = (a for a in admissions if a.allowed)
        assert won.probe is not None and trial.fleet.calls["take_probe"] <= 2
        trial.fleet.calls.clear()
        breakers[admissions.index(won) % 2].failed(won, "timeout")
        trial.clock.sleep(200)


@by_hand
def test_pauses_double_up_to_the_longest(trial: Trial) -> None:
    """Each probe that fails makes the pause twice as long, up to breaker_longest; closing begins with the first."""
    breaker = trial.process()
    fail(breaker, 3)
    pauses = []
    for _ in range(6):
        pauses.append(trial.retry_in)
        trial.clock.sleep(trial.retry_in)
        breaker.failed(probe(breaker), "timeout")
    assert pauses == pytest.approx([30, 60, 120, 200, 200, 200])
    assert trial.row().reason == "timeout" and trial.told[-1] == ("open", "timeout")
    trial.clock.sleep(200)
    breaker.succeeded(probe(breaker))
    fail(breaker, 3)
    assert trial.retry_in == pytest.approx(30)


@by_hand
def test_pauses_vary_by_a_tenth(trial: Trial) -> None:
    """A pause is a tenth shorter or longer, as the ids' randomness has it, and never over the longest."""
    breaker = trial.process()
    trial.ids.dice = 0
    fail(breaker, 3)
    assert trial.retry_in == pytest.approx(27)
    trial.ids.dice = 255
    for longest in (66, 132, 200):
        trial.clock.sleep(trial.retry_in)
        breaker.failed(probe(breaker), "outage")
        assert trial.retry_in == pytest.approx(longest, rel=0.002)


def test_many_openings_overflow_nothing() -> None:
    """After two thousand failed probes the pause is the longest, as it was after ten."""
    trial = Trial(MemoryStore())
    breaker = trial.process()
    fail(breaker, 3)
    for _ in range(2_000):
        trial.fleet.fleet.take_probe(trial.clock.now() + 10**9, NAME, "x", 1)
        trial.fleet.fleet.trip_breaker(trial.clock.now(), NAME, 1, "outage", "x")
    trial.clock.sleep(1)
    breaker.failed(probe(breaker), "outage")
    assert trial.retry_in == pytest.approx(200)


@by_hand
def test_a_lost_probe_is_given_to_another(trial: Trial) -> None:
    """The slot of a process that died is free when its lease is over; what it says after that changes nothing."""
    here, there = trial.process(), trial.process()
    fail(here, 3)
    trial.clock.sleep(30)
    lost = probe(here)
    trial.clock.sleep(119)
    assert not there.admit().allowed
    trial.clock.sleep(1)
    second = probe(there)
    here.succeeded(lost)
    assert trial.row().state == "half_open" and not here.admit().allowed and ("closed", None) not in trial.told
    here.failed(lost, "late")
    assert trial.row().state == "half_open" and trial.row().reason == "outage"
    there.succeeded(second)
    assert goes(there)


@by_hand
def test_a_lost_probe_opens_nothing(trial: Trial) -> None:
    """A probe that fails after another probe has closed the breaker does not open it again."""
    here, there = trial.process(), trial.process()
    fail(here, 3)
    trial.clock.sleep(30)
    lost = probe(here)
    trial.clock.sleep(120)
    there.succeeded(probe(there))
    here.failed(lost, "late")
    assert trial.row().state == "closed" and goes(here) and goes(there)
    assert ("open", "late") not in trial.told


@by_hand
def test_late_ends_count_for_nothing(trial: Trial) -> None:
    """Calls from before the opening neither close it when they succeed, nor open it again after the probe closed it."""
    breaker = trial.process()
    early = [breaker.admit() for _ in range(12)]
    fail(breaker, 3)
    for admission in early[:3]:
        breaker.succeeded(admission)
        breaker.failed(early.pop(), "late")
    assert trial.row().opens == 1 and not breaker.admit().allowed
    trial.clock.sleep(30)
    trying = probe(breaker)
    breaker.succeeded(early[3])
    breaker.failed(early[4], "late")
    assert trial.row().state == "half_open" and not breaker.admit().allowed
    breaker.succeeded(trying)
    for admission in early:
        breaker.failed(admission, "late")
    assert goes(breaker) and trial.row().state == "closed"
    fail(breaker, 2)
    assert goes(breaker)  # the late ones are not in the count


@by_hand
def test_an_outage_that_was_not_noticed(trial: Trial) -> None:
    """Calls that hung through an opening and closing elsewhere are late, though no call asked meanwhile."""
    here, there = trial.process(), trial.process()
    hung = [here.admit() for _ in range(8)]
    fail(here, 2)
    fail(there, 3)
    trial.clock.sleep(40)
    there.succeeded(probe(there))
    trial.clock.sleep(2)
    for admission in hung:
        here.failed(admission, "timeout")
    fail(here, 2)  # nor are those before it in the count
    assert goes(here) and trial.row().state == "closed" and len(trial.told) == 3


@by_hand
def test_an_outage_that_goes_on(trial: Trial) -> None:
    """Calls that hung while it opened elsewhere open nothing more."""
    here, there = trial.process(), trial.process()
    hung = [here.admit() for _ in range(8)]
    fail(there, 3)
    trial.clock.sleep(5)
    for admission in hung:
        here.failed(admission, "timeout")
    assert (trial.row().opens, trial.row().reason) == (1, "outage")
    assert not here.admit().allowed


@by_hand
def test_a_call_without_a_word_on_the_provider(trial: Trial) -> None:
    """A released call counts for nothing; a released probe makes way for another within a second, in any process."""
    here, there = trial.process(), trial.process()
    fail(here, 2)
    here.released(here.admit())
    assert goes(here) and trial.row() is None
    fail(here)
    trial.clock.sleep(30)
    here.released(probe(here))
    assert here.away() and trial.row().reason == "outage"
    trial.clock.sleep(1)
    there.succeeded(probe(there))
    assert trial.row().state == "closed"
    assert [state for state, _ in trial.told] == ["open", "half_open", "open", "half_open", "closed"]


@by_hand
def test_away_takes_no_probe(trial: Trial) -> None:
    """`away` says what an admission would be, and leaves the slot to whoever has a call to make."""
    here, there = trial.process(), trial.process()
    assert not here.away() and not there.away()
    fail(here, 3)
    trial.clock.sleep(1)
    assert here.away() and there.away()
    trial.clock.sleep(29)
    assert not here.away() and not there.away() and trial.row().state == "open"
    trying = probe(there)
    assert there.away()
    trial.clock.sleep(1)
    assert here.away()
    there.succeeded(trying)
    assert not there.away()
