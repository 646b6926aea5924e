"""finalize, retry, cancel and replay on the command line: exit codes, clean stdout, what comes next."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from click.testing import CliRunner, Result
from stuck import MINUTE, claimed, finished, later, lines, recording

from mina_pipeline import Pipeline
from mina_pipeline.cli.app import mina

# --- commands on a session


def test_finalize_is_for_once(p: Pipeline, run: Callable[..., Result]) -> None:
    """It ends the recording, is shown as `sessions show` does, and changes nothing when it is asked again."""
    session_id = recording(p)
    first, second = run("finalize", session_id, "--json"), run("finalize", session_id, "--json")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert lines(first) == lines(second) == [json.loads(json.dumps(p.get(session_id).as_dict()))]
    assert lines(first)[0]["state"] == "finalized"
    words = run("finalize", session_id)
    assert words.stdout == run("sessions", "show", session_id).stdout
    assert [event.actor for event in p.events(session_id) if event.type == "session_finalized"] == ["mina"]


def test_retry_runs_a_stage_again(p: Pipeline, run: Callable[..., Result]) -> None:
    """It asks for the next run; naming the run to repeat makes it repeatable."""
    session_id = finished(p)
    (asked,) = lines(run("retry", session_id, "summary", "--run", "1", "--json"))
    assert (asked["stages"]["summary"]["status"], asked["stages"]["summary"]["run"]) == ("due", 2)
    (again,) = lines(run("retry", session_id, "summary", "--run", "1", "--json"))
    assert again["version"] == asked["version"]
    p.run_until_idle()
    assert p.get(session_id).stages["summary"].run == 2
    assert "summary" in run("retry", session_id, "summary").stdout
    assert p.get(session_id).stages["summary"].run == 3


def test_retry_can_drop_instead(p: Pipeline, run: Callable[..., Result]) -> None:
    """Where nothing is pending, --drop changes nothing and says so by its exit code 0."""
    session_id = finished(p)
    before = p.get(session_id).version
    (asked,) = lines(run("retry", session_id, "summary", "--drop", "--json"))
    assert asked["version"] == before


def test_cancel_says_why(p: Pipeline, run: Callable[..., Result]) -> None:
    """It stops a session before the reveal, keeps the reason, and is refused after it."""
    session_id = recording(p)
    (asked,) = lines(run("cancel", session_id, "--why", "a test call", "--json"))
    assert asked["state"] == "cancelled"
    assert p.events(session_id)[-1].data["why"] == "a test call"
    revealed = finished(p)
    refused = run("cancel", revealed, "--json")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "revealed" in refused.stderr
    assert p.get(revealed).state == "revealed"


def test_wrong_words_end_with_2(p: Pipeline, run: Callable[..., Result]) -> None:
    """Unknown sessions and stages, runs that were not, positions that are none, options that contradict."""
    session_id = finished(p)
    for args in (
        ("finalize", "nobody"), ("cancel", "nobody"), ("retry", "nobody", "summary"), ("retry", session_id),
        ("retry", session_id, "nothing"), ("retry", session_id, "summary", "--run", "9"),
        ("retry", session_id, "summary", "--run", "0"), ("tail", "nobody", "--once"),
        ("tail", session_id, "--once", "--after", "1-2-3"), ("tail", "--once", "--after", "7"),
        ("recover", "--dry-run", "--yes"), ("recover", "--dry-run", "--run"), ("recover", "--run"),
        ("worker", "--concurrency", "0"),
        ("worker", "--grace", "-1"), ("worker", "--app", "no_such_module:p"), ("replay", session_id, "--to", "0"),
        ("diagram", "nobody"),
    ):  # fmt: skip
        found = run(*args)
        assert found.exit_code == 2, (args, found.output)
        assert found.stdout == "", args
        assert found.stderr, args


def test_a_store_that_is_not_there_ends_with_3() -> None:
    """Every verb, and with nothing on stdout."""
    for args in (
        ("finalize", "x"), ("cancel", "x"), ("retry", "x", "summary"), ("tail", "x"), ("tail",), ("recover",),
        ("doctor",), ("worker",), ("replay", "x"), ("diagram", "x"), ("sessions", "list"),
    ):  # fmt: skip
        found = CliRunner().invoke(mina, [*args, "--db", "sqlite:////no/such/folder/x.db"])
        assert (found.exit_code, found.stdout) == (3, ""), args


def test_a_definition_that_is_not_known_ends_with_1(place: Any, run: Callable[..., Result]) -> None:
    """A command on a session of somebody else's definition needs their code: it is refused, and nothing changes."""
    from mina_pipeline import define, stage
    from mina_pipeline.stages.base import Ok

    translate = stage("translation", running="translating")(lambda ctx: Ok())
    with Pipeline.open(place.url, definition=define("mine", translate)) as theirs:
        session_id = recording(theirs)
    refused = run("finalize", session_id, "--json")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "mine 1" in refused.stderr
    assert lines(run("recover", "--json"))[0]["what"] == "unknown definition"


