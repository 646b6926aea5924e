"""What operators do with a pipeline: look, replay, verify, rebuild, recover."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from . import recovery, replaying
from .diagnosis import Finding
from .errors import MinaError
from .health import Health, health
from .live import Live
from .observers import Observers
from .ports import Clock, Store
from .relay import Relay
from .sessions import Sessions
from .settings import Settings
from .stages.base import Workflow


class Operations(ABC):
    """The operators' part of a Pipeline."""

    store: Store
    workflows: Sequence[Workflow]
    settings: Settings
    clock: Clock
    handler: Sessions
    observers: Observers
    relay: Relay
    live: Live

    @abstractmethod
    def run_until_idle(self) -> int:
        """Do all work that is due now; how many stages."""

    def replay(self, session_id: str, to: int | None = None) -> list[replaying.Step]:
        """Fold the log again and tell each step."""
        return list(replaying.replay_steps(self.store, session_id, to))

    def upcoming(self, session_id: str, to: int | None = None) -> list[replaying.Coming]:
        """What comes after version `to`, or (None) next."""
        return replaying.upcoming(self.store, self.clock.now(), session_id, to)

    def verify(self, session_id: str) -> list[recovery.Problem]:
        """Compare snapshot, read models, versions and hashes with the log."""
        problems = recovery.verify(self.store, session_id)
        self.observers.verified(len(problems))
        return problems

    def unlisted(self) -> list[recovery.Problem]:
        """Sessions that the log knows and the session rows do not; `verify` could not be asked for them."""
        return list(recovery.unlisted(self.store))

    def rebuild(self, session_id: str) -> int:
        """Write the read models anew from the log, in place; how many rows were wrong."""
        return recovery.rebuild(self.store, self.clock.now(), session_id, self.handler.delays)

    def recover(
        self,
        *,
        dry_run: bool = False,
        run: bool = False,
        everything: bool = False,
        choose: Callable[[Finding], bool] = lambda _: True,
    ) -> list[Finding]:
        """Find what is stuck, and repair what can be repaired here: dead leases, recordings, read models.

        dry_run: only look. run: then do all work that is due here. everything: verify finished sessions too.
        choose: asked about each repair. Each finding says whether it is over.
        """
        self.refuse_inside("recover")
        states = [stage.running for workflow in self.workflows for stage in workflow.definition.stages]
        doctor = recovery.Recovery(self.store, self.handler, self.settings, self.known(), states)
        if dry_run:
            return doctor.look(everything)
        return doctor.recover(choose, self.run_until_idle if run else None, everything)

    def health(self) -> Health:
        """What can be seen now: sessions, work, workers, breakers, feed and relay, in numbers."""
        return health(self.store, self.clock.now(), self.known(), (self.relay, self.live))

    def known(self) -> list[str]:
        """The definitions that this process can finish, as "name version"."""
        return ["{} {}".format(*workflow.key) for workflow in self.workflows]

    def refuse_inside(self, what: str) -> None:
        if self.store.inside:
            raise MinaError(f"{what} is not for a host's transaction; call it on the pipeline itself, after the commit")
