"""recover: what is stuck is found on every store and repaired where it can be, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from stuck import (
    MINUTE,
    abandoned,
    claimed,
    due,
    everything,
    forged,
    later,
    recording,
    write,
)

from mina_pipeline import Pipeline
from mina_pipeline.diagnosis import REPAIRABLE, Finding
from mina_pipeline.projections import Op
from mina_pipeline.recovery import Recovery

Opened = Callable[..., Pipeline]


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, found
    return found[0]


# --- one fault each: planted, found by a dry run that changes nothing, repaired


def dead_lease(p: Pipeline) -> str:
    session_id = due(p)
    claimed(p)
    return session_id


def no_work(p: Pipeline) -> str:
    session_id = due(p)
    row = {"session_id": session_id, "kind": "stage", "stage": "refinement"}
    write(p, session_id, Op("delete", "work", (row,)))
    return session_id


def no_timer(p: Pipeline) -> str:
    session_id = recording(p)
    row = {"session_id": session_id, "kind": "timer", "stage": "recording"}
    write(p, session_id, Op("delete", "work", (row,)))
    return session_id


def too_much_work(p: Pipeline) -> str:
    session_id = due(p)
    row = {**p.store.rows("work", session_id)[0], "stage": "summary", "due_at": p.clock.now()}
    write(p, session_id, Op("insert", "work", (row,)))
    return session_id


def another_run(p: Pipeline) -> str:
    session_id = due(p)
    row = {"session_id": session_id, "kind": "stage", "stage": "refinement", "run": 7}
    write(p, session_id, Op("update", "work", (row,)))
    return session_id


REPAIRED: list[tuple[Callable[[Pipeline], str], str, list[str]]] = [
    (dead_lease, "dead lease", ["gone:1:1", "refinement run 1", "ago"]),
    (abandoned, "abandoned recording", ["45 min", "grace 30 min"]),
    (no_work, "no work", ["finalized", "stage refinement"]),
    (no_timer, "no work", ["recording", "timer recording"]),
    (too_much_work, "read model behind", ["stage summary run 1"]),
    (another_run, "read model behind", ["stage refinement run 7"]),
    (forged, "read model behind", ["segments"]),
]


@pytest.mark.parametrize(("plant", "what", "words"), REPAIRED, ids=lambda one: getattr(one, "__name__", ""))
def test_it_is_found_and_repaired(
    opened: Opened, plant: Callable[[Pipeline], str], what: str, words: list[str]
) -> None:
    """A dry run names it and changes nothing; repairing it ends it, and the session comes to its reveal."""
    p = opened()
    well, session_id = due(p), plant(p)
    if what == "dead lease":  # the well one was finalized first, so it was the one that was claimed
        well, session_id = session_id, well
    before = everything(p)
    found = only(p.recover(dry_run=True))
    assert everything(p) == before
    assert (found.session_id, found.what, found.repaired) == (session_id, what, None)
    assert all(word in found.detail for word in words), found.detail
    assert found.remedy
    assert only(p.recover()).repaired is True
    assert p.recover(dry_run=True) == []
    assert p.get(well).version == 3
    if p.get(session_id).state == "recording":
        p.finalize(session_id)
    p.run_until_idle()
    assert p.get(session_id).state == "revealed"
    assert p.verify(session_id) == []


def test_a_dead_lease_of_an_upgrade_is_one_too(opened: Opened) -> None:
    """Any kind of work may be left behind by a worker that was killed: also a recording's timer."""
    p = opened()
    recording(p)
    later(p, p.sessions()[0].session_id, "timer", "recording", 0.5)
    claimed(p)
    found = only(p.recover(dry_run=True))
    assert (found.what, "timer recording" in found.detail) == ("dead lease", True)


def test_a_held_lease_is_nobodys_business(opened: Opened) -> None:
    """Work that a worker has is not stuck, however long it has been due."""
    p = opened()
    later(p, due(p), "stage", "refinement", 30)
    claimed(p, lease=10 * MINUTE)
    assert p.recover(dry_run=True) == []


def test_a_lease_that_was_taken_meanwhile_is_left(opened: Opened) -> None:
    """Between the look and the repair another worker may have claimed it: its lease stays, and its outcome counts."""
    p = opened()
    session_id = dead_lease(p)
    found = only(p.recover(dry_run=True))
    new = claimed(p, "alive:1:1", 10 * MINUTE)
    doctor = Recovery(p.store, p.handler, p.settings, [], [])
    assert doctor.repair(found).repaired is True
    (row,) = p.store.rows("work", session_id)
    assert (row["token"], row["owner"], row["attempts"]) == (new.token, "alive:1:1", 2)


def test_releasing_does_not_forget_the_attempts(opened: Opened) -> None:
    """An operator who repairs again and again does not keep a stage alive that kills its workers."""
    p = opened()
    session_id = dead_lease(p)
    p.recover()
    (row,) = p.store.rows("work", session_id)
    assert (row["token"], row["owner"], row["until"], row["attempts"]) == (None, None, None, 1)


