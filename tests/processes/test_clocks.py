"""Clocks that are 90 s apart, and that jump by an hour: PostgreSQL's own judges leases and what is due."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

import pytest
from labour import OffClock, Trouble
from overseer import Place, begin, check, once, revealed, until, work_until, worker
from soak import share

from mina_pipeline import Segment

APART = 90.0
HOUR = 3600.0
SOON = 20.0
"""Seconds: what a loaded machine may need, and less than any clock is off."""
ALIVE: dict[str, Any] = {"lease": 5.0, "renew": 0.2}
"""Longer than anybody alive lets a lease go, and shorter than any clock is off."""


def the_servers(place: Place) -> bool:
    """Whether the database has a clock of its own."""
    return place.url.startswith("postgresql")


@pytest.mark.soak
def test_processes_whose_clocks_are_apart(place: Place) -> None:
    """Sessions of clients 90 s ahead or behind are revealed at once, by workers that are 180 s apart.

    Where the database has a clock, no lease is taken for over that is not: each call is made once.
    """
    aheads = (APART, -APART)
    sessions = [f"s{n}" for n in range(share(4, 60))]
    with ExitStack() as stack:
        clients = [stack.enter_context(place.open(OffClock(ahead), **ALIVE)) for ahead in aheads]
        shifts = [place.shift(threads=2, ahead=ahead, takes=0.05, **ALIVE) for ahead in aheads]
        for process in [stack.enter_context(worker(shift)) for shift in shifts]:
            process.hear("working")
        for n, session_id in enumerate(sessions):
            begin(clients[n % 2], [session_id])
        for session_id in sessions:
            until(lambda: revealed(clients[0], session_id), within=SOON)  # noqa: B023
            check(clients[0], session_id)
        if the_servers(place):
            assert place.called() == dict.fromkeys(sessions, once())


def test_a_lease_is_as_long_as_it_is(postgres_place: Place) -> None:
    """A call that outlasts its lease is not made by another while its worker lives; it is when that was killed, after
    the lease, whatever either clock says."""
    place, lease = postgres_place, ALIVE | {"lease": 0.8, "renew": 0.1}
    trouble, sessions = Trouble(sessions="s", does="wait", where="call", what="analytics", when="after"), ["s1", "s2"]
    with place.open(**lease) as pipeline:
        with ExitStack() as stack:
            shifts = [place.shift(trouble, threads=1, ahead=ahead, **lease) for ahead in (APART, -APART)]
            processes = [stack.enter_context(worker(shift)) for shift in shifts]
            begin(pipeline, sessions)
            for process in processes:
                process.hear("wait")
            end = time.monotonic() + 1.0
            while time.monotonic() < end:
                pipeline.run_until_idle()
            assert [place.called()[session_id]["analytics", 1] for session_id in sessions] == [1, 1]
        assert work_until(pipeline, *sessions, within=SOON) > 0.1
        for session_id in sessions:
            check(pipeline, session_id)
            assert place.called()[session_id] == once(lost="analytics")


@pytest.mark.parametrize("ahead", [APART, -APART, HOUR, -HOUR])
def test_a_wait_is_as_long_as_it_is(ahead: float, postgres_place: Place) -> None:
    """A stage that one worker put off is due when it said, for another too, who then asks the provider again."""
    place, tries = postgres_place, ALIVE | {"retry_tries": 1, "retry_first": 4.0}
    with place.open(OffClock(ahead), **tries) as one, place.open(OffClock(-ahead), **tries) as other:
        begin(one, ["s"])
        place.away("tasks")
        one.run_until_idle()
        now = other.clock.now()
        due_at = next(row["due_at"] for row in other.store.work_rows(now) if row["stage"] == "tasks")
        assert 0 < due_at - now < 6.1e6
        place.away("tasks", False)
        other.run_until_idle()
        assert other.get("s").stages["tasks"].status == "waiting"
        other.store.release(now, "s", "stage", "tasks")
        work_until(other, "s", within=SOON)
        check(other, "s")


@pytest.mark.soak
@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_clock_that_jumps_while_stages_run(jump: float, place: Place) -> None:
    """Nothing is made twice or waits for the clock; on SQLite, which has only this clock, nothing is recorded twice."""
    clock = OffClock()
    with (
        place.open(clock, takes=0.05, **ALIVE) as one,
        # On SQLite both are on the machine whose clock it is.
        place.open(OffClock() if the_servers(place) else clock, takes=0.05, **ALIVE) as other,
    ):
        for turn in range(share(1, 20)):
            clock.ahead = 0
            before, after = [f"before-{turn}-{n}" for n in range(3)], f"after-{turn}"
            begin(one, before)
            with one.workers(1), other.workers(1):
                until(lambda: len(place.called()) > 4 * turn)  # noqa: B023
                clock.ahead = jump
                begin(one, [after])
                until(lambda: revealed(one, after), within=SOON)  # noqa: B023
                if not the_servers(place) and jump < 0:
                    clock.ahead = 0  # what was due before the jump was due an hour later: the clock is set right
                for session_id in before:
                    until(lambda: revealed(one, session_id), within=SOON)  # noqa: B023
            for session_id in (*before, after):
                check(one, session_id)
                if the_servers(place):
                    assert set(place.called()[session_id].values()) == {1}


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_a_recording_is_abandoned_by_its_silence(ahead: float, postgres_place: Place) -> None:
    """A worker whose clock is an hour off leaves a live recording alone, and finalizes a silent one in time."""
    grace = ALIVE | {"recording_grace": 0.3}
    with postgres_place.open(**grace) as client, postgres_place.open(OffClock(ahead), **grace) as off:
        client.start_session("live", "live")
        end = time.monotonic() + 0.8
        while time.monotonic() < end:
            client.touch("live")
            off.run_until_idle()
        assert client.get("live").state == "recording"
        work_until(off, "live", within=SOON)


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_a_recording_from_a_host_whose_clock_is_off(ahead: float, postgres_place: Place) -> None:
    """What it records is a sign of life when it comes, whatever the time is there."""
    grace = ALIVE | {"recording_grace": 0.5}
    with postgres_place.open(OffClock(ahead), **grace) as client, postgres_place.open(**grace) as right:
        client.start_session("live", "live")
        end = time.monotonic() + 1.2
        while time.monotonic() < end:
            client.record("live", [Segment("on and on", 0, 1)])
            right.run_until_idle()
        assert client.get("live").state == "recording"
        work_until(right, "live", within=SOON)
