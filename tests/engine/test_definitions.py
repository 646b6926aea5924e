"""Releases side by side: sessions finish under the definition that they pinned, by workers that know it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from away import finalized, outcomes, types

from mina_pipeline import Ok, Pipeline, StageContext, UpgradeNeeded, define, stage


def release(number: int, stages: int) -> object:
    """A host's definition as its release of that number has it, with so many stages."""
    made = [
        stage(f"s{n}", after=f"s{n - 1}" if n else (), running=f"r{n}")(lambda ctx: Ok({"release": number}))
        for n in range(stages)
    ]
    return define("mine", *made, version=number)


def other_than_memory(url: str) -> None:
    if url == "memory://":
        pytest.skip("memory is one process's own")


def test_sessions_in_flight_finish_under_what_they_pinned(opened: Callable[..., Pipeline], url: str) -> None:
    """A release that has both definitions finishes the old sessions with the old stages, and starts with the new."""
    other_than_memory(url)
    old = opened(definition=release(1, 2))
    in_flight = finalized(old)
    worker = old.worker()
    worker.ending = True
    worker.step(old.clock.now())
    both = opened(definition=[release(2, 3), release(1, 2)])
    fresh = finalized(both)
    both.run_until_idle()
    assert list(outcomes(both, in_flight)) == ["s0", "s1"] and list(outcomes(both, fresh)) == ["s0", "s1", "s2"]
    assert {both.get(one).state for one in (in_flight, fresh)} == {"revealed"}
    assert both.result(in_flight).others["s0"].artefact == {"release": 1}
    assert types(both, in_flight).count("s0_started") == 1


def test_workers_claim_only_what_they_know(opened: Callable[..., Pipeline], url: str) -> None:
    """A release without the old definition leaves its sessions alone, timers as well; the old one goes on with them."""
    other_than_memory(url)
    old, new = opened(definition=release(1, 2)), opened(definition=release(2, 3))
    in_flight = finalized(old)
    assert new.run_until_idle() == 0
    assert types(new, in_flight)[-1] == "session_finalized"
    with pytest.raises(UpgradeNeeded, match="mine 1"):
        new.cancel(in_flight)
    assert old.run_until_idle() == 2
    assert new.get(in_flight).state == "revealed"


def test_one_session_on_two_machines(opened: Callable[..., Pipeline], url: str) -> None:
    """Stages of one session run on whichever process claims them; the log tells whose they were."""
    other_than_memory(url)

    @stage("left", running="l")
    def left(ctx: StageContext) -> Ok:
        return Ok(1)

    @stage("right", running="r")
    def right(ctx: StageContext) -> Ok:
        return Ok(2)

    one, two = (opened(definition=define("both", left, right)) for _ in range(2))
    session_id = finalized(one)
    first, second = one.worker(), two.worker()
    first.step(one.clock.now())
    second.step(two.clock.now())
    owners = {event.actor for event in one.events(session_id) if event.type.endswith("_ready")}
    assert owners == {first.owner, second.owner}
    assert types(one, session_id)[-2:] == ["post_transcription_reveal", "dashboard_refresh"]
