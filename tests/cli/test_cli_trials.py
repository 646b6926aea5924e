"""fork, diff and replay-with on the command line: what they print, their exit codes, and hostile text."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from stuck import finished, lines, recording

from mina_pipeline import Pipeline
from mina_pipeline.cli.app import mina
from mina_pipeline.cli.trials import plain

Run = Callable[..., Result]
HOSTILE = "[red]boo[/red] \u009b31m\u202egnal [/nothing]"
APP = '''
"""A host's app: a provider that writes what no terminal should carry out, fails when it is told to, and can be slow."""

import os, time
from pathlib import Path
from mina_pipeline import Degraded, Ok, Pipeline
from mina_pipeline.meeting import Cited, Summary, Task, TaskList
from mina_pipeline.stages.offline import OfflineProvider

HOSTILE = os.environ["HOSTILE"]

class Hostile(OfflineProvider):
    name = "hostile[bold]"
    def extract_tasks(self, ctx):
        return Ok(TaskList(tasks=(Task(title=HOSTILE, assigned_to=HOSTILE, due_text=HOSTILE),)))
    def summarize(self, ctx):
        if "SLOW" in os.environ:
            Path(os.environ["SLOW"]).touch()
            time.sleep(60)
        if "FAIL" in os.environ:
            raise RuntimeError(HOSTILE)
        points = (Cited(text=HOSTILE),)
        return Degraded(Summary(brief=HOSTILE, detailed=HOSTILE, key_points=points, decisions=points), "[bold]odd")

def pipeline():
    return Pipeline.open(os.environ["APP_DB"], provider=Hostile())
