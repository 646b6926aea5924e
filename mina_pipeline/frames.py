"""Frames: events as clients get them. The log is read by the page, and a page is bounded by what its events weigh."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import msgspec

from .codec import decode, recorded
from .errors import UpgradeNeeded
from .events import RecordedEvent, StageReady
from .log import logger
from .ports import Store
from .views import refined_text
from .wire import Payload, wire_view

PAGE = 200  # events of a page,
PAGE_WEIGHT = 2_000_000  # or so many characters of stored text, whichever is less; one event at least
STEP = 4  # events of a first read, while nothing is known of their weight

ENCODER = msgspec.json.Encoder()


class Frame:
    """One event as clients get it: its wire name, its payload, and what was encoded of it, once for all of them.

    weight: how long its stored text is, in characters.
    """

    __slots__ = ("cache", "name", "payload", "version", "weight")

    def __init__(self, version: int, name: str, payload: Payload, weight: int = 0) -> None:
        self.version = version
        self.name = name
        self.payload = payload
        self.weight = weight
        self.cache: dict[Hashable, Any] = {}

    @property
    def json(self) -> bytes:
        """The payload as JSON text in UTF-8."""
        found: bytes = self.encoded("json", lambda frame: ENCODER.encode(frame.payload))
        return found

    def encoded(self, form: Hashable, encode: Callable[[Frame], Any]) -> Any:
        """The frame in a transport's form, made at the first call; two threads may both make it, and it is the same."""
        try:
            return self.cache[form]
        except KeyError:
            return self.cache.setdefault(form, encode(self))


Page = tuple[Frame, ...]


class Pace:
    """How many events to read at once, by what the last ones weighed: few where they are heavy."""

    def __init__(self) -> None:
        self.step = STEP

    def learn(self, count: int, weight: int) -> None:
        self.step = max(1, min(4 * self.step, PAGE, PAGE_WEIGHT * count // max(weight, 1)))


class FrameLog:
    """The events of sessions in the log, as frames."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def page(self, session_id: str, after: int, limit: int = PAGE, pace: Pace | None = None) -> tuple[Page, bool]:
        """The next events past a version, and whether they are the last that there are."""
        pace, page, weight = pace or Pace(), list[Frame](), 0
        while len(page) < limit:
            wanted = min(pace.step, limit - len(page))
            rows = self.store.events(session_id, after + len(page), wanted)
            read = sum(len(row["data"]) + len(row["content"] or "") for row in rows)
            if rows:
                pace.learn(len(rows), read)
            for row in rows:
                frame = self.frame(recorded(row))
                weight += frame.weight
                if page and weight > PAGE_WEIGHT:
                    return tuple(page), False
                page.append(frame)
            if len(rows) < wanted:
                return tuple(page), True
        return tuple(page), False

    def frame(self, event: RecordedEvent) -> Frame:
        transcript = self.transcript(event)
        try:
            name, payload = wire_view(event, transcript)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            # A host's own stage may bear a standard one's name and make something else: it holds up nobody's room.
            logger(__name__).warning(
                "sent without its content",
                session_id=event.session_id,
                version=event.version,
                error_type=type(error).__name__,
            )
            name, payload = wire_view(replace(event, content_text=None))
        weight = len(event.data_text) + len(event.content_text or "") + len(transcript or "")
        return Frame(event.version, name, payload, weight)

    def transcript(self, event: RecordedEvent) -> str | None:
        """The whole refined text for a `refinement_ready`, of which the event holds only the changes."""
        if not event.type.startswith("refinement_"):
            return None
        try:
            ready = decode(event)
            if not isinstance(ready, StageReady) or not isinstance(ready.artefact, dict):
                return None
            changes = {change["segment_id"]: change["text"] for change in ready.artefact.get("changes") or ()}
        except (UpgradeNeeded, LookupError, TypeError, ValueError):
            return None
        rows = self.store.rows("segments", event.session_id)
        return refined_text(
            {**row, "text": changes.get(row["segment_id"], row["text"])}
            for row in rows
            if row["version"] < event.version
        )


class Pages:
    """The last pages of one session's log, by the version after which they begin. Clients that come back to one place,
    at once or one after the other, share one read; what is kept weighs no more than a page may.

    read: the page after a version.
    """

    def __init__(self, read: Callable[[int], Page]) -> None:
        self.read = read
        self.known: OrderedDict[int, Future[Page]] = OrderedDict()
        self.lock = threading.Lock()

    def after(self, version: int) -> Page:
        """Read it, or wait for whoever does: what that read raises is raised to all who wait."""
        page = Future[Page]()
        with self.lock:
            known = self.known.setdefault(version, page)
            self.known.move_to_end(version)
        if known is not page:
            return known.result()
        try:
            frames = self.read(version)
        except BaseException as error:
            self.forget(version, page)
            if isinstance(error, Exception):
                page.set_exception(error)
            else:  # this thread alone is told to end: the others look again
                page.set_result(())
            raise
        page.set_result(frames)
        self.forget(version, page) if not frames else self.trim()
        return frames

    def forget(self, version: int, page: Future[Page]) -> None:
        with self.lock:
            if self.known.get(version) is page:
                del self.known[version]

    def trim(self) -> None:
        with self.lock:
            done = {version: page.result() for version, page in self.known.items() if page.done()}
            weight = sum(frame.weight for frames in done.values() for frame in frames)
            for version, frames in list(done.items())[:-1]:
                if weight <= PAGE_WEIGHT:
                    return
                weight -= sum(frame.weight for frame in frames)
                del self.known[version]

    def clear(self) -> None:
        """Forget all; what is being read just now is told to those who wait for it, and not kept."""
        with self.lock:
            self.known.clear()
