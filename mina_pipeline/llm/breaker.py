"""The circuit breaker of a provider: pybreaker counts failures in this process, the fleet's row holds for them all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..forks import forget_at_fork
from ..log import logger
from ..ports import Clock, Fleet, Ids
from ..settings import Settings
from ..work_shapes import BreakerState

if TYPE_CHECKING:
    import pybreaker

PACE = 1.0
"""Seconds: how long a look at the fleet's row is good for, and how far apart one process asks for the probe's slot."""
NEVER = float("-inf")
DOUBLINGS = 32  # enough to reach any breaker_longest, and no float overflows

Told = Callable[[str, str, str | None], None]
"""Hears (provider, open | half_open | closed, reason) of what this process changed for the fleet; raises nothing."""


class Failed(Exception):
    """A call of the provider did, as pybreaker is shown it."""


def end(failed: bool) -> None:
    """Stands in pybreaker for a call that ended outside of it."""
    if failed:
        raise Failed


def silent(_provider: str, _state: str, _reason: str | None) -> None:
    """Nobody is told."""


@dataclass(frozen=True)
class Admission:
    """The answer to one call that wants to go; the call's end is reported with it, once.

    probe: the token of the one trial call of an open breaker. retry_at: when to ask again (host's µs), where refused.
    """

    allowed: bool
    probe: str | None = None
    retry_at: int | None = None
    period: int = field(default=0, repr=False)


class Breaker:
    """Admits calls of one provider and hears how they ended. Safe to use from many threads.

    The lock is held over pybreaker's counting only, never over a call of the provider (pybreaker's own `call` would let
    one thread at a time through) or of the store. Every opening and closing begins a period, and what ends in another
    period than it was admitted in counts for nothing: a late failure opens nothing, a late success closes nothing.
    Only the probe closes. The store's errors are raised; the breaker is then as before, and a probe may report again.
    """

    def __init__(
        self, provider: str, fleet: Fleet, clock: Clock, ids: Ids, settings: Settings, told: Told = silent
    ) -> None:
        self.provider = provider
        self.fleet = fleet
        self.clock = clock
        self.ids = ids
        self.settings = settings
        self.told = told
        self.period = 0
        self.reset()
        forget_at_fork(self)

    def reset(self) -> None:
        import pybreaker

        self.lock = threading.Lock()
        self.storage = pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)
        self.circuit: pybreaker.CircuitBreaker = pybreaker.CircuitBreaker(
            fail_max=self.settings.breaker_failures,
            state_storage=self.storage,
            name=self.provider,
            throw_new_error_on_trip=False,
        )
        self.seen = self.closed(0)  # the fleet's verdict as last known; the circuit is in the same state, always
        self.looked = NEVER  # monotonic, as the next
        self.ask_after = NEVER
        self.looking = False

    def forget(self) -> None:
        """In a forked child: the lock may be held for ever, and the calls that are out are the parent's."""
        self.period += 1
        self.reset()

    def admit(self) -> Admission:
        """Whether a call may go now. Allowed: report its end by succeeded, failed or released."""
        self.look()
        with self.lock:
            now = self.clock.now()
            retry_at = self.refused(now)
            if retry_at is not None:
                return Admission(False, retry_at=retry_at, period=self.period)
            if self.seen.state == "closed":
                return Admission(True, period=self.period)
            self.ask_after = self.clock.monotonic() + PACE  # one thread asks for all
            period = self.period
            probing = replace(self.seen, state="half_open")
        token = self.ids.uuid()
        try:
            taken = self.fleet.take_probe(now, self.provider, token, int(self.settings.stage_deadline * 1e6))
        except BaseException:
            self.ask_after = NEVER
            raise
        self.settle(period, probing if taken else None)
        if not taken:
            return Admission(False, retry_at=now + int(PACE * 1e6), period=period)
        logger(__name__).info("breaker sends a probe", provider=self.provider)
        self.told(self.provider, "half_open", probing.reason)
        return Admission(True, token, period=period)

    def away(self) -> bool:
        """Whether a call would be refused now; takes no probe."""
        self.look()
        with self.lock:
            return self.refused(self.clock.now()) is not None

    def state(self) -> BreakerState:
        """The fleet's verdict as this process last knew it; asks nobody."""
        return self.seen

    def succeeded(self, admission: Admission) -> None:
        """The provider answered: the count begins anew; the probe's answer closes the breaker for the whole fleet."""
        if admission.probe is None:
            with self.lock:
                self.counted(admission, failed=False)
            return
        period, closed = self.period, self.closed(self.clock.now())
        mine = self.fleet.close_breaker(closed.changed_at, self.provider, admission.probe)
        self.settle(period, closed if mine else None)
        if mine:
            logger(__name__).info("breaker closed", provider=self.provider)
            self.told(self.provider, "closed", None)

    def failed(self, admission: Admission, reason: str) -> None:
        """The provider did not answer: so many in a row open the breaker; the probe's failure does, for twice as long.

        Looks at the fleet first: a process whose calls all hung may have missed that it opened and closed.
        """
        if admission.probe is not None:
            self.trip(self.period, self.opening(reason), admission.probe)
            return
        self.look()
        with self.lock:
            if not self.counted(admission, failed=True):
                return
            before, opened = self.seen, self.opening(reason)
            self.become(opened)  # nobody else here goes, or opens it, while the fleet is told
            period = self.period
        try:
            self.trip(period, opened)
        except BaseException:
            self.take_back(period, before)
            raise

    def released(self, admission: Admission) -> None:
        """The call ended without a word on the provider (our own error, cancelled, lease lost); counts for nothing.

        A probe gives up its slot by opening the breaker for PACE, since lapsing would take the whole lease; the fleet
        counts an opening, so the pause after the next failed probe is one step longer.
        """
        if admission.probe is not None:
            self.trip(self.period, self.opening(self.seen.reason or "released", PACE), admission.probe)

    def trip(self, period: int, opened: BreakerState, probe: str | None = None) -> None:
        """Open it for the fleet; told and logged only where this call did."""
        now, reason = opened.changed_at, opened.reason or ""
        mine = self.fleet.trip_breaker(now, self.provider, (opened.retry_at or now) - now, reason, probe)
        self.settle(period, opened if mine else None)
        if mine:
            logger(__name__).warning("breaker opened", provider=self.provider, reason=reason, retry_at=opened.retry_at)
            self.told(self.provider, "open", reason)

    def look(self) -> None:
        """Learn the fleet's verdict, at most once in PACE: cost by time, not by call.

        While one thread is at it the others go by what is known, unless that is older than twice PACE.
        """
        asked = self.clock.monotonic()
        with self.lock:
            if asked < self.looked + PACE * (2 if self.looking else 1):
                return
            self.looking, period = True, self.period
        try:
            states = self.fleet.breakers(self.clock.now())
            seen = next((state for state in states if state.provider == self.provider), self.closed(0))
            with self.lock:
                if self.period == period and asked >= self.looked:  # else more was learnt meanwhile
                    self.looked = asked
                    self.learn(seen)
        finally:
            self.looking = False

    def settle(self, period: int, state: BreakerState | None) -> None:
        """Take over what the fleet's row now is; not known (None), or more learnt meanwhile: the next call looks."""
        with self.lock:
            if state is not None and self.period == period:
                self.become(state)
            else:
                self.looked = NEVER

    def take_back(self, period: int, before: BreakerState) -> None:
        """The fleet could not be told: closed as it was, one failure short, so that the next failure tries again."""
        with self.lock:
            if self.period == period:
                self.become(before)
                for _ in range(self.settings.breaker_failures - 1):
                    self.storage.increment_counter()

    def closed(self, since: int) -> BreakerState:
        return BreakerState(self.provider, "closed", 0, None, since, None)

    def opening(self, reason: str, pause: float | None = None) -> BreakerState:
        """Open from now on, for a pause in seconds: breaker_pause, doubled by each opening before, ± a tenth."""
        if pause is None:
            share = int.from_bytes(self.ids.salt()[:8], "big") / 2**64  # of the ids: a simulation repeats itself
            longer = 2.0 ** min(self.seen.opens, DOUBLINGS) * (0.9 + 0.2 * share)
            pause = min(self.settings.breaker_pause * longer, self.settings.breaker_longest)
        now = self.clock.now()
        return BreakerState(self.provider, "open", self.seen.opens + 1, now + int(pause * 1e6), now, reason)

    # --- with the lock held

    def learn(self, seen: BreakerState) -> None:
        # Closed since later: it has opened and closed in between. PACE, as a database's times shift with each question.
        missed = seen.state == "closed" and seen.changed_at > self.seen.changed_at + PACE * 1e6
        if seen.state != self.seen.state or missed:
            self.become(seen)
        else:
            self.seen = seen

    def become(self, seen: BreakerState) -> None:
        """Put pybreaker into the fleet's state, its count at 0, and begin a period."""
        self.seen = seen
        self.period += 1
        {"closed": self.circuit.close, "open": self.circuit.open, "half_open": self.circuit.half_open}[seen.state]()

    def refused(self, now: int) -> int | None:
        """Until when calls are refused (µs); None: one may go, as the probe unless the breaker is closed."""
        if self.seen.state == "closed":
            return None
        if now < (self.seen.retry_at or 0):
            return self.seen.retry_at
        # While a probe is out the row is half open; it is open again once the probe's lease is over.
        busy = self.seen.state == "half_open" or self.clock.monotonic() < self.ask_after
        return now + int(PACE * 1e6) if busy else None

    def counted(self, admission: Admission, failed: bool) -> bool:
        """Record a call's end in pybreaker; whether that made it open."""
        if admission.period != self.period or self.seen.state != "closed":
            return False
        with suppress(Failed):
            self.circuit.call(end, failed)
        return self.circuit.current_state != "closed"


@dataclass(eq=False)
class Breakers:
    """The breakers of this process, one a provider, each made when it is first asked for."""

    fleet: Fleet
    clock: Clock
    ids: Ids
    settings: Settings
    told: Told = silent
    made: dict[str, Breaker] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        forget_at_fork(self)

    def forget(self) -> None:
        """In a forked child; the breakers forget for themselves."""
        self.lock = threading.Lock()

    def of(self, provider: str) -> Breaker:
        with self.lock:
            if provider not in self.made:
                self.made[provider] = Breaker(provider, self.fleet, self.clock, self.ids, self.settings, self.told)
            return self.made[provider]
