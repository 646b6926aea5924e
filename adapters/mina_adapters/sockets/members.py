"""Who hears what: sockets, the rooms of sessions and of dashboards, and how one comes level with its room.

Locks are taken in this order: a member's, a room's. A client's guards its own tables only, and is held for no other.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from mina_pipeline import Pipeline
from mina_pipeline.frames import Frame
from mina_pipeline.live import Watch

from ..web.rates import Bucket
from ..web.replies import Principal
from ..web.settings import WebSettings
from .outlet import Outlet

Frames = tuple[Frame, ...]
RESET = "reset"


class Client:
    """A socket in one namespace, and whom the host said that it is."""

    def __init__(
        self, namespace: str, sid: str, socket: Any, principal: Principal, bucket: Bucket, last: Bucket
    ) -> None:
        self.namespace = namespace
        self.sid = sid
        self.socket = socket  # engineio's: several namespaces share one
        self.principal = principal
        self.bucket = bucket  # of its messages,
        self.last = last  # and of the refusals before it is cut
        self.lock = threading.Lock()
        self.gone = False
        self.members: dict[str, Member] = {}
        self.board: Board | None = None
        # The sessions that it started and records, the last of them, and the one that it ended last; how many starts
        # are under way, and how many messages wait for one.
        self.recording: dict[str, Recording] = {}
        self.latest: str | None = None
        self.ended: str | None = None
        self.starting = self.waiting = 0
        self.changed = threading.Condition()


class Recording:
    """A session that a connected socket started: a sign of life is given for it."""

    def __init__(self, client: Client, session_id: str) -> None:
        self.client = client
        self.session_id = session_id


class Room(ABC):
    """What several sockets of a namespace hear: one place in the log, and one encoding for all of them."""

    def __init__(
        self, namespace: str, key: Any, outlet: Outlet, settings: WebSettings, wake: Callable[[Room], None]
    ) -> None:
        self.namespace = namespace
        self.key = key
        self.outlet = outlet
        self.settings = settings
        self.woken = wake
        self.lock = threading.Lock()  # held while frames go out, and while somebody comes level
        self.watch: Watch | None = None
        self.level: dict[Client, Any] = {}  # to their engine sockets
        self.users = 0

    def wake(self) -> None:
        """From the live thread."""
        self.woken(self)

    @abstractmethod
    def open(self, pipeline: Pipeline) -> None:
        """Take a place in the log, unless there is one."""

    @abstractmethod
    def push(self) -> tuple[Frames, list[Client]]:
        """The next frames, to all who are level, under the lock; and those who cannot take them, and left."""

    def take(self) -> Frames:
        return () if self.watch is None else self.watch.take()

    def packets(self, frames: Frames) -> list[Any]:
        return self.outlet.packets(frames, self.namespace, self.settings)

    def without(self, stuck: list[Any]) -> list[Client]:
        """Leave out those whose engine sockets are full."""
        full = [client for client, socket in self.level.items() if socket in stuck] if stuck else []
        for client in full:
            del self.level[client]
        return full

    def send(self, client: Client, frames: Frames) -> bool:
        """To one socket alone; false where its queue is full."""
        return not self.outlet.put([client.socket], self.packets(frames))

    def shut(self) -> None:
        with self.lock:
            watch, self.watch = self.watch, None
        if watch is not None:
            watch.close()


class Channel(Room):
    """A session's room. Who is in `level` has been sent everything up to `version`; `following` are on their way."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.following: set[Member] = set()

    def open(self, pipeline: Pipeline) -> None:
        with self.lock:
            if self.watch is None:
                self.watch = pipeline.watch(self.key, None, self.wake)

    @property
    def version(self) -> int:
        return 0 if self.watch is None else self.watch.version

    def push(self) -> tuple[Frames, list[Client]]:
        frames = self.take()
        if not frames or not self.level:
            return frames, []
        return frames, self.without(self.outlet.put(list(self.level.values()), self.packets(frames)))

    def packets(self, frames: Frames) -> list[Any]:
        """A reset says of which session it is: a socket may hear several."""
        return super().packets(tuple(self.named(frame) if frame.name == RESET else frame for frame in frames))

    def named(self, frame: Frame) -> Frame:
        return Frame(frame.version, RESET, {"session_id": self.key, **frame.payload})

    def admit(self, member: Member, watch: Watch, full: list[Client]) -> float | None:
        """Let a member in if it is level, or can be made so; else in how many seconds to go on. full: who cannot take
        more, and left.

        Atomic with regard to `push`: what it has not been sent before this it is sent after it.
        """
        with self.lock:
            frames = watch.ready()
            if frames is None:
                return 0.0
            if not member.sent(frames):
                full.append(member.client)
                return None
            while self.version < member.version:  # the log was ahead of the room
                frames, stuck = self.push()
                full += stuck
                if not frames:
                    return None  # not read yet: the room is woken then
                if any(frame.name == RESET for frame in frames):
                    return 0.0  # the log has become shorter: its own watch tells it from where to go on
                if not member.sent(tuple(frame for frame in frames if frame.version > member.version)):
                    full.append(member.client)
                    return None
            if self.version > member.version:
                return 0.0
            self.following.discard(member)
            self.level[member.client] = member.client.socket
            member.watch = None
        watch.close()
        return None