def test_a_recording_with_a_sign_of_life_goes_on(opened: Opened) -> None:
    """A touch after the look keeps the recording: the repair decides again."""
    p = opened()
    session_id = abandoned(p)
    found = only(p.recover(dry_run=True))
    p.touch(session_id)
    Recovery(p.store, p.handler, p.settings, [], []).repair(found)
    assert p.get(session_id).state == "recording"
    assert p.recover(dry_run=True) == []


def test_a_damaged_snapshot_is_written_anew(opened: Opened) -> None:
    """It is found by its log, stops no look at other sessions, and is repaired."""
    p = opened()
    session_id, other = due(p), abandoned(p)
    write(p, session_id, Op("update", "sessions", ({"session_id": session_id, "snapshot": "{"},)))
    found = {one.session_id: one for one in p.recover()}
    assert {one: (this.what, this.repaired) for one, this in found.items()} == {
        session_id: ("read model behind", True), other: ("abandoned recording", True),
    }  # fmt: skip
    assert "snapshot" in found[session_id].detail
    assert p.get(session_id).state == "finalized"
    assert p.verify(session_id) == []


def test_an_abandoned_recording_says_so(opened: Opened) -> None:
    """It is finalized once, as abandoned, with its statistics."""
    p = opened()
    session_id = abandoned(p)
    p.recover()
    assert p.recover() == []
    ends = [event for event in p.events(session_id) if event.type == "session_finalized"]
    assert [event.data["reason"] for event in ends] == ["abandoned"]
    assert p.get(session_id).state == "finalized"


# --- how much is looked at


def test_finished_sessions_are_compared_only_when_asked(opened: Opened) -> None:
    """A forged row of a revealed session is found with `everything`, and repaired."""
    p = opened()
    session_id = due(p)
    p.run_until_idle()
    row = {**p.store.rows("tasks", session_id)[0], "title": "forged"}
    write(p, session_id, Op("update", "tasks", (row,)))
    assert p.recover(dry_run=True) == []
    assert only(p.recover(dry_run=True, everything=True)).what == "read model behind"
    assert only(p.recover(everything=True)).repaired is True
    assert p.verify(session_id) == []


def test_the_cost_is_that_of_what_is_unfinished(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """No log and no row of a finished session is read, however many there are."""
    p = opened()
    finished = {due(p) for _ in range(5)}
    p.run_until_idle()
    unfinished = {due(p), recording(p)}
    read: set[str] = set()
    for name in ("events", "load"):
        method = getattr(p.store, name)

        def watched(session_id: str, *args: Any, method: Any = method, **options: Any) -> Any:
            read.add(session_id)
            return method(session_id, *args, **options)

        monkeypatch.setattr(p.store, name, watched)
    assert p.recover(dry_run=True) == []
    assert read == unfinished
    assert not finished & read


def test_each_repair_can_be_declined(opened: Opened) -> None:
    """What was not chosen is as it was, and left."""
    p = opened()
    kept, mended = abandoned(p), abandoned(p)
    found = p.recover(choose=lambda one: one.session_id == mended)
    assert {one.session_id: one.repaired for one in found} == {kept: False, mended: True}
    assert p.get(kept).state == "recording"


def test_a_session_that_moves_is_not_stuck(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker appends between the reads is not taken for rows that are missing or too many."""
    p = opened()
    session_id = due(p)
    rows, worker = p.store.work_rows, p.worker()

    def in_between(now: int, limit: int | None = None) -> Any:
        worker.step(p.clock.now())  # after the sessions were read, before their work is
        return rows(now, limit)

    monkeypatch.setattr(p.store, "work_rows", in_between)
    assert p.recover(dry_run=True) == []
    assert p.get(session_id).version > 3


def test_running_workers_are_not_in_the_way(opened: Opened) -> None:
    """Recovering again and again while workers run disturbs no session, and none is done twice."""
    p = opened()
    sessions = [due(p) for _ in range(12)]
    with p.workers(3):
        for _ in range(10):
            assert [one for one in p.recover() if one.what in REPAIRABLE] == []
    p.run_until_idle()
    for session_id in sessions:
        assert p.get(session_id).state == "revealed"
        types = [event.type for event in p.events(session_id)]
        assert len(types) == len(set(types))


# --- a rebuilt timer


def test_a_timer_that_is_made_anew_is_due_when_it_was(opened: Opened) -> None:
    """rebuild gives a recording's timer the grace from the event that brought it, not none."""
    p = opened()
    session_id = no_timer(p)
    assert p.rebuild(session_id) == 1
    (row,) = [row for row in p.store.work_rows(p.clock.now()) if row["session_id"] == session_id]
    grace = p.settings.recording_grace * 1e6
    assert row["due_at"] == pytest.approx(p.get(session_id).created_at + grace, abs=5e6)
