"""Live rooms: each event of a session that somebody watches here is read once, encoded once, and taken by all.

A watch is a place in one session's log. What came lately lies in the room; what lies further back is read from the
log. So a client may be as slow as it likes: it holds up nobody, and misses nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from .events import SessionErased
from .frames import PAGE, Frame, FrameLog, Pace, Page, Pages
from .guarantees import Guarantees
from .hints import Hints
from .inputs import identifier
from .log import logger
from .looping import Loop
from .ports import Clock, Store
from .settings import LARGEST
from .wire import Payload

KEPT = 256  # frames that a room keeps,
WEIGHT = 2_000_000  # or so many characters of stored text, whichever is less
ERASED = SessionErased.kind

Wake = Callable[[], None]


class Room:
    """What is live of one session, or of one tenant's dashboard: the last frames, without a gap, up to `reached`.

    pages: what clients that are further back lately read. floors: each time that the log was found to be shorter than
    it was (a database restored from a backup), how far it went then.
    """

    def __init__(self, key: Any, board: bool, log: FrameLog) -> None:
        self.key = key
        self.board = board
        self.reached = 0
        self.opened = False  # whether `reached` is known
        self.frames: Page = ()
        self.pace = Pace()
        self.pages = Pages(lambda version: log.page(key, version, pace=self.pace)[0])
        self.floors: list[int] = []
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
        if any(frame.name == ERASED for frame in frames):  # what it took from the log is not told from memory, either
            at = max((n for n, frame in enumerate(kept) if frame.name == ERASED), default=0)
            self.frames = tuple(kept[at:])
            self.pages.clear()

    def rewind(self, seen: int, version: int) -> None:
        """The log goes only to this version, though it had reached the one seen: clients past it are told so."""
        with self.lock:
            if self.reached != seen:
                return  # another saw it first
            self.frames, self.reached = (), version
            self.pages.clear()
            self.floors.append(version)
        self.ring()

    def after(self, version: int) -> Page | None:
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

    reset: it asked to go on after a version that the session does not have, and goes on after `version` instead. Where
    the session loses versions that were taken already, the next frame is named `reset`, with {"version"} after which it
    goes on.
    closed: nothing more will come, since the pipeline was closed.
    """

    guarantees: ClassVar[Guarantees] = Guarantees()

    def __init__(self, live: Live, wake: Wake | None) -> None:
        self.live = live
        self.version = 0
        self.reset = False
        self.closed = False
        self.bell = threading.Event()
        self.wake: Wake = self.bell.set if wake is None else wake
        self.room: Room
        self.era = 0  # of the room's floors, those that this watch knows

    def ready(self) -> Page | None:
        """What has come since, without waiting for anything; None where the log must be asked: `read`."""
        if self.era != len(self.room.floors) and self.turn_back():
            return self.told_so()
        frames = self.room.after(self.version)
        if frames:
            self.version = frames[-1].version
        return frames

    def read(self) -> Page:
        """The next from the log; it waits for the database. A dashboard gets one frame named `reset` instead."""
        if self.era != len(self.room.floors) and self.turn_back():
            return self.told_so()
        frames = self.live.read(self.room, self.version)
        if frames:
            self.version = frames[-1].version
        return frames

    def turn_back(self) -> bool:
        """Go back to where the log ended when it was found to be shorter; whether that is behind this watch."""
        floors = self.room.floors[self.era :]
        self.era += len(floors)
        back = min(floors) < self.version
        self.version = min(self.version, *floors)
        return back

    def told_so(self) -> Page:
        return (Frame(self.version, "reset", {"version": self.version}),)

    def take(self) -> Page:
        """The next frames, from the room or from the log; empty where there are none yet."""
        frames = self.ready()
        return self.read() if frames is None else frames

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until there may be more (a watch without a `wake` of its own); false when the time is over.

        Take until there is nothing more, then wait. It returns at once where nothing more will come.
        """
        if self.closed or self.room.after(self.version):
            return True
        if not self.bell.wait(timeout):
            return False  # what rings now is for the next call
        self.bell.clear()
        return True

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
        self.log = FrameLog(store)
        super().__init__(clock, poll)

    def reset(self) -> None:
        super().reset()
        # In a forked child the watches are the parent's clients'.
        self.rooms: dict[Any, Room] = {}
        self.boards: dict[Any, Room] = {}
        self.guard = threading.Lock()  # held while watches come and go
        self.hinting = threading.Lock()  # held while the first dashboard finds where "from now on" begins
        self.hints: Hints | None = None
        self.looked = float("-inf")

    def wanted(self) -> bool:
        return bool(self.rooms or self.boards)

    def listens_for(self, session_id: str) -> bool:
        return session_id in self.rooms or bool(self.boards)

    def wake(self, session_id: str | None, version: int) -> None:
        if session_id is None:
            with self.changed:
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
                new = not room.opened
                if new:
                    self.open(room, after)
            now = room.reached
            if not new and (after is None or after >= now):  # the room may be behind, since others write, or ahead
                seen, now = now, self.store.versions([session_id]).get(session_id, 0)
                if now < seen:
                    room.rewind(seen, now)
            watch.reset = after is not None and after > now
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
            with self.hinting:
                if self.hints is None:
                    self.hints = Hints(self.store, self.store.head(), self.hint)
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
            watch.room = room = home.setdefault(key, Room(key, home is self.boards, self.log))
            watch.era = len(room.floors)
            room.watches.add(watch)
            room.wakes[watch.wake] = room.wakes.get(watch.wake, 0) + 1
        if self.stopped:  # `close` tells those that were seated before it
            watch.closed = True
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
            home = self.boards if room.board else self.rooms
            if not room.watches and home.get(room.key) is room:
                del home[room.key]
                if not self.boards:
                    self.hints = None  # the next dashboard begins at its own time

    def open(self, room: Room, after: int | None) -> None:
        """A room begins at the session's version now, with what its first watch will ask for."""
        row = self.store.load(room.key)
        reached = row["version"] if row else 0
        if after is not None and after < reached:
            page = room.pages.after(max(after, reached - PAGE))
            if page and page[-1].version >= reached:  # else it weighs too much: the rest is read page by page
                room.add(page)
        room.reached = max(room.reached, reached)
        room.opened = True

    # --- what the thread does

    def step(self, now: int) -> int:
        """Fill the rooms of which more is known; at each poll, look at all of them."""
        woken, hints = self.take_woken(), self.hints
        if hints is not None:
            hints.hear(woken)
        self.read_hoped(self.fill)
        with self.changed:
            look = self.clock.monotonic() - self.looked >= self.poll
            if look:
                self.looked = self.clock.monotonic()
        if look:
            self.look()
        if hints is None:
            return self.next_look(now)
        hints.glimpse()
        if look:
            hints.follow()
        return self.next_look(now, soon=bool(hints.hoped))

    def fill(self, session_id: str) -> int:
        """Read what a room has not; the version that it has reached then."""
        room = self.rooms.get(session_id)
        if room is None:
            return LARGEST
        if not room.opened:  # its first watch reads the log just now; that may take long, and others wait for us
            return 0
        with room.lock:
            last = False
            while not last:
                frames, last = self.log.page(session_id, room.reached, pace=room.pace)
                if frames:
                    room.add(frames)
                    room.ring()
            return room.reached

    def look(self) -> None:
        """What nobody told of: one read for all rooms."""
        opened = {room: room.reached for room in list(self.rooms.values()) if room.opened}
        versions = self.store.versions([room.key for room in opened]) if opened else {}
        for room, seen in opened.items():
            version = versions.get(room.key, 0)
            if version < seen:
                room.rewind(seen, version)
            elif version > room.reached:
                self.fill(room.key)

    def read(self, room: Room, version: int) -> Page:
        """For one watch that is behind what its room keeps."""
        if room.board:
            return (Frame(room.reached, "reset", {}),)
        return room.pages.after(version)

    def hint(self, tenant: str | None, name: str, payload: Payload) -> None:
        """Tell a tenant's dashboards that their list has changed."""
        board = self.boards.get(tenant)
        if board is not None:
            with board.lock:
                board.add((Frame(board.reached + 1, name, payload, 1_000),))
            board.ring()

    def close(self) -> None:
        super().close()
        with self.guard:
            rooms = [*self.rooms.values(), *self.boards.values()]
        for room in rooms:
            for watch in list(room.watches):
                watch.closed = True
            room.ring()
