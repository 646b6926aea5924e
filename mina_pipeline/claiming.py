"""What a worker takes from the queue, and whether it goes on with the session that it has."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from . import commands as ask
from .company import Company
from .errors import MinaError, UpgradeNeeded
from .leases import Leases
from .llm.breaker import Breakers
from .log import logger
from .observers import Observers
from .ports import Clock, Ids, Store
from .projections import open_work
from .sessions import Next, Sessions
from .settings import Settings
from .stage_code import StageCode
from .stages.base import Stage
from .states import State
from .work_shapes import Claimed, Wanted

SET_ASIDE = 60_000_000
"""For how long (µs) a worker leaves a session alone whose log it cannot read."""
MOST_ASIDE = 500

Key = tuple[str, int]


@dataclass
class Claiming(ABC):
    """The queue's side of a worker."""

    store: Store
    sessions: Sessions
    code: Mapping[Key, Mapping[str, Stage]]
    provider: Any
    clock: Clock
    ids: Ids
    settings: Settings
    owner: str
    breakers: Breakers
    observers: Observers = field(default_factory=Observers)
    company: Company = field(default_factory=Company)
    sleep: Callable[[float], None] = time.sleep
    more: Callable[[], None] = lambda: None
    # Sessions that we cannot read, and until when (µs) not to look at them; the verdict is this process's alone.
    aside: dict[str, int] = field(default_factory=dict)
    ending: bool = False
    hung: bool = False
    done: int = 0
    crowded_until: float = -1.0
    crowded: bool = False

    @cached_property
    def definitions(self) -> list[Key]:
        return list(self.code)

    @cached_property
    def stages(self) -> StageCode:
        return StageCode(self.code, self.provider, self.settings)

    @cached_property
    def leases(self) -> Leases:
        return Leases(self.store, self.clock, self.settings, self.observers)

    @abstractmethod
    def carry_out(self, claimed: Claimed, now: int) -> None:
        """Do what was claimed."""

    # --- one step

    def step(self, now: int) -> int | None:
        """Do one piece of work that is due at `now` (µs). The next wake: `now` for at once, None for nothing known."""
        if not self.company.join(self):
            return now + int(self.settings.poll * 1e6)
        try:
            return self.one_step(now)
        finally:
            self.part()

    def one_step(self, now: int) -> int | None:
        exclude = self.set_aside_at(now)
        claimed = None if self.company.clearing else self.claim(now, self.wanted(exclude))
        if claimed is None:
            due = self.store.next_due(now, self.definitions, exclude)
            if due is None or due > now:
                self.company.clearing = False
                return due
            # What is due and was not to be had is locked by another, over a limit, its provider is away, or: a suspect.
            claimed = self.claim_suspect(now, exclude)
        else:
            self.more()  # there was one, there may be another: somebody else should look while we are at it
        self.look_for_suspects(now, exclude)
        if claimed is None:
            return now + int(self.settings.poll * 1e6)
        try:
            self.carry_out(claimed, now)
        finally:
            self.hung = False
        return self.again(now)

    def wanted(self, exclude: Sequence[str]) -> Wanted:
        asked = self.stages.by_provider.items()
        away = [stage for provider, stages in asked if self.breakers.of(provider).away() for stage in stages]
        return Wanted(self.definitions, exclude, self.stages.limits, away, attempts=(0, self.suspected))

    def claim(self, now: int, wanted: Wanted) -> Claimed | None:
        return self.store.claim(now, self.owner, self.ids.uuid(), self.leases.length, wanted)

    def part(self) -> None:
        """No longer be at work."""
        if self.company.leave(self):
            self.more()

    # --- suspects: their claims have ended before without an outcome, and perhaps with their processes

    @cached_property
    def suspected(self) -> int:
        """From how many claims on. One more must be left before the verdict is poison."""
        return max(1, min(2, self.settings.claims_before_poison - 1))

    def claim_suspect(self, now: int, exclude: Sequence[str]) -> Claimed | None:
        """One to be run while nobody else here is at work."""
        if not self.company.be_alone(self):
            return None
        claimed = self.claim(now, replace(self.wanted(exclude), attempts=(self.suspected, None)))
        if claimed is None:
            self.company.share(self)
        return claimed

    def look_for_suspects(self, now: int, exclude: Sequence[str]) -> None:
        """In a process that is always busy: whether one has waited for too long, so that the others are to end."""
        if self.company.looks(self.clock.monotonic(), 1.0):
            oldest = self.store.oldest_due(now, self.definitions, exclude, self.stages.limited, self.suspected)
            if oldest is not None and now - oldest > self.settings.fair_wait * 1e6:
                self.company.clearing = True

    # --- sessions that we cannot read

    def set_aside_at(self, now: int) -> list[str]:
        return [session_id for session_id, until in self.aside.items() if until > now]

    def set_aside(self, claimed: Claimed, error: MinaError, now: int) -> None:
        """Leave a session that we cannot read to others: nothing is stored about it, nor is the claim counted."""
        if claimed.session_id not in self.aside:
            session = {"session_id": claimed.session_id, "stage": claimed.stage, "run": claimed.run}
            if isinstance(error, UpgradeNeeded):
                unknown = f"{error.what} {error.name}"
                logger(__name__).warning("session needs a later release", **session, unknown=unknown, known=error.known)
            else:
                logger(__name__).error("session cannot be worked on", **session, error_type=type(error).__name__)
        # Begun anew at the end: the first are those that were set aside longest ago.
        self.aside.pop(claimed.session_id, None)
        self.aside[claimed.session_id] = now + SET_ASIDE

    def again(self, now: int) -> int:
        """When to step again: at once, unless a session that is forgotten for many others may be what is due first."""
        if len(self.aside) <= MOST_ASIDE:
            return now
        forgotten = self.aside.pop(next(iter(self.aside)))
        return now if forgotten <= now else now + int(self.settings.poll * 1e6)

    # --- going on with a session

    def may_go_on(self) -> bool:
        """Whether the session's next stage may begin with this one's end: not if another has waited for too long."""
        if self.ending or self.company.clearing or self.company.alone == self.owner:
            return False
        if self.clock.monotonic() >= self.crowded_until:  # asked once a second: it is a fact about the whole queue
            self.crowded_until = self.clock.monotonic() + 1.0
            now = self.clock.now()
            oldest = self.store.oldest_due(now, self.definitions, self.set_aside_at(now), self.stages.limited)
            self.crowded = oldest is not None and now - oldest > self.settings.fair_wait * 1e6
        return not self.crowded

    def next_stage(self, before: State, after: State) -> Next | None:
        """A stage that an append makes due, to be begun with it; what was due before may be in another's hands."""
        old = open_work(before)
        code = self.code[after.definition, after.definition_version]
        for stage in after.stages if after.status in ("processing", "revealed") else ():
            fresh = stage.status == "due" and ("stage", stage.name) not in old
            if fresh and stage.name in code and stage.name not in self.stages.limited:
                provider = self.stages.provider_of(code[stage.name])
                begin = ask.Begin(stage=stage.name, run=stage.run, provider=provider)
                return Next(begin, self.owner, self.ids.uuid(), self.clock.now() + self.leases.length)
        return None
