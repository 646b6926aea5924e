"""A worker that waits is given what a finalize begins, in the append that ends the recording."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mina_pipeline import Ok, Pipeline, SessionNotFound, StageContext, define, stage

Open = Callable[..., Pipeline]
WHOLE = ["session_started", "session_finalized", "quick_started", "quick_ready", "post_transcription_reveal",
         "dashboard_refresh"]  # fmt: skip


def until(seen: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.005)


@stage("quick", running="being_quick")
def quick(ctx: StageContext) -> Ok:
    return Ok(ctx.session.session_id)


QUICK = define("quick", quick)


@contextmanager
def waiting(p: Pipeline, count: int = 1) -> Iterator[Any]:
    """Workers that have looked, found nothing and wait."""
    with p.workers(count) as threads:
        until(lambda: len(threads.idle.places) == count)
        yield threads


def types(p: Pipeline, session_id: str) -> list[str]:
    return [event.type for event in p.events(session_id)]


def counting_claims(p: Pipeline, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What claims were given from now on."""
    store: Any = p.store
    claim, claimed = store.claim, list[Any]()

    def counted(*args: Any) -> Any:
        found = claim(*args)
        claimed.extend([found] if found is not None else [])
        return found

    monkeypatch.setattr(store, "claim", counted)
    return claimed


def test_finalize_begins_the_first_stage_for_a_worker_that_waits(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the recording and the stage's start are one append; nobody claims; the caller sees `finalized`."""
    p = opened(definition=QUICK, settings={"poll": 30.0})
    claimed = counting_claims(p, monkeypatch)
    session_id = p.start_session().session_id
    with waiting(p, 2):
        asked = p.finalize(session_id)
        assert (asked.state, asked.version, asked.stages["quick"].status) == ("finalized", 2, "due")
        until(lambda: p.get(session_id).state == "revealed")
    assert claimed == []
    assert types(p, session_id) == WHOLE
    finalized, started = p.events(session_id)[1:3]
    assert started.causation_id == finalized.event_id
    assert p.verify(session_id) == []


def test_a_finalize_that_is_refused_or_repeated_leaves_the_worker_free(opened: Open) -> None:
    """Nothing was begun: the worker that was kept for it goes on as before."""
    p = opened(definition=QUICK, settings={"poll": 30.0})
    with waiting(p) as threads:
        with pytest.raises(SessionNotFound):
            p.finalize("nobody")
        for _ in range(3):
            until(lambda: len(threads.idle.places) == 1)
            session_id = p.start_session().session_id
            p.finalize(session_id)
            until(lambda: p.get(session_id).state == "revealed")  # noqa: B023
            assert p.finalize(session_id).state == "revealed"
            assert types(p, session_id) == WHOLE


def test_what_is_limited_is_claimed(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a limit has room is the queue's to say."""
    p = opened(definition=QUICK, settings={"limits": "quick=1"})
    claimed = counting_claims(p, monkeypatch)
    session_id = p.start_session().session_id
    with waiting(p):
        p.finalize(session_id)
        until(lambda: p.get(session_id).state == "revealed")
    assert [one.stage for one in claimed] == ["quick"]


def test_a_stage_handed_over_in_the_end_is_given_back(opened: Open) -> None:
    """What a worker that is ending was given is another's at once, not after the lease, and goes on where it was."""
    p = opened(definition=QUICK, settings={"lease": 3600.0, "renew": 600.0})
    session_id = p.start_session().session_id
    ended = threading.Event()
    with waiting(p) as threads:
        place = threads.idle.take()
        threads.stop.set()  # the end comes between the append and the handing over
        begun = p._executed(session_id, finalize(), None, None, None, place.worker.next_stage)
        assert begun.begun is not None
        place.give(begun)
        ended.set()
    assert types(p, session_id) == WHOLE[:3]
    assert p.run_until_idle() == 1
    assert types(p, session_id) == WHOLE


def finalize() -> Any:
    from mina_pipeline.commands import Finalize

    return Finalize()


def test_commits_that_bring_no_work_wake_nobody(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording's segments send no worker to the queue; a finalize of another process's pipeline would."""
    p = opened(definition=QUICK, settings={"poll": 30.0})
    with waiting(p) as threads:
        looks = threads.idle.wakes
        session_id = p.start_session().session_id
        for n in range(5):
            p.record(session_id, [segment(n)])
        assert threads.idle.wakes == looks
        p.finalize(session_id)
        until(lambda: p.get(session_id).state == "revealed")
        until(lambda: len(threads.idle.places) == 1)
        p.retry(session_id, "quick")
        until(lambda: p.get(session_id).stages["quick"].run == 2)
        assert threads.idle.wakes > looks


def segment(n: int) -> Any:
    from mina_pipeline import Segment

    return Segment(f"word {n}", n, n + 1)


def test_a_finalize_that_is_held_up_keeps_no_worker(opened: Open) -> None:
    """A worker that was taken for a command which then waits for a lock does other work soon; what is begun for it
    in the end is anybody's."""
    p = opened(definition=QUICK, settings={"lease": 3600.0, "renew": 600.0})
    slow, other = (p.start_session().session_id for _ in range(2))
    with waiting(p) as threads:
        hand = threads.idle.take()
        assert hand is not None
        p.finalize(other)
        until(lambda: p.get(other).state == "revealed", 5)
        begun = p._executed(slow, finalize(), None, None, None, hand.worker.next_stage)
        hand.give(begun)
        until(lambda: p.get(slow).state == "revealed", 5)
    assert types(p, slow) == types(p, other) == WHOLE


def test_a_worker_that_was_taken_for_nothing_comes_back(opened: Open) -> None:
    """Whoever took it was interrupted before it could say anything."""
    p = opened(definition=QUICK)
    with waiting(p) as threads:
        assert threads.idle.take() is not None
        until(lambda: len(threads.idle.places) == 1, 5)
        assert not p.company.at_work
