"""From commit to reader: how long after an append is durable another thread, or another process, has its event."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from multiprocessing import get_context
from typing import Any

from mina_pipeline import Pipeline

from . import ours, peer, raw, readers
from .places import Place
from .race import Contest, Figures, Run, percentiles
from .readers import CHANNEL, Key, now, one_event
from .template import Job, Started, jobs, started

SAMPLES = 120
GAPS = (0.012, 0.04)  # s between two appends, at random: no reader is caught up in the one before
PATIENCE = 20.0  # s for the last to be heard

Committed = Callable[[Key, int], None]
"""Told when a session's version was committed (ns)."""
Write = Callable[[Job, Committed], None]


NEAR, FAR = "Commit to reader, same process", "Commit to reader, another process"
MEASURES = (NEAR, FAR)


def contests(place: Place, scale: float) -> Iterator[Contest]:
    template, samples = started(place, 1), max(5, int(SAMPLES * scale))
    near = partial(same_process, place, template, samples)
    runs: dict[str, Run] = {
        "raw driver, a queue to a thread that reads the row": partial(near, raw_thread),
        "Pipeline.subscribe": partial(near, our_writer),
    }
    yield Contest(NEAR, place.name, next(iter(runs)), runs)
    far = partial(other_process, place, template, samples)
    if place.name == "SQLite":
        runs = {
            "raw driver, polls every 0.25 s as ours does": partial(far, raw_writer, readers.poll),
            "raw driver, PRAGMA data_version every 2 ms (information)": partial(far, raw_writer, readers.glance),
            "Pipeline.subscribe": partial(far, our_writer, readers.ours),
        }
    else:
        runs = {
            "raw driver, NOTIFY after the commit, LISTEN, reads the row": partial(far, raw_writer, readers.listen),
            "Pipeline.subscribe": partial(far, our_writer, readers.ours),
        }
        if peer.INSTALLED:
            # It notifies inside its commit: its clock begins at the call.
            name = f"{peer.NAME}, recorder.subscribe, from the call"
            runs[name] = partial(far, peer_writer, readers.peer, fresh=True)
    yield Contest(FAR, place.name, next(iter(runs)), runs)


def paced(todo: list[Job], write: Write, committed: Committed) -> None:
    chance = random.Random(len(todo))
    for job in todo:
        time.sleep(chance.uniform(*GAPS))
        write(job, committed)


def spent(committed: dict[Key, int], heard: dict[Key, int]) -> Figures:
    missing = len(committed.keys() - heard.keys())
    assert not missing, f"{missing} of {len(committed)} events were not heard of"
    return percentiles((heard[key] - at) / 1e9 for key, at in committed.items())


# --- the same process


def same_process(place: Place, template: Started, samples: int, listening: Any) -> Figures:
    todo = jobs(template, 1, samples, 1)[0]
    committed: dict[Key, int] = {}
    heard: dict[Key, int] = {}
    url = place.copy(template.url)
    try:
        with listening(place, url, todo, heard) as write:
            paced(todo, write, committed.__setitem__)
            until = time.monotonic() + PATIENCE
            while len(heard) < len(committed) and time.monotonic() < until:
                time.sleep(0.01)
    finally:
        place.drop(url)
    return spent(committed, heard)


@contextmanager
def raw_thread(place: Place, url: str, todo: list[Job], heard: dict[Key, int]) -> Iterator[Write]:
    handed: queue.SimpleQueue[Key | None] = queue.SimpleQueue()

    def read() -> None:
        connection = place.connect(url)
        see = one_event(place.mark, connection)
        while (key := handed.get()) is not None:
            see(key)
            heard[key] = now()
        connection.close()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        with raw_writer(place, url, todo, then=handed.put) as write:
            yield write
    finally:
        handed.put(None)
        thread.join()


# --- the writers: how each appends, and when it says that it has committed


@contextmanager
def raw_writer(place: Place, url: str, todo: list[Job], then: Callable[[Key], Any] | None = None) -> Iterator[Write]:
    """`then`: what follows a commit; on PostgreSQL, where nothing is given, a NOTIFY on a connection of its own."""
    hashes = {job.session.session_id: job.session.hash for job in todo}
    with raw.writers(place, url, 1, 1) as (writer,):
        tell = place.connect(url) if then is None and place.name == "PostgreSQL" else None

        def write(job: Job, committed: Committed) -> None:
            key = job.session.session_id, job.expected + 1
            ready = writer.ready(job)
            hashes[key[0]] = writer.write(ready, hashes[key[0]])
            committed(key, now())
            if then is not None:
                then(key)
            if tell is not None:
                tell.execute("SELECT pg_notify(%s, %s)", (CHANNEL, f"{key[0]} {key[1]}"))

        yield write
        if tell is not None:
            tell.close()


@contextmanager
def our_writer(place: Place, url: str, todo: list[Job], heard: dict[Key, int] | None = None) -> Iterator[Write]:
    """Pipeline.record; a callback of the store's says when it has committed, just after the subscribers' own."""
    with Pipeline.open(url) as p:
        if heard is not None:
            p.subscribe(lambda event: heard.__setitem__((event.session_id, event.version), now()))
        told: list[Committed] = []
        p.store.on_commit(lambda session_id, version: told[-1]((session_id or "", version), now()) if told else None)
        record = ours.CommandWriter(p)

        def write(job: Job, committed: Committed) -> None:
            told[:] = [committed]
            record.write(record.ready(job), b"")

        yield write


@contextmanager
def peer_writer(place: Place, url: str, todo: list[Job]) -> Iterator[Write]:
    with peer.recorder(url, 3) as recorder:
        writer = peer.RecorderWriter(recorder)

        def write(job: Job, committed: Committed) -> None:
            ready = writer.ready(job)
            committed((job.session.session_id, job.expected + 1), now())
            writer.write(ready, b"")

        yield write


# --- another process


def other_process(
    place: Place,
    template: Started,
    samples: int,
    writing: Callable[[Place, str, list[Job]], AbstractContextManager[Write]],
    read: readers.Reader,
    fresh: bool = False,
) -> Figures:
    todo = jobs(template, 1, samples, 1)[0]
    committed: dict[Key, int] = {}
    url = place.new() if fresh else place.copy(template.url)
    spawn = get_context("spawn")
    mine, theirs = spawn.Pipe()
    child = spawn.Process(target=readers.main, args=(read, url, theirs, PATIENCE), daemon=True)
    try:
        with writing(place, url, todo) as write:
            child.start()
            assert mine.poll(60), "the reader did not start"
            mine.recv()
            paced(todo, write, committed.__setitem__)
            mine.send(len(committed))
            assert mine.poll(PATIENCE + 10), "the reader did not answer"
            heard = mine.recv()
    finally:
        child.join(5)
        if child.is_alive():
            child.kill()
            child.join()
        place.drop(url)
    return spent(committed, heard)
