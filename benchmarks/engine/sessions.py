"""Whole sessions a second through four stages that do nothing, everything recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from benchmarks.store.places import Place
from benchmarks.store.race import Contest, Run

from . import hand, ours, peers

MEASURE = "Sessions through four no-op stages"
LIMITS = {"SQLite": "hand-written, 11 tx, 8 workers", "PostgreSQL": "hand-written, 6 tx, 8 workers"}
CLOCKS = (
    "hand-written: start, finalize, all stages and the reveal, 11 events a session, by the workers themselves;"
    " no queue, claim, lease or retry. SQLite with 8 workers: one thread commits for all who wait",
    f"mina_pipeline: from the first start_session to the last reveal; {ours.CLIENTS} client threads start and finalize"
    " while the workers, there already, work; a reveal is seen by a raw connection that looks every"
    f" {ours.LOOK * 1e3:.0f} ms",
    "mina_pipeline, finalized before: from the start of the first worker thread to the last reveal",
    "DBOS direct: one call after the other. start_workflow, queue: from the first start or enqueue to the last result",
    "procrastinate: from the worker's start until it finds nothing more; the first job of each session was deferred"
    " before",
)


@contextmanager
def contests(place: Place, scale: float) -> Iterator[list[Contest]]:
    def some(count: int) -> int:
        return max(8, int(count * scale))

    runs: dict[str, Run] = {}
    for workers, count in ((1, 150), (8, 400)):
        for form in hand.CUTS:
            name = f"hand-written, {form}, {workers} worker{'s' * (workers > 1)}"
            runs[name] = partial(hand.rate, place, workers, some(count), form)
    for workers, count in ((8, 240), (1, 120)):
        name = f"mina_pipeline, {workers} worker{'s' * (workers > 1)}"
        runs[name] = partial(ours.whole, place, workers, some(count))
        runs[f"{name}, finalized before"] = partial(ours.backlog, place, workers, some(count))
    with peers.Dbos(place) as dbos:
        if peers.DBOS:
            for name, mode, count in (
                ("direct", "direct", 40),
                ("start_workflow", "start", 80),
                ("queue, concurrency 8, 10 ms poll", "queue", 100),
            ):
                runs[f"DBOS, {name}"] = partial(dbos.rate, mode, some(count))
        if peers.PROCRASTINATE and place.name == "PostgreSQL":
            runs["procrastinate, 4 chained jobs, concurrency 8"] = partial(peers.procrastinate_rate, place, some(60))
        yield [Contest(MEASURE, place.name, LIMITS[place.name], runs)]
