"""`mina worker` as a real process: it works until it is told to end, and leaves nothing behind that others wait for."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from stuck import claimed

from mina_pipeline import Pipeline, define, stage
from mina_pipeline.stages.base import Ok

APP = '''
"""A host's app: one stage that takes as long as it is told, and says when it has begun."""

import os, time
from pathlib import Path
from mina_pipeline import Ok, Pipeline, define, stage

BEGUN = Path(os.environ["BEGUN"])

@stage("slow", running="slowing")
def slow(ctx):
    (BEGUN / f"{ctx.session.session_id}.{os.getpid()}").touch()
    time.sleep(float(os.environ["SLOW"]))
    return Ok({"by": os.getpid()})

def pipeline():
    return Pipeline.open(os.environ["APP_DB"], definition=define("mine", slow))
'''


class Host:
    """The app's folder, its database and its worker processes."""

    def __init__(self, folder: Path, url: str, env: dict[str, str]) -> None:
        self.folder, self.url = folder, url
        self.begun = folder / "begun"
        self.begun.mkdir()
        (folder / "the_host.py").write_text(APP)
        self.env = {**env, "BEGUN": str(self.begun), "APP_DB": url, "SLOW": "0"}
        self.processes: list[subprocess.Popen[str]] = []

    def worker(self, *args: str, **env: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "mina_pipeline", "worker", "--app", "the_host:pipeline", *args]
        process = subprocess.Popen(command, cwd=self.folder, env={**self.env, **env}, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)  # fmt: skip
        self.processes.append(process)
        return process

    def wait_for_begun(self, count: int = 1) -> None:
        assert wait(lambda: len(list(self.begun.iterdir())) >= count)

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()


def wait(true: Callable[[], Any], seconds: float = 30) -> bool:
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(0.05)
    return bool(true())


@pytest.fixture
def host(place: Any, tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path, place.url, place.env)
    yield made
    made.close()


@pytest.fixture
def p(host: Host) -> Iterator[Pipeline]:
    """The host's web process: it starts sessions, and runs no stage."""
    slow = stage("slow", running="slowing")(lambda ctx: Ok())
    with Pipeline.open(host.url, definition=define("mine", slow)) as opened:
        yield opened


def due(p: Pipeline) -> str:
    session_id = p.start_session().session_id
    p.finalize(session_id)
    return session_id


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code, and what it said on stderr; on stdout it says nothing."""
    out, err = process.communicate(timeout=30)
    assert out == ""
    return process.returncode, err


def test_a_worker_works_until_it_is_told_to_end(p: Pipeline, host: Host) -> None:
    """It does what is there and what comes; SIGTERM ends it with 0, and it is no worker any more."""
    before = due(p)
    process = host.worker("--concurrency", "2", "--json")
    assert wait(lambda: p.get(before).state == "revealed")
    after = due(p)
    assert wait(lambda: p.get(after).state == "revealed")
    (seen,) = p.store.workers_seen(p.clock.now())
    assert (seen.details["concurrency"], "mine 1" in seen.details["definitions"]) == (2, True)
    process.terminate()
    code, said = ended(process)
    assert code == 0, said
    assert "2 thread(s), knows mine 1" in said
    assert p.store.workers_seen(p.clock.now()) == []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_running_stage_ends_within_the_grace(p: Pipeline, host: Host, how: signal.Signals) -> None:
    """The stage that runs when the signal comes is finished and recorded; the next one is not begun."""
    first = due(p)
    process = host.worker("--concurrency", "1", "--grace", "20", SLOW="1.5")
    host.wait_for_begun()
    second = due(p)
    process.send_signal(how)
    assert ended(process)[0] == 0
    assert p.get(first).state == "revealed"
    assert p.get(second).state == "finalized"
    assert len(list(host.begun.iterdir())) == 1


def test_what_takes_longer_than_the_grace_is_handed_back(p: Pipeline, host: Host) -> None:
    """It is claimable at once, not counted as an attempt, and another worker does it; it began once."""
    session_id = due(p)
    process = host.worker("--concurrency", "1", "--grace", "0.3", SLOW="60")
    host.wait_for_begun()
    began = time.monotonic()
    process.terminate()
    code, said = ended(process)
    assert code == 0, said
    assert time.monotonic() - began < 15
    assert "handed back" in said
    (row,) = [row for row in p.store.rows("work", session_id) if row["kind"] == "stage"]
    assert (row["owner"], row["until"], row["attempts"]) == (None, None, 0)
    host.worker(SLOW="0")
    assert wait(lambda: p.get(session_id).state == "revealed")
    assert [event.type for event in p.events(session_id)].count("slow_started") == 1


def test_a_second_signal_ends_it_at_once(p: Pipeline, host: Host) -> None:
    """Whoever asks twice does not wait for the grace; what ran is handed back."""
    due(p)
    process = host.worker("--concurrency", "1", "--grace", "60", SLOW="60")
    host.wait_for_begun()
    process.terminate()
    time.sleep(0.5)
    assert process.poll() is None
    process.terminate()
    assert ended(process)[0] == 0
    assert claimed(p).attempts == 1


def test_a_killed_worker_is_found_and_recovered_from(p: Pipeline, host: Host) -> None:
    """kill -9: its lease dies, `recover` names it, and another worker goes on; nothing is begun twice."""
    session_id = due(p)
    process = host.worker("--concurrency", "1", SLOW="60", MINA_LEASE="1", MINA_RENEW="0.3")
    host.wait_for_begun()
    process.kill()
    process.communicate()
    assert wait(lambda: [one.what for one in p.recover(dry_run=True)] == ["dead lease"])
    (found,) = p.recover(dry_run=True)
    assert f":{process.pid}:" in found.detail
    (repaired,) = p.recover()
    assert repaired.repaired is True
    host.worker(SLOW="0")
    assert wait(lambda: p.get(session_id).state == "revealed")
    assert [event.type for event in p.events(session_id)].count("slow_started") == 1


def test_too_many_hung_stages_end_it_with_1(p: Pipeline, host: Host) -> None:
    """A process whose stages do not come back makes way for a new one."""
    session_id = due(p)
    process = host.worker("--concurrency", "1", "--grace", "1", SLOW="60", MINA_STAGE_DEADLINE="0.4",
                          MINA_HUNG_THREADS="1")  # fmt: skip
    code, said = ended(process)
    assert code == 1, said
    assert "too many stages hang" in said
    assert p.get(session_id).stages["slow"].outcome == "failed"


def test_a_worker_over_a_database_needs_no_app(host: Host, p: Pipeline) -> None:
    """--db alone: the standard definitions. What it does not know it leaves."""
    unknown = due(p)
    with Pipeline.open(host.url) as standard:
        session_id = due(standard)
        command = [sys.executable, "-m", "mina_pipeline", "worker", "--db", host.url]
        process = subprocess.Popen(command, env=host.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        host.processes.append(process)
        assert wait(lambda: standard.get(session_id).state == "revealed")
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] == 0
    assert p.get(unknown).state == "finalized"
