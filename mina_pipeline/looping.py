"""A thread that steps when it is woken, and by itself at each poll: what the relay and the live rooms are."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from .forks import forget_at_fork
from .log import logger
from .ports import Clock

GLANCE = 0.002  # s between looks for what a host is about to commit
GLANCES = 100
AGAIN = 60.0  # s until a failure of the same type is logged again, where it went on for so long


class Loop(ABC):
    """Wakes are hints, coalesced by session; a step that fails is taken again, and nobody is told that it is done."""

    name: ClassVar[str]

    def __init__(self, clock: Clock, poll: float) -> None:
        self.clock = clock
        self.poll = poll
        self.reset()
        forget_at_fork(self)

    def reset(self) -> None:
        self.woken: dict[str, int] = {}
        self.hoped: dict[str, tuple[int, int]] = {}
        self.wakes = self.asked = self.done = 0
        self.changed = threading.Condition()
        self.thread: threading.Thread | None = None
        self.stopped = False
        self.told: dict[str, float] = {}  # of each type of error, when it was logged (monotonic)
        self.seen: int | None = None  # its last step (host's µs), and since when there is something to do
        self.behind: int | None = None

    def forget(self) -> None:
        """In a forked child: the thread is the parent's; the first use here starts one."""
        self.reset()

    @abstractmethod
    def wanted(self) -> bool:
        """Whether anybody is there to step for."""

    @abstractmethod
    def step(self, now: int) -> int:
        """Do what is there to do; the next wake in µs."""

    def listens_for(self, session_id: str) -> bool:
        """Whether it matters that this session has more events."""
        return True

    def run(self) -> bool:
        """Whether a thread is there for those who want it."""
        if self.thread is None and self.wanted() and not self.stopped:
            self.thread = threading.Thread(target=self.loop, name=self.name, daemon=True)
            self.thread.start()
        return self.thread is not None

    def wake(self, session_id: str | None, version: int) -> None:
        """This session has reached this version; None: look for yourself."""
        if not self.wanted() or (session_id is not None and not self.listens_for(session_id)):
            return
        with self.changed:
            if not self.run():
                return
            self.wakes += 1
            if self.behind is None:
                self.behind = self.clock.now()
            if session_id is not None:
                self.woken[session_id] = max(version, self.woken.get(session_id, 0))
            self.changed.notify_all()

    def take_woken(self) -> dict[str, int]:
        """The sessions that were named since the last call, which `read_hoped` is to read now."""
        with self.changed:
            woken, self.woken = self.woken, {}
        self.hoped.update((session_id, (version, 0)) for session_id, version in woken.items())
        return woken

    def read_hoped(self, read: Callable[[str], int]) -> None:
        """Read each session that was named; read tells the version that it reached.

        One that is not there yet is looked for again: a host is about to commit it, or to roll it back.
        """
        for session_id, (version, looked) in list(self.hoped.items()):
            if read(session_id) < version and looked < GLANCES:
                self.hoped[session_id] = (version, looked + 1)
            else:
                del self.hoped[session_id]  # only now: where reading failed it is read again

    def next_look(self, now: int, soon: bool = False) -> int:
        return now + int((GLANCE if self.hoped or soon else self.poll) * 1e6)

    def loop(self) -> None:
        while not self.stopped:
            asked, wakes, now = self.asked, self.wakes, self.clock.now()
            try:
                wake = self.step(now)
                self.seen = self.clock.now()
                self.told.clear()
            except Exception as error:
                self.tell(type(error).__name__)
                self.behind = now if self.behind is None else self.behind
                with self.changed:  # nobody is told that all is delivered
                    self.changed.wait_for(lambda: self.stopped, self.poll)
                continue
            with self.changed:
                if wake > now:
                    self.behind = None if self.wakes == wakes else now  # what came meanwhile came after the step began
                    self.done = max(self.done, asked)
                    self.changed.notify_all()
                    if self.asked <= self.done and self.wakes == wakes and not self.stopped:
                        self.changed.wait((wake - now) / 1e6)
                elif self.behind is None:
                    self.behind = now

    def tell(self, error_type: str) -> None:
        """Log what fails, when it begins to and then once in a while: a database may be away for hours."""
        now = self.clock.monotonic()
        if now - self.told.get(error_type, float("-inf")) >= AGAIN:
            self.told[error_type] = now
            logger(__name__).error("step failed", of=self.name, error_type=error_type)

    def lag(self, now: int) -> float | None:
        """For how many seconds there has been something to deliver; None where no thread is running."""
        if self.thread is None or not self.thread.is_alive():
            return None
        behind = self.behind
        return 0.0 if behind is None else max(now - behind, 0) / 1e6

    def drain(self) -> None:
        """Return when everything committed before the call has been delivered."""
        with self.changed:
            if not self.run() or threading.current_thread() is self.thread:
                return
            self.asked += 1
            mine = self.asked
            self.changed.notify_all()
            while self.done < mine and self.thread is not None and self.thread.is_alive() and not self.stopped:
                self.changed.wait(1.0)

    def close(self) -> None:
        with self.changed:
            self.stopped = True
            self.changed.notify_all()
        if self.thread is not None and threading.current_thread() is not self.thread:
            self.thread.join()
