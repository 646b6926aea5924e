"""Reading: one session (p50 and p99), and the whole log, folded."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from mina_pipeline import Pipeline
from mina_pipeline.codec import decode, recorded
from mina_pipeline.sessions import SNAPSHOT
from mina_pipeline.states import INITIAL, State, evolve

from . import ours, peer, raw
from .fold import Node, fold, start
from .places import Place
from .race import Contest, Figures, Run, percentiles
from .template import EVENTS, finished

SESSIONS, PEER_SESSIONS, WHOLE_SESSIONS, LOADS = 20_000, 500, 1_000, 2_000
NARROW = ("session_id", "version", "type")
WIDE = tuple(column.name for column in raw.SCHEMA["events"].columns)
LOAD, REPLAY, WHOLE = "Load one session", "Full replay, states of sessions and stages", "Full replay, the whole State"
MEASURES = (LOAD, REPLAY, WHOLE)
SNAPSHOT_AT = raw.SESSION_COLUMNS.index("snapshot")


@contextmanager
def contests(place: Place, scale: float) -> Iterator[list[Contest]]:
    def some(count: int) -> int:
        return max(10, int(count * scale))

    with ExitStack() as stack:
        url, ids = finished(place, some(SESSIONS))
        small, small_ids = finished(place, some(WHOLE_SESSIONS))
        for one in (url, small):
            stack.callback(place.drop, one)
        connection, narrower = place.connect(url), place.connect(small)
        stack.callback(connection.close)
        stack.callback(narrower.close)
        store = stack.enter_context(Pipeline.open(url)).store
        small_store = stack.enter_context(Pipeline.open(small)).store
        row, events, first = raw.row_reader(place, connection), raw.events_reader(place, connection), start()
        load = partial(timed, count=some(LOADS), ids=ids)
        loads: dict[str, Run] = {
            "raw driver, the row and its snapshot": partial(load, lambda s: SNAPSHOT.decode(row(s)[SNAPSHOT_AT])),
            f"raw driver, its {EVENTS} events and the fold (information)": partial(
                load, lambda s: fold(events(s), first)
            ),
            "sessions.load": partial(load, ours.loader(store)),
        }
        replays: dict[str, Run] = {
            "raw cursor": partial(rate, len(ids), partial(raw_fold, place, connection, first)),
            "the store's pages": partial(rate, len(ids), partial(ours_fold, store, first)),
        }
        wholes: dict[str, Run] = {
            "raw cursor": partial(rate, len(small_ids), partial(raw_states, place, narrower)),
            "store.feed": partial(rate, len(small_ids), lambda: len(ours.whole_states(small_store, step))),
        }
        if peer.INSTALLED:
            peers = place.new()
            stack.callback(place.drop, peers)
            app, theirs = stack.enter_context(peer.meetings(peers, some(PEER_SESSIONS)))
            get = app.repository.get
            name = f"{peer.NAME}, repository.get of {peer.EVENTS} events"
            loads[name] = partial(timed, get, some(LOADS), theirs)
            shots, shot = stack.enter_context(peer.meetings(peers, some(PEER_SESSIONS), snapshots=True))
            loads[f"{peer.NAME}, repository.get of a snapshot"] = partial(
                timed, shots.repository.get, some(LOADS), shot
            )
            replays[name] = wholes[name] = partial(
                rate, len(theirs), lambda: len([get(one) for one in theirs]), peer.EVENTS
            )
        yield [
            Contest(LOAD, place.name, next(iter(loads)), loads),
            Contest(REPLAY, place.name, "raw cursor", replays),
            Contest(WHOLE, place.name, "raw cursor", wholes),
        ]


def timed(load: Callable[[Any], Any], count: int, ids: list[Any]) -> Figures:
    """Some sessions of all, a call each; the first few calls are not counted."""
    chosen = random.choices(ids, k=count)
    for one in chosen[:5]:
        load(one)
    took = []
    for one in chosen:
        began = time.perf_counter()
        load(one)
        took.append(time.perf_counter() - began)
    return percentiles(took)


def rate(sessions: int, replay: Callable[[], int], events: int = EVENTS) -> Figures:
    """replay answers how many sessions it has replayed."""
    began = time.perf_counter()
    found = replay()
    seconds = time.perf_counter() - began
    assert found == sessions, f"{found} sessions, not {sessions}"
    return {"events/s": sessions * events / seconds}


def revealed(states: dict[str, Node]) -> int:
    return sum(node.status == "revealed" for node in states.values())


def raw_fold(place: Place, connection: Any, first: Node) -> int:
    with raw.stream(place, connection, NARROW) as rows:
        return revealed(fold(rows, first))


def ours_fold(store: Any, first: Node) -> int:
    states: dict[str, Node] = {}
    get = states.get
    for page in ours.stream(store):
        for session_id, _, type in page:
            states[session_id] = get(session_id, first)[type]
    return revealed(states)


def raw_states(place: Place, connection: Any) -> int:
    states: dict[str, State] = {}
    with raw.stream(place, connection, WIDE) as rows:
        for row in rows:
            event = recorded(dict(zip(WIDE, row, strict=True)))
            step(states, event.session_id, decode(event))
    return len(states)


def step(states: dict[str, State], session_id: str, event: Any) -> None:
    states[session_id] = evolve(states.get(session_id, INITIAL), event)
