"""Many sessions at once: worker processes with threads, and threads of clients beside them."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from overseer import OUTCOMES, Place, actors, begin, check, once, pid_of, until, worker
from soak import share

WORKERS = 2
THREADS = 4
CLIENTS = 8


@pytest.mark.soak
def test_a_crowd_is_revealed(place: Place) -> None:
    """Every session of many that clients bring at once is revealed, each call made once, and no lock is an error."""
    sessions, began = [f"s{n}" for n in range(share(60, 1000))], time.monotonic()
    waiting = len(sessions) // 2  # before there are any workers
    lease: dict[str, Any] = {"lease": 15.0, "renew": 1.0, "poll": 0.25}
    shift = place.shift(threads=THREADS, **lease)
    with (
        ExitStack() as stack,
        place.open(**lease) as pipeline,
        ThreadPoolExecutor(CLIENTS) as clients,
    ):
        list(clients.map(lambda session_id: begin(pipeline, [session_id]), sessions[:waiting]))
        workers = [stack.enter_context(worker(shift, place.errors)) for _ in range(WORKERS)]
        for process in workers:
            process.hear("working")
        list(clients.map(lambda session_id: begin(pipeline, [session_id]), sessions[waiting:]))
        until(lambda: not pipeline.store.work_rows(pipeline.clock.now(), 1), within=1000)
        for process in workers:
            assert process.end() == 0
        assert place.errors.read_text() == ""
        assert place.called() == dict.fromkeys(sessions, once())
        for session_id in sessions:
            check(pipeline, session_id)
        made = [actors(pipeline, session_id, *OUTCOMES).values() for session_id in sessions]
        by = Counter(pid_of(actor) for each in made for actor in each)
        assert set(by) <= {process.popen.pid for process in workers}
        assert len(by) >= share(1, WORKERS)  # of a small crowd one may do all
        assert pipeline.unlisted() == []
    print(
        f"{len(sessions)} sessions, {len(sessions) / (time.monotonic() - began):.0f} a second, outcomes by process {by}"
    )