# --- replay


def test_replay_tells_the_time_between(p: Pipeline, run: Callable[..., Result]) -> None:
    """Each step has the time since the one before; the last line says what comes next."""
    session_id = finished(p)
    *steps, last = lines(run("replay", session_id, "--json"))
    times = [event.recorded_at for event in p.events(session_id)]
    assert [step["after_us"] for step in steps] == [None, *(b - a for a, b in pairwise(times))]
    assert {"version", "type", "recorded_at", "before", "after", "stage", "run", "outcome"} <= set(steps[0])
    assert (last["state"], last["version"], last["next"]) == ("revealed", len(steps), [])
    words = run("replay", session_id).stdout
    assert re.search(r"\+\d+\.\d{3} s  session_finalized", words)
    assert words.splitlines()[-1] == f"state revealed at version {len(steps)}, nothing comes next"


def test_replay_says_who_has_what_comes_next(p: Pipeline, run: Callable[..., Result]) -> None:
    """At the end of the log: due since when, running by whom, waiting until when, blocked by what."""
    session_id = recording(p)
    assert "next: timer recording waits until" in run("replay", session_id).stdout
    p.finalize(session_id)
    later(p, session_id, "stage", "refinement", 5)
    (one, *others) = lines(run("replay", session_id, "--json"))[-1]["next"]
    assert (one["stage"], one["run"], one["status"]) == ("refinement", 1, "due")
    assert [(other["stage"], other["status"]) for other in others] == [
        ("analytics", "blocked"), ("tasks", "blocked"), ("summary", "blocked"),
    ]  # fmt: skip
    words = run("replay", session_id).stdout
    assert "next: refinement run 1 is due for 5 min" in words
    assert "next: tasks run 1 comes after analytics" in words
    claimed(p, "host:7:1", MINUTE, token="t")
    assert "refinement run 1 is running by host:7:1, lease for" in run("replay", session_id).stdout
    p.store.renew(p.clock.now(), ["t"], 1)
    assert "the lease of host:7:1 ended" in run("replay", session_id).stdout


def test_replay_of_an_earlier_version_goes_by_the_log(p: Pipeline, run: Callable[..., Result]) -> None:
    """What came next at version N is known, but not who had it."""
    session_id = finished(p)
    last = lines(run("replay", session_id, "--to", "3", "--json"))[-1]
    assert (last["state"], last["version"]) == ("finalized", 3)
    assert (last["next"][0]["stage"], last["next"][0]["status"], last["next"][0]["owner"]) == (
        "refinement",
        "due",
        None,
    )
    started = next(e.version for e in p.events(session_id) if e.type == "refinement_started")
    found = lines(run("replay", session_id, "--to", str(started), "--json"))[-1]["next"]
    assert [(one["kind"], one["stage"], one["status"]) for one in found[:2]] == [
        ("stage", "refinement", "running"), ("timer", "reveal", "waiting"),
    ]  # fmt: skip
    assert "next: refinement run 1 is running" in run("replay", session_id, "--to", str(started)).stdout
