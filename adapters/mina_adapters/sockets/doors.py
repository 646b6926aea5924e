"""The events of the three namespaces: what a socket may ask, and what its acknowledgement says. Blocking."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import msgspec
from socketio.exceptions import ConnectionRefusedError

from mina_pipeline import InvalidInput, Session
from mina_pipeline.inputs import identifier

from ..web import bodies
from ..web.answers import complete
from ..web.doors import Doors
from ..web.errors import WebError, as_web_error, error_reply, refusal
from ..web.rates import Bucket
from ..web.replies import Asked, Principal
from .members import Client, Recording
from .outlet import Outlet
from .rooms import Rooms

Data = Mapping[str, Any]
Ack = dict[str, Any]

DEVICE = 8_000  # bytes of a recorder's device_info
OVERTAKEN = 1.0  # s that a message waits for the start that it overtook,
STARTING = 15.0  # and for one that is under way
WAITING = 3  # messages of one socket that may wait so at a time


class SocketDoors:
    """What sockets ask of one pipeline. `admit` first, which waits for nothing; then `answer`, in a thread.

    ordered: the caller gives a socket's messages one after another, so that no end overtakes its start.
    """

    def __init__(
        self,
        doors: Doors,
        outlet: Outlet,
        within: Callable[[Client], AbstractContextManager[object]] = nullcontext,
        ordered: bool = False,
    ) -> None:
        self.doors = doors
        self.settings = of = doors.settings
        self.outlet = outlet
        self.ordered = ordered
        self.rooms = Rooms(doors, outlet, within)
        self.events: dict[str, dict[str, Callable[[Client, Data], Ack]]] = {
            of.page_namespace: {
                "join_session": self.join_session,
                "leave_session": self.leave_session,
                "finalize_session": self.finalize_session,
            },
            of.live_namespace: {"join_session": self.join_session, "leave_session": self.leave_session},
            of.recorder_namespace: {
                "join_session": self.join_session,
                "leave_session": self.leave_session,
                "start_session": self.start_session,
                "record": self.record,
                "end_session": self.end_session,
            },
        }

    # --- connections

    def connect(self, namespace: str, sid: str, environ: Mapping[str, Any], principal: Principal | None) -> None:
        """Let a socket in; a refusal is a WebError. `environ`: of the request that opened the connection."""
        self.doors.rights.check_origin(environ.get("HTTP_ORIGIN"), environ.get("HTTP_HOST"))
        known = self.doors.admit(principal)
        socket = self.outlet.socket(sid, namespace)
        if socket is None:
            raise refusal("Unauthenticated")  # gone already
        of, clock = self.settings, self.doors.pipeline.clock.monotonic
        last = Bucket(of.message_rate / 10, of.message_burst, clock)
        client = Client(namespace, sid, socket, known, Bucket(of.message_rate, of.message_burst, clock), last)
        self.rooms.arrive(client)
        try:
            if namespace != self.settings.recorder_namespace and self.doors.rights.allows(
                known, None, "watch_dashboard"
            ):
                self.rooms.hear_dashboard(client)
        except BaseException:
            self.rooms.depart(client)
            raise

    def disconnect(self, namespace: str, sid: str) -> None:
        client = self.rooms.clients.get((namespace, sid))
        if client is not None:
            self.rooms.depart(client)

    # --- messages

    def admit(self, namespace: str, sid: str) -> Client | Ack:
        """The socket, unless it sends too much: then what to acknowledge. One that goes on is cut."""
        client = self.rooms.clients.get((namespace, sid))
        if client is None:
            gone: Ack = error_reply(refusal("Unauthenticated")).body
            return gone
        with client.lock:
            wait = client.bucket.take()
            enough = bool(wait) and client.last.take() > 0
        if not wait:
            try:
                self.doors.rates.check(client.principal)  # so that nobody gets a fresh bucket by connecting again
            except WebError as error:
                return self.rooms.tell_error(client, error)
            return client
        told = self.rooms.tell_error(client, refusal("TooManyRequests", retry=math.ceil(wait)))
        if enough:
            self.rooms.end(client)
        return told

    def answer(self, client: Client, event: str, *given: Any) -> Ack:
        """What a message is acknowledged with; raises nothing: errors are told to the socket as `error`, too."""
        try:
            return self.events[client.namespace][event](client, self.read(client, given))
        except Exception as error:
            return self.rooms.tell_error(client, error)

    def read(self, client: Client, given: tuple[Any, ...]) -> Data:
        """A message's data as a JSON object, as strict as a body is."""
        data = given[0] if given else None
        try:
            text = b"" if data is None else msgspec.json.encode(data)
        except (TypeError, ValueError, RecursionError):  # half a surrogate pair, or nested without end
            raise InvalidInput("data", "is no JSON object") from None
        if len(text) > self.settings.max_message:
            self.rooms.end(client)
            raise refusal("BodyTooLarge", limit=self.settings.max_message)
        return bodies.read_object(text)

    # --- what may be asked

    def join_session(self, client: Client, data: Data) -> Ack:
        """Hear a session's events. In the pages' namespace an unknown id starts that session; elsewhere it is waited
        for, and once it is there the right to read it is asked before anything of it is told."""
        after, asked = bodies.version(data.get("after")), named(data)
        session = self.known(client, asked)
        if session is None and client.namespace == self.settings.page_namespace:
            session, new = self.doors.started(client.principal, data, str(asked))
            self.doors.rights.require(client.principal, session, "read")
            after = 0 if new and after is None else after
        session_id = str(asked) if session is None else session.session_id
        joined = self.rooms.join(client, session_id, after, session is not None)
        state = None if session is None else session.state
        ack: Ack = {"session_id": session_id, "version": joined.version, "state": state}
        return {**ack, "reset": True} if joined.reset else ack

    def leave_session(self, client: Client, data: Data) -> Ack:
        session_id = named(data)
        if session_id not in client.members:
            session_id = self.doors.rights.find(client.principal, session_id, "read").session_id
        self.rooms.leave(client, str(session_id))
        return {"session_id": session_id}

    def finalize_session(self, client: Client, data: Data) -> Ack:
        """End a recording; who asks for it hears what comes of it. `settings` are read by nobody."""
        session = self.doors.rights.find(client.principal, named(data), "finalize")
        return self.finalized(client, session.session_id)

    def start_session(self, client: Client, data: Data) -> Ack:
        """Begin a session that this socket records: its room hears it from its first event."""
        with client.changed:
            client.starting += 1
        try:
            if len(client.recording) >= self.settings.max_joins:
                raise refusal("TooManyWatches", retry=5, limit=self.settings.max_joins)
            session, new = self.doors.started(client.principal, with_device(data))
            after = bodies.version(data.get("after"))
            self.hear(client, session, 0 if new and after is None else after)
            client.latest = session.session_id
            if session.session_id not in client.recording:
                client.recording[session.session_id] = recording = Recording(client, session.session_id)
                self.rooms.care.mark(recording)
            return {"session_id": session.session_id, "id": session.id, "version": session.version}
        finally:
            with client.changed:
                client.starting -= 1
                client.changed.notify_all()

    def record(self, client: Client, data: Data) -> Ack:
        """Add segments, to the session that this socket started where none is named."""
        session_id = self.started_here(client) if data.get("session_id") is None else named(data)
        session = self.doors.record(client.principal, session_id, data.get("segments"), data)
        return {"session_id": session.session_id, "version": session.version, "total_segments": session.total_segments}

    def end_session(self, client: Client, data: Data) -> Ack:
        """End the recording that this socket started, or the one that is named."""
        asked = self.started_here(client) if data.get("session_id") is None else named(data)
        session_id = self.doors.rights.find(client.principal, asked, "finalize").session_id
        ack = self.finalized(client, session_id)
        with client.changed:
            client.recording.pop(session_id, None)
            client.ended = session_id
            if client.latest == session_id:
                client.latest = None
        return ack

    # --- inside

    def known(self, client: Client, asked: str | int) -> Session | None:
        """The session, where it may be read; None where there is none of that id, in any tenant."""
        try:
            return self.doors.rights.find(client.principal, asked, "read")
        except WebError as error:
            if error.status != 404 or isinstance(asked, int) or self.doors.rights.look(asked) is not None:
                raise
            return None

    def hear(self, client: Client, session: Session, after: int | None) -> bool:
        """Let a socket hear a session, if it may read it; whether it has joined by that."""
        if not self.doors.rights.allows(client.principal, session, "read"):
            return False
        there = session.session_id in client.members
        try:
            self.rooms.join(client, session.session_id, after, True)
        except WebError:  # too many: it is started, or finalized, all the same
            return False
        return not there

    def finalized(self, client: Client, session_id: str) -> Ack:
        joined = self.hear(client, self.doors.pipeline.get(session_id), None)
        try:
            ack: Ack = complete(self.doors, client.principal, Asked(client.principal, {"session_id": session_id})).body
        except BaseException:
            if joined:
                self.rooms.leave(client, session_id)
            raise
        return ack

    def started_here(self, client: Client) -> str:
        """The session that this socket started last. Servers run a socket's messages side by side, so this one may
        have overtaken the start: that is waited for."""
        with client.changed:
            if client.latest is None and not self.ordered and client.waiting < WAITING:
                client.waiting += 1
                try:
                    client.changed.wait_for(lambda: client.latest or client.starting, OVERTAKEN)
                    client.changed.wait_for(lambda: client.latest or not client.starting, STARTING)
                finally:
                    client.waiting -= 1
            session_id = client.latest or client.ended
        if session_id is None:
            raise WebError(409, "This socket has started no session.", "NothingStarted")
        return session_id


def named(data: Data) -> str | int:
    """The session that a message names: by its id, or by an integer id."""
    given = data.get("session_id")
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    if not isinstance(given, str):
        raise InvalidInput("session_id", "is missing")
    return identifier("session_id", given)


def with_device(data: Data) -> Data:
    """What a recorder says of its device is kept in the session's metadata."""
    device, metadata = data.get("device_info"), data.get("metadata")
    if device is None:
        return data
    if len(msgspec.json.encode(device)) > DEVICE:
        raise InvalidInput("device_info", f"is longer than {DEVICE} bytes")
    if metadata is not None and not isinstance(metadata, dict):
        raise InvalidInput("metadata", "a JSON object")
    return {**data, "metadata": {**(metadata or {}), "device_info": device}}


def refused(error: Exception) -> ConnectionRefusedError:
    """A refusal of a connection as python-socketio tells it to the client: words, and the rest as data."""
    told = as_web_error(error)
    return ConnectionRefusedError(told.error, {"error_type": told.error_type, **told.fields})
