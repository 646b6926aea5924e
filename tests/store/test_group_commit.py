"""Appends that SQLite commits together: a fault in one is not the others'."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from mina_pipeline import Pipeline, Segment
from mina_pipeline.commands import Record
from mina_pipeline.decisions import decide
from mina_pipeline.ports import Append
from mina_pipeline.projections import Op
from mina_pipeline.sessions import load


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    with Pipeline.open(f"sqlite:///{tmp_path}/group.db") as opened:
        yield opened


def next_append(pipeline: Pipeline, session_id: str, text: str) -> Append:
    """A record of one segment as a value, decided on the session as it is now."""
    now = load(pipeline.store, session_id)
    events = decide(now.state, Record(segments=(Segment(text, 0, 1, segment_id=text),)), session_id)
    return pipeline.handler.compose(session_id, now, events, None, None, None, None)[0]


def spoilt(append: Append, **columns: object) -> Append:
    """The same append with something in its segment's row that the table refuses."""
    ops = (Op("insert", "segments", tuple({**row, **columns} for row in op.rows)) for op in append.ops)
    return replace(append, ops=tuple(ops))


def in_one_commit(pipeline: Pipeline, appends: list[Append]) -> list[bool | Exception]:
    """What became of each of these appends, all of which waited when one leader came."""
    writer = pipeline.store.shared.writer

    def append(one: Append) -> bool | Exception:
        try:
            return pipeline.store.append(one)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(appends)) as pool:
        with writer.transaction():
            answers = [pool.submit(append, one) for one in appends]
            while len(writer.waiting) < len(appends):
                time.sleep(0.001)
        return [answer.result(20) for answer in answers]


@pytest.mark.parametrize("place", [0, 2, 4])
@pytest.mark.parametrize("fault", [{"text": None}, {"segment_id": "there"}, {"ordinal": 1}])
def test_a_fault_of_one_is_not_the_others(pipeline: Pipeline, fault: dict[str, object], place: int) -> None:
    """One append that the database refuses fails with its error and writes nothing; those beside it are committed."""
    ids = [pipeline.start_session().session_id for _ in range(5)]
    for session_id in ids:
        pipeline.record(session_id, [Segment("first", 0, 1, segment_id="there")])
    appends = [next_append(pipeline, session_id, "second") for session_id in ids]
    appends[place] = spoilt(appends[place], **fault)
    answers = in_one_commit(pipeline, appends)
    assert isinstance(answers.pop(place), sqlite3.IntegrityError)
    assert answers == [True] * 4
    assert [pipeline.get(session_id).version for session_id in ids] == [2 if n == place else 3 for n in range(5)]
    assert [pipeline.verify(session_id) for session_id in ids] == [[]] * 5
    assert pipeline.record(ids[place], [Segment("third", 0, 1)]).version == 3


def test_two_on_one_version_in_one_commit(pipeline: Pipeline) -> None:
    """Of several appends in one commit that were decided on one version, one is written and the others are told."""
    session_id, other = (pipeline.start_session().session_id for _ in range(2))
    rivals = [next_append(pipeline, session_id, f"rival {n}") for n in range(4)]
    answers = in_one_commit(pipeline, [*rivals, next_append(pipeline, other, "beside")])
    assert sorted(answers[:4]) == [False, False, False, True]
    assert answers[4] is True
    assert pipeline.get(session_id).total_segments == 1
    assert pipeline.verify(session_id) == pipeline.verify(other) == []


def test_who_is_interrupted_holds_up_nobody(pipeline: Pipeline) -> None:
    """An append that is interrupted while it waits is not written, and the next in the queue does not wait for it."""
    ids = [pipeline.start_session().session_id for _ in range(2)]
    first, second = (next_append(pipeline, session_id, "waits") for session_id in ids)
    writer = pipeline.store.shared.writer

    def after_the_first() -> bool:
        while not writer.waiting:
            time.sleep(0.001)
        return pipeline.store.append(second)

    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    with ThreadPoolExecutor(1) as pool:
        try:
            with writer.transaction():
                answer = pool.submit(after_the_first)
                signal.setitimer(signal.ITIMER_REAL, 0.3)
                with pytest.raises(KeyboardInterrupt):
                    pipeline.store.append(first)
        finally:
            signal.signal(signal.SIGALRM, before)
        assert answer.result(5)
    assert [pipeline.get(session_id).version for session_id in ids] == [1, 2]


def test_a_first_event_and_its_rival_in_one_commit(pipeline: Pipeline) -> None:
    """Starts of one session by many threads at once leave one session_started."""
    with ThreadPoolExecutor(8) as pool:
        views = list(pool.map(lambda _: pipeline.start_session("one", "the-one"), range(8)))
    assert len({view.id for view in views}) == 1
    assert [event.type for event in pipeline.events("the-one")] == ["session_started"]
    assert pipeline.verify("the-one") == []
