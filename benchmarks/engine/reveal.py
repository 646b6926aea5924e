"""From finalize to the reveal, where the stages sleep as long as model calls take."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from uuid import uuid4

from benchmarks.store.places import Place
from benchmarks.store.race import Contest, Figures, Run
from mina_pipeline import Pipeline, RecordedEvent

from . import hand, peers
from .stages import PACE, PARALLEL, SEQUENCE, SLEEPS, STAGES, ideal

SEQUENTIAL = f"Finalize to reveal, stages in sequence ({ideal(False):g} s asleep)"
PARALLELED = f"Finalize to reveal, three stages at once ({ideal(True):g} s asleep)"
LIMIT = "hand-written, 11 tx"
WORKERS = 8
SETTLED = 0.6  # s: idle workers have come to wait
CLOCKS = (
    f"stages sleep {', '.join(f'{s:g}' for s in SLEEPS.values())} s, the last three in sequence or at once",
    "hand-written: from before finalize's commit to after the reveal's; 11 transactions, threads that only sleep",
    f"mina_pipeline: from the call of finalize to the subscriber's having the reveal, with p.workers({WORKERS})",
    "DBOS: the call of an asynchronous workflow, to its return",
)


@contextmanager
def contests(place: Place, scale: float) -> Iterator[list[Contest]]:
    """scale does nothing here: a run is one session."""
    with peers.Dbos(place) as dbos:

        def runs(parallel: bool) -> dict[str, Run]:
            found: dict[str, Run] = {
                LIMIT: partial(by_hand, place, parallel),
                f"mina_pipeline, {WORKERS} workers": partial(ours, place, parallel),
            }
            if peers.DBOS:
                found["DBOS"] = partial(peer, dbos, parallel)
            return found

        yield [
            Contest(SEQUENTIAL, place.name, LIMIT, runs(False)),
            Contest(PARALLELED, place.name, LIMIT, runs(True)),
        ]


def figures(seconds: float, parallel: bool) -> Figures:
    return {"ms": seconds * 1e3, "ms over the sleeps": (seconds - ideal(parallel)) * 1e3}


def by_hand(place: Place, parallel: bool) -> Figures:
    lock = threading.Lock()
    with hand.database(place) as url, hand.writers(place, url, 1) as (writer,), ThreadPoolExecutor(3) as threads:
        hand.whole(writer, hand.CUTS["11 tx"], 3)  # warm
        session, version = uuid4().hex, 0

        def put(kind: str) -> None:
            nonlocal version
            with lock:
                writer.write(session, version, (kind,), kind)
                version += 1

        def stage(name: str) -> None:
            put(f"{name}_started")
            time.sleep(SLEEPS[name])
            put(f"{name}_ready")

        first, *others = STAGES
        put("session_started")
        began = time.perf_counter()
        put("session_finalized")
        stage(first)
        for _ in threads.map(stage, others) if parallel else map(stage, others):
            pass
        put("post_transcription_reveal")
        return figures(time.perf_counter() - began, parallel)


def ours(place: Place, parallel: bool) -> Figures:
    url = place.new()
    heard: dict[str, float] = {}
    told = threading.Event()

    def hear(event: RecordedEvent) -> None:
        if event.type == "post_transcription_reveal":
            heard[event.session_id] = time.perf_counter()
            told.set()

    def revealed(p: Pipeline, pace: float) -> float:
        """Seconds from finalize to the reveal."""
        session_id = p.start_session(metadata={PACE: pace}).session_id
        time.sleep(SETTLED)
        told.clear()
        began = time.perf_counter()
        p.finalize(session_id)
        assert told.wait(30), p.get(session_id).state
        return heard[session_id] - began

    try:
        with (
            Pipeline.open(url, definition=PARALLEL if parallel else SEQUENCE) as p,
            p.subscribe(hear),
            p.workers(WORKERS),
        ):
            revealed(p, 0)  # warm
            return figures(revealed(p, 1), parallel)
    finally:
        place.drop(url)


def peer(dbos: peers.Dbos, parallel: bool) -> Figures:
    name = "parallel" if parallel else "sequence"
    dbos.ask(f"{name} 0")  # warm
    return figures(dbos.ask(f"{name} 1"), parallel)
