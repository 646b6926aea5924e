"""What a new process takes to find interrupted sessions among many finished ones."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from benchmarks.store.places import Place
from benchmarks.store.race import Contest, Figures, Run

from . import clones, peers
from .child import Child

FINISHED, INTERRUPTED = (10_000, 100_000, 1_000_000), (1_000, 10_000)
PEER_FINISHED = (10_000, 100_000)
LIMIT = "raw driver, all rows of our work table"
FIRST, AGAIN, WHOLE = "ms", "ms, read again", "ms, from the process's start"
CLOCKS = (
    "each is a new process: the first read, a second one, and from its start to the end of the first; no garbage"
    " collection during a read",
    "raw driver: connect, SELECT all columns of all rows of work. mina_pipeline: Pipeline.open, store.leases(now)",
    "DBOS: launch, get_pending_workflows of the executor that is gone: ids alone",
    "one session was really finished, one really killed; the others are their copies by SQL: session row, one event,"
    " rows of work; DBOS: status rows",
)


class Cases:
    """All contests of one place, one after the other: each grows the databases to its size when it begins."""

    def __init__(self, place: Place, scale: float, stack: ExitStack) -> None:
        self.place, self.stack = place, stack
        self.sizes = [(max(10, int(f * scale)), max(10, int(i * scale)), f in PEER_FINISHED)
                      for f in FINISHED for i in INTERRUPTED]  # fmt: skip
        self.ours: clones.Grown | None = None
        self.dbos: clones.Grown | None = None

    def contests(self) -> Iterator[Contest]:
        for done, interrupted, beside_peer in self.sizes:
            runs: dict[str, Run] = {
                LIMIT: partial(self.found, "raw", done, interrupted),
                "raw driver, the ids of claimed work (information)": partial(self.found, "ids", done, interrupted),
                "mina_pipeline, leases": partial(self.found, "ours", done, interrupted),
            }
            if beside_peer and peers.DBOS:
                runs["DBOS, get_pending_workflows"] = partial(self.found_by_dbos, done, interrupted)
            yield Contest(measure(done, interrupted), self.place.name, LIMIT, runs)

    def found(self, who: str, done: int, interrupted: int) -> Figures:
        if self.ours is None:
            self.ours = self.stack.enter_context(clones.ours(self.place))
        self.ours.to(done, interrupted)
        began = time.perf_counter()
        with Child("benchmarks.engine.finder", who, self.ours.url) as child:
            whole = time.perf_counter() - began
            return figures(map(float, child.said), map(float, child.line()), whole, interrupted)

    def found_by_dbos(self, done: int, interrupted: int) -> Figures:
        if self.dbos is None:
            self.dbos = self.stack.enter_context(clones.dbos(self.place))
        self.dbos.to(done, interrupted)
        began = time.perf_counter()
        with Child("benchmarks.engine.dbos_app", self.dbos.url, "alive") as child:
            first = child.ask("scan")
            whole = time.perf_counter() - began
            return figures(first, child.ask("scan"), whole, interrupted)


def measure(done: int, interrupted: int) -> str:
    return f"Find {interrupted:,} interrupted among {done:,} finished"


def figures(first: Iterable[float], again: Iterable[float], whole: float, wanted: int) -> Figures:
    (once, found), (twice, _) = first, again
    assert found == wanted, f"{found:.0f} sessions found, not {wanted}"
    return {FIRST: once * 1e3, AGAIN: twice * 1e3, WHOLE: whole * 1e3}


@contextmanager
def contests(place: Place, scale: float) -> Iterator[list[Contest]]:
    with ExitStack() as stack:
        yield list(Cases(place, scale, stack).contests())
