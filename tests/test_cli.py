"""The command line as a person or a script uses it: real processes' worth of behaviour, exit codes, clean stdout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from mina_pipeline.cli.app import mina

EXAMPLE = Path(__file__).parent.parent / "examples" / "weekly_planning.vtt"
VTT = (
    "WEBVTT\n\nc1\n00:00:00.000 --> 00:00:02.000\n<v Ann>okay let's start\n\n"
    "c2\n00:00:02.500 --> 00:00:06.000\n<v Bob>i'll send the figures by friday\n"
)
SRT = (
    "1\n00:00:00,000 --> 00:00:02,000\nAnn: okay let's start\n\n"
    "2\n00:00:02,500 --> 00:00:06,000\nBob: i'll send the figures by friday\n\n"
    "3\n00:00:06,500 --> 00:00:07,000\nAnn: good\n"
)
WHISPER = json.dumps({
    "text": "x", "language": "en",
    "segments": [{"id": 0, "start": 0.0, "end": 2.0, "text": " okay let's start", "avg_logprob": -0.2,
                  "no_speech_prob": 0.01}],
})  # fmt: skip
WHISPERX = json.dumps({
    "segments": [{"start": 0.0, "end": 2.0, "text": "okay let's start", "speaker": "SPEAKER_00",
                  "words": [{"word": "okay", "start": 0.0, "end": 0.5, "score": 0.9, "speaker": "SPEAKER_00"}]}],
})  # fmt: skip
OURS = json.dumps({
    "title": "Ours", "segments": [{"text": "okay let's start", "start_ms": 0, "end_ms": 2000, "speaker": "Ann"}],
})  # fmt: skip


def run(*args: str) -> Result:
    return CliRunner().invoke(mina, list(args))


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def db(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/cli.db"


@pytest.fixture
def session_id(tmp_path: Path, db: str) -> str:
    file = tmp_path / "meeting.vtt"
    file.write_text(VTT)
    return str(lines(run("run", str(file), "--db", db, "--json", "--date", "2026-11-23"))[0]["session_id"])


@pytest.mark.parametrize(
    ("name", "text", "ids"),
    [
        ("a.vtt", VTT, ["c1", "c2"]), ("a.srt", SRT, ["1", "2", "3"]), ("a.json", WHISPER, ["0"]),
        ("b.json", WHISPERX, None), ("c.json", OURS, None),
    ],
)  # fmt: skip
def test_each_format_is_revealed(tmp_path: Path, db: str, name: str, text: str, ids: list[str] | None) -> None:
    """Each transcript format runs to the reveal, with the cue ids of the file where it has them."""
    (tmp_path / name).write_text(text)
    result = run("run", str(tmp_path / name), "--db", db, "--json")
    assert result.exit_code == 0, result.stderr
    (line,) = lines(result)
    assert line["state"] == "revealed"
    assert set(line["stages"]) == {"refinement", "analytics", "tasks", "summary"}
    assert {"status", "outcome", "run", "provider", "duration_ms"} <= set(line["stages"]["tasks"])
    assert {"session_id", "version", "refined_transcript", "analytics", "tasks", "summary"} <= set(line)
    if ids is not None:
        assert [segment["segment_id"] for segment in line["transcript"]] == ids


def test_the_example_is_worth_watching(db: str) -> None:
    """The demo meeting comes out with dated tasks that have owners, a summary, and one open question."""
    result = run("run", str(EXAMPLE), "--db", db, "--json", "--date", "2026-12-01")
    assert result.exit_code == 0, result.stderr
    (line,) = lines(result)
    assert line["stats"]["total_segments"] >= 150
    assert line["stats"]["total_duration"] >= 15 * 60
    assert line["analytics"]["participant_count"] == 4
    assert len([task for task in line["tasks"] if task["due_date"] and task["assigned_to"]]) >= 2
    assert 0 < len(line["summary"]["detailed"].split()) <= 350
    assert [question for question in line["summary"]["questions"] if not question["answered"]]
    known = {segment["segment_id"] for segment in line["transcript"]}
    cited = [*line["tasks"], *line["summary"]["key_points"], *line["summary"]["decisions"]]
    assert all(set(item["evidence"]) <= known for item in cited)


def test_several_files_and_plain_output(tmp_path: Path, db: str) -> None:
    """Several files run in one go; without a terminal each transition is a plain line, then the reveal."""
    for name in ("one.vtt", "two.vtt"):
        (tmp_path / name).write_text(VTT)
    result = run("run", str(tmp_path / "one.vtt"), str(tmp_path / "two.vtt"), "--db", db, "--title", "Both")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("post_transcription_reveal") == 2
    assert "finalized → refining" in result.stdout
    assert "\x1b[" not in result.stdout


def test_markup_in_a_transcript_is_only_text(tmp_path: Path, db: str) -> None:
    """What looks like terminal markup or an escape sequence in a transcript is shown as text, not obeyed."""
    (tmp_path / "m.vtt").write_text(VTT.replace("Bob", "[red]Bob[/red]").replace("figures", "[bold]figures\x1b[31m"))
    result = run("run", str(tmp_path / "m.vtt"), "--db", db)
    assert result.exit_code == 0, result.stderr
    assert "\x1b[31m" not in result.stdout
    assert "[red]Bob" in result.stdout


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("empty.vtt", "", "empty"), ("unknown.txt", "just words\n", "format"), ("broken.json", "{", "JSON"),
        ("back.vtt", "WEBVTT\n\n00:00:05.000 --> 00:00:01.000\nwords\n", "back.vtt:3"),
        ("time.vtt", "WEBVTT\n\n00:xx:05.000 --> 00:00:01.000\nwords\n", "time.vtt:3"),
    ],
)  # fmt: skip
def test_bad_files_are_refused_whole(tmp_path: Path, db: str, name: str, text: str, says: str) -> None:
    """A bad file ends with 2, names itself and the line, and nothing is stored, not even the good one before it."""
    (tmp_path / "good.vtt").write_text(VTT)
    (tmp_path / name).write_text(text)
    result = run("run", str(tmp_path / "good.vtt"), str(tmp_path / name), "--db", db, "--json")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert name in result.stderr
    assert says in result.stderr
    assert "words" not in result.stderr.replace("just words", "")
    assert lines(run("sessions", "list", "--db", db, "--json")) == []


def test_folders_and_missing_files_are_refused(tmp_path: Path, db: str) -> None:
    """A directory and a missing file end with 2 and say which."""
    for path in (tmp_path, tmp_path / "nothing.vtt"):
        result = run("run", str(path), "--db", db)
        assert result.exit_code == 2
        assert str(path) in result.stderr


def test_unreachable_and_foreign_stores_end_with_3(tmp_path: Path) -> None:
    """A store that cannot be reached, or whose tables are not ours, ends with 3."""
    (tmp_path / "m.vtt").write_text(VTT)
    engine = sa.create_engine(f"sqlite:///{tmp_path}/theirs.db")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE mina_sessions (mine TEXT)")
    engine.dispose()
    for url in (f"sqlite:///{tmp_path}/theirs.db", "sqlite:////no/such/folder/x.db", "nonsense://x"):
        assert run("run", str(tmp_path / "m.vtt"), "--db", url).exit_code == 3


def test_wrong_words_end_with_2(tmp_path: Path, db: str, session_id: str) -> None:
    """Unknown sessions, dates, providers and apps end with 2."""
    file = str(tmp_path / "meeting.vtt")
    for args in (
        ("sessions", "show", "nobody"), ("replay", "nobody"), ("verify", "nobody"), ("run", file, "--date", "someday"),
        ("run", file, "--provider", "nobody"), ("sessions", "list", "--app", "no_such_module:p"), ("run",),
    ):  # fmt: skip
        assert run(*args, *(() if args == ("run",) else ("--db", db))).exit_code == 2


def test_sessions_show_and_events(db: str, session_id: str) -> None:
    """list, show and events tell of a session, for people and as JSON."""
    (listed,) = lines(run("sessions", "list", "--db", db, "--json"))
    assert (listed["session_id"], listed["state"], listed["title"]) == (session_id, "revealed", "meeting")
    assert session_id in run("sessions", "list", "--db", db).stdout
    (shown,) = lines(run("sessions", "show", session_id, "--db", db, "--json"))
    assert shown["result"]["summary"]["outcome"] == "ok"
    assert "refinement" in run("sessions", "show", session_id, "--db", db).stdout
    events = lines(run("sessions", "events", session_id, "--db", db, "--json"))
    assert [event["version"] for event in events] == list(range(1, len(events) + 1))
    assert {"event_id", "type", "recorded_at", "data", "position", "trace_id"} <= set(events[0])
    assert len(lines(run("sessions", "events", session_id, "--db", db, "--json", "--after", "3", "--limit", "2"))) == 2


def test_replay_verify_and_rebuild(tmp_path: Path, db: str, session_id: str) -> None:
    """replay tells each transition; verify ends with 1 on a forged row; rebuild mends it."""
    *steps, last = lines(run("replay", session_id, "--db", db, "--json"))
    assert (last["state"], last["version"]) == ("revealed", len(steps))
    assert lines(run("replay", session_id, "--to", "3", "--db", db, "--json"))[-1]["state"] == "finalized"
    assert "recording → finalized" in run("replay", session_id, "--db", db).stdout
    assert run("verify", "--db", db).exit_code == 0
    engine = sa.create_engine(db)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE mina_tasks SET title = 'forged'")
        connection.exec_driver_sql("UPDATE mina_segments SET text = 'forged'")
    found = run("verify", session_id, "--db", db, "--json")
    assert found.exit_code == 1
    assert {problem["what"] for problem in lines(found)[:-1]} == {"read model"}
    assert run("rebuild", "--db", db).exit_code == 0
    assert run("verify", "--db", db).exit_code == 0
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE mina_events SET data = replace(data, 'requested', 'abandoned')")
    engine.dispose()
    assert "hash" in run("verify", "--db", db).stdout


def test_diagram(db: str, session_id: str) -> None:
    """diagram draws a definition, or the one that a session goes through, with its state marked."""
    assert "stateDiagram-v2" in run("diagram").stdout
    assert "extracting_tasks" in run("diagram", "--definition", "parallel").stdout
    assert "revealed s_active" in run("diagram", session_id, "--db", db).stdout


def test_stdout_is_only_json_in_a_real_process(tmp_path: Path, db: str) -> None:
    """In a real process --json leaves nothing else on stdout, and progress goes to stderr."""
    (tmp_path / "m.vtt").write_text(VTT)
    command = [sys.executable, "-m", "mina_pipeline", "run", str(tmp_path / "m.vtt"), "--db", db, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["state"] == "revealed"
    assert "post_transcription_reveal" in done.stderr
