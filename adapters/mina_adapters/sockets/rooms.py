"""Membership and emission of Socket.IO: every version reaches a session's room, in order, once to each socket.

Two threads, which are there while there is something to do: one takes what is live to all who are level with their
room, the other brings those level who are behind. So neither a long log nor a slow client holds up what is live. A
third gives signs of life for the sessions that connected sockets record.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any, NamedTuple, TypeVar

from mina_pipeline import SessionNotFound

from ..web.doors import Doors
from ..web.errors import WebError, error_reply, refusal
from ..web.rates import OpenWatches
from .duty import AGAIN, Duty
from .members import Board, Channel, Client, Member, Recording, Room
from .outlet import Outlet

SLICE = 250  # packets in a socket's queue over which one that is behind gets nothing more for now,
HEAVY = 1_000_000  # or so many characters,
PATIENCE = 0.05  # and after how many seconds it is looked at again
SWEEP = 15.0  # s between looks for sockets of which nobody said that they are gone
TOUCH = 60.0  # s between signs of life, or a quarter of the recording grace

UNCHECKED = 200  # sessions that are not there yet, for which a principal's sockets may wait in this process
FAILURES = 5  # of the host's `authorize`, after which a socket that waited is told so

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
    """The rooms of one Socket.IO server. within: a socket's context for the host's `authorize` when our threads ask
    it."""

    def __init__(self, doors: Doors, outlet: Outlet, within: Callable[[Client], AbstractContextManager[Any]]) -> None:
        self.doors = doors
        self.pipeline = doors.pipeline
        self.settings = doors.settings
        self.outlet = outlet
        self.within = within
        self.touch_every = min(TOUCH, self.pipeline.settings.recording_grace / 4)
        self.unchecked = OpenWatches(UNCHECKED)
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
        self.care.within(self, SWEEP)

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
        board = self.hold(Board, client.namespace, client.principal.tenant)
        try:
            board.open(self.pipeline)
            with board.lock, client.lock:
                if not client.gone:
                    client.board = board
                    board.level[client] = client.socket
        finally:
            if client.board is None:
                self.release(board)

    def join(self, client: Client, session_id: str, after: int | None, checked: bool) -> Joined:
        """Let a socket hear a session's events after a version, and then what is live. None: from now on.

        checked: whether it may read the session; else that is asked once the session is there. Joining again changes
        nothing, unless what is asked for begins before the place where this socket began: that is sent again.
        """
        joined = None
        while joined is None:  # else it came in, or left, at the same time
            known = client.members.get(session_id)
            joined = self.begin(client, session_id, after, checked) if known is None else self.again(known, after)
        return joined

    def begin(self, client: Client, session_id: str, after: int | None, checked: bool) -> Joined | None:
        """Make a socket a member; None where it is one."""
        if not checked:
            self.unchecked.acquire(client.principal)
        joined = None
        try:
            channel = self.hold(Channel, client.namespace, session_id)
            try:
                channel.open(self.pipeline)
                watch = self.pipeline.watch(session_id, after, channel.wake)  # subscribe first, then read
                member = Member(channel, client, watch, checked)
                try:
                    joined = self.let_in(member)
                finally:
                    if joined is None:
                        watch.close()
            finally:
                if joined is None:
                    self.release(channel)
        finally:
            if joined is None and not checked:
                self.unchecked.release(client.principal)
        return joined

    def let_in(self, member: Member) -> Joined | None:
        """Seat a member, which from then on may leave at any time; None where there is one already."""
        client, channel, watch = member.client, member.channel, member.watch
        assert watch is not None
        joined = Joined(watch.version, watch.reset)
        with member.lock:  # who leaves now waits until it is in
            with client.lock:
                if client.gone:
                    raise refusal("Unauthenticated")
                if channel.key in client.members:
                    return None
                if len(client.members) >= self.settings.max_joins:
                    raise refusal("TooManyWatches", retry=5, limit=self.settings.max_joins)
                client.members[channel.key] = member
            with channel.lock:
                channel.following.add(member)
            if member.checked:
                self.enter(member)
        self.guide.mark(member)
        return joined

    def again(self, known: Member, after: int | None) -> Joined | None:
        """What a member gets that joins again; None where it has left."""
        watch = self.pipeline.watch(known.channel.key, after, known.channel.wake)
        joined, kept = Joined(watch.version, watch.reset), False
        try:
            if after is None or watch.reset or after >= known.since:
                return Joined(known.place(), watch.reset)
            kept = known.replay(watch)
        finally:
            if not kept:
                watch.close()
        if not kept:
            return None
        self.guide.mark(known)
        return joined

    def enter(self, member: Member) -> None:
        """Let a member hear what the host emits to the room; under its lock, so that it is out when it has left."""
        with suppress(RuntimeError):  # the server has ended
            self.outlet.enter(member.client.sid, member.client.namespace, member.channel.key)

    def leave(self, client: Client, session_id: str, only: Member | None = None) -> None:
        """only: unless that has left, and the socket joined anew."""
        with client.lock:
            member = client.members.get(session_id)
            if member is None or (only is not None and member is not only):
                return
            del client.members[session_id]
        if not member.leave():
            return
        if not member.checked:
            self.unchecked.release(client.principal)
        self.outlet.leave(client.sid, client.namespace, session_id)
        self.release(member.channel)

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
            if (pause := member.pause(AGAIN)) > 0:
                return pause
            wait: float | None = None
            packets, characters = self.outlet.waiting(member.client.socket)
            if packets > SLICE or characters > HEAVY:
                stalled = time.monotonic() - member.moved > self.settings.stalled
                full, wait = ([member.client], None) if stalled else ([], PATIENCE)
            else:
                frames = member.pending or watch.take()
                if frames and not member.checked:
                    member.pending = frames  # kept, should the look fail
                    if not self.look(member):
                        return None if member.left else AGAIN
                member.pending = ()
                if member.watch is not None and member.checked:
                    if member.sent(frames):
                        wait = member.channel.admit(member, watch, full)
                    else:
                        full = [member.client]
        self.cut(*full)
        return wait

    def look(self, member: Member) -> bool:
        """Whether a socket that waited for a session may read it, now that it is there; else it leaves, or is asked
        for again. Of another tenant's session it is told nothing: neither that, nor when, it was started."""
        client, session_id = member.client, member.channel.key
        try:
            session = self.doors.rights.look(session_id)
            if session is None or session.tenant != client.principal.tenant:
                self.leave(client, session_id, member)
                return False
            with self.within(client):
                self.doors.rights.require(client.principal, session, "read")
        except WebError as error:  # what the database raises is tried again for as long as it takes
            member.failures += 1
            member.failed = time.monotonic()
            if error.status < 500 or member.failures >= FAILURES:
                self.leave(client, session_id, member)
                self.tell_error(client, error)
            return False
        member.checked = True
        self.unchecked.release(client.principal)
        self.enter(member)
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
