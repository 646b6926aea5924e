"""A pipeline's workers: by hand, until idle, on threads."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping
from typing import Any

from .company import Company
from .crew import WorkerThreads, heartbeat
from .errors import InvalidInput, StoreBusy, StoreUnreachable
from .idle import Hand
from .llm.breaker import Breakers
from .log import logger
from .observers import Observer
from .operations import Operations
from .ports import Ids
from .stage_code import StageCode
from .stages.base import Stage
from .worker import Worker


class Working(Operations):
    """The part of a Pipeline that works."""

    code: Mapping[tuple[str, int], Mapping[str, Stage]]
    provider: Any
    ids: Ids
    breakers: Breakers
    company: Company
    threads: list[WorkerThreads]

    def worker(self) -> Worker:
        """A worker to step by hand, as a simulation does."""
        owner = f"{self._process()}:{threading.get_ident()}:{self.ids.uuid()[-6:]}"
        given = (self.clock, self.ids, self.settings, owner, self.breakers, self.observers, self.company)
        return Worker(self.store, self.handler, self.code, self.provider, *given)

    def run_until_idle(self) -> int:
        """Do all work that is due now, here, and return how many stages; subscribers have heard of it then."""
        self.refuse_inside("run_until_idle")
        worker = self.worker()
        with heartbeat(worker):
            while True:
                now = self.clock.now()
                again = worker.step(now)
                if again is None or again > now:
                    break
        self.relay.drain()
        return worker.done

    def workers(self, count: int = 1) -> WorkerThreads:
        """Worker threads until the block ends: `with p.workers(8): …`

        At the end no more is claimed; what runs has `settings.shutdown_grace` seconds, and is then handed back.
        """
        self.refuse_inside("workers")
        if count < 1:
            raise InvalidInput("count", f"must be at least 1, not {count}")
        threads = WorkerThreads(self.worker, count, self.settings, f"{self._process()}:{self.ids.uuid()[-6:]}")
        self.threads.append(threads)
        self.store.listen()
        return threads.start()

    def work(self, stop: threading.Event | None = None) -> None:
        """Work until `stop` is set or the pipeline is closed, for a background task of the host's:
        `socketio.start_background_task(p.work)`."""
        stop = stop or threading.Event()
        with self.workers() as threads:
            while not (stop.wait(self.settings.poll) or threads.stop.is_set()):
                pass

    def observe(self, observer: Observer) -> None:
        """Let an observer hear what the workers of this process do; see mina_adapters.prometheus, .opentelemetry."""
        self.observers.add(observer)

    def _process(self) -> str:
        return f"{socket.gethostname()}:{os.getpid()}"

    def _breaker_changed(self, provider: str, state: str, reason: str | None) -> None:
        self.observers.breaker(provider, state, reason)
        if state == "closed":
            # It is back: what is to be made again begins one by one, slowly at first.
            stages = StageCode(self.code, self.provider, self.settings).by_provider.get(provider, frozenset())
            try:
                self.store.spread(self.clock.now(), stages, int(self.settings.upgrade_pace * 1e6))
            except (StoreUnreachable, StoreBusy) as error:  # they are due some time anyway
                logger(__name__).warning("upgrades not spread", error_type=type(error).__name__)

    def _idle_worker(self) -> Hand | None:
        """One of this process that waits for work; what is finalized inside a host's transaction may yet vanish."""
        for threads in () if self.store.inside else self.threads:
            if (hand := threads.idle.take()) is not None:
                return hand
        return None
