"""The command line on what it can only half read."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from later import begun, later_release_writes, stored

from mina_pipeline import Pipeline
from mina_pipeline.cli.app import mina
from mina_pipeline.cli.live import Watch


@pytest.fixture
def run(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a verb on the test's pipeline."""
    module = ModuleType("the_app")
    module.pipeline = pipeline  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "the_app", module)
    monkeypatch.setattr(pipeline, "close", lambda: None)
    return lambda *words: CliRunner().invoke(mina, [*words, "--app", "the_app:pipeline"], catch_exceptions=False)


def test_mina_replay_prints_what_comes_before(pipeline: Pipeline, run: Callable[..., Any]) -> None:
    """`mina replay` prints the steps that it can fold, names on stderr what is unknown, and exits 1."""
    begun(pipeline, "s")
    later_release_writes(pipeline, "s", "session_noted", skippable=True)
    assert "session_noted              finalized  unknown to this release, skipped" in run("replay", "s").stdout
    later_release_writes(pipeline, "s")
    found = run("replay", "s")
    assert found.exit_code == 1
    assert found.stdout.splitlines()[-1] == "state finalized at version 4"
    assert "session_split" not in found.stdout
    assert "session_split" in found.stderr
    found = run("replay", "s", "--json")
    assert [msgspec.json.decode(line)["version"] for line in found.stdout.splitlines()] == [1, 2, 3, 4, 4]
    assert found.exit_code == 1
    assert run("replay", "s", "--to", "4").exit_code == 0


def test_the_other_verbs_survive(pipeline: Pipeline, run: Callable[..., Any]) -> None:
    """Events, show, list, diagram and verify read a session of a later release; rebuild leaves it and does the rest."""
    begun(pipeline, "s")
    later_release_writes(pipeline, "s", state="splitting")
    begun(pipeline, "t")
    for verb in (("sessions", "events", "s"), ("sessions", "show", "s"), ("sessions", "list"), ("diagram", "s")):
        for more in ((), ("--json",)):
            assert run(*verb, *more).exit_code == 0, verb
    assert "session_split" in run("sessions", "events", "s").stdout
    assert run("verify").exit_code == 1
    found = run("rebuild", "--json")
    assert found.exit_code == 1
    assert [msgspec.json.decode(line)["session_id"] for line in found.stdout.splitlines()] == ["t"]
    assert "s: unknown" in found.stderr


def test_the_live_view_goes_on(pipeline: Pipeline) -> None:
    """The live table shows an event that it cannot read by its name, and every one after it."""
    begun(pipeline, "s")
    out = io.StringIO()
    with Watch(pipeline.get("s"), out, "a file") as watch:
        pipeline.run_until_idle()
        known = pipeline.events("s")
        for n, event in enumerate([*known[:5], stored("session_split", 1, "{}"), *known[5:]], 1):
            watch.event(replace(event, version=n))
    lines = out.getvalue().splitlines()[1:]
    assert len(lines) == len(known) + 1
    assert lines[5].endswith("session_split              analyzing  unknown to this release")
    assert "revealed" in lines[-1]
