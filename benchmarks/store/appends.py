"""Durable appends a second: 1 and 8 threads, one event and ten in each append."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from . import ours, peer, raw
from .places import Place
from .race import Contest, Figures, Run, in_threads
from .raw import Writer
from .template import Job, Started, jobs, started

THREADS = 8
SHAPES = ((1, 1, 1500), (1, 10, 300), (THREADS, 1, 250), (THREADS, 10, 60))
"""(threads, events in an append, appends of a thread)."""

WARM = 16
"""Appends of a thread before the clock runs: connections are open then, statements prepared."""

LIMIT, GROUP = "raw driver", "raw driver, one thread commits for all"

Writers = Callable[[Place, str, int, int], AbstractContextManager[list[Any]]]


def contests(place: Place, scale: float) -> Iterator[Contest]:
    template = started(place, THREADS)
    for threads, per, appends in SHAPES:
        count = max(2, int(appends * scale))
        run = partial(rate, place, template, threads, count, per)
        runs: dict[str, Run] = {LIMIT: partial(run, raw.writers)}
        limit = LIMIT
        if threads > 1 and place.name == "SQLite":
            limit = GROUP
            runs[GROUP] = partial(run, partial(raw.writers, group=True))
        runs["store.append"] = partial(run, ours.writers)
        # Ten segments in one command are one event: counted are the segments.
        runs["whole command, Pipeline.record (information)"] = partial(
            run, partial(ours.writers, kind=ours.CommandWriter), one_event=True
        )
        if peer.INSTALLED:
            runs[f"{peer.NAME}, recorder.insert_events"] = partial(run, peer.writers, fresh=True)
        yield Contest(title(threads, per), place.name, limit, runs)


def title(threads: int, per: int) -> str:
    return f"Appends, {threads} thread{'s' if threads > 1 else ''}, {per} event{'s' if per > 1 else ''} each"


MEASURES = tuple(title(threads, per) for threads, per, _ in SHAPES)


def rate(
    place: Place,
    template: Started,
    threads: int,
    appends: int,
    per: int,
    writers: Writers,
    fresh: bool = False,
    one_event: bool = False,
) -> Figures:
    """fresh: a database without our tables; one_event: however many were asked for, an append is one event."""
    todo = jobs(template, threads, WARM + appends, per)
    url = place.new() if fresh else place.copy(template.url)
    try:
        with writers(place, url, threads, per) as each:
            works = [work(writer, mine) for writer, mine in zip(each, todo, strict=True)]
            in_threads([partial(run, None, WARM) for run in works])
            seconds = in_threads([partial(run, WARM, None) for run in works])
        if not fresh:
            wanted = len(template.sessions) + threads * (WARM + appends) * (1 if one_event else per)
            connection = place.connect(url)
            found = connection.execute("SELECT count(*) FROM mina_events").fetchone()[0]
            connection.close()
            assert found == wanted, f"{found} events, not {wanted}"
    finally:
        place.drop(url)
    return {"events/s": threads * appends * per / seconds}


def work(writer: Writer, mine: list[Job]) -> Callable[[int | None, int | None], None]:
    """A function that appends a part of the jobs."""
    hashes = {job.session.session_id: job.session.hash for job in mine}
    ready = [(job.session.session_id, writer.ready(job)) for job in mine]
    write = writer.write

    def run(begin: int | None, end: int | None) -> None:
        for session_id, one in ready[begin:end]:
            hashes[session_id] = write(one, hashes[session_id])

    return run