class Member:
    """A socket's place in a session's room. watch: while it follows the room; None: it is level with it.

    since: the version after which it has been sent everything; checked: whether its right to read is known.
    """

    def __init__(self, channel: Channel, client: Client, watch: Watch, checked: bool) -> None:
        self.channel = channel
        self.client = client
        self.watch: Watch | None = watch
        self.checked = checked
        self.since = self.version = watch.version
        self.pending: Frames = ()  # taken, but the look at its right to read failed
        self.failures = 0  # of looks at its right to read,
        self.failed = 0.0  # and when the last was
        self.moved = time.monotonic()
        self.left = False
        self.lock = threading.RLock()

    def sent(self, frames: Frames) -> bool:
        """Send it frames, which go on where it is; false where it cannot take them, and must get nothing more."""
        if frames:
            if not self.channel.send(self.client, frames):
                return False
            self.version = frames[-1].version
            self.moved = time.monotonic()
        return True

    def place(self) -> int:
        """The version up to which it has been sent everything."""
        with self.lock, self.channel.lock:
            return self.channel.version if self.watch is None else self.version

    def pause(self, between: float) -> float:
        """Seconds until its right to read may be looked at again, after a failure."""
        return self.failed + between - time.monotonic() if self.failures and not self.checked else 0.0

    def replay(self, watch: Watch) -> bool:
        """Go back to where a watch is, and follow from there; false where it has left."""
        with self.lock:
            if self.left:
                return False
            with self.channel.lock:
                self.channel.level.pop(self.client, None)
                self.channel.following.add(self)
                old, self.watch = self.watch, watch
                self.since = self.version = watch.version
                self.pending = ()
            if old is not None:
                old.close()
            return True

    def leave(self) -> bool:
        """Hear nothing more, for good; false where it has left before."""
        with self.lock:
            if self.left:
                return False
            self.left = True
            with self.channel.lock:
                self.channel.level.pop(self.client, None)
                self.channel.following.discard(self)
                watch, self.watch = self.watch, None
        if watch is not None:
            watch.close()
        return True


class Board(Room):
    """The dashboard_refresh hints of a tenant's sessions. A socket that hears a session's room hears it there."""

    def open(self, pipeline: Pipeline) -> None:
        with self.lock:
            if self.watch is None:
                self.watch = pipeline.watch_dashboard(self.key, self.wake)

    def push(self) -> tuple[Frames, list[Client]]:
        frames = self.take()
        stuck: list[Any] = []
        for frame in frames:
            targets = [socket for client, socket in self.level.items() if not hears(client, frame)]
            stuck += self.outlet.put(targets, self.outlet.hint(frame, self.namespace, self.settings))
        return frames, self.without(stuck)


def hears(client: Client, frame: Frame) -> bool:
    """Whether a hint reaches the socket by its session's room."""
    member = client.members.get(frame.payload.get("session_id", ""))
    return member is not None and member.checked and member.since < frame.payload["version"]
