"""Threads that loop workers, and the one that supervises them: leases, deadlines, hung stages, the way out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from .forks import forget_at_fork
from .idle import Idle, Place
from .log import logger
from .settings import Settings
from .worker import Worker


class Supervisor:
    """Keeps the leases of some workers and cuts off what hangs, on a thread of its own. A context manager."""

    def __init__(
        self, workers: Sequence[Worker], settings: Settings, also: Callable[[bool], None] | None = None
    ) -> None:
        self.workers = workers
        self.settings = settings
        self.also = also
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.loop, name="mina-heartbeat", daemon=True)

    def loop(self) -> None:
        renewed = time.monotonic()
        tick = min(self.settings.renew / 2, self.settings.stage_deadline / 4, 1.0)
        while not self.stop.wait(tick):
            beat = time.monotonic() - renewed >= self.settings.renew - tick / 2
            renewed = time.monotonic() if beat else renewed
            self.look(beat)

    def look(self, beat: bool) -> None:
        for worker in list(self.workers):
            now = worker.clock.now()
            try:
                if beat:
                    worker.beat(now)
                worker.check_deadlines(now)
            except Exception as error:  # the next beat may find the store back before the lease has run out
                logger("mina_pipeline.worker").warning("leases not renewed", error_type=type(error).__name__)
        if self.also is not None:
            self.also(beat)

    def __enter__(self) -> Supervisor:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()


@contextmanager
def heartbeat(worker: Worker) -> Iterator[None]:
    """Supervise one worker while the block runs."""
    with Supervisor([worker], worker.settings):
        yield


class WorkerThreads:
    """`count` threads that loop a worker each until closed. A context manager.

    A thread whose stage was cut off and has not come back is replaced; when `settings.hung_threads` are so, no more
    work is claimed here, what runs is handed back, and `failed` is set: the process had better end.
    """

    def __init__(self, make: Callable[[], Worker], count: int, settings: Settings, name: str) -> None:
        self.make = make
        self.count = count
        self.settings = settings
        self.name = name
        self.failed = threading.Event()
        self.reset()
        forget_at_fork(self)

    def reset(self) -> None:
        self.stop = threading.Event()
        self.closing = threading.Lock()
        self.idle = Idle()
        self.hung: list[Worker] = []
        self.workers: list[Worker] = []
        self.threads: dict[str, threading.Thread] = {}
        self.supervisor = Supervisor(self.workers, self.settings, self.after_look)
        self.started_at = 0

    def forget(self) -> None:
        """In a forked child: the threads are the parent's, and it does the work; close() has nothing to wait for."""
        self.reset()

    def start(self) -> WorkerThreads:
        for _ in range(self.count):
            self.add()
        self.started_at = self.workers[0].clock.now()
        if unknown := self.workers[0].stages.unknown():
            logger("mina_pipeline.worker").warning("policies for stages that are not here", stages=unknown)
        self.supervisor.__enter__()
        self.sign_of_life()
        return self

    def add(self) -> None:
        worker = self.make()
        worker.more = self.wake
        self.workers.append(worker)
        name = f"mina-worker-{len(self.threads) + 1}"
        thread = self.threads[worker.owner] = threading.Thread(target=self.loop, args=(worker,), name=name, daemon=True)
        thread.start()

    def wake(self) -> None:
        """There may be something to do: one that waits looks, and wakes the next when it has found something."""
        self.idle.wake()

    def loop(self, worker: Worker) -> None:
        place, begun = Place(worker), None
        while not self.stop.is_set() and worker not in self.hung:
            now, wakes = worker.clock.now(), self.idle.wakes
            try:
                again = worker.step(now) if begun is None else worker.take_over(begun, now)
            except Exception as error:
                # The store is away or refused: the lease runs out and the work is claimed again.
                logger("mina_pipeline.worker").error(
                    "worker step failed", owner=worker.owner, error_type=type(error).__name__
                )
                again, wakes = None, -1
            begun = None
            if again is None or again > now:
                # Who was woken while it looked looks again, but after an error not at once.
                poll = self.settings.poll
                begun = self.idle.wait(
                    place,
                    poll if again is None else min(poll, max((again - now) / 1e6, 0.001)),
                    wakes if wakes >= 0 else None,
                )
        if begun is not None:
            worker.hand_on(begun)
        if worker in self.hung:
            self.hung.remove(worker)  # it has come back, and another has its place
            self.workers.remove(worker)
            worker.observers.hung(len(self.hung))

    # --- supervision

    def after_look(self, beat: bool) -> None:
        """On the supervisor's thread: replace who hangs, and say that we are here."""
        for worker in [w for w in list(self.workers) if w.hung and w not in self.hung]:
            self.hung.append(worker)
            worker.observers.hung(len(self.hung))
            if len(self.hung) >= self.settings.hung_threads:
                logger("mina_pipeline.worker").error("too many hung stages: no more work here", hung=len(self.hung))
                self.failed.set()
                self.end()
                threading.Thread(target=self.close, name="mina-hand-back", daemon=True).start()
            elif not self.stop.is_set():
                self.add()
        for worker in [
            w for w in list(self.workers) if not self.stop.is_set() and not self.threads[w.owner].is_alive()
        ]:
            logger("mina_pipeline.worker").error("a worker's thread has ended", owner=worker.owner)
            self.workers.remove(worker)
            self.add()
        if beat:
            try:
                self.sign_of_life()
            except Exception as error:
                logger("mina_pipeline.worker").warning("no sign of life stored", error_type=type(error).__name__)

    def sign_of_life(self) -> None:
        worker = self.workers[0]
        details = {
            "concurrency": self.count,
            "running": sum(bool(w.leases.held) for w in list(self.workers)),
            "hung": len(self.hung),
            "definitions": [f"{name} {version}" for name, version in worker.definitions],
            "providers": sorted(worker.stages.by_provider),
        }
        worker.store.worker_seen(worker.clock.now(), self.name, self.started_at, details)

    # --- the way out

    def end(self) -> None:
        """Claim no more."""
        for worker in list(self.workers):
            worker.ending = True
        self.stop.set()
        self.idle.end()

    def close(self, grace: float | None = None) -> None:
        """Claim no more; running stages end within the grace time (default: shutdown_grace), or are handed back."""
        with self.closing:
            self.close_once(grace)

    def close_once(self, grace: float | None) -> None:
        if not self.threads:
            return
        self.end()
        until = time.monotonic() + (self.settings.shutdown_grace if grace is None else grace)
        hung = {worker.owner for worker in list(self.hung)}
        for owner, thread in list(self.threads.items()):
            if owner not in hung and thread is not threading.current_thread():
                thread.join(max(until - time.monotonic(), 0))
        try:
            for worker in list(self.workers):
                worker.hand_back()
            self.workers[0].store.worker_gone(self.name)
        except Exception as error:  # the store is away: the leases run out by themselves
            logger("mina_pipeline.worker").warning("work not handed back", error_type=type(error).__name__)
        self.supervisor.__exit__()
        self.threads = {}

    def __enter__(self) -> WorkerThreads:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
