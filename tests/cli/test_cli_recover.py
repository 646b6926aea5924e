"""`mina recover`, the list of what is stuck, and the diagram of a session's path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result
from stuck import MINUTE, claimed, finished, later, lines, recording, silent

from mina_pipeline import Pipeline
from mina_pipeline.cli.app import mina

# --- recover and the list of what is stuck


def test_recover_tells_then_repairs(p: Pipeline, run: Callable[..., Result]) -> None:
    """Without a terminal it changes nothing; --yes repairs; --json has a line a finding and the counts."""
    session_id = recording(p)
    silent(p, session_id)
    for args in (("recover",), ("recover", "--dry-run"), ("recover", "--json"), ("recover", "--dry-run", "--json")):
        found = run(*args)
        assert found.exit_code == 1
        assert "abandoned recording" in found.stdout
        assert p.get(session_id).state == "recording"
    one, counts = lines(run("recover", "--json"))
    assert set(one) == {"session_id", "what", "detail", "remedy", "repaired"}
    assert (one["session_id"], one["repaired"]) == (session_id, None)
    assert counts == {"found": 1, "repaired": 0, "left": 1}
    found = run("recover", "--yes", "--json")
    assert found.exit_code == 0
    assert (lines(found)[0]["repaired"], lines(found)[1]) == (True, {"found": 1, "repaired": 1, "left": 0})
    assert p.get(session_id).state == "finalized"
    assert run("recover").stdout == "nothing is stuck\n"
    assert run("recover", "--json").stdout == '{"found":0,"repaired":0,"left":0}\n'


def test_recover_runs_stages_only_when_asked(p: Pipeline, run: Callable[..., Result]) -> None:
    """What only waits for a worker is left, and exit 1; --run does it."""
    session_id = recording(p)
    p.finalize(session_id)
    later(p, session_id, "stage", "refinement", 5)
    found = run("recover", "--yes")
    assert found.exit_code == 1
    assert "not repaired: run `mina worker`" in found.stdout
    assert p.get(session_id).state == "finalized"
    found = run("recover", "--yes", "--run")
    assert found.exit_code == 0, found.output
    assert p.get(session_id).state == "revealed"


@pytest.mark.parametrize(
    ("answers", "repaired"), [("yes\nno\n", 1), ("no\nno\n", 0), ("all\n", 2), ("quit\n", 0), ("\n\n", 0)]
)
def test_recover_asks_on_a_terminal(
    p: Pipeline, run: Callable[..., Result], place: Any, monkeypatch: pytest.MonkeyPatch, answers: str, repaired: int
) -> None:
    """About each, or all that are left; what was declined is as it was."""
    monkeypatch.setattr("mina_pipeline.cli.recover.on_terminal", lambda: True)
    stuck = [recording(p), recording(p)]
    for session_id in stuck:
        silent(p, session_id)
    found = CliRunner().invoke(mina, ["recover", "--db", place.url], input=answers)
    assert found.exit_code == (0 if repaired == 2 else 1), found.output
    assert sorted(p.get(one).state for one in stuck).count("finalized") == repaired
    assert f"2 problem(s), {repaired} repaired, {2 - repaired} left" in found.stdout


def test_recover_can_ask_and_then_run(p: Pipeline, place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal --run does the work once the questions are answered, and each line says what became of it."""
    monkeypatch.setattr("mina_pipeline.cli.recover.on_terminal", lambda: True)
    quiet, overdue = recording(p), recording(p)
    silent(p, quiet)
    p.finalize(overdue)
    later(p, overdue, "stage", "refinement", 5)
    found = CliRunner().invoke(mina, ["recover", "--run", "--db", place.url], input="yes\n")
    assert found.exit_code == 0, found.output
    assert (p.get(quiet).state, p.get(overdue).state) == ("revealed", "revealed")
    assert found.stdout.count("    repaired") == 2


def test_stuck_sessions_are_those_that_nobody_works_on(p: Pipeline, run: Callable[..., Result]) -> None:
    """--stuck: overdue work that nobody has, dead leases, silent recordings; not what waits, runs or is finished."""
    finished(p)
    recording(p)
    quiet, overdue, held = recording(p), recording(p), recording(p)
    silent(p, quiet)
    p.finalize(held)
    later(p, held, "stage", "refinement", 5)
    claimed(p, lease=10 * MINUTE)
    p.finalize(overdue)
    later(p, overdue, "stage", "refinement", 5)

    def stuck(*args: str) -> list[str]:
        return [line["session_id"] for line in lines(run("sessions", "list", "--stuck", "--json", *args))]

    assert stuck() == [overdue, quiet]
    assert stuck("--state", "recording") == [quiet]
    assert stuck("--limit", "1") == [overdue]
    assert stuck("--before", str(p.get(overdue).id)) == [quiet]
    assert stuck("--tenant", "acme") == []


def test_diagram_marks_the_path(p: Pipeline, run: Callable[..., Result]) -> None:
    """The session's states and edges are marked; --json lists the path."""
    session_id = finished(p)
    words = run("diagram", session_id).stdout
    assert "Class summarizing s_visited" in words
    assert "revealed s_active" in words
    assert "✓ 3 session_finalized" in words
    (line,) = lines(run("diagram", session_id, "--json"))
    assert (line["state"], line["path"][0]) == (
        "revealed", {"version": 3, "type": "session_finalized", "from": "recording", "to": "finalized"},
    )  # fmt: skip
    assert line["mermaid"] + "\n" == words
