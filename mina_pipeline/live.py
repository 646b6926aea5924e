"""Live rooms: each event of a session that somebody watches here is read once, encoded once, and taken by all.

A watch is a place in one session's log. What came lately lies in the room; what lies further back is read from the
log. So a client may be as slow as it likes: it holds up nobody, and misses nothing.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, ClassVar, TypeVar

import msgspec

from .codec import decode, recorded
from .errors import UpgradeNeeded
from .events import DashboardRefreshed, Position, RecordedEvent, StageReady
from .inputs import identifier
from .log import logger
from .looping import Loop
from .ports import Clock, Store
from .settings import LARGEST
from .views import refined_text
from .wire import Payload, wire_view

PAGE = 200  # events of one read
KEPT = 256  # frames that a room keeps,
WEIGHT = 2_000_000  # or so many characters of stored text, whichever is less
GLIMPSE = 8  # versions that one append may bring: how far to look back in a session never seen before
REMEMBERED = 10_000  # sessions of which the last version that dashboards were told of is known

Wake = Callable[[], None]
ENCODER = msgspec.json.Encoder()


class Frame:
    """One event as clients get it: its wire name, its payload, and what was encoded of it, once for all of them.

    weight: how long its stored text is, in characters.
    """

    __slots__ = ("cache", "name", "payload", "version", "weight")

    def __init__(self, version: int, name: str, payload: Payload, weight: int = 0) -> None:
        self.version = version
        self.name = name
        self.payload = payload
        self.weight = weight
        self.cache: dict[Hashable, Any] = {}

    @property
    def json(self) -> bytes:
        """The payload as JSON text in UTF-8."""
        found: bytes = self.encoded("json", lambda frame: ENCODER.encode(frame.payload))
        return found

    def encoded(self, form: Hashable, encode: Callable[[Frame], Any]) -> Any:
        """The frame in a transport's form, made at the first call; two threads may both make it, and it is the same."""
        try:
            return self.cache[form]
        except KeyError:
            return self.cache.setdefault(form, encode(self))


class Room:
    """What is live of one session, or of one tenant's dashboard: the last frames, without a gap, up to `reached`."""

    def __init__(self, key: Any) -> None:
        self.key = key
        self.reached = 0
        self.opened = False  # whether `reached` is known
        self.frames: tuple[Frame, ...] = ()
        self.watches: set[Watch] = set()
        self.wakes: dict[Wake, int] = {}
        self.lock = threading.Lock()  # held while frames are read and added

    def add(self, frames: Sequence[Frame]) -> None:
        """Frames that follow on `reached`."""
        if not frames:
            return
        kept = [*self.frames, *frames][-KEPT:]
        weight = sum(frame.weight for frame in kept)
        while weight > WEIGHT and len(kept) > 1:
            weight -= kept.pop(0).weight
        self.frames, self.reached = tuple(kept), frames[-1].version

    def after(self, version: int) -> tuple[Frame, ...] | None:
        """The frames past a version; None where some of them are not here any more."""
        frames = self.frames
        if not frames or version >= frames[-1].version:
            return None if version < self.reached and not frames else ()
        first = frames[0].version
        return None if version + 1 < first else frames[version + 1 - first :]

    def ring(self) -> None:
        for wake in list(self.wakes):
            try:
                wake()
            except Exception as error:  # a client's loop may be closed already
                logger(__name__).warning("a watch could not be woken", error_type=type(error).__name__)


