"""The claims in a worker's hands: renewed from another thread, lost, or handed back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf

from .attempts import Attempt
from .errors import IllegalTransition, LeaseLost
from .observers import Observers, StageRun
from .ports import Claimed, Clock, Store
from .settings import Settings
from .stages.base import Deadline


@dataclass
class Held:
    """One claim. began and renewed are monotonic seconds, began_at is µs.

    attempt: what runs. cut: it was cut off, handed back or lost: whatever the stage still makes is nobody's. run: as
    observers know it, and whether they were told what became of it.
    """

    claimed: Claimed
    deadline: Deadline
    began: float
    began_at: int
    renewed: float
    attempt: Attempt | None = None
    cut: bool = False
    run: StageRun | None = None
    told: bool = False

    def let_go(self) -> None:
        """The stage has no time left, and nobody waits for it."""
        self.cut = True
        self.deadline.end()


@dataclass
class Leases:
    """All claims of one worker, by token."""

    store: Store
    clock: Clock
    settings: Settings
    observers: Observers
    held: dict[str, Held] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """In µs."""
        return int(self.settings.lease * 1e6)

    @contextmanager
    def holding(self, claimed: Claimed) -> Iterator[Held]:
        """Keep a claim while the block runs. Observers hear of every run that they saw begin what became of it."""
        monotonic = self.clock.monotonic
        deadline = Deadline(monotonic() + self.settings.stage_deadline, monotonic)
        held = self.held[claimed.token] = Held(claimed, deadline, monotonic(), self.clock.now(), monotonic())
        why = "interrupted"
        try:
            yield held
        except (LeaseLost, IllegalTransition):
            why = "lease lost"
            raise
        finally:
            self.held.pop(claimed.token, None)
            if held.run is not None and not held.told:
                self.observers.refused(held.run, why)

    def all(self) -> list[Held]:
        return list(self.held.values())

    def renew(self, now: int) -> None:
        """Extend the leases. One that was lost ends its deadline, and so do all when they have not been renewed for
        two thirds of their length: another may soon have them, and what is made would be made twice."""
        tokens, most = list(self.held), self.settings.lease * 2 / 3
        try:
            still = set(self.store.renew(now, tokens, self.length)) if tokens else set()
        except Exception:
            for held in self.all():
                if self.clock.monotonic() - held.renewed > most:
                    held.deadline.end()
            raise
        for token in tokens:
            mine = self.held.get(token)
            if mine is not None and token in still:
                mine.renewed = self.clock.monotonic()
            elif mine is not None:
                mine.let_go()

    def past_deadline(self) -> list[Held]:
        """What has gone for too long without a checkpoint, and was not let go for another reason."""
        return [
            held
            for held in self.all()
            if not held.cut and held.attempt is not None and -inf < held.deadline.remaining() <= 0
        ]

    def hand_back(self) -> None:
        """Give what is still running to other workers; not counted as an attempt."""
        for held in self.all():
            if not held.cut:
                held.let_go()
                self.store.give_back(held.claimed.token)
