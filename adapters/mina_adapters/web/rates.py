"""How much anybody may ask: token buckets, and how many streams are open."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from .errors import refusal
from .replies import Principal

KEYS = 10_000
"""Buckets that are remembered; the one unused for longest is forgotten first, and would be full again soon."""


def key_of(principal: Principal) -> Hashable:
    return (principal.tenant, principal.id)


class Bucket:
    """`burst` at once, refilled at `rate` a second. Not thread-safe by itself; clock: seconds, monotonic."""

    __slots__ = ("at", "burst", "clock", "left", "rate")

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self.rate = rate
        self.burst = burst
        self.clock = clock
        self.left = float(burst)
        self.at = clock()

    def take(self) -> float:
        """0.0 where one was taken; else the seconds until there is one, and nothing is taken."""
        now = self.clock()
        self.left = min(float(self.burst), self.left + max(0.0, now - self.at) * self.rate)
        self.at = now
        if self.left >= 1:
            self.left -= 1
            return 0.0
        return (1 - self.left) / self.rate


class Rates:
    """A bucket for each key; a bounded number of them."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float], keys: int = KEYS) -> None:
        self.rate = rate
        self.burst = burst
        self.clock = clock
        self.keys = keys
        self.buckets: OrderedDict[Hashable, Bucket] = OrderedDict()
        self.lock = threading.Lock()

    def check(self, principal: Principal) -> None:
        """429 with Retry-After where it asks too often."""
        key = key_of(principal)
        with self.lock:
            bucket = self.buckets.get(key)
            if bucket is None:
                bucket = self.buckets[key] = Bucket(self.rate, self.burst, self.clock)
                if len(self.buckets) > self.keys:
                    self.buckets.popitem(last=False)
            else:
                self.buckets.move_to_end(key)
            wait = bucket.take()
        if wait:
            raise refusal("TooManyRequests", retry=max(1, math.ceil(wait)))


class OpenWatches:
    """How many streams and sockets each principal has open in this process; most: 0 is no bound."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.open: dict[Hashable, int] = {}
        self.lock = threading.Lock()

    def acquire(self, principal: Principal) -> None:
        """One more; 429 with Retry-After where that is too many. Each needs its `release`."""
        key = key_of(principal)
        with self.lock:
            now = self.open.get(key, 0)
            if self.most and now >= self.most:
                raise refusal("TooManyWatches", retry=5)
            self.open[key] = now + 1

    def release(self, principal: Principal) -> None:
        key = key_of(principal)
        with self.lock:
            left = self.open.get(key, 0) - 1
            if left > 0:
                self.open[key] = left
            else:
                self.open.pop(key, None)
