"""What the library needs from outside: small protocols, by role. Adapters and stores implement them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from uuid_utils import uuid7

from .events import Position, RecordedEvent
from .projections import Op, Row


class Clock(Protocol):
    """Time, so that a test or a simulation can bring its own."""

    def now(self) -> int:
        """Wall time in integer µs since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        ...


class Ids(Protocol):
    """Ids and randomness, likewise."""

    def uuid(self) -> str:
        """A new UUIDv7 as text: ids made later sort later."""
        ...

    def salt(self) -> bytes:
        """Sixteen unpredictable bytes."""
        ...


class SystemClock:
    """The host's clock."""

    def now(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()


class SystemIds:
    """UUIDv7 and the system's randomness."""

    def uuid(self) -> str:
        return str(uuid7())

    def salt(self) -> bytes:
        return secrets.token_bytes(16)


@dataclass(frozen=True)
class WorkGuard:
    """The right to append an outcome: the work row with this token must still be there."""

    stage: str
    run: int
    token: str


@dataclass(frozen=True)
class Append:
    """An append as a value: guards, event rows, the session row's columns, row operations. Stores compile it.

    `expected` is the version the decision was made on, 0 for a session that is not there yet; a `command_id`
    must be new to the session. Event rows have every column of `events` but seq, era and feed_xid, which the
    store gives.
    """

    session_id: str
    expected: int
    events: tuple[Row, ...]
    session: Row
    ops: tuple[Op, ...]
    guard: WorkGuard | None = None
    command_id: str | None = None


Wake = Callable[[str | None, int], None]
"""Called with a session and the version it has reached, or with None: something happened, look for yourself."""


Header = tuple[str, int, str]
"""An event without its body: session id, version, type."""


@dataclass(frozen=True)
class Head:
    """A place before everything that is yet to come to the feed.

    `reached`: sessions of which events past `position` are committed already, and the version they have reached.
    """

    position: Position
    reached: Mapping[str, int]

    def covers(self, event: RecordedEvent) -> bool:
        """Whether the event was there when the head was taken."""
        return event.position <= self.position or event.version <= self.reached.get(event.session_id, 0)


@dataclass(frozen=True)
class FeedStall:
    """Committed events that the feed holds back, and the oldest open transaction of the cluster, which is why.

    events: how many; oldest: when the first of them was recorded (µs); seconds: how long that transaction is
    open. pid None: a prepared transaction, or one that has ended since.
    """

    events: int
    oldest: int
    pid: int | None
    database: str | None
    user: str | None
    application: str | None
    state: str | None
    seconds: float | None


@dataclass(frozen=True)
class Claimed:
    """A work row in a worker's hands until `until` (µs), or until another claim takes a new token."""

    session_id: str
    stage: str
    run: int
    definition: str
    definition_version: int
    token: str
    until: int
    attempts: int


class EventStore(Protocol):
    """The log. Every method is safe to call from many threads."""

    def load(self, session_id: str | int) -> Row | None:
        """The session's row (the snapshot), by its text or integer id; None where there is none."""
        ...

    def append(self, append: Append) -> bool:
        """Append all or nothing: True when it is durable, False when `expected` is not the version any more, or
        the command id is known.

        LeaseLost where the guard's row or token is gone. Never half, never an aborted host transaction.
        """
        ...

    def events(self, session_id: str, after: int = 0, limit: int | None = None) -> list[Row]:
        """The event rows of one session with version > after, oldest first."""
        ...

    def command(self, session_id: str, command_id: str) -> str | None:
        """The fingerprint of the command of this id in this session, where it appended something."""
        ...

    def feed(self, after: Position | None, limit: int | None) -> list[RecordedEvent]:
        """Events of all sessions after a position up to the safe head, in order per session; never blocks."""
        ...

    def headers(self, after: Position | None, limit: int) -> tuple[list[Header], Position | None]:
        """A page of the feed without the bodies, and where it ends (None: there is nothing after `after`)."""
        ...

    def head(self) -> Head:
        """Where "from now on" begins."""
        ...

    def feed_stall(self) -> FeedStall | None:
        """What the feed holds back, and why; None where it holds back nothing."""
        ...

    def draw_id(self) -> int:
        """A new integer session id, larger than those before."""
        ...


class WorkQueue(Protocol):
    """The work that is due. Cost by the rows in it, never by history."""

    def claim(
        self,
        now: int,
        owner: str,
        token: str,
        until: int,
        definitions: Sequence[tuple[str, int]],
        exclude: Collection[str] = (),
    ) -> Claimed | None:
        """Take the longest-due row of a known definition that nobody holds; None where there is none.

        exclude: session ids that this worker leaves to others."""
        ...

    def renew(self, tokens: Sequence[str], until: int) -> int:
        """Extend the leases of these tokens; how many were still held. A locked row holds up no other."""
        ...

    def give_back(self, token: str) -> None:
        """Make a claimed row due again at once; not counted as an attempt."""
        ...

    def next_due(self, definitions: Sequence[tuple[str, int]], exclude: Collection[str] = ()) -> int | None:
        """When (µs) the next row can be claimed at the earliest; None where there is none."""
        ...


class Views(Protocol):
    """The read models."""

    def known_segments(self, session_id: str, segment_ids: Sequence[str]) -> list[Row]:
        """Those of these segments that are recorded."""
        ...

    def rows(self, table: str, session_id: str) -> list[Row]:
        """All rows of one read model for one session, in the order of its key (segments, tasks: as recorded)."""
        ...

    def sessions(
        self, state: str | None, tenant: str | None, stuck_before: int | None, before: int | None, limit: int
    ) -> list[Row]:
        """Session rows, newest first; stuck_before: only unfinished ones untouched since then (µs)."""
        ...

    def correct(self, session_id: str, expected: int, ops: Sequence[Op]) -> bool:
        """Apply row operations under the session's row lock while its version is `expected` (rebuild)."""
        ...


class Store(EventStore, WorkQueue, Views, Protocol):
    """All three roles over one database. `inside`: whether this is the view of a host's transaction."""

    inside: bool

    def using(self, connection: Any) -> Store:
        """The same store inside a transaction of the host's."""
        ...

    def on_commit(self, callback: Wake) -> None:
        """Call back after each append of this process that is committed; after `listen`, of other processes too."""
        ...

    def listen(self) -> None:
        """Hear of other processes' commits, where the database can tell: a hint, whoever waits polls as well."""
        ...

    def close(self) -> None:
        """Let go of connections; calling it twice is fine."""
        ...


class Transport(Protocol):
    """Takes committed events somewhere. `publish` is called in order per session, by one thread.

    An exception from it is logged and stops nobody; deliver again by asking the log from the last version.
    """

    def publish(self, event: RecordedEvent) -> None: ...
