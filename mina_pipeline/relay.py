"""The relay: `step(now)` hands committed events to subscribers, in order per session. One thread loops it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from .codec import recorded
from .events import Position, RecordedEvent
from .forks import forget_at_fork
from .log import logger
from .ports import Clock, Head, Store

BATCH = 500
REMEMBERED = 10_000  # sessions whose last delivered version is known; a forgotten one is read from its start
GLANCE = 0.002  # s between looks for what a host is about to commit
GLANCES = 100
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


class Relay:
    """Reads by session when told of one (fast, and never held up), and the feed for what nobody told of."""

    def __init__(self, store: Store, clock: Clock, poll: float) -> None:
        self.store = store
        self.clock = clock
        self.poll = poll
        self.subscriptions: list[Subscription] = []
        self.cursor: Position | None = None
        self.reached: OrderedDict[str, int] = OrderedDict()
        # Sessions delivered further than the feed has come, and since when (monotonic seconds).
        self.ahead: dict[str, tuple[int, float]] = {}
        self.reset()
        forget_at_fork(self)

    def reset(self) -> None:
        self.woken: dict[str, int] = {}
        self.hoped: dict[str, tuple[int, int]] = {}
        self.wakes = self.asked = self.done = 0
        self.changed = threading.Condition()
        self.thread: threading.Thread | None = None
        self.stopped = False
        self.warned = float("-inf")
        self.seen: int | None = None  # its last step (host's µs), and since when there is something to deliver
        self.behind: int | None = None

    def forget(self) -> None:
        """In a forked child: the thread is the parent's; the first use here starts one, for the same subscriptions."""
        self.reset()

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

    def run(self) -> bool:
        """Whether a thread is there for those who subscribed."""
        if self.thread is None and self.subscriptions and not self.stopped:
            self.thread = threading.Thread(target=self.loop, name="mina-relay", daemon=True)
            self.thread.start()
        return self.thread is not None

    def unsubscribe(self, subscription: Subscription) -> None:
        with self.changed:
            if subscription in self.subscriptions:
                self.subscriptions.remove(subscription)

    def wake(self, session_id: str | None, version: int) -> None:
        """This session has reached this version; None: look at the feed."""
        if not self.subscriptions:
            return
        with self.changed:
            if not self.run():
                return
            self.wakes += 1
            if self.behind is None:
                self.behind = self.clock.now()
            if session_id is not None:
                self.woken[session_id] = max(version, self.woken.get(session_id, 0))
            self.changed.notify_all()

    def step(self, now: int) -> int:
        """Deliver what is there; the next wake in µs."""
        with self.changed:
            woken, self.woken = self.woken, {}
        self.hoped.update((session_id, (version, 0)) for session_id, version in woken.items())
        for session_id, (version, looked) in list(self.hoped.items()):
            if self.read_session(session_id) < version and looked < GLANCES:
                self.hoped[session_id] = (version, looked + 1)  # a host is about to commit it, or to roll it back
            else:
                del self.hoped[session_id]  # only now: where reading failed it is read again
        if self.read_feed():
            return now
        self.report_stall()
        return now + int((GLANCE if self.hoped else self.poll) * 1e6)

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

    def loop(self) -> None:
        while not self.stopped:
            asked, wakes, now = self.asked, self.wakes, self.clock.now()
            try:
                wake = self.step(now)
                self.seen = self.clock.now()
            except Exception as error:
                logger(__name__).error("relay step failed", error_type=type(error).__name__)
                self.behind = now if self.behind is None else self.behind
                with self.changed:  # nobody is told that all is delivered
                    self.changed.wait_for(lambda: self.stopped, self.poll)
                continue
            with self.changed:
                if wake > now:
                    self.behind = None if self.wakes == wakes else now  # what came meanwhile came after the step began
                    self.done = max(self.done, asked)
                    self.changed.notify_all()
                    if self.asked <= self.done and self.wakes == wakes and not self.stopped:
                        self.changed.wait((wake - now) / 1e6)
                elif self.behind is None:
                    self.behind = now

    def lag(self, now: int) -> float | None:
        """For how many seconds there has been something to deliver; None where no thread is running."""
        if self.thread is None or not self.thread.is_alive():
            return None
        behind = self.behind
        return 0.0 if behind is None else max(now - behind, 0) / 1e6

    def drain(self) -> None:
        """Return when everything committed before the call has been delivered."""
        with self.changed:
            if not self.run() or threading.current_thread() is self.thread:
                return
            self.asked += 1
            mine = self.asked
            self.changed.notify_all()
            while self.done < mine and self.thread is not None and self.thread.is_alive() and not self.stopped:
                self.changed.wait(1.0)

    def close(self) -> None:
        with self.changed:
            self.stopped = True
            self.changed.notify_all()
        if self.thread is not None and threading.current_thread() is not self.thread:
            self.thread.join()
