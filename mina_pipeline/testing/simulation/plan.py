"""What a history will have: drawn from its seed, before it begins."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from ...settings import Settings

FAULTS = {
    "crash": "a process dies before or after a call of the store took effect",
    "lost": "a call took effect, and its caller hears that the store was unreachable",
    "ghost": "likewise, and it takes effect later",
    "refused": "a call never takes effect",
    "slow": "a call takes up to half a minute, before and after its effect",
    "freeze": "a process is stopped as by SIGSTOP, at a call or anywhere",
    "down": "the store is away for a while, for all or for one process",
    "stop": "a process ends in order, and hands its work back",
    "skew": "clocks differ by up to three minutes",
    "jump": "clocks jump, by an hour at most",
    "outage": "providers are away",
    "hang": "a provider does not come back in time",
    "garbage": "a provider raises, answers nonsense or something degraded",
    "cancel": "people cancel",
    "retry": "people ask for another run",
    "drop": "people end a wait, or an upgrade",
    "late": "segments come after the end",
    "silence": "recordings are left alone",
    "operator": "rows are released, everything is looked over",
    "rebuild": "and sessions are rebuilt",
    "older": "one process does not know the host's workflow",
    "late-checkpoint": "a worker that was overtaken stores a checkpoint",
    "late-abandon": "a worker that was overtaken ends a silent recording",
    "late-degraded": "an outage degrades a later run, and its result is not the one that is kept",
    "mixed-start": "one start, by its command id, at doors that have other workflows for new sessions",
}
"""By name, what can be left out of histories."""


@dataclass(frozen=True)
class Outage:
    """A provider is away between two times (µs from the start). retry_after: in seconds, where it says so."""

    provider: str
    begin: int
    end: int
    error: str
    retry_after: float | None


@dataclass
class Plan:
    """The shape of one history. Rates are chances a call; times in µs, those of settings in s.

    timed: the store has a clock of its own, whatever the seed says.
    """

    seed: int
    without: frozenset[str]
    timed: bool = False
    rng: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rng = self.rng = random.Random(f"mina {self.seed}")
        self.own_time = (rng.random() < 0.5) | self.timed
        self.processes = rng.choice((1, 2, 2, 3))
        self.workers = rng.choice((1, 1, 2, 3))
        self.sessions = rng.choice((1, 1, 2, 2, 3, 4, 6))
        self.chaos = round(10 ** rng.uniform(1.6, 3.2))  # turns with faults
        harsh = rng.choice((0.0, 1.0, 4.0, 12.0))
        self.crash = self.rate("crash", 0.004 * harsh)
        self.lost = self.rate("lost", 0.01 * harsh)
        self.ghost = self.rate("ghost", 0.01 * harsh)
        self.refused = self.rate("refused", 0.01 * harsh)
        self.slow = self.rate("slow", 0.01 * harsh)
        self.freeze = self.rate("freeze", 0.005 * harsh)
        self.hang = self.rate("hang", rng.choice((0.0, 0.01, 0.1)))
        self.garbage = self.rate("garbage", rng.choice((0.0, 0.02, 0.2)))
        self.nemesis = rng.choice((0.0, 1.0, 4.0, 15.0))  # mean seconds between two of its deeds; 0: there is none
        self.hints = rng.choice((0.0, 0.5, 1.0))  # how many commits other processes hear of
        skew = rng.choice((3_000_000, 90_000_000)) if self.has("skew", 0.6) and self.own_time else 0
        self.skews = [round(skew * rng.uniform(-1, 1)) for _ in range(4)]  # of the processes, and of the store
        self.jumps = self.has("jump", 0.1)
        self.outages = self.draw_outages() if self.has("outage", 0.7) else []
        self.parts = rng.choice((0, 0, 1, 3))  # checkpoints of a stage
        self.late = self.has("late", 0.3)
        self.older = self.has("older", 0.15) and self.processes > 1
        self.firsts = [rng.randrange(3) for _ in range(3)]  # by process, the workflow for new sessions
        self.settings = self.draw_settings()

    def rate(self, fault: str, rate: float) -> float:
        drawn = rate * self.rng.random()
        return 0.0 if fault in self.without else drawn

    def has(self, fault: str, chance: float) -> bool:
        drawn = self.rng.random() < chance
        return drawn and fault not in self.without

    @property
    def apart(self) -> int:
        """How far two clocks may differ."""
        return max(self.skews) - min(self.skews)

    def draw_outages(self) -> list[Outage]:
        rng, found = self.rng, []
        for provider in ("sim", "other"):
            begin = 0
            for _ in range(rng.choice((0, 1, 1, 2))):
                begin += rng.randrange(20_000_000)
                end = begin + int(10 ** rng.uniform(5.5, 8.5))
                after = rng.choice((None, None, 0.5, 5.0, 400.0))
                error = rng.choice(("unavailable", "unavailable", "connection", "timeout"))
                found.append(Outage(provider, begin, end, error, after))
                begin = end
        return found

    def draw_settings(self) -> Settings:
        rng = self.rng
        lease = rng.choice((3.0, 15.0))
        return Settings(
            lease=lease,
            renew=lease / 3,
            stage_deadline=rng.choice((4.0, 20.0)),
            reveal_deadline=rng.choice((5.0, 30.0, 60.0)),
            recording_grace=rng.choice((20.0, 120.0)),
            wait_maximum=rng.choice((40.0, 300.0)),
            retry_tries=rng.choice((1, 3)),
            breaker_failures=rng.choice((2, 5)),
            breaker_pause=rng.choice((5.0, 30.0)),
            breaker_longest=120.0,
            upgrade_delay=rng.choice((5.0, 60.0)),
            upgrade_tries=rng.choice((3, 20)),
            upgrade_maximum=rng.choice((100.0, 3600.0)),
            late_segments=self.late,
            limits=rng.choice(("", "", "sim=1", "summary=1,digest=1")),
            policies=rng.choice(("", "", "summary=wait", "refinement=fail,tasks=wait,analytics=fail", "digest=fail")),
            fair_wait=rng.choice((0.001, 5.0)),
            shutdown_grace=rng.choice((0.1, 10.0)),
            hung_threads=rng.choice((2, 8)),
            poll=rng.choice((2.0, 10.0)),
            claims_before_poison=rng.choice((2, 20)),
        )
