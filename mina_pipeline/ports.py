"""What the library needs from outside: small protocols, by role. Adapters and stores implement them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .events import Position, RecordedEvent
from .projections import Op, Row
from .work_shapes import BreakerState, Claimed, Lease, Wanted, WorkerSeen

if TYPE_CHECKING:
    from .llm.budget import Budget, Limits


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


@dataclass(frozen=True)
class WorkGuard:
    """The right to append an outcome: the work row with this token must still be there."""

    stage: str
    run: int
    token: str
    kind: str = "stage"


@dataclass(frozen=True)
class Append:
    """An append as a value: guards, event rows, the session row's columns, row operations. Stores compile it.

    `expected` is the version the decision was made on, 0 for a session that is not there yet; a `command_id`
    must be new to the session. Event rows have every column of `events` but seq, era and feed_xid, which the
    store gives. `at` is when it was made, by the host's clock (µs): a database with a clock of its own keeps the
    times in `work` relative to it.
    """

    session_id: str
    expected: int
    events: tuple[Row, ...]
    session: Row
    ops: tuple[Op, ...]
    at: int
    guard: WorkGuard | None = None
    command_id: str | None = None

    @property
    def brings_work(self) -> bool:
        """Whether some of it is due, and nobody's yet."""
        return any(
            "due_at" in row and row["due_at"] <= self.at and row["owner"] is None
            for op in self.ops
            if op.table == "work" and op.kind != "delete"
            for row in op.rows
        )


Wake = Callable[[str | None, int, bool], None]
"""Called with a session, the version it has reached, and whether there may be work to claim that is due; with None:
something happened, look for yourself."""


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

    def versions(self, session_ids: Sequence[str]) -> dict[str, int]:
        """The version of each of these sessions that is there, in one read."""
        ...

    def headers_after(self, versions: Mapping[str, int]) -> list[Header]:
        """The headers of each of these sessions past the version given, in order per session, in one read."""
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
    """The work that is due. Cost by the rows in it, never by history.

    `now` is the host's clock; a database with a clock of its own compares to that, and gives and takes times
    relative to `now`. Durations are in µs.
    """

    def claim(self, now: int, owner: str, token: str, lease: int, wanted: Wanted) -> Claimed | None:
        """Take the longest-due row that is wanted and that nobody holds, with a new token; None: there is none."""
        ...

    def renew(self, now: int, tokens: Sequence[str], lease: int) -> list[str]:
        """Extend the leases of these tokens; those that were still held. A locked row holds up no other, and counts
        as held."""
        ...

    def give_back(self, token: str) -> None:
        """Make a claimed row due again at once; not counted as an attempt."""
        ...

    def postpone(self, now: int, token: str, delay: int, tried: bool = False) -> bool:
        """Give a claimed row back, due after `delay`; tried: count it in `tries`. Whether it was still held."""
        ...

    def next_due(self, now: int, definitions: Sequence[tuple[str, int]], exclude: Collection[str] = ()) -> int | None:
        """When (host's µs) the next row can be claimed at the earliest; None where there is none."""
        ...

    def oldest_due(
        self,
        now: int,
        definitions: Sequence[tuple[str, int]],
        exclude: Collection[str] = (),
        limited: Collection[str] = (),
        attempts: int = 0,
    ) -> int | None:
        """Since when (host's µs) the longest-due stage that nobody holds has been due; None: there is none.

        exclude: session ids, limited: stages that are not looked at; nor what was claimed less often than `attempts`.
        """
        ...

    def spread(self, now: int, stages: Collection[str], pace: int) -> int:
        """Make the upgrades of these stages due anew, one each `pace`, slowly first: no herd. How many."""
        ...

    def release(self, now: int, session_id: str, kind: str, stage: str) -> bool:
        """Make one row claimable now, whoever held it and whenever it was due; whether it was there."""
        ...

    def work_rows(self, now: int, limit: int | None = None) -> list[Row]:
        """The rows of work with their session's state and tenant, longest due first; times are the host's µs."""
        ...

    def leases(self, now: int) -> list[Lease]:
        """What workers have; where `until` has passed, what was interrupted and waits to be claimed again."""
        ...

    def touch(self, now: int, session_id: str) -> None:
        """A sign of life of a recording session."""
        ...

    def silence(self, now: int, session_id: str) -> int | None:
        """For how long (µs) a session has given none; None where there is no such session."""
        ...


class Fleet(Protocol):
    """What workers of all processes share beside the work: breakers, and who is alive."""

    def breakers(self, now: int) -> list[BreakerState]:
        """All that have ever opened."""
        ...

    def trip_breaker(self, now: int, provider: str, pause: int, reason: str, probe: str | None = None) -> bool:
        """Open it for `pause` µs; whether this call did. Without `probe`: where it is closed; with one: only where that
        probe holds the slot."""
        ...

    def take_probe(self, now: int, provider: str, probe: str, lease: int) -> bool:
        """Take the one slot for a trial call of an open breaker whose retry_at has come; false: another has it."""
        ...

    def close_breaker(self, now: int, provider: str, probe: str) -> bool:
        """Close it, where this probe still holds the slot."""
        ...

    def worker_seen(self, now: int, name: str, started_at: int, details: Mapping[str, Any]) -> None:
        """A sign of life; rows of others that gave none for a day are removed."""
        ...

    def worker_gone(self, name: str) -> None:
        """It ended in order."""
        ...

    def workers_seen(self, now: int) -> list[WorkerSeen]:
        """The processes with workers, longest silent first."""
        ...


class Views(Protocol):
    """The read models."""

    def known_segments(self, session_id: str, segment_ids: Sequence[str]) -> list[Row]:
        """Those of these segments that are recorded."""
        ...

    def rows(self, table: str, session_id: str) -> list[Row]:
        """All rows of one read model for one session, in the order of its key (segments, tasks: as recorded)."""
        ...

    def sessions(self, state: str | None, tenant: str | None, before: int | None, limit: int) -> list[Row]:
        """Session rows, newest first; before: older than this integer id."""
        ...

    def correct(self, now: int, session_id: str, expected: int, ops: Sequence[Op]) -> bool:
        """Apply row operations under the session's row lock while its version is `expected` (rebuild)."""
        ...


class Store(EventStore, WorkQueue, Fleet, Views, Protocol):
    """All roles over one database. `inside`: whether this is the view of a host's transaction."""

    inside: bool

    def using(self, connection: Any) -> Store:
        """The same store inside a transaction of the host's."""
        ...

    def budget(self, limits: Limits, new_key: Callable[[], str]) -> Budget:
        """What is counted by all processes over this database, up to these limits."""
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
    What a transport guarantees to its clients is declared as `guarantees.Guarantees`, and proven by the suite in
    `testing.transports`.
    """

    def publish(self, event: RecordedEvent) -> None: ...