'''


@pytest.fixture
def app(place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a verb with the host's app, in this process; a name of its own, since modules are imported once."""
    name = f"app_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("APP_DB", place.url)
    monkeypatch.setenv("HOSTILE", HOSTILE)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *args: CliRunner().invoke(mina, [*args, "--app", f"{name}:pipeline"])


def test_fork_makes_a_session_and_shows_it(p: Pipeline, run: Run) -> None:
    """As `sessions show` does, and with --json the same object and its parent; what to do next is said."""
    parent = finished(p)
    before = p.store.load(parent), p.store.events(parent)
    (made,) = lines(run("fork", parent, "--from", "summary", "--provider", "offline", "--json"))
    assert (p.store.load(parent), p.store.events(parent)) == before
    assert made["parent"] == parent and made["state"] == "revealed" and made["title"] == "Weekly"
    assert made == json.loads(json.dumps(p.get(made["session_id"]).as_dict()))
    words = run("fork", parent, "--from", "tasks", "--title", "Tried")
    newest = p.sessions()[0]
    assert words.exit_code == 0 and newest.title == "Tried"
    assert words.stdout.endswith(f"compare: mina diff {parent} {newest.session_id}\n")
    assert words.stdout.startswith(run("sessions", "show", newest.session_id).stdout)


def test_fork_goes_on_with_one_that_was_left(p: Pipeline, run: Run) -> None:
    """Without --from ID is an unfinished fork; of any other session that is a word too few."""
    parent = finished(p)
    left = p.fork(parent, "tasks", wait=False)
    assert lines(run("doctor", "--json"))[0]["ok"] is False
    (made,) = lines(run("fork", left.session_id, "--json"))
    assert (made["session_id"], made["state"], made["parent"]) == (left.session_id, "revealed", parent)
    assert lines(run("doctor", "--json"))[0]["ok"] is True
    refused = run("fork", parent)
    assert (refused.exit_code, refused.stdout) == (2, "") and "name a stage to fork it from" in refused.stderr
    assert run("diagram", left.session_id).exit_code == 0


def test_what_is_refused(p: Pipeline, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong words end with 2, states that forbid it with 1, a store that is away with 3; stdout stays empty."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    parent, young = finished(p), recording(p)
    for code, args in (
        (2, ("fork", "nobody", "--from", "tasks")), (2, ("fork", parent, "--from", "nothing")),
        (2, ("fork", parent, "--from", "tasks", "--provider", "nobody")),
        (2, ("fork", parent, "--from", "tasks", "--provider", "offline", "--model", "m")),
        (2, ("fork", parent, "--from", "tasks", "--model", "m")), (2, ("fork",)),
        (1, ("fork", young, "--from", "tasks")), (2, ("diff", parent)), (2, ("diff", parent, "nobody")),
        (2, ("replay-with", "nobody")), (2, ("replay-with", "--provider", "nobody")),
        (2, ("replay-with", "--limit", "0")),
    ):  # fmt: skip
        found = run(*args)
        assert (found.exit_code, found.stdout) == (code, ""), (args, found.output)
        assert found.stderr, args
    for args in (("fork", "x", "--from", "tasks"), ("diff", "x", "y"), ("replay-with",)):
        away = CliRunner().invoke(mina, [*args, "--db", "sqlite:////no/such/folder/x.db"])
        assert (away.exit_code, away.stdout) == (3, ""), args


def test_a_failed_stage_ends_with_1(p: Pipeline, app: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fork is revealed and shown all the same."""
    parent = finished(p)
    monkeypatch.setenv("FAIL", "1")
    found = app("fork", parent, "--from", "summary", "--json")
    assert found.exit_code == 1 and lines(found)[0]["stages"]["summary"]["outcome"] == "failed"
    found = app("replay-with", parent, "--from", "summary", "--json")
    assert found.exit_code == 1 and lines(found)[0]["trials"][0]["well"] is False


def test_diff_as_json(p: Pipeline, app: Run, run: Run) -> None:
    """One object: both sessions, and everything that differs, with all text as it is stored."""
    parent = finished(p)
    (made,) = lines(app("fork", parent, "--from", "tasks", "--json"))
    (found,) = lines(run("diff", parent, made["session_id"], "--json"))
    assert list(found) == [
        "same", "a", "b", "a_parent", "b_parent", "stages", "lines", "changed_lines", "same_tasks", "changed_tasks",
        "tasks_only_a", "tasks_only_b", "summary", "points", "likeness", "analytics", "others",
    ]  # fmt: skip
    assert (found["same"], found["a"]["session_id"], found["b_parent"]) == (False, parent, parent)
    assert found["tasks_only_b"][0]["title"] == HOSTILE.replace("\u009b", "") and found["changed_lines"] == []
    assert run("diff", parent, parent, "--json").exit_code == 0


def test_hostile_text_is_shown_as_text(p: Pipeline, app: Run, run: Run) -> None:
    """What a model or a speaker wrote is neither markup nor a terminal's command, and does not turn the line around."""
    parent = finished(p)
    (made,) = lines(app("fork", parent, "--from", "refinement", "--title", HOSTILE, "--json"))
    other = p.start_session(HOSTILE, "[blink]id").session_id
    found = [app("diff", parent, made["session_id"]), app("diff", other, made["session_id"])]
    for one in found:
        assert one.exit_code == 0, one.output
        assert "[red]boo[/red] 31mgnal [/nothing]" in one.stdout
        assert "hostile[bold]" in one.stdout and "[bold]odd" in one.stdout
        for steers in ("\u009b", "\u202e", "\x1b"):
            assert steers not in one.stdout
    assert "[blink]id" in found[1].stdout
    assert "fork of" in found[0].stdout and parent in found[0].stdout
    assert "only A" in found[0].stdout and "only B" in found[0].stdout
    assert "The results are the same." in run("diff", parent, parent).stdout


def test_plain_keeps_other_scripts() -> None:
    """Only what steers goes: joiners, accents and right-to-left letters stay."""
    kept = "Zo\u00eb \u05e9\u05dc\u05d5\u05dd \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u4f60\u597d"
    assert plain(kept) == kept
    assert plain("a\x1b[2Jb\u0085c\u202ed\ne\u2028f") == "a[2Jbcd e f"


def test_replay_with_prints_a_table(p: Pipeline, app: Run) -> None:
    """A row for each session, refused ones too; as JSON one object. Progress goes to stderr."""
    parents, young = [finished(p), finished(p)], recording(p)
    found = app("replay-with", *parents, young, "--from", "summary", "--provider", "offline")
    assert found.exit_code == 1  # one was refused
    for text in (*parents, young, "outcomes", "differs", "summary ok", "nothing", "refused:", "finalize it first"):
        assert text in " ".join(found.stdout.split()), text
    assert all(f"{one}: " in found.stderr for one in (*parents, young))
    found = app("replay-with", "--from", "summary", "--limit", "1", "--json")
    assert found.exit_code == 0
    (shown,) = lines(found)
    assert (shown["from"], shown["provider"], shown["model"]) == ("summary", None, None)
    (trial,) = shown["trials"]
    assert trial["parent"] == parents[1] and trial["ran"] == ["summary"] and trial["well"] is True
    assert trial["session"]["stages"]["summary"]["provider"] == "hostile[bold]"
    assert trial["diff"]["b"]["session_id"] == trial["session"]["session_id"]


def heard() -> None:
    """Whoever runs these tests in the background may have them ignore SIGINT, and a child inherits that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_cancels_the_fork(
    p: Pipeline, app: Run, place: Any, tmp_path: Path, sent: signal.Signals
) -> None:
    """Exit 1, at once, though a stage is running; nothing is left that nobody could finish."""
    parent, begun = finished(p), tmp_path / "begun"
    command = [sys.executable, "-m", "mina_pipeline", "fork", parent, "--from", "summary"]
    command += ["--app", f"app_{tmp_path.name}:pipeline"]
    env = {**place.env, "APP_DB": place.url, "HOSTILE": HOSTILE, "SLOW": str(begun)}
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "preexec_fn": heard}
    with subprocess.Popen(command, cwd=tmp_path, env=env, **pipes) as process:
        until = time.monotonic() + 30
        while not begun.exists() and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(sent)
        asked = time.monotonic()
        out, _ = process.communicate(timeout=30)
    assert time.monotonic() - asked < 8
    assert (process.returncode, out) == (1, b"")
    assert p.sessions()[0].state == "cancelled" and p.store.work_rows(p.clock.now()) == []
    assert p.store.workers_seen(p.clock.now()) == []