class Watch:
    """A client's place: `version` is the last that it has taken. A context manager; `close()` ends it.

    reset: it asked to go on after a version that the session does not have, and goes on after `version` instead.
    closed: nothing more will come, since the pipeline was closed.
    """

    def __init__(self, live: Live, wake: Wake | None) -> None:
        self.live = live
        self.version = 0
        self.reset = False
        self.closed = False
        self.bell = threading.Event()
        self.wake: Wake = self.bell.set if wake is None else wake
        self.room: Room

    def ready(self) -> tuple[Frame, ...] | None:
        """What has come since, without waiting for anything; None where the log must be asked: `read`."""
        frames = self.room.after(self.version)
        if frames:
            self.version = frames[-1].version
        return frames

    def read(self, limit: int = PAGE) -> tuple[Frame, ...]:
        """The next from the log; it waits for the database. A dashboard gets one frame named `reset` instead."""
        frames = self.live.read(self.room, self.version, limit)
        if frames:
            self.version = frames[-1].version
        return frames

    def take(self) -> tuple[Frame, ...]:
        """The next frames, from the room or from the log; empty where there are none yet."""
        frames = self.ready()
        return self.read() if frames is None else frames

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until there may be more (a watch without a `wake` of its own); false when the time is over."""
        rung = self.bell.wait(timeout)
        self.bell.clear()
        return rung

    def close(self) -> None:
        self.live.leave(self)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Live(Loop):
    """The rooms of one process, and the thread that fills them; it starts with the first watch."""

    name: ClassVar[str] = "mina-live"

    def __init__(self, store: Store, clock: Clock, poll: float) -> None:
        self.store = store
        super().__init__(clock, poll)

    def reset(self) -> None:
        super().reset()
        # In a forked child the watches are the parent's clients'.
        self.rooms: dict[Any, Room] = {}
        self.boards: dict[Any, Room] = {}
        self.guard = threading.Lock()  # held while watches come and go
        self.looked = float("-inf")
        self.cursor: Position | None = None
        self.glimpsed: OrderedDict[str, int] = OrderedDict()
        self.told: OrderedDict[tuple[str, int], None] = OrderedDict()

    def wanted(self) -> bool:
        return bool(self.rooms or self.boards)

    def listens_for(self, session_id: str) -> bool:
        return session_id in self.rooms or bool(self.boards)

    def wake(self, session_id: str | None, version: int) -> None:
        if session_id is None:
            self.looked = float("-inf")
        super().wake(session_id, version)

    # --- coming and going

    def watch(self, session_id: str, after: int | None = None, wake: Wake | None = None) -> Watch:
        """A session's events after a version (None: from now on); of one that is not there yet, once it is.

        wake is called from a thread of ours when there may be more, and must not wait for anything; clients that
        share one are woken by one call.
        """
        watch = self.seat(self.rooms, identifier("session_id", session_id), wake)  # first: what comes now is not missed
        try:
            room = watch.room
            with room.lock:
                if not room.opened:
                    self.open(room, after)
            now = room.reached
            if after is not None and after > now:
                now = max(now, self.store.versions([session_id]).get(session_id, 0))
                watch.reset = after > now
            watch.version = now if after is None or watch.reset else max(after, 0)
            self.begin()
        except BaseException:
            watch.close()
            raise
        return watch

    def watch_dashboard(self, tenant: str | None, wake: Wake | None = None) -> Watch:
        """The dashboard_refresh hints of a tenant's sessions, from now on. `version` counts them in this process."""
        watch = self.seat(self.boards, tenant, wake)
        try:
            self.cursor = self.cursor or self.store.head().position
            watch.version = watch.room.reached
            self.begin()
        except BaseException:
            watch.close()
            raise
        return watch

    def begin(self) -> None:
        self.store.listen()
        with self.changed:
            self.run()

    def seat(self, home: dict[Any, Room], key: Any, wake: Wake | None) -> Watch:
        watch = Watch(self, wake)
        with self.guard:
            watch.room = room = home.setdefault(key, Room(key))
            room.watches.add(watch)
            room.wakes[watch.wake] = room.wakes.get(watch.wake, 0) + 1
        return watch

    def leave(self, watch: Watch) -> None:
        room = watch.room
        with self.guard:
            if watch not in room.watches:
                return
            room.watches.discard(watch)
            room.wakes[watch.wake] -= 1
            if not room.wakes[watch.wake]:
                del room.wakes[watch.wake]
            if not room.watches:
                for home in (self.rooms, self.boards):
                    if home.get(room.key) is room:
                        del home[room.key]

    def open(self, room: Room, after: int | None) -> None:
        """A room begins at the session's version now, with what its first watch will ask for."""
        row = self.store.load(room.key)
        reached = row["version"] if row else 0
        if after is not None and after < reached:
            room.add(self.frames(room.key, max(after, reached - KEPT), KEPT))
        room.reached = max(room.reached, reached)
        room.opened = True

    # --- what the thread does

    def step(self, now: int) -> int:
        """Fill the rooms of which more is known; at each poll, look at all of them."""
        woken = self.read_woken(self.fill)
        look = self.clock.monotonic() - self.looked >= self.poll
        if look:
            self.looked = self.clock.monotonic()
            self.look()
        if self.boards:
            self.glimpse(woken)
            if look:
                self.follow()
        else:
            self.cursor = None
        return self.next_look(now)

    def fill(self, session_id: str) -> int:
        """Read what a room has not; the version that it has reached then."""
        room = self.rooms.get(session_id)
        if room is None:
            return LARGEST
        with room.lock:
            if not room.opened:
                return 0
            frames = self.frames(session_id, room.reached, PAGE)
            while frames:
                room.add(frames)
                room.ring()
                frames = self.frames(session_id, room.reached, PAGE) if len(frames) == PAGE else ()
            return room.reached

    def look(self) -> None:
        """What nobody told of: one read for all rooms."""
        opened = [room for room in list(self.rooms.values()) if room.opened]
        versions = self.store.versions([room.key for room in opened]) if opened else {}
        for room in opened:
            if versions.get(room.key, 0) > room.reached:
                self.fill(room.key)

    def read(self, room: Room, version: int, limit: int) -> tuple[Frame, ...]:
        """For one watch that is behind what its room keeps."""
        if self.boards.get(room.key) is room:
            return (Frame(room.reached, "reset", {}),)
        return self.frames(room.key, version, limit)

    def frames(self, session_id: str, after: int, limit: int) -> tuple[Frame, ...]:
        return tuple(self.frame(recorded(row)) for row in self.store.events(session_id, after, limit))

    def frame(self, event: RecordedEvent) -> Frame:
        name, payload = wire_view(event, self.transcript(event))
        return Frame(event.version, name, payload, len(event.data_text) + len(event.content_text or ""))

    def transcript(self, event: RecordedEvent) -> str | None:
        """The whole refined text for a `refinement_ready`, of which the event holds only the changes."""
        if not event.type.startswith("refinement_"):
            return None
        try:
            ready = decode(event)
        except (UpgradeNeeded, ValueError):
            return None
        if not isinstance(ready, StageReady) or not isinstance(ready.artefact, dict):
            return None
        changes = {change["segment_id"]: change["text"] for change in ready.artefact.get("changes") or ()}
        rows = self.store.rows("segments", event.session_id)
        return refined_text(
            {**row, "text": changes.get(row["segment_id"], row["text"])}
            for row in rows
            if row["version"] < event.version
        )

    # --- dashboards

    def glimpse(self, woken: dict[str, int]) -> None:
        """The headers of sessions that somebody told of, whoever watches them: one read for all."""
        if not woken:
            return
        seen = self.glimpsed
        after = {one: seen.get(one, max(version - GLIMPSE, 0)) for one, version in woken.items()}
        for session_id, version, kind in self.store.headers_after(after):
            remember(seen, session_id, version)
            self.hint(session_id, version, kind)

    def follow(self) -> None:
        """The headers of the feed, for what nobody told of. An open transaction may hold it back, but loses nothing."""
        if self.cursor is None:
            self.cursor = self.store.head().position
        while True:
            headers, cursor = self.store.headers(self.cursor, PAGE)
            for header in headers:
                self.hint(*header)
            self.cursor = cursor or self.cursor
            if len(headers) < PAGE:
                return

    def hint(self, session_id: str, version: int, kind: str) -> None:
        """Tell the dashboards of a session's tenant, once, that their list has changed."""
        if kind != DashboardRefreshed.kind or (session_id, version) in self.told:
            return
        row = self.store.load(session_id)
        board = self.boards.get(row["tenant"]) if row else None
        if board is not None:
            _, payload = wire_view(recorded(self.store.events(session_id, version - 1, 1)[0]))
            with board.lock:
                board.add((Frame(board.reached + 1, kind, payload, 1_000),))
            board.ring()
        remember(self.told, (session_id, version), None)

    def close(self) -> None:
        super().close()
        for room in [*self.rooms.values(), *self.boards.values()]:
            for watch in list(room.watches):
                watch.closed = True
            room.ring()


T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def remember(of: OrderedDict[K, T], key: K, value: T) -> None:
    of[key] = value
    of.move_to_end(key)
    while len(of) > REMEMBERED:
        of.popitem(last=False)
