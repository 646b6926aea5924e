"""Our writer: each event is a segment that is recorded, and durable before anybody hears of it.

As a process of its own: `python -m benchmarks.fanout.writer URL`; the server then hears of it from the database.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import sqlalchemy as sa

from mina_pipeline import Pipeline, Segment
from mina_pipeline.store.sqlite import immediate

from .child import answer
from .emitter import Times
from .event import CONFIDENCE, END, SESSION, SPEAKER, START, TEXT


class Writer:
    """burst, batch and pace as the Emitter has them; an event's time is that of its commit."""

    def __init__(self, pipeline: Pipeline, url: str) -> None:
        self.pipeline = pipeline
        self.committed: list[float] = []
        store: Any = pipeline.store
        # Before those that on_commit has: the time is taken before anybody is woken.
        store.shared.callbacks.insert(0, lambda *_: self.committed.append(time.perf_counter()))
        sqlite = url.startswith("sqlite")
        host = sa.create_engine(url if sqlite else url.replace("postgresql:", "postgresql+psycopg:"))
        self.host = immediate(host) if sqlite else host

    def start(self) -> None:
        self.pipeline.start_session("Weekly planning", SESSION)

    def burst(self, count: int) -> Times:
        return self.one_by_one(count, 0)

    def pace(self, count: int, hz: float) -> Times:
        return self.one_by_one(count, 1 / hz)

    def batch(self, count: int) -> Times:
        with self.host.connect() as connection, connection.begin() as transaction:
            inside = self.pipeline.using(connection)
            for _ in range(count):
                record(inside)
            began = time.perf_counter()
            transaction.commit()
        return began, [began] * count

    def one_by_one(self, count: int, gap: float) -> Times:
        self.committed.clear()
        began = time.perf_counter()
        for n in range(count):
            if gap:
                time.sleep(max(0.0, began + n * gap - time.perf_counter()))
            record(self.pipeline)
        assert len(self.committed) == count
        return began, self.committed


def record(pipeline: Pipeline) -> None:
    pipeline.record(SESSION, [Segment(TEXT, START, END, speaker=SPEAKER, confidence=CONFIDENCE)])


if __name__ == "__main__":
    with Pipeline.open(sys.argv[1]) as pipeline:
        answer(Writer(pipeline, sys.argv[1]), None)
