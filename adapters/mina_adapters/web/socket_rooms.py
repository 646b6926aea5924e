"""Membership and emission of Socket.IO: every version reaches a session's room, in order, once to each socket.

Two threads, which are there while there is something to do: one takes what is live to all who are level with their
room, the other brings those level who are behind. So neither a long log nor a slow client holds up what is live. A
third gives signs of life for the sessions that connected sockets record.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, TypeVar

from mina_pipeline import SessionNotFound

from .doors import Doors
from .errors import WebError, error_reply, refusal
from .socket_duty import Duty
from .socket_members import Board, Channel, Client, Member, Recording, Room
from .socket_outlet import Outlet

SLICE = 250  # packets in a socket's queue over which one that is behind gets nothing more for now,
PATIENCE = 0.05  # and after how many seconds it is looked at again
SWEEP = 15.0  # s between looks for sockets of which nobody said that they are gone
TOUCH = 60.0  # s between signs of life, or a quarter of the recording grace

TOO_SLOW = {
    "message": "Too much is waiting for you: connect again, and join with your version.",
    "error_type": "TooSlow",
}


R = TypeVar("R", bound=Room)


class Joined(NamedTuple):
    """version: up to which the socket has been sent everything, or has it; reset: it asked for an unknown one."""

    version: int
    reset: bool


class Rooms:
    """The rooms of one Socket.IO server. within: a context for the host's `authorize` when our threads ask it."""

    def __init__(self, doors: Doors, outlet: Outlet, within: Callable[[], AbstractContextManager[Any]]) -> None:
        self.doors = doors
        self.pipeline = doors.pipeline
        self.settings = doors.settings
        self.outlet = outlet
        self.within = within
        self.touch_every = min(TOUCH, self.pipeline.settings.recording_grace / 4)
        self.lock = threading.Lock()  # guards the tables
        self.clients: dict[tuple[str, str], Client] = {}
        self.open: dict[tuple[type[Room], str, Any], Room] = {}
        self.pump: Duty[Room] = Duty("mina-socket-pump", self.push, self.over)
        self.guide: Duty[Member] = Duty("mina-socket-guide", self.serve, self.over)
        self.care: Duty[Recording | Rooms] = Duty("mina-socket-care", self.attend, self.over)

    def over(self) -> bool:
        return self.pipeline.live.stopped

    # --- coming and going

    def arrive(self, client: Client) -> None:
        """A socket is connected; TooManyWatches where its principal has too many."""
        self.doors.watches.acquire(client.principal)
        with self.lock:
            self.clients[client.namespace, client.sid] = client
        self.care.mark(self)

    def depart(self, client: Client) -> None:
        """A socket is gone. Nothing is finalized: the recording grace may do that."""
        with client.lock:
            if client.gone:
                return
            client.gone = True
            members = list(client.members)
        with self.lock:
            self.clients.pop((client.namespace, client.sid), None)
        self.doors.watches.release(client.principal)
        for session_id in members:
            self.leave(client, session_id)
        if (board := client.board) is not None:
            with board.lock:
                board.level.pop(client, None)
            self.release(board)

    def hear_dashboard(self, client: Client) -> None:
        """Let a socket hear the hints of its tenant's sessions, from now on."""
        client.board = board = self.hold(Board, client.namespace, client.principal.tenant)
        board.open(self.pipeline)
        with board.lock:
            board.level[client] = client.socket

    def join(self, client: Client, session_id: str, after: int | None, checked: bool) -> Joined:
        """Let a socket hear a session's events after a version, and then what is live. None: from now on.

        checked: whether it may read the session; else that is asked once the session is there. Joining again changes
        nothing, unless what is asked for begins before the place where this socket began: that is sent again.
        """
        channel = self.hold(Channel, client.namespace, session_id)
        try:
            channel.open(self.pipeline)
            watch = self.pipeline.watch(session_id, after, channel.wake)  # subscribe first, then read
        except BaseException:
            self.release(channel)
            raise
        member, joined = Member(channel, client, watch, checked), Joined(watch.version, watch.reset)
        with client.lock:
            known = client.members.get(session_id)
            too_many = len(client.members) >= self.settings.max_joins
            if known is None and not too_many and not client.gone:
                client.members[session_id] = member
        if client.members.get(session_id) is member:
            with channel.lock:
                channel.following.add(member)
            if checked:
                self.outlet.enter(client.sid, client.namespace, session_id)
            self.guide.mark(member)
            if client.gone:
                self.leave(client, session_id)
            return joined
        try:
            if known is None:
                raise refusal("TooManyWatches", retry=5, limit=self.settings.max_joins)
            if after is not None and not watch.reset and after < known.since:
                known.replay(watch)
                self.guide.mark(known)
                return joined
            return Joined(known.place(), watch.reset)
        finally:
            if known is None or known.watch is not watch:
                watch.close()
            self.release(channel)

    def leave(self, client: Client, session_id: str) -> None:
        with client.lock:
            member = client.members.pop(session_id, None)
        if member is None:
            return
        channel = member.channel
        with member.lock, channel.lock:
            channel.level.pop(client, None)
            channel.following.discard(member)
            watch, member.watch = member.watch, None
        if watch is not None:
            watch.close()
        self.outlet.leave(client.sid, client.namespace, session_id)
        self.release(channel)

    def hold(self, kind: type[R], namespace: str, key: Any) -> R:
        """A room, made where there is none; each holder releases it."""
        with self.lock:
            room = self.open.get((kind, namespace, key))
            if not isinstance(room, kind):
                room = kind(namespace, key, self.outlet, self.settings, self.pump.mark)
                self.open[kind, namespace, key] = room
            room.users += 1
            return room

    def release(self, room: Room) -> None:
        with self.lock:
            room.users -= 1
            if room.users:
                return
            del self.open[type(room), room.namespace, room.key]
        room.shut()

    def cut(self, *clients: Client) -> None:
        """End sockets that cannot take what is sent: they come back, and resume by version."""
        for client in clients:
            self.outlet.cut(client.socket, self.outlet.words(client.namespace, "error", TOO_SLOW))
            self.depart(client)

    def end(self, client: Client) -> None:
        """End a socket that sends too much; it departs by its disconnect. Waits for nothing."""
        self.outlet.cut(client.socket, [])

    # --- what the threads do

    def push(self, room: Room) -> float | None:
        """Take what is live to all who are level."""
        with room.lock:
            frames, full = room.push()
            closed = room.watch is not None and room.watch.closed
        if isinstance(room, Channel) and room.following:
            with room.lock:
                following = list(room.following)
            self.guide.mark(*following)
        self.cut(*full)
        return 0.0 if frames and not closed else None

    def serve(self, member: Member) -> float | None:
        """Take one who is behind a step further; level with its room, it is let in."""
        full: list[Client] = []
        with member.lock:
            watch = member.watch
            if watch is None or watch.closed:
                return None
            wait: float | None = None
            if self.outlet.waiting(member.client.socket) > SLICE:
                stalled = time.monotonic() - member.moved > self.settings.stalled
                full, wait = ([member.client], None) if stalled else ([], PATIENCE)
            else:
                frames = member.pending or watch.take()
                if frames and not member.checked:
                    member.pending = frames  # kept, should the check fail for the database's sake
                    if not self.check(member):
                        frames = ()
                member.pending = ()
                if member.watch is not None and member.checked:
                    if member.sent(frames):
                        wait = member.channel.admit(member, watch, full)
                    else:
                        full = [member.client]
        self.cut(*full)
        return wait

    def check(self, member: Member) -> bool:
        """Whether a socket that waited for a session may read it, now that it is there; else it is told, and leaves."""
        client, session_id = member.client, member.channel.key
        try:
            with self.within():
                self.doors.rights.find(client.principal, session_id, "read")
        except WebError as error:
            if error.status >= 500:
                raise
            self.leave(client, session_id)
            self.tell_error(client, error)
            return False
        member.checked = True
        self.outlet.enter(client.sid, client.namespace, session_id)
        return True

    def attend(self, of: Recording | Rooms) -> float | None:
        """A sign of life for a session that a connected socket records; or a look whether sockets are still there."""
        if isinstance(of, Rooms):
            with self.lock:
                clients = list(self.clients.values())
            for client in clients:
                if self.outlet.gone(client.socket):
                    self.depart(client)  # it went while it was connecting: then nobody says so
            return SWEEP if clients else None
        if of.client.gone or of.client.recording.get(of.session_id) is not of:
            return None
        try:
            recording = self.pipeline.get(of.session_id).state == "recording"
            if recording:
                self.pipeline.touch(of.session_id)
        except SessionNotFound:  # a host took the start back
            recording = False
        if not recording:
            of.client.recording.pop(of.session_id, None)
        return self.touch_every if recording else None

    def tell_error(self, client: Client, error: Exception) -> dict[str, Any]:
        """`error {message, error_type}` to a socket; what its acknowledgement says."""
        told: dict[str, Any] = error_reply(error).body
        self.outlet.put(
            [client.socket],
            self.outlet.words(client.namespace, "error", {"message": told["error"], "error_type": told["error_type"]}),
        )
        return told
