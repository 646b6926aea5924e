"""doctor and health: what can be seen now, in numbers and in words, and whether anything of it is wrong."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from stuck import MINUTE, another, claimed, due, later, upgrade_due, write

from mina_pipeline import FeedStall, Pipeline, define, stage
from mina_pipeline.cli.app import mina
from mina_pipeline.cli.doctor import store_checks
from mina_pipeline.health import Check, Health, checks
from mina_pipeline.projections import Op
from mina_pipeline.stages.base import Ok, StageContext
from mina_pipeline.work_shapes import BreakerState, WorkerSeen

Opened = Callable[..., Pipeline]
NOW = 1_700_000_000_000_000


# --- the numbers


def test_an_empty_store_is_well(pipeline: Pipeline) -> None:
    """Nothing is unfinished, nothing is due, no relay runs."""
    found = pipeline.health()
    assert (found.sessions, found.oldest_unfinished, found.work, found.overdue) == ({}, None, {}, 0)
    assert (found.leases_held, found.leases_dead, found.breakers, found.workers) == (0, 0, [], [])
    assert (found.relay_lag, found.relay_seen, found.unknown_definitions) == (None, None, {})


def test_unfinished_sessions_and_work_are_counted(pipeline: Pipeline) -> None:
    """By public state and by kind; revealed and cancelled sessions are not unfinished, also where they have work."""
    p = pipeline
    done = due(p)
    p.run_until_idle()
    p.cancel(p.start_session().session_id)
    p.start_session()
    first, second = due(p), due(p)
    p.retry(done, "tasks")
    moment = p.clock.now() - 3 * MINUTE
    write(p, first, Op("update", "sessions", ({"session_id": first, "finalized_at": moment},)))
    later(p, second, "stage", "refinement", 2)
    found = p.health()
    assert found.sessions == {"recording": 1, "finalized": 2}
    assert found.work == {"timer": 1, "stage": 3}
    assert found.oldest_unfinished == pytest.approx(180, abs=10)
    assert found.overdue == 1


def test_only_what_could_be_claimed_for_long_is_overdue(pipeline: Pipeline) -> None:
    """Held work is not, nor an upgrade, nor what became due within the minute; a dead lease is after a minute."""
    p = pipeline
    session_id = due(p)
    later(p, session_id, "stage", "refinement", 0.9)
    assert p.health().overdue == 0
    later(p, session_id, "stage", "refinement", 30)
    assert p.health().overdue == 1
    claimed(p, lease=10 * MINUTE, token="t")
    found = p.health()
    assert (found.overdue, found.leases_held, found.leases_dead) == (0, 1, 0)
    p.store.renew(p.clock.now(), ["t"], 1)
    found = p.health()
    assert (found.overdue, found.leases_held, found.leases_dead) == (0, 0, 1)
    upgrade_due(p, session_id, 10)
    assert p.health().overdue == 0


def test_unknown_definitions_are_counted_by_rows(opened: Opened) -> None:
    """A definition that neither this process nor a running worker knows; who runs it, knows it."""

    @stage("translation", running="translating")
    def translate(ctx: StageContext) -> Ok:
        return Ok()

    p = opened(definition=define("mine", translate, version=2))
    due(p)
    due(p)
    here = another(p)
    assert here.health().unknown_definitions == {"mine 2": 2}
    assert p.health().unknown_definitions == {}
    with p.workers(1):
        assert here.health().unknown_definitions == {}


def test_running_workers_are_seen(pipeline: Pipeline) -> None:
    """A process with workers says who it is; when it ends in order it is gone."""
    with pipeline.workers(2):
        (worker,) = pipeline.health().workers
        assert worker.details["concurrency"] == 2
        assert "standard 1" in worker.details["definitions"]
    assert pipeline.health().workers == []


def test_breakers_are_seen(pipeline: Pipeline) -> None:
    """An open breaker comes with its reason and its next probe."""
    now = pipeline.clock.now()
    assert pipeline.store.trip_breaker(now, "theirs", 30_000_000, "rate limit")
    (breaker,) = pipeline.health().breakers
    assert (breaker.provider, breaker.state, breaker.reason) == ("theirs", "open", "rate limit")


def test_a_relay_that_is_behind_says_for_how_long(pipeline: Pipeline) -> None:
    """While a subscriber holds it up its lag grows; when all is delivered it is 0, and its steps go on."""
    going, go = threading.Event(), threading.Event()

    def slow(_event: Any) -> None:
        going.set()
        assert go.wait(20)

    with pipeline.subscribe(slow):
        pipeline.start_session()
        assert going.wait(20)
        time.sleep(0.2)
        lag = pipeline.health().relay_lag
        assert lag is not None
        assert 0.1 < lag < 20
        go.set()
        pipeline.relay.drain()
        until = time.monotonic() + 20
        while pipeline.health().relay_lag and time.monotonic() < until:
            time.sleep(0.01)
        found = pipeline.health()
        assert found.relay_lag == 0.0
        assert found.relay_seen == pytest.approx(pipeline.clock.now(), abs=20e6)
        before = found.relay_seen
        while pipeline.health().relay_seen == before and time.monotonic() < until:
            time.sleep(0.01)
        assert pipeline.health().relay_seen != before


def test_a_relay_that_fails_is_behind(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the store does not answer it, nothing is delivered, and that is not called well."""
    with pipeline.subscribe(lambda _: None):
        pipeline.relay.drain()

        def broken(*_: Any) -> Any:
            raise ConnectionError

        monkeypatch.setattr(pipeline.store, "feed", broken)
        until = time.monotonic() + 20
        while not pipeline.health().relay_lag and time.monotonic() < until:
            time.sleep(0.01)
        assert pipeline.health().relay_lag


