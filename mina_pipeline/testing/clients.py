"""What a transport's suite drives: clients that note what comes to them, and the harness that connects them."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple, Protocol

from ..guarantees import Guarantees
from ..wire import Payload

PATIENCE = 30.0  # s that a test waits before it says that nothing comes


class Received(NamedTuple):
    """An event as it came to a client: its version, its wire name, and its payload."""

    version: int
    name: str
    payload: Payload


class Client(ABC):
    """One connection. A thread of the harness reads it, and puts here what comes; tests wait for that.

    received: in the order that it came, nothing left out. resets: how often it was told that its version is unknown.
    gone: whether the connection has ended, whoever ended it.
    """

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.resets = 0
        self.gone = False
        self.changed = threading.Condition()

    # --- for the reading thread

    def put(self, version: int, name: str, payload: Payload) -> None:
        with self.changed:
            self.received.append(Received(version, name, payload))
            self.changed.notify_all()

    def put_reset(self) -> None:
        with self.changed:
            self.resets += 1
            self.changed.notify_all()

    def put_end(self) -> None:
        with self.changed:
            self.gone = True
            self.changed.notify_all()

    # --- for tests

    def wait_for(self, what: int | Callable[[], bool], timeout: float | None = None) -> None:
        """Until this version has come, or until something holds; AssertionError with what did come.

        timeout: seconds; None: PATIENCE.
        """

        def holds() -> bool:
            return self.last() >= what if isinstance(what, int) else what()

        with self.changed:
            if not self.changed.wait_for(holds, PATIENCE if timeout is None else timeout):
                seen = self.versions()
                raise AssertionError(f"it did not come; of {len(seen)} the last are {seen[-10:]}, gone: {self.gone}")

    def versions(self, session_id: str | None = None) -> list[int]:
        """What came, of one session or of all."""
        return [one.version for one in list(self.received) if session_id in (None, one.payload.get("session_id"))]

    def last(self, session_id: str | None = None) -> int:
        return max(self.versions(session_id), default=0)

    @abstractmethod
    def stall(self) -> None:
        """Read no more bytes, and keep the connection open."""

    @abstractmethod
    def resume(self) -> None:
        """Read again."""

    @abstractmethod
    def drop(self) -> None:
        """Cut the connection without a goodbye."""

    @abstractmethod
    def close(self) -> None:
        """End it in order; after `drop` nothing is left to do."""

    def join(self, session_id: str, after: int | None = None) -> None:
        """Watch one more session on the same connection, where the transport does that (`many`)."""
        raise NotImplementedError


class Harness(Protocol):
    """A running transport over the test's database, and how to connect to it.

    `connect` returns when "from now on" has begun: what is committed after it reaches the client. after: the version
    to go on from, 0 for all, None for what comes from now on. Clients that a test leaves open are the harness's to
    close.
    """

    @property
    def guarantees(self) -> Guarantees: ...

    def connect(self, session_id: str, after: int | None = None) -> Client: ...
