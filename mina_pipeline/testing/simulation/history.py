"""Live through one seed's history, and tell it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from ...errors import InvalidInput
from .borrowed import borrowed
from .checks import check
from .ledger import Broken
from .plan import FAULTS, Plan
from .schedule import START
from .stores import fresh
from .world import World


@dataclass(frozen=True)
class History:
    """What came of a seed. trace: (true time in µs, actor, what), the same for the same seed.

    events: how many took effect; turns: how often an actor went on; seconds: of true time.
    """

    seed: int
    url: str
    without: frozenset[str]
    broken: list[Broken]
    trace: list[tuple[int, str, str]] = field(repr=False)
    counts: Counter[str]
    events: int
    turns: int
    seconds: float

    @property
    def replay(self) -> str:
        """The command that lives through it again."""
        store = "" if self.url == "memory://" else f" --store {self.url}"
        without = f" --without {','.join(sorted(self.without))}" if self.without else ""
        return f"python -m mina_pipeline.testing.simulation --seed {self.seed}{store}{without}"

    @property
    def text(self) -> str:
        """The trace to read: seconds, actor, what."""
        lines = (f"{(at - START) / 1e6:12.4f}  {actor:<16} {what}" for at, actor, what in self.trace)
        return "\n".join((*lines, "", *map(str, self.broken), self.replay))


def simulate(seed: int, *, url: str = "memory://", without: Collection[str] = ()) -> History:
    """Live through the history of a seed, and ask the seven promises of it. without: FAULTS to leave out."""
    unknown = set(without) - FAULTS.keys()
    if unknown:
        raise InvalidInput("without", f"no fault of ours: {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    plan = Plan(seed, frozenset(without), timed=url.startswith("postgresql"))
    with fresh(url) as opened:
        world = World(plan, opened)
        schedule = world.schedule
        with borrowed(world):
            try:
                world.live()
            finally:
                schedule.close()
        broken = [*world.ledger.found, *(Broken(0, text) for text in schedule.broken)]
        broken += [] if broken else check(world)
    seconds = (schedule.now - START) / 1e6
    events = sum(world.ledger.versions.values())
    return History(
        seed, url, plan.without, broken, schedule.trace, world.ledger.counts, events, schedule.steps, seconds
    )