# --- the words

WELL = Health(
    now=NOW, sessions={}, oldest_unfinished=None, work={}, overdue=0, leases_held=0, leases_dead=0, breakers=[],
    workers=[WorkerSeen("host:1", NOW - MINUTE, NOW - 1_000_000, {"concurrency": 8, "running": 2, "hung": 0,
                                                                  "definitions": ["standard 1"]})],
    feed_stall=None, relay_lag=None, relay_seen=None, unknown_definitions={},
)  # fmt: skip
STALL = FeedStall(3, NOW - 20_000_000, 4711, "app", "me", "reports", "idle in transaction", 25.0)
OPEN = BreakerState("theirs", "open", 2, NOW + 12_000_000, NOW - MINUTE, "rate limit")


def wrong(found: Health) -> list[Check]:
    return [check for check in checks(found) if check.level == "wrong"]


def test_nothing_is_wrong_with_what_is_well() -> None:
    """A worker that says nothing bad, and empty tables."""
    assert wrong(WELL) == []


@pytest.mark.parametrize(
    ("changed", "what", "words"),
    [
        ({"leases_dead": 2}, "leases", ["2 dead"]),
        ({"overdue": 4, "work": {"stage": 5}}, "work", ["5 stage", "4 overdue"]),
        ({"unknown_definitions": {"mine 3": 7}}, "definition", ["mine 3", "7"]),
        ({"breakers": [OPEN]}, "breaker", ["theirs", "open since 60 s", "rate limit", "next probe in 12 s"]),
        ({"breakers": [replace(OPEN, state="half_open")]}, "breaker", ["half_open", "a probe is out"]),
        ({"feed_stall": STALL}, "feed", ["3 event(s)", "20 s", "pid 4711", "reports", "idle in transaction"]),
        (
            {"workers": [replace(WELL.workers[0], details={**WELL.workers[0].details, "hung": 3})]},
            "worker",
            ["3 hung"],
        ),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(changed: dict[str, Any], what: str, words: list[str]) -> None:
    """Each in words, and none without a remedy."""
    (found,) = wrong(replace(WELL, **changed))
    assert found.what == what
    assert all(word in found.detail for word in words), found.detail
    assert found.remedy


@pytest.mark.parametrize(
    "changed",
    [
        {"workers": []},
        {"workers": [replace(WELL.workers[0], seen_at=NOW - 10 * MINUTE)]},
        {"feed_stall": replace(STALL, oldest=NOW - 2_000_000)},
        {"breakers": [replace(OPEN, state="closed", retry_at=None)]},
        {"sessions": {"recording": 3}, "oldest_unfinished": 7200.0, "work": {"timer": 3}},
    ],
)
def test_what_may_be_in_order_is_no_alarm(changed: dict[str, Any]) -> None:
    """No worker at all, one that was killed, a short stall, a closed breaker, a long meeting."""
    assert wrong(replace(WELL, **changed)) == []


def test_the_store_is_told_of() -> None:
    """An SQLite with the WAL-reset bug is noted, a clock that is far off is wrong."""
    old, new = ({"kind": "sqlite", "url": "u", "schema": "2", "release_schema": "2", "sqlite": version}
                for version in ("3.51.2", "3.51.3"))  # fmt: skip
    assert [check.level for check in store_checks(old)] == ["ok", "note"]
    assert [check.level for check in store_checks(new)] == ["ok"]
    facts = {"kind": "postgresql", "url": "u", "schema": "2", "release_schema": "2"}
    assert [check.level for check in store_checks({**facts, "clock_skew": -6.0})] == ["ok", "wrong"]
    assert [check.level for check in store_checks({**facts, "clock_skew": 0.01})] == ["ok", "ok"]


# --- the command


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/cli.db"
    monkeypatch.setenv("MINA_TABLE_PREFIX", f"d{os.getpid()}_")
    return str(request.getfixturevalue("postgres_url"))


def run(*args: str) -> Any:
    return CliRunner().invoke(mina, list(args), catch_exceptions=False)


def test_the_command_ends_with_what_it_found(db: str) -> None:
    """Exit 0 where all is well, 1 where something is wrong; --json is one object with the numbers and the checks."""
    found = run("doctor", "--db", db, "--json")
    assert found.exit_code == 0, found.stdout
    (line,) = found.stdout.splitlines()
    said = json.loads(line)
    assert said["ok"] is True
    assert said["store"]["schema"] == said["store"]["release_schema"]
    assert {"sessions", "oldest_unfinished", "work", "overdue", "breakers", "workers", "feed_stall"} <= set(said)
    assert run("doctor", "--db", db).exit_code == 0
    with Pipeline.open(db) as p:
        later(p, due(p), "stage", "refinement", 5)
    found = run("doctor", "--db", db, "--json")
    assert found.exit_code == 1
    said = json.loads(found.stdout)
    assert (said["ok"], said["overdue"]) == (False, 1)
    assert [check["what"] for check in said["checks"] if check["level"] == "wrong"] == ["work"]
    words = run("doctor", "--db", db)
    assert words.exit_code == 1
    assert "1 overdue" in words.stdout
    assert "mina worker" in words.stdout


def test_a_store_that_is_not_there_ends_with_3(tmp_path: Path) -> None:
    """Nothing on stdout; the reason on stderr."""
    found = run("doctor", "--db", "sqlite:////no/such/folder/x.db", "--json")
    assert (found.exit_code, found.stdout) == (3, "")
    assert run("doctor", "--db", "postgresql://nobody@127.0.0.1:1/none").exit_code == 3
