"""The promises, asked of a history that has come to rest: the log, what was made of it, who heard it (1-4, 6, 7)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from ... import recovery
from ...codec import decode, recorded
from ...events import RecordedEvent
from ...projections import Row, open_work
from ...states import State, replay
from .ledger import Broken
from .timely import timely

if TYPE_CHECKING:
    from .clients import Client
    from .world import World

Found = Iterator[tuple[int, str]]


def check(world: World) -> Iterator[Broken]:
    """What does not hold."""
    yield from (Broken(*found) for found in heard(world))
    for client in world.clients:
        rows = world.raw.events(client.session_id)
        events = [recorded(row) for row in rows]
        if rows:
            for found in (stored(world, rows), commands(client, events), runs(events), timely(world, events)):
                yield from (Broken(promise, f"{client.session_id}: {what}") for promise, what in found)


def heard(world: World) -> Found:
    """1 and 2: what was acknowledged is there, and everybody heard all of it, in order."""
    there: dict[tuple[str, int], str] = {}
    reached: dict[str, int] = {}
    for event in world.raw.feed(None, None):
        if event.version != reached.get(event.session_id, 0) + 1:
            yield 2, f"the feed has {event.session_id} v{event.version} after v{reached.get(event.session_id, 0)}"
        reached[event.session_id] = event.version
        there[event.session_id, event.version] = event.event_id
    for (session_id, version), event_id in world.ledger.acknowledged.items():
        if there.get((session_id, version)) != event_id:
            yield 1, f"{session_id} v{version} was acknowledged, and is not there"
    for process in world.alive:
        if process.base is None:
            yield 2, f"{process.name} could not subscribe"
            continue
        for session_id, version in reached.items():
            last = process.heard.get(session_id, process.base.get(session_id, 0))
            if last != version:
                yield 2, f"{process.name} heard {session_id} up to v{last} of {version}"


def stored(world: World, rows: list[Row]) -> Found:
    """1, 6 and 7: the chain, the read models, the work and the snapshot are what the log says."""
    session_id = rows[0]["session_id"]
    for problem in recovery.compare(world.raw, session_id):
        yield 1 if problem.what in ("hash", "version gap", "content") else 6, str(problem)
    state = replay(decode(recorded(row)) for row in rows)
    session = world.raw.load(session_id)
    if session is None or session["snapshot"] != msgspec.json.encode(state).decode():
        yield 7, "replaying the log does not give the stored snapshot"
    if msgspec.json.decode(msgspec.json.encode(state), type=State) != state:
        yield 7, "the state does not survive its encoding"
    work = {(row["kind"], row["stage"]): row["run"] for row in world.raw.rows("work", session_id)}
    if work != {key: one.run for key, one in open_work(state).items()}:
        yield 6, f"its work is {work}"


def commands(client: Client, events: list[RecordedEvent]) -> Found:
    """3: what was sent many times took effect once."""
    types = Counter(event.type for event in events)
    for once in ("session_started", "session_finalized", "session_cancelled"):
        if types[once] > 1:
            yield 3, f"{types[once]} times {once}"
    begun = Counter(event.command_id for event in events if event.command_id and event.causation_id is None)
    yield from ((3, f"command {one} took effect {count} times") for one, count in begun.items() if count > 1)
    recorded = [event.data for event in events if event.type == "segments_recorded"]
    said = Counter(text.split()[0] for data in recorded for text in data["texts"])
    for batch, count in client.recorded.items():
        if said[batch] != count:
            yield 3, f"{count} segments of {batch} were acknowledged, {said[batch]} are there"
    ids = Counter(one for data in recorded for one in data["segment_ids"])
    yield from ((3, f"segment {one} is there {count} times") for one, count in ids.items() if count > 1)
    final = next((event.data for event in events if event.type == "session_finalized"), {})
    for stats in client.stats:
        if stats is None or any(stats[name] != final.get(name) for name in stats.__struct_fields__):
            yield 3, f"finalize answered {stats}, the log has {final}"


def runs(events: list[RecordedEvent]) -> Found:
    """4: one begin and one outcome for each run, in this order."""
    begun, ended = Counter[tuple[str, int]](), Counter[tuple[str, int]]()
    for event in events:
        kind = event.type.rpartition("_")[2]
        if "stage" not in event.data or kind not in ("started", "ready", "failed"):
            continue
        key = (event.data["stage"], event.data["run"])
        (begun if kind == "started" else ended)[key] += 1
        if not begun[key]:
            yield 4, f"{key} ended before it began"
    for key in begun | ended:
        if begun[key] != 1 or ended[key] > 1:
            yield 4, f"{key} began {begun[key]} times and ended {ended[key]} times"
