"""Which dashboard hints there are to tell: each once, whether a wake or the feed knew of it first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

from .codec import recorded
from .events import DashboardRefreshed
from .looping import GLANCES
from .ports import Head, Store
from .wire import Payload, wire_view

PAGE = 200  # headers of one read of the feed
GLIMPSE = 8  # versions that one append may bring: how far to look back in a session never seen before
REMEMBERED = 10_000  # sessions of which the last version seen is known, and hints that are known to be told
LARGEST_VERSION = 2**31 - 1  # a wake may come from anybody who can notify

Tell = Callable[[str | None, str, Payload], None]
"""Called with a tenant, the hint's wire name and its payload."""


class Hints:
    """The hints of what was committed after `start`. One thread reads them; a read that fails is made again."""

    def __init__(self, store: Store, start: Head, tell: Tell) -> None:
        self.store = store
        self.start = start
        self.tell = tell
        self.cursor = start.position
        self.hoped: dict[str, tuple[int, int]] = {}
        self.seen: OrderedDict[str, int] = OrderedDict()
        self.told: OrderedDict[tuple[str, int], None] = OrderedDict()

    def hear(self, woken: Mapping[str, int]) -> None:
        """Sessions that somebody told of, and the versions they have reached."""
        self.hoped.update((one, (min(version, LARGEST_VERSION), 0)) for one, version in woken.items())

    def glimpse(self) -> None:
        """Read the headers of those sessions, whoever watches them: one read for all."""
        if not self.hoped:
            return
        self.hoped = {one: (version, looked + 1) for one, (version, looked) in self.hoped.items()}
        after = {one: self.seen.get(one, max(version - GLIMPSE, 0)) for one, (version, _) in self.hoped.items()}
        for session_id, version, kind in self.store.headers_after(after):
            self.hint(session_id, version, kind)
            remember(self.seen, session_id, version)
        self.hoped = {
            one: (version, looked)
            for one, (version, looked) in self.hoped.items()
            if self.seen.get(one, 0) < version and looked < GLANCES
        }

    def follow(self) -> None:
        """Read the headers of the feed, for what nobody told of. An open transaction may hold it back, but loses
        nothing."""
        while True:
            headers, cursor = self.store.headers(self.cursor, PAGE)
            for header in headers:
                self.hint(*header)
            self.cursor = cursor or self.cursor
            if len(headers) < PAGE:
                return

    def hint(self, session_id: str, version: int, kind: str) -> None:
        if kind != DashboardRefreshed.kind or (session_id, version) in self.told:
            return
        event = recorded(self.store.events(session_id, version - 1, 1)[0])
        row = self.store.load(session_id)
        if row is not None and not self.start.covers(event):
            name, payload = wire_view(event)
            self.tell(row["tenant"], name, payload)
        remember(self.told, (session_id, version), None)


T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def remember(of: OrderedDict[K, T], key: K, value: T) -> None:
    of[key] = value
    of.move_to_end(key)
    while len(of) > REMEMBERED:
        of.popitem(last=False)
