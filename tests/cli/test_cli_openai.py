"""`mina run --provider openai` as a real process against a real server: what it shows, what it costs, how it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Place

from mina_pipeline import Pipeline
from mina_pipeline.testing.openai_server import OpenAIServer, OpenAIServerProcess, Status
from mina_pipeline.testing.truthful_model import truthful

SAID = (
    "um good morning everybody let us begin",
    "i will send the report to the board by friday",
    "we decided to keep the old printer",
    "who calls the landlord?",
)
STAGES = ("refinement", "analytics", "tasks", "summary")
KEY = "sk-test-1234"
Run = Callable[..., subprocess.CompletedProcess[str]]


def cue(n: int) -> str:
    return f"00:00:{n * 4:02}.000 --> 00:00:{n * 4 + 3:02}.500"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    cues = [f"{cue(n)}\n<v {'AnnBen'[n % 2 * 3 :][:3]}>{text}</v>\n" for n, text in enumerate(SAID)]
    path = tmp_path / "weekly.vtt"
    path.write_text("\n".join(["WEBVTT\n", *cues]))
    return path


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(truthful, api_key=KEY) as server:
        yield server


@pytest.fixture
def mina(place: Place, tmp_path: Path, server: OpenAIServer) -> Run:
    """The command in a process of its own; what the environment holds beside the key and the server is given."""

    def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
        known = {name: value for name, value in place.env.items() if not name.startswith(("OPENAI_", "MINA_OPENAI_"))}
        given = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": KEY, "COLUMNS": "160", **env}
        given = {name: value for name, value in given.items() if value}
        command = [sys.executable, "-m", "mina_pipeline", *args, "--db", place.url]
        return subprocess.run(
            command, cwd=tmp_path, env={**known, **given}, capture_output=True, text=True, timeout=100
        )

    return run


def shown(mina: Run, session_id: str) -> Any:
    found = mina("sessions", "show", session_id, "--json")
    assert found.returncode == 0
    return json.loads(found.stdout)


def only(p: Pipeline) -> str:
    (session,) = p.sessions()
    return session.session_id


def test_a_meeting_from_file_to_reveal(mina: Run, file: Path, server: OpenAIServer, p: Pipeline) -> None:
    """What is stored is cited; what it cost is what the server counted, as text and as JSON."""
    done = mina("run", str(file), "--provider", "openai", "--json", "--date", "2026-03-02", MINA_OPENAI_MODEL="m-1",
                MINA_OPENAI_PRICES="m-1=1000/2000", MINA_OPENAI_SEED="7")  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = [json.loads(one) for one in done.stdout.splitlines()]
    assert {name: (one["outcome"], one["provider"]) for name, one in line["stages"].items()} == dict.fromkeys(
        STAGES, ("ok", "openai")
    )
    assert line["refined_transcript"].startswith("Good morning everybody let us begin.")
    said = {one["segment_id"]: one["text"] for one in line["transcript"]}
    (task,) = line["tasks"]
    assert (task["title"], task["assigned_to"], task["due_date"]) == (
        "Send the report to the board by friday", "Ben", "2026-03-06",
    )  # fmt: skip
    summary = line["summary"]
    cited = [task, *summary["key_points"], *summary["decisions"], *summary["questions"], summary]
    assert [one["text"] for one in summary["decisions"]] == [SAID[2]]
    for one in cited:
        assert one["evidence"]
        assert len(one["quotes"]) == len(one["evidence"])
        assert all(quote in said[i] for i, quote in zip(one["evidence"], one["quotes"], strict=True))

    counts = server.counts()
    assert (counts.requests, counts.by_model) == (4, {"m-1": 4})
    assert all(request.body["seed"] == 7 for request in server.requests)
    found = shown(mina, line["session_id"])
    usage = found["usage"]
    assert (usage["tokens_in"], usage["tokens_out"]) == (counts.tokens_in, counts.tokens_out)
    cost = (counts.tokens_in * 1000 + counts.tokens_out * 2000) / 1e6
    assert usage["cost"] == pytest.approx(cost)
    assert set(usage["stages"]) == set(STAGES)
    assert usage["in_doubt"] == 0
    told = mina("sessions", "show", line["session_id"])
    assert told.returncode == 0
    of_summary = usage["stages"]["summary"]["1"][0]
    assert f"{counts.tokens_in} tokens in, {counts.tokens_out} out, cost {cost:.6g}" in told.stdout
    assert f"1 answers of openai m-1, {of_summary['tokens_in']} tokens in" in told.stdout
    assert "paid for twice" not in told.stdout
    assert p.verify(line["session_id"]) == []


def test_what_is_printed(mina: Run, file: Path, place: Place) -> None:
    """As text; with the server in a process of its own, which answers by a function that it imports."""
    with OpenAIServerProcess(answer="mina_pipeline.testing.truthful_model:truthful") as server:
        done = mina("run", str(file), "--provider", "openai", OPENAI_BASE_URL=server.base_url, OPENAI_API_KEY="")
        assert server.counts().requests == 4
    assert done.returncode == 0, done.stderr
    for text in (
        "summary_ready",
        "revealed",
        "They talked.",
        "Send the report to the board by friday",
        SAID[2],
        SAID[3],
    ):
        assert text in done.stdout
    assert "degraded" not in done.stdout


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"OPENAI_API_KEY": "", "OPENAI_BASE_URL": ""}, "OPENAI_API_KEY"),
        ({"MINA_OPENAI_TEMPERATURE": "warm"}, "MINA_OPENAI_TEMPERATURE"),
        ({"OPENAI_BASE_URL": "example.com/v1"}, "base_url"),
        ({"MINA_OPENAI_DAY_MONEY": "1"}, "prices"),
        ({"MINA_OPENAI_SESSION_TOKENS": "-1"}, "session_tokens"),
    ],
)
def test_what_is_set_wrongly_is_said_and_nothing_is_stored(
    mina: Run, file: Path, server: OpenAIServer, p: Pipeline, env: dict[str, str], says: str
) -> None:
    done = mina("run", str(file), "--provider", "openai", **env)
    assert done.returncode == 2
    assert done.stderr.startswith("mina: ")
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert (done.stdout, server.counts().requests, p.sessions()) == ("", 0, [])


def test_a_wrong_key_is_one_request_a_stage_and_an_honest_failure(
    mina: Run, file: Path, server: OpenAIServer, p: Pipeline
) -> None:
    """Exit code 1, for it was revealed without; the key is nowhere."""
    done = mina("run", str(file), "--provider", "openai", OPENAI_API_KEY="sk-not-this-one")
    assert done.returncode == 1
    assert "refinement: failed  the model's server answered 401 (invalid_api_key): key refused" in done.stdout
    assert server.counts().by_reply == {"Status 401": 4}
    session = p.get(only(p))
    assert session.state == "revealed"
    assert {stage.outcome for stage in session.stages.values()} == {"failed"}
    assert session.usage["tokens_in"] == 0
    told = mina("sessions", "show", session.session_id)
    assert "sk-not-this-one" not in done.stdout + done.stderr + told.stdout + str(p.events(session.session_id))


def test_a_server_that_is_away_is_degraded_and_well(mina: Run, file: Path, server: OpenAIServer, p: Pipeline) -> None:
    """The offline provider makes it, which says so and leaves with 0; a model's later answer would replace it."""
    quick = {"MINA_REVEAL_DEADLINE": "1", "MINA_RETRY_FIRST": "0.1", "MINA_OPENAI_TRIES": "1"}
    done = mina("run", str(file), "--provider", "openai", "--json", OPENAI_BASE_URL="http://127.0.0.1:9/v1", **quick)
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout)
    assert line["state"] == "revealed"
    assert {(one["outcome"], one["reason"]) for one in line["stages"].values()} == {("degraded", "outage")}
    assert line["summary"]["brief"]
    assert (server.counts().requests, p.get(only(p)).usage["tokens_in"]) == (0, 0)


