"""Wake-ups between processes over PostgreSQL's NOTIFY: hints, coalesced; whoever waits polls as well."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import msgspec

from ..log import logger
from .connections import Lender

LONGEST = 7_900  # bytes of one NOTIFY; PostgreSQL takes 7,999
PAUSE = 0.01  # s between two: each takes a lock of the whole server at its commit
NOBODY = ""
"""The sender of what is no payload of ours; it names nothing, which means: look for yourself."""

Told = Callable[[str | None, int, bool], None]


def payload(sender: str, reached: dict[str, int], work: bool) -> str:
    """Who tells, the version that each session has reached, and whether some of it brought work that is due."""
    text = msgspec.json.encode([sender, list(reached.items()), work])
    return text.decode() if len(text) <= LONGEST else msgspec.json.encode([sender, [], work]).decode()


class Notifier:
    """Tells other processes, from one thread that the first commit starts."""

    def __init__(self, lender: Lender, channel: str, sender: str) -> None:
        self.lender = lender
        self.channel = channel
        self.sender = sender
        self.reset()

    def reset(self) -> None:
        self.pending: dict[str, int] = {}
        self.work = False
        self.idle = True
        self.changed = threading.Condition()
        self.thread: threading.Thread | None = None
        self.stopped = threading.Event()

    def tell(self, session_id: str, version: int, work: bool) -> None:
        """Cheap while the thread is busy or pauses: it looks again before it goes idle."""
        self.work = work or self.work  # before the session: whoever takes that tells of the work with it
        self.pending[session_id] = version
        if self.idle:
            with self.changed:
                if self.thread is None:
                    self.thread = threading.Thread(target=self.loop, name="mina-notify", daemon=True)
                    self.thread.start()
                self.changed.notify()

    def loop(self) -> None:
        while self.wait():
            reached: dict[str, int] = {}
            while self.pending:
                session_id, version = self.pending.popitem()
                reached[session_id] = version
            work, self.work = self.work, False
            try:
                with self.lender.lend() as link:
                    link.rows("SELECT pg_notify(%s, %s)", (self.channel, payload(self.sender, reached, work)))
            except Exception as error:  # a hint less: they poll
                logger(__name__).info("not notified", error_type=type(error).__name__)
            self.stopped.wait(PAUSE)

    def wait(self) -> bool:
        """Until there is something to tell; False when there is not and never will be."""
        with self.changed:
            self.idle = True  # before the look: who tells after it finds us idle, and waits for this lock
            while not self.pending:
                if self.stopped.is_set():
                    return False
                self.changed.wait(1.0)
            self.idle = False
            return True

    def close(self) -> None:
        """Tell what is left to tell, and end."""
        self.stopped.set()
        with self.changed:
            self.changed.notify()
        if self.thread is not None and self.thread is not threading.current_thread():
            self.thread.join(5.0)


class Listener:
    """Hears of other processes' commits, on a connection and a thread of its own."""

    def __init__(self, lender: Lender, channel: str, sender: str, told: Told) -> None:
        self.lender = lender
        self.channel = channel
        self.sender = sender
        self.told = told
        self.own = msgspec.json.encode([sender]).decode().removesuffix("]") + ","
        self.pause = PAUSE
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.loop, name="mina-listen", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def loop(self) -> None:
        while not self.stopped.is_set():
            try:
                self.listen()
            except Exception as error:
                logger(__name__).info("not listening", error_type=type(error).__name__)
            self.stopped.wait(self.pause * random.uniform(0.5, 1.5))
            self.pause = min(self.pause * 2, 5.0)

    def listen(self) -> None:
        link = self.lender.connect()
        try:
            link.cursor.execute(f'LISTEN "{self.channel}"')
            self.pause = PAUSE
            self.told(None, 0, True)  # what was told before this moment nobody heard
            while not self.stopped.is_set():
                for notification in link.driver.notifies(timeout=0.5):
                    self.heard(notification.payload)
                    if self.stopped.is_set():
                        return
        finally:
            link.discard()

    def heard(self, text: str) -> None:
        if text.startswith(self.own):  # most are, and need not be read
            return
        sender, reached, work = read(text)
        if sender == self.sender:
            return
        for session_id, version in reached:
            self.told(session_id, version, work)
        if not reached:
            self.told(None, 0, work)

    def close(self) -> None:
        self.stopped.set()
        try:
            with self.lender.lend() as link:
                link.rows(
                    "SELECT pg_notify(%s, %s)", (self.channel, payload(self.sender, {}, False))
                )  # to wake ourselves
        except Exception:  # then it wakes by itself
            pass
        if self.thread.is_alive() and self.thread is not threading.current_thread():
            self.thread.join(5.0)


Payload = tuple[str, list[tuple[str, int]], bool]


def read(text: str) -> Payload:
    """A payload. Anybody may notify on a channel, so anything else means: look for yourself."""
    try:
        found: Payload = msgspec.json.decode(text, type=Payload)
    except msgspec.MsgspecError:
        return NOBODY, [], True
    if any("\0" in session_id for session_id, _ in found[1]):
        return NOBODY, [], True  # no database takes such an id, not even to look for it
    return found
