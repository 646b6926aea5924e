"""The relay: `step(now)` hands committed events to subscribers, in order per session. One thread loops it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from .codec import recorded
from .events import Position, RecordedEvent
from .log import logger
from .ports import Clock, Store

BATCH = 500


@dataclass(eq=False)
class Subscription:
    """A callback and where it began. `close()` ends it; a context manager too."""

    callback: Callable[[RecordedEvent], None]
    start: Position
    relay: Relay

    def close(self) -> None:
        self.relay.unsubscribe(self)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Relay:
    """Reads by session when told of one (fast, and never held up), and the feed for what others committed."""

    def __init__(self, store: Store, clock: Clock, poll: float) -> None:
        self.store = store
        self.clock = clock
        self.poll = poll
        self.subscriptions: list[Subscription] = []
        self.cursor: Position | None = None
        # Sessions read ahead of the feed, and how far; an entry goes when the feed has caught up with it.
        self.ahead: dict[str, int] = {}
        self.woken: dict[str, None] = {}
        self.asked = self.done = 0
        self.changed = threading.Condition()
        self.thread: threading.Thread | None = None
        self.stopped = False

    def subscribe(self, callback: Callable[[RecordedEvent], None]) -> Subscription:
        """Events committed from now on; the first subscription starts the thread."""
        start = self.store.head()
        subscription = Subscription(callback, start, self)
        with self.changed:
            if self.cursor is None:
                self.cursor = start
            self.subscriptions.append(subscription)
            if self.thread is None:
                self.thread = threading.Thread(target=self.loop, name="mina-relay", daemon=True)
                self.thread.start()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        with self.changed:
            if subscription in self.subscriptions:
                self.subscriptions.remove(subscription)

    def wake(self, session_id: str) -> None:
        """This process committed something in this session."""
        if self.thread is None:
            return
        with self.changed:
            self.woken[session_id] = None
            self.changed.notify_all()

    def step(self, now: int) -> int:
        """Deliver what is there; the next wake in µs."""
        with self.changed:
            woken, self.woken = list(self.woken), {}
        for session_id in woken:
            self.read_session(session_id)
        more = self.read_feed()
        return now if more else now + int(self.poll * 1e6)

    def read_session(self, session_id: str) -> None:
        known = self.ahead.get(session_id)
        for row in self.store.events(session_id, after=known or 0):
            event = recorded(row)
            # What the feed delivered before this session was first read ahead is not new.
            if known is None and self.cursor is not None and event.position <= self.cursor:
                continue
            self.deliver(event)
            self.ahead[session_id] = event.version

    def read_feed(self) -> bool:
        events = self.store.feed(self.cursor, BATCH)
        for event in events:
            ahead = self.ahead.get(event.session_id, 0)
            if event.version > ahead:
                self.deliver(event)
            elif event.version == ahead:
                del self.ahead[event.session_id]
            self.cursor = event.position
        return len(events) == BATCH

    def deliver(self, event: RecordedEvent) -> None:
        for subscription in list(self.subscriptions):
            if event.position <= subscription.start:
                continue
            try:
                subscription.callback(event)
            except Exception as error:
                logger(__name__).error(
                    "subscriber raised",
                    session_id=event.session_id,
                    version=event.version,
                    error_type=type(error).__name__,
                )

    def loop(self) -> None:
        while not self.stopped:
            asked, now = self.asked, self.clock.now()
            try:
                wake = self.step(now)
            except Exception as error:
                logger(__name__).error("relay step failed", error_type=type(error).__name__)
                wake = now + int(self.poll * 1e6)
            with self.changed:
                if wake > now and not self.woken:
                    self.done = max(self.done, asked)
                    self.changed.notify_all()
                    if self.asked == asked and not self.stopped:
                        self.changed.wait(self.poll)

    def drain(self) -> None:
        """Return when everything committed before the call has been delivered."""
        if self.thread is None or threading.current_thread() is self.thread:
            return
        with self.changed:
            self.asked += 1
            mine = self.asked
            self.changed.notify_all()
            while self.done < mine and self.thread.is_alive() and not self.stopped:
                self.changed.wait(1.0)

    def close(self) -> None:
        with self.changed:
            self.stopped = True
            self.changed.notify_all()
        if self.thread is not None and threading.current_thread() is not self.thread:
            self.thread.join()
