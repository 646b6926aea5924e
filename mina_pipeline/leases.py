"""The claims in a worker's hands: renewed from another thread, lost, or handed back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from .attempts import Attempt
from .errors import IllegalTransition, LeaseLost
from .observers import Observers, StageRun
from .ports import Clock, Store, WorkGuard
from .sessions import Loaded
from .settings import Settings
from .stages.base import Deadline
from .work_shapes import Claimed


@dataclass
class Held:
    """One claim. began is in monotonic seconds, began_at in µs.

    attempt: what runs. cut: it was cut off, handed back or lost: whatever the stage still makes is nobody's. run: as
    observers know it, and whether they were told what became of it. resumed: the run was under way before the claim.
    """

    claimed: Claimed
    deadline: Deadline
    began: float
    began_at: int
    attempt: Attempt | None = None
    cut: bool = False
    run: StageRun | None = None
    told: bool = False
    resumed: bool = False

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

    @property
    def safe(self) -> float:
        """For how many seconds after a claim or a renewal the work is certainly ours."""
        return self.settings.lease * 2 / 3

    @contextmanager
    def holding(self, claimed: Claimed) -> Iterator[Held]:
        """Keep a claim while the block runs. Observers hear of every run that they saw begin what became of it."""
        monotonic = self.clock.monotonic
        deadline = Deadline(monotonic() + self.settings.stage_deadline, monotonic, monotonic() + self.safe)
        held = self.held[claimed.token] = Held(claimed, deadline, monotonic(), self.clock.now())
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
        """Extend the leases. What was lost has no time left, and neither has what could not be renewed for two thirds
        of its lease: another may soon have it, and what is made would be made twice."""
        tokens, began = list(self.held), self.clock.monotonic()
        still = set(self.store.renew(now, tokens, self.length)) if tokens else set()
        for token in tokens:
            mine = self.held.get(token)
            if mine is not None and token in still:
                mine.deadline.held_until = began + self.safe
            elif mine is not None:
                mine.let_go()

    def past_deadline(self) -> list[Held]:
        """What has gone for too long without a checkpoint, and was not let go for another reason."""
        return [held for held in self.all() if not held.cut and held.attempt is not None and held.deadline.has_passed()]

    def hand_back(self) -> None:
        """Give what is still running to other workers; not counted as an attempt."""
        for held in self.all():
            if not held.cut:
                held.let_go()
                self.store.give_back(held.claimed.token)


def guarding(claimed: Claimed) -> WorkGuard:
    return WorkGuard(claimed.stage, claimed.run, claimed.token, claimed.kind)


def following(after: Loaded, last: Claimed, held: Held) -> Claimed:
    """The claim that was made with the append that ended the last one."""
    return claimed_with(after, None if after.state.status == "revealed" else last.begun_at or held.began_at)


def handed(after: Loaded) -> Claimed:
    """The claim that was made with the append of a finalize."""
    return claimed_with(after, after.row["updated_at"])


def claimed_with(after: Loaded, begun_at: int | None) -> Claimed:
    begun, row = after.begun, after.row
    assert begun is not None
    return Claimed(
        session_id=row["session_id"],
        kind="stage",
        stage=begun.command.stage,
        run=begun.command.run,
        definition=row["definition"],
        definition_version=row["definition_version"],
        token=begun.token,
        attempts=1,
        tries=0,
        created_at=row["updated_at"],
        due_at=row["updated_at"],
        begun_at=begun_at,
        session=row,
    )
