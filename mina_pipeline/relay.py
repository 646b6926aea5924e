"""The relay: `step(now)` hands committed events to subscribers, in order per session. One thread loops it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from .codec import recorded
from .events import Position, RecordedEvent
from .log import logger
from .looping import Loop
from .ports import Clock, Head, Store

BATCH = 500
REMEMBERED = 10_000  # sessions whose last delivered version is known; a forgotten one is read from its start
STALLED = 10.0  # s that the feed may be behind what was delivered before anybody is told


@dataclass(eq=False)
class Subscription:
    """A callback and where it began. `close()` ends it; a context manager too."""

    callback: Callable[[RecordedEvent], None]
    start: Head
    relay: Relay

    def close(self) -> None:
        self.relay.unsubscribe(self)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Relay(Loop):
    """Reads by session when told of one (fast, and never held up), and the feed for what nobody told of."""

    name: ClassVar[str] = "mina-relay"

    def __init__(self, store: Store, clock: Clock, poll: float) -> None:
        self.store = store
        self.subscriptions: list[Subscription] = []
        self.cursor: Position | None = None
        self.reached: OrderedDict[str, int] = OrderedDict()
        # Sessions delivered further than the feed has come, and since when (monotonic seconds).
        self.ahead: dict[str, tuple[int, float]] = {}
        super().__init__(clock, poll)

    def reset(self) -> None:
        super().reset()
        self.warned = float("-inf")

    def wanted(self) -> bool:
        return bool(self.subscriptions)

    def subscribe(self, callback: Callable[[RecordedEvent], None]) -> Subscription:
        """Events committed from now on; the first subscription starts the thread."""
        start = self.store.head()
        subscription = Subscription(callback, start, self)
        with self.changed:
            if self.cursor is None:
                self.cursor = start.position
            self.subscriptions.append(subscription)
            self.run()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        with self.changed:
            if subscription in self.subscriptions:
                self.subscriptions.remove(subscription)

    def step(self, now: int) -> int:
        """Deliver what is there; the next wake in µs."""
        self.take_woken()
        self.read_hoped(self.read_session)
        if self.read_feed():
            return now
        self.report_stall()
        return self.next_look(now)

    def read_session(self, session_id: str) -> int:
        """Deliver a session's events past what it has been delivered to; the version reached."""
        known = self.reached.get(session_id)
        for row in self.store.events(session_id, after=known or 0):
            event = recorded(row)
            # What the feed delivered before this session was first read by itself is not new.
            if known is None and self.cursor is not None and event.position <= self.cursor:
                self.reach(event)
                continue
            self.deliver(event)
            self.ahead[session_id] = (event.version, self.ahead.get(session_id, (0, self.clock.monotonic()))[1])
        return self.reached.get(session_id, 0)

    def read_feed(self) -> bool:
        """Deliver a batch of the feed; whether there is more."""
        events = self.store.feed(self.cursor, BATCH)
        for event in events:
            if event.version > self.reached.get(event.session_id, 0):
                self.deliver(event)
            if event.version >= self.ahead.get(event.session_id, (0, 0.0))[0]:
                self.ahead.pop(event.session_id, None)
            self.cursor = event.position
        return len(events) == BATCH

    def reach(self, event: RecordedEvent) -> None:
        self.reached[event.session_id] = event.version
        self.reached.move_to_end(event.session_id)
        while len(self.reached) > REMEMBERED:
            self.ahead.pop(self.reached.popitem(last=False)[0], None)

    def deliver(self, event: RecordedEvent) -> None:
        self.reach(event)
        for subscription in list(self.subscriptions):
            if subscription.start.covers(event):
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

    def report_stall(self) -> None:
        """Name the transaction that holds the feed back, once a minute: cursors stand still, live reads go on."""
        now = self.clock.monotonic()
        if not self.ahead or now - self.warned < 60:
            return
        if now - min(since for _, since in self.ahead.values()) < STALLED:
            return
        self.warned = now
        stall = self.store.feed_stall()
        if stall is not None:
            logger(__name__).warning(
                "the feed is held back by an open transaction",
                events=stall.events,
                pid=stall.pid,
                database=stall.database,
                application=stall.application,
                seconds=stall.seconds,
            )
