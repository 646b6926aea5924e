"""What was claimed before without an outcome runs while nobody else of its process is at work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mina_pipeline import Ok, Pipeline, StageContext, define, stage
from mina_pipeline.commands import Finalize
from mina_pipeline.work_shapes import Wanted

Open = Callable[..., Pipeline]


class Floor:
    """Who is on it, and with how many others each was at most."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.on: set[str] = set()
        self.beside: dict[str, int] = {}

    def workflow(self, seconds: float) -> Any:
        @stage("walk", running="walking")
        def walk(ctx: StageContext) -> Ok:
            with self.lock:
                self.on.add(ctx.session.session_id)
                for one in self.on:
                    self.beside[one] = max(self.beside.get(one, 0), len(self.on) - 1)
            time.sleep(seconds)
            with self.lock:
                self.on.discard(ctx.session.session_id)
            return Ok(None)

        return define("walk", walk)


def lapsed(p: Pipeline, session_id: str, times: int) -> None:
    """A finalized session whose stage was claimed so often by workers that were not heard of again."""
    p.start_session(session_id=session_id)
    p.finalize(session_id)
    for n in range(times):
        claimed = p.store.claim(
            p.clock.now(), "dead", f"{session_id}-{n}", 1, Wanted(list(p.code), only=(session_id, "walk"))
        )
        assert claimed is not None
        assert claimed.session_id == session_id
        time.sleep(0.002)


def until(seen: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.005)


def test_a_suspect_runs_alone(opened: Open) -> None:
    """After two lost claims a stage waits until nobody else is at work, and nobody begins meanwhile; after one it
    does not."""
    floor = Floor()
    p = opened(definition=floor.workflow(0.15))
    lapsed(p, "suspect", 2)
    lapsed(p, "unlucky", 1)
    for n in range(6):
        p.finalize(p.start_session(session_id=f"s{n}").session_id)
    with p.workers(4):
        until(lambda: all(one.state == "revealed" for one in p.sessions()))
    assert floor.beside["suspect"] == 0
    assert floor.beside["unlucky"] > 0


def test_a_suspect_has_its_turn_in_a_busy_process(opened: Open) -> None:
    """Where there is always something else to do, the others are not begun once it has waited for the fair wait."""
    floor = Floor()
    p = opened(definition=floor.workflow(0.02), settings={"fair_wait": 0.3})
    lapsed(p, "suspect", 3)
    stop = threading.Event()

    def feed() -> None:
        while not stop.is_set():
            if len(p.sessions("finalized", limit=20)) < 10:  # a backlog, always
                p.finalize(p.start_session().session_id)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        with p.workers(2):
            until(lambda: p.get("suspect").state == "revealed")
            after = len(p.sessions("revealed", limit=500))
            until(lambda: len(p.sessions("revealed", limit=500)) > min(after + 10, 490))  # the others go on
    finally:
        stop.set()
        feeder.join()
    assert floor.beside["suspect"] == 0


def test_a_hung_stage_is_no_company(opened: Open) -> None:
    """A thread that was cut off and does not come back keeps no suspect waiting."""
    stuck = threading.Event()

    @stage("walk", running="walking")
    def walk(ctx: StageContext) -> Ok:
        if ctx.session.session_id == "hangs":
            stuck.wait(60)
        return Ok(None)

    p = opened(definition=define("walk", walk), settings={"stage_deadline": 0.3, "lease": 60.0, "renew": 1.0})
    p.finalize(p.start_session(session_id="hangs").session_id)
    with p.workers(2):
        until(lambda: p.get("hangs").state == "revealed")  # failed, at its deadline
        threads = p.threads[-1]
        until(lambda: threads.hung)
        p.start_session(session_id="suspect")
        finalized_suspect(p)
        until(lambda: p.get("suspect").state == "revealed")
        stuck.set()


def finalized_suspect(p: Pipeline) -> None:
    """Its stage comes to the queue as one that was claimed twice already."""
    store: Any = p.store
    append = store.append

    def already_suspected(one: Any) -> bool:
        ops = [
            replace(op, rows=tuple({**row, "attempts": 2} if row["kind"] == "stage" else row for row in op.rows))
            if (op.table, op.kind) == ("work", "insert")
            else op
            for op in one.ops
        ]
        return bool(append(replace(one, ops=tuple(ops))))

    store.append = already_suspected
    try:
        p.handler.execute("suspect", Finalize())
    finally:
        del store.append


def test_a_suspect_that_hangs_stops_nobody(opened: Open) -> None:
    """One that was alone, and was cut off, is no longer: the others go on although its thread has not come back."""
    stuck = threading.Event()

    @stage("walk", running="walking")
    def walk(ctx: StageContext) -> Ok:
        if ctx.session.session_id == "suspect":
            stuck.wait(60)
        return Ok(None)

    settings = {"stage_deadline": 0.3, "lease": 60.0, "renew": 1.0}
    p = opened(definition=define("walk", walk), settings=settings)
    lapsed(p, "suspect", 2)
    with p.workers(2):
        until(lambda: p.get("suspect").state == "revealed")
        p.finalize(p.start_session(session_id="next").session_id)
        until(lambda: p.get("next").state == "revealed", 10)
        stuck.set()


def test_a_suspect_has_its_turn_where_workers_are_handed_their_work(opened: Open) -> None:
    """Workers that are given one finalized session after the other, and claim none, look for suspects as well."""
    floor = Floor()
    p = opened(definition=floor.workflow(0.1), settings={"fair_wait": 0.3})
    lapsed(p, "suspect", 2)
    stop = threading.Event()

    def host() -> None:
        while not stop.is_set():
            session_id = p.start_session().session_id
            p.finalize(session_id)
            while not stop.is_set() and p.get(session_id).state != "revealed":
                time.sleep(0.005)

    hosts = [threading.Thread(target=host) for _ in range(2)]
    try:
        with p.workers(3):
            for one in hosts:
                one.start()
            until(lambda: p.get("suspect").state == "revealed", 15)
    finally:
        stop.set()
        for one in hosts:
            one.join()
    assert floor.beside["suspect"] == 0
