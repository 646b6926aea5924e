"""What recover says of what it cannot repair: work that wants a worker, readers that are too old, damaged logs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from stuck import MINUTE, abandoned, another, due, everything, forged, later, upgrade_due, worker_seen, write

from mina_pipeline import Pipeline, Settings, define, stage
from mina_pipeline import events as did
from mina_pipeline.codec import chain
from mina_pipeline.diagnosis import Finding, age, diagnose
from mina_pipeline.projections import KEYS, READ_MODELS, Op
from mina_pipeline.sessions import load
from mina_pipeline.stages.base import Ok, StageContext
from mina_pipeline.states import FOLD_VERSION

Opened = Callable[..., Pipeline]


@stage("translation", running="translating")
def translate(ctx: StageContext) -> Ok:
    return Ok({"text": "hallo"})


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, found
    return found[0]


# --- what only a worker can end


def test_unclaimed_work_wants_a_worker(opened: Opened) -> None:
    """Work that is due for more than a minute is told of, but repaired only by doing it."""
    p = opened()
    session_id = due(p)
    later(p, session_id, "stage", "refinement", 0.8)
    assert p.recover(dry_run=True) == []
    later(p, session_id, "stage", "refinement", 5)
    found = only(p.recover())
    assert (found.what, found.repaired) == ("unclaimed", False)
    assert "refinement run 1 is due for 5 min" in found.detail
    assert "no worker is running" in found.detail
    assert "mina worker" in found.remedy
    assert only(p.recover(run=True)).repaired is True
    assert p.get(session_id).state == "revealed"


def test_unclaimed_work_beside_workers_says_so(opened: Opened) -> None:
    """Whether the workers that are there know the definition, or are too busy, is told."""
    p = opened()
    later(p, due(p), "stage", "refinement", 5)
    worker_seen(p, "host:1:other", ["other 1"])
    assert "no running worker knows definition standard 1" in only(p.recover(dry_run=True)).detail
    worker_seen(p, "host:2:busy", ["standard 1"])
    assert "host:2:busy could have" in only(p.recover(dry_run=True)).detail


def test_an_overdue_wait_is_named(opened: Opened) -> None:
    """A stage that was to go on long ago says why it waited; going on ends it."""
    from mina_pipeline import ProviderUnavailable

    calls: list[int] = []

    @stage("translation", running="translating", policy="wait")
    def away(ctx: StageContext) -> Ok:
        calls.append(1)
        if len(calls) == 1:
            raise ProviderUnavailable("theirs", "rate limit", retry_after=60)
        return Ok()

    p = opened(definition=define("mine", away))
    session_id = due(p)
    p.run_until_idle()
    assert p.recover(dry_run=True) == []
    later(p, session_id, "stage", "translation", 90)
    found = only(p.recover())
    assert (found.what, found.repaired) == ("overdue wait", False)
    assert "rate limit" in found.detail
    assert "1 h 30 min" in found.detail
    assert only(p.recover(run=True)).repaired is True
    assert p.get(session_id).state == "revealed"


def test_upgrades_that_are_due_are_not_overdue(opened: Opened) -> None:
    """A degraded result waits for its provider for as long as that is away: nothing is wrong with it."""
    p = opened()
    session_id = due(p)
    p.run_until_idle()
    upgrade_due(p, session_id, 10)
    assert p.recover(dry_run=True) == []
    assert only(p.recover(everything=True)).what == "read model behind"  # the log wants no upgrade: so it is removed
    assert p.store.rows("work", session_id) == []


# --- what cannot be repaired here


def test_an_unknown_definition_is_named(opened: Opened) -> None:
    """Its name and version are told, and who knew it; it is not repaired, and nothing is written."""
    p = opened(definition=define("mine", translate, version=3))
    session_id = due(p)
    later(p, session_id, "stage", "translation", 5)
    here = another(p)
    before = everything(p)
    found = only(here.recover())
    assert everything(p) == before
    assert (found.session_id, found.what, found.repaired) == (session_id, "unknown definition", False)
    assert "mine 3" in found.detail
    assert "no worker process of the last day knew it" in found.detail
    worker_seen(p, "host:9:theirs", ["mine 3"], minutes=5)
    assert "host:9:theirs knew it, and is silent for 5 min" in only(here.recover(dry_run=True)).detail
    worker_seen(p, "host:9:theirs", ["mine 3"])
    assert only(here.recover(dry_run=True)).what == "unclaimed"  # somebody who knows it is running


def test_an_abandoned_recording_of_an_unknown_definition_is_left(opened: Opened) -> None:
    """Nothing is decided for a definition that this process does not know; the refusal is told."""
    p = opened(definition=define("mine", translate))
    session_id = abandoned(p)
    found = {one.what: one for one in another(p).recover()}
    assert {what: one.repaired for what, one in found.items()} == {
        "unknown definition": False, "abandoned recording": False,
    }  # fmt: skip
    assert "refused: unknown definition 'mine 1'" in found["abandoned recording"].detail
    assert p.get(session_id).state == "recording"


def test_a_reader_that_is_too_old_says_so(opened: Opened) -> None:
    """What a later release wrote is not compared, and not touched."""
    p = opened()
    session_id = due(p)
    row = {"session_id": session_id, "fold_version": FOLD_VERSION + 1, "snapshot": '{"of":"a later release"}'}
    write(p, session_id, Op("update", "sessions", (row,)))
    before = everything(p)
    found = only(p.recover())
    assert everything(p) == before
    assert (found.what, found.repaired) == ("reader too old", False)
    assert f"fold version {FOLD_VERSION + 1}" in found.detail


def written_by_a_later_release(p: Pipeline, session_id: str) -> None:
    now = load(p.store, session_id)
    refreshed = did.DashboardRefreshed(action="x", status="x", completed_at=0)
    noted = replace(now, state=replace_status(now.state, "revealed"))
    append, _ = p.handler.compose(session_id, noted, [refreshed], None, None, None, None)
    row = {**append.events[0], "type": "session_split", "skippable": False}
    row["hash"] = chain(now.row["hash"], row)
    kept = {"version": append.session["version"], "hash": row["hash"]}
    assert p.store.append(replace(append, events=(row,), session=kept, ops=()))


def replace_status(state: Any, status: str) -> Any:
    return msgspec.structs.replace(state, status=status)


def test_an_event_of_a_later_release_is_named(opened: Opened) -> None:
    """An event that cannot be skipped stops this release, whatever the fold version says."""
    p = opened()
    session_id = due(p)
    written_by_a_later_release(p, session_id)
    found = only(p.recover())
    assert (found.what, found.repaired) == ("reader too old", False)
    assert "session_split" in found.detail


def test_nothing_is_made_anew_from_a_damaged_log(opened: Opened) -> None:
    """Where the chain is broken the read models stay as they are: a backup is what helps."""
    p = opened()
    session_id = forged(p)
    row = {"session_id": session_id, "hash": bytes(32)}
    write(p, session_id, Op("update", "sessions", (row,)))
    before = everything(p)
    found = only(p.recover())
    assert everything(p) == before
    assert (found.what, found.repaired) == ("damaged log", False)


# --- the pure part


def test_diagnosis_is_pure_and_in_order_of_need() -> None:
    """The longest due comes first; the same rows give the same findings."""
    now = 10 * MINUTE
    rows = [
        {"session_id": one, "kind": "stage", "stage": "tasks", "run": 1, "definition": "d", "definition_version": 1,
         "due_at": at, "owner": None, "token": None, "until": None}
        for one, at in (("a", 0), ("b", MINUTE), ("c", 9.5 * MINUTE))
    ]  # fmt: skip
    given = (now, rows, {}, {}, frozenset[str](), ["d 1"], [], Settings())
    found = diagnose(*given)
    assert [(one.session_id, one.what) for one in found] == [("a", "unclaimed"), ("b", "unclaimed")]
    assert found == diagnose(*given)
    assert set(found[0].as_dict()) == {"session_id", "what", "detail", "remedy", "repaired"}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0.0 s"), (0.04, "0.0 s"), (9.96, "10.0 s"), (59, "59 s"), (119, "119 s"), (120, "2 min"), (3599, "59 min"),
     (3600, "1 h 0 min"), (47.5 * 3600, "47 h 30 min"), (49 * 3600, "2 d 1 h")],
)  # fmt: skip
def test_spans_are_told_in_words(seconds: float, words: str) -> None:
    """Times are short to read, and never below nought."""
    assert age(seconds * 1e6) == words


def test_every_read_model_has_a_key() -> None:
    """The tests above compare every table."""
    assert set(READ_MODELS) < set(KEYS)
