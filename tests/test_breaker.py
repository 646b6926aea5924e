"""The circuit breaker: one verdict for all processes, one probe at a time, and no call waits for another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mina_pipeline import Pipeline, Settings
from mina_pipeline.errors import StoreUnreachable
from mina_pipeline.llm.breaker import Admission, Breaker, Breakers
from mina_pipeline.store.memory import MemoryStore
from mina_pipeline.system import SystemClock, SystemIds

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


@pytest.fixture
def trial(pipeline: Pipeline) -> Trial:
    return Trial(pipeline.store)


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


def test_pybreaker_is_imported_on_use() -> None:
    """Importing the library, and this module, imports no pybreaker."""
    script = "import sys, mina_pipeline, mina_pipeline.llm.breaker; assert 'pybreaker' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_calls_do_not_wait_for_each_other() -> None:
    """A hundred threads call a provider that takes 0.05 s: not in five seconds, but at once."""
    breaker = Breaker(NAME, MemoryStore(), SystemClock(), SystemIds(), SETTINGS)

    def call(_number: int) -> None:
        admission = breaker.admit()
        assert admission.allowed
        time.sleep(0.05)
        breaker.succeeded(admission)

    began = time.monotonic()
    together(100, call)
    assert time.monotonic() - began < 3


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


def test_one_breaker_a_provider() -> None:
    """However many threads ask first, they get the same one."""
    breakers = Breakers(MemoryStore(), SystemClock(), SystemIds(), SETTINGS)
    got = together(20, lambda number: breakers.of(f"provider {number % 2}"))
    assert len(set(got)) == 2 and breakers.of("provider 0").provider == "provider 0"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork() -> None:
    """A child does not inherit a lock that was held, nor its parent's count and calls."""
    subprocess.run([sys.executable, __file__], check=True, timeout=60)


def forks() -> None:
    fleet = MemoryStore()
    breakers = Breakers(fleet, SystemClock(), SystemIds(), SETTINGS)
    breaker = breakers.of(NAME)
    fail(breaker, 2)
    out = breaker.admit()
    breaker.looking = True  # another thread of the parent's is at it
    held, forked = threading.Event(), threading.Event()

    def hold() -> None:
        with breakers.lock, breaker.lock, breaker.circuit._lock:
            held.set()
            forked.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        child = breakers.of(NAME)
        fail(child, 1)
        child.failed(out, "the parent's")
        fail(child, 1)
        ended = goes(child) and fleet.breakers(0) == []
        fail(child, 1)
        os._exit(0 if ended and not child.admit().allowed else 1)
    forked.set()
    thread.join(30)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    breaker.looking = False
    breaker.failed(out, "the third")
    assert not breaker.admit().allowed


HOW = st.sampled_from(["succeeded", "failed", "failed", "failed", "released"])
STEPS = st.one_of(
    st.tuples(st.just("begin"), st.integers(0, 1)),
    st.tuples(st.just("end"), HOW, st.integers(0, 5)),
    st.tuples(st.just("call"), HOW, st.integers(0, 1)),
    st.tuples(st.just("sleep"), st.sampled_from([0.3, 0.7, 1.0, 4.0, 11.0, 22.0])),
)


@pytest.mark.laws
@given(st.lists(STEPS, min_size=20, max_size=80), st.integers(1, 2))
def test_laws(steps: list[tuple[Any, ...]], failures: int) -> None:
    """Two processes, whatever they do and in whatever order.

    No two probes are out; while it is open calls are refused, a second after it opened also elsewhere; only the probe
    that holds the slot closes it, only a call begun since it last opened opens it, where so many failed; in the end
    it closes.
    """
    settings = Settings(breaker_failures=failures, breaker_pause=10, breaker_longest=25, stage_deadline=20)
    trial = Trial(MemoryStore())
    breakers = [trial.process(settings), trial.process(settings)]
    out: list[tuple[int, float, Admission]] = []
    probes: dict[str, float] = {}  # those that are out, and the end of their leases
    holder: str | None = None
    known = [0.0, 0.0]  # from when on each process must know that it is open
    failed = [0, 0]  # calls since the process opened it
    opened = -1.0

    def is_open() -> bool:
        return trial.row() is not None and trial.row().state != "closed"

    def begin(who: int) -> None:
        nonlocal holder
        before = trial.row()
        admission = breakers[who].admit()
        assert admission.allowed or (admission.retry_at or 0) > trial.clock.now()
        if admission.probe is not None:
            assert before.state == "open" and before.retry_at <= trial.clock.now()
            assert not [end for end in probes.values() if end > trial.clock.elapsed]
            probes[admission.probe] = trial.clock.elapsed + 20
            holder = admission.probe
        elif is_open() and trial.clock.elapsed >= known[who]:
            assert not admission.allowed
        if admission.allowed:
            out.append((who, trial.clock.elapsed, admission))

    def end(how: str, who: int, begun: float, admission: Admission) -> None:
        nonlocal opened
        before, told = is_open(), len(trial.told)
        failed[who] += how == "failed" and admission.probe is None
        report = getattr(breakers[who], how)
        report(admission, "outage") if how == "failed" else report(admission)
        probes.pop(admission.probe or "", None)
        if before and not is_open():
            assert how == "succeeded" and admission.probe == holder
        if is_open() and not before:
            assert how == "failed" and admission.probe is None and failed[who] >= failures
            assert begun > opened and trial.told[told:] == [("open", "outage")]
            opened, failed[who] = trial.clock.elapsed, 0
            known[:] = [trial.clock.elapsed + (one != who) for one in (0, 1)]

    for what, *values in steps:
        if what == "sleep":
            trial.clock.sleep(values[0])
        elif what == "begin":
            begin(values[0])
        elif what == "end" and out:
            end(values[0], *out.pop(values[1] % len(out)))
        elif what == "call":
            count = len(out)
            begin(values[1])
            if len(out) > count:
                end(values[0], *out.pop())
        for breaker in breakers:
            assert breaker.circuit.current_state == breaker.state().state.replace("_", "-")

    trial.clock.sleep(60)
    if trial.row() is not None and trial.row().state != "closed":
        breakers[0].succeeded(probe(breakers[0]))
        trial.clock.sleep(1)
    assert all(goes(breaker) for breaker in breakers)


if __name__ == "__main__":
    forks()
