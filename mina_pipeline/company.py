"""Which of a process' workers are at work. What may have killed processes before runs when nobody else does.

Threads of a process die together: a stage that ran each time beside one that kills would count as a killer too.
"""

from __future__ import annotations

import threading
from typing import Protocol

from .forks import forget_at_fork


class Member(Protocol):
    """A worker. hung: its stage was cut off and has not come back, and may never."""

    owner: str
    hung: bool


class Company:
    """The workers of one pipeline, as far as they are at work: looking for something, or doing it."""

    def __init__(self) -> None:
        self.reset()
        forget_at_fork(self)

    def reset(self) -> None:
        self.changed = threading.Lock()
        self.at_work: dict[str, Member] = {}
        self.alone: str | None = None
        self.clearing = False
        self.looked = -1.0

    def forget(self) -> None:
        """In a forked child, which has no workers yet."""
        self.reset()

    def join(self, worker: Member) -> bool:
        """Be at work; not while another is alone, or others are to end so that one can be."""
        with self.changed:
            if self.is_alone(self.alone) or (self.clearing and self.others(worker)):
                return False
            self.at_work[worker.owner] = worker
            return True

    def leave(self, worker: Member) -> bool:
        """Whether it was alone: others may have waited for that."""
        with self.changed:
            self.at_work.pop(worker.owner, None)
            return self.share(worker)

    def be_alone(self, worker: Member) -> bool:
        """Let nobody join from here on, if nobody else is at work."""
        with self.changed:
            if self.others(worker):
                return False
            self.alone = worker.owner
            return True

    def is_alone(self, owner: str | None) -> bool:
        """Whether this one is, and has not been cut off since."""
        return owner in self.at_work and not self.at_work[owner].hung

    def share(self, worker: Member) -> bool:
        if self.alone != worker.owner:
            return False
        self.alone, self.clearing = None, False
        return True

    def others(self, worker: Member) -> bool:
        return any(one is not worker and not one.hung for one in self.at_work.values())

    def looks(self, monotonic: float, seconds: float) -> bool:
        """True once in so many seconds, whoever asks."""
        with self.changed:
            if monotonic < self.looked + seconds:
                return False
            self.looked = monotonic
            return True