def test_never_above_the_budget(mina: Run, file: Path, server: OpenAIServer, p: Pipeline) -> None:
    """By the server's own count, over several sessions of one day and as many processes."""
    most = 9_000
    env = {"MINA_OPENAI_DAY_TOKENS": str(most), "MINA_OPENAI_OUTPUT_TOKENS": "400"}
    reasons: list[tuple[str, str | None]] = []
    for _ in range(5):
        done = mina("run", str(file), "--provider", "openai", "--json", **env)
        assert done.returncode == 0, done.stderr
        reasons += [(one["outcome"], one["reason"]) for one in json.loads(done.stdout)["stages"].values()]
    counts = server.counts()
    assert 0 < counts.tokens_in + counts.tokens_out <= most
    assert set(reasons) == {("ok", None), ("degraded", "budget")}
    assert counts.requests == reasons.count(("ok", None))
    assert reasons[-1] == ("degraded", "budget")
    assert sum(session.usage["tokens_in"] for session in p.sessions()) == counts.tokens_in


def test_a_blip_is_not_shown(mina: Run, file: Path, server: OpenAIServer) -> None:
    server.script(Status(503), Status(429, retry_after=0))
    done = mina("run", str(file), "--provider", "openai", "--json")
    assert done.returncode == 0, done.stderr
    assert {one["outcome"] for one in json.loads(done.stdout)["stages"].values()} == {"ok"}
    assert server.counts().requests == 6
