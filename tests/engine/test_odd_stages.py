"""Stages that return, raise or say what no stage should: an honest failure, once, that stops nobody else."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from away import Time, finalized, outcomes, types

from mina_pipeline import (
    Degraded,
    MinaError,
    Ok,
    Pipeline,
    ProviderUnavailable,
    StageContext,
    StoreUnreachable,
    UpgradeNeeded,
    define,
    stage,
)
from mina_pipeline.crew import heartbeat
from mina_pipeline.errors import DefinitionError
from mina_pipeline.stages.base import Stage

Open = Callable[..., Pipeline]


def only(code: Callable[[StageContext], Any], **options: Any) -> Stage:
    return stage("only", running="doing", **options)(code)


def leave(ctx: StageContext) -> Ok:
    sys.exit("usage")


def late(when: Any) -> Callable[[StageContext], Ok]:
    def code(ctx: StageContext) -> Ok:
        raise ProviderUnavailable("x", "rate limit", retry_after=when)

    return code


ODD: dict[str, Callable[[StageContext], Any]] = {
    "keys that JSON has not": lambda ctx: Ok({(1, 2): 3}),
    "a reason that is no text": lambda ctx: Degraded({}, ValueError("x")),  # type: ignore[arg-type]
    "nothing": lambda ctx: None,
    "half a step": lambda ctx: ctx.progress(0.5, 1.0),  # type: ignore[arg-type]
    "a checkpoint that JSON has not": lambda ctx: ctx.checkpoint("a", lambda: object()),
    "the way out": leave,
}


@pytest.mark.parametrize("what", ODD)
def test_an_honest_failure(opened: Open, what: str) -> None:
    """Its code ran once, the failure says why, and the session is revealed."""
    ran: list[int] = []

    def code(ctx: StageContext) -> Any:
        ran.append(1)
        return ODD[what](ctx)

    pipeline = opened(definition=define("odd", only(code)))
    session_id = finalized(pipeline)
    pipeline.run_until_idle()
    assert (outcomes(pipeline, session_id), len(ran)) == ({"only": "failed"}, 1)
    assert pipeline.get(session_id).state == "revealed"
    failed = next(event for event in pipeline.events(session_id) if event.type == "only_failed")
    assert failed.data["error_type"] in ("TypeError", "ValidationError", "SystemExit")


@pytest.mark.parametrize("when", ["Wed, 21 Oct 2026 07:28:00 GMT", float("nan"), float("inf"), -5, datetime.now(UTC)])
def test_a_retry_after_that_says_nothing(opened: Open, when: Any) -> None:
    """What is no number of seconds is as if the provider had not said when."""
    pipeline = opened(definition=define("odd", only(late(when))), settings={"retry_tries": 1})
    session_id = finalized(pipeline)
    pipeline.run_until_idle()
    assert pipeline.get(session_id).stages["only"].status == "waiting"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_is_replaced(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's thread that something has ended is made good by another."""
    pipeline = opened(definition=define("odd", only(lambda ctx: Ok())), settings={"renew": 0.1, "lease": 1.0})
    with pipeline.workers(1) as threads:
        worker = threads.workers[0]
        monkeypatch.setattr(worker, "step", lambda now: sys.exit())
        until = time.monotonic() + 10
        while worker in threads.workers and time.monotonic() < until:
            time.sleep(0.02)
        session_id = finalized(pipeline)
        while pipeline.get(session_id).state != "revealed" and time.monotonic() < until:
            time.sleep(0.02)
    assert pipeline.get(session_id).state == "revealed"


@pytest.mark.parametrize("away", ["raises", "blocks"])
def test_a_store_that_was_away_ends_no_supervision(opened: Open, away: str) -> None:
    """While the lease cannot be renewed the stage has no time left; afterwards its deadline counts as before."""
    seen: list[float] = []
    release = threading.Event()

    def code(ctx: StageContext) -> Ok:
        for _ in range(3):
            time.sleep(0.45)
            seen.append(ctx.deadline.remaining())
        release.wait(10)
        return Ok()

    settings = {"lease": 0.45, "renew": 0.1, "stage_deadline": 2.0}
    pipeline = opened(definition=define("odd", only(code)), settings=settings)
    session_id = finalized(pipeline)
    worker, renew, until = pipeline.worker(), pipeline.store.renew, time.monotonic() + 0.6

    def failing(*args: Any) -> list[str]:
        if time.monotonic() < until:
            if away == "raises":
                raise StoreUnreachable("the store", "away")
            time.sleep(0.6)
        return renew(*args)

    worker.store.renew = failing  # type: ignore[method-assign]
    try:
        thread = threading.Thread(target=worker.step, args=(pipeline.clock.now(),))
        with heartbeat(worker):
            thread.start()
            ends = time.monotonic() + 10
            while pipeline.get(session_id).state != "revealed" and time.monotonic() < ends:
                time.sleep(0.05)
            release.set()
            thread.join()
    finally:
        worker.store.renew = renew  # type: ignore[method-assign]
    assert seen[0] < 0.1 and max(seen) > 0
    assert pipeline.get(session_id).stages["only"].reason == "deadline"


def test_a_definition_that_changed_without_its_version(opened: Open, url: str) -> None:
    """The same name and version with other stages: the session is left alone, and no claim is counted."""
    if url == "memory://":
        pytest.skip("memory is one process's own")
    old = opened(definition=define("mine", stage("a", running="aing")(lambda ctx: Ok())))
    new = opened(definition=define("mine", stage("b", running="bing")(lambda ctx: Ok())))
    session_id = finalized(old)
    for _ in range(3):
        assert new.run_until_idle() <= 1
    assert new.store.rows("work", session_id)[0]["attempts"] == 0
    assert types(new, session_id)[-1] == "session_finalized"
    old.run_until_idle()
    assert old.get(session_id).state == "revealed"


def test_stages_that_read_each_other_are_refused() -> None:
    """They would make each other run again for ever."""
    with pytest.raises(DefinitionError, match="read"):
        define("self", stage("a", running="aing", reads="a")(lambda ctx: Ok()))
    with pytest.raises(DefinitionError, match="read"):
        define(
            "ring",
            stage("a", running="aing", reads="b")(lambda ctx: Ok()),
            stage("b", after="a", running="bing")(lambda ctx: Ok()),
        )


def test_an_attempt_that_was_cut_off_asks_no_more(timed: Open, at: Time) -> None:
    """Blips are not tried again for a run that is another's by now."""
    asked: list[int] = []

    def code(ctx: StageContext) -> Ok:
        asked.append(1)
        ctx.deadline.end()
        raise ConnectionError("reset")

    pipeline = timed(definition=define("odd", only(code, provider="x")), settings={"retry_tries": 5})
    finalized(pipeline)
    pipeline.run_until_idle()
    assert len(asked) == 1


def test_errors_have_one_root() -> None:
    """A host catches them all by one name."""
    assert issubclass(UpgradeNeeded, MinaError) and issubclass(ProviderUnavailable, MinaError)
