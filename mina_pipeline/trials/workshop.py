"""A place apart for trials: workers that know the definitions of forks and nothing else, with their own provider."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .. import commands as ask
from ..company import Company
from ..crew import WorkerThreads
from ..definition import TRIAL
from ..errors import IllegalTransition, MinaError
from ..llm.breaker import Breakers
from ..log import logger
from ..observers import Observers
from ..ports import Clock, Ids, Store
from ..projections import open_work
from ..sessions import Sessions, load
from ..settings import Settings
from ..stages.base import Stage
from ..store.memory import MemoryStore
from ..worker import Worker

ACTOR = "trial"
Key = tuple[str, int]


def definition_name(base: str, provider: str, unique: str) -> str:
    """A name that only the trial's own process knows, since claims go by definition; in the alphabet of such names,
    and at most 40 characters: standard_trial_openai_1f3a9c2b."""
    return f"{base[:12]}{TRIAL}{word_of(provider)}_{unique[-8:]}"


def word_of(provider: str) -> str:
    """A provider's or a model's name, as far as it is in the definition's."""
    return (re.sub(r"[^a-z0-9]+", "_", provider.lower()).strip("_") or "other")[:12]


def maker(definition: str) -> str:
    """Who made it, by the name of a fork's definition."""
    return definition.rpartition(TRIAL)[2].rpartition("_")[0]


@dataclass
class Workshop:
    """Works on forks, over the pipeline's store, beside its workers.

    names: what forks pin, by the definition that they go back to. `handler` and `code` know these names alone: its
    workers claim no other sessions, and other workers none of these.
    The breakers are its own, in memory: a trial's provider that is away is no reason for production to wait, even where
    both have one name. Observers of the pipeline hear what is run here too.
    """

    store: Store
    handler: Sessions
    names: Mapping[Key, Key]
    code: Mapping[Key, Mapping[str, Stage]]
    provider: Any
    clock: Clock
    ids: Ids
    settings: Settings
    observers: Observers
    process: str
    company: Company = field(default_factory=Company)

    @cached_property
    def breakers(self) -> Breakers:
        return Breakers(MemoryStore(), self.clock, self.ids, self.settings)

    def worker(self) -> Worker:
        owner = f"{self.process}:{threading.get_ident()}:{self.ids.uuid()[-6:]}"
        given = (self.clock, self.ids, self.settings, owner, self.breakers, self.observers, self.company)
        return Worker(self.store, self.handler, self.code, self.provider, *given)

    def workers(self, count: int) -> WorkerThreads:
        """Threads for a `with` block. While they run, `mina doctor` sees a worker that knows these definitions."""
        name = f"{self.process}:{ACTOR}:{self.ids.uuid()[-6:]}"
        return WorkerThreads(self.worker, count, self.settings, name).start()

    def over(self, session_id: str) -> bool:
        """Whether nothing more is to be done for it. A result to be made better once a provider is back stays as it
        is: nobody would ever come for it."""
        work = open_work(load(self.store, session_id).state)
        for kind, stage in work:
            if kind == "upgrade":
                self.handler.execute(session_id, ask.Drop(stage=stage, completed_at=self.clock.now()), actor=ACTOR)
        return not work

    def give_up(self, session_ids: Iterable[str]) -> None:
        """Cancel what is not revealed: without this place nobody knows its definition, and it would be due for ever."""
        for session_id in session_ids:
            try:
                self.handler.execute(session_id, ask.Cancel(why="the trial was ended"), actor=ACTOR)
            except IllegalTransition:
                pass  # it was revealed in the meantime
            except MinaError as error:
                place = {"session_id": session_id, "error_type": type(error).__name__}
                logger("mina_pipeline.trials").warning("trial not cancelled", **place)
