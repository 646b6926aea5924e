"""Ours: the store's append, the whole command, and the store's readers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mina_pipeline import Pipeline
from mina_pipeline.codec import chain, decode
from mina_pipeline.ports import Append, Header, Store
from mina_pipeline.sessions import Loaded, load
from mina_pipeline.states import State

from .places import Place
from .raw import Writer
from .template import Job, segment

PAGE, HEADERS = 5_000, 2_000


class StoreWriter:
    """store.append of an Append that is ready but for the hashes: the very work of the limit."""

    def __init__(self, p: Pipeline) -> None:
        self.append = p.store.append

    def ready(self, job: Job) -> Append:
        return job.append()

    def write(self, ready: Append, previous: bytes) -> bytes:
        for row in ready.events:
            row["hash"] = previous = chain(previous, row)
        ready.session["hash"] = previous
        if not self.append(ready):
            raise RuntimeError("another version")
        return previous


class CommandWriter:
    """Pipeline.record: load, decide, encode, append, and the read model."""

    def __init__(self, p: Pipeline) -> None:
        self.p = p

    def ready(self, job: Job) -> Any:
        return job.session.session_id, [segment(job.expected + n) for n in range(len(job.events))]

    def write(self, ready: Any, previous: bytes) -> bytes:
        self.p.record(*ready)
        return previous


@contextmanager
def writers(
    place: Place, url: str, threads: int, per: int, kind: Callable[[Pipeline], Writer] = StoreWriter
) -> Iterator[list[Writer]]:
    with Pipeline.open(url) as p:
        yield [kind(p) for _ in range(threads)]


def loader(store: Store) -> Callable[[str], Loaded]:
    return lambda session_id: load(store, session_id)


def stream(store: Store) -> Iterator[list[Header]]:
    """The headers of all events in the feed's order, a page at a time."""
    page, after = store.headers(None, HEADERS)
    while page:
        yield page
        page, after = store.headers(after, HEADERS)


def whole_states(store: Store, evolve: Callable[[dict[str, State], str, Any], None]) -> dict[str, State]:
    """Every session's state, by the public reader of the feed, a page at a time."""
    states: dict[str, State] = {}
    after = None
    while events := store.feed(after, PAGE):
        for event in events:
            evolve(states, event.session_id, decode(event))
        after = events[-1].position
    return states
