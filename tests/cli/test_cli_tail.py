"""`mina tail`: events of one session or of all, as they are committed, until it is told to end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result
from stuck import finished, lines, recording

from mina_pipeline import Pipeline

# --- tail


def test_tail_once_prints_what_is_there(p: Pipeline, run: Callable[..., Result]) -> None:
    """A session's events or the whole feed, from a version or a position on, in the shape of `sessions events`."""
    first, second = finished(p), recording(p)
    assert lines(run("tail", first, "--once", "--json")) == lines(run("sessions", "events", first, "--json"))
    found = lines(run("tail", first, "--no-follow", "--json", "--after", "3"))
    assert [event["version"] for event in found][:2] == [4, 5]
    until = time.monotonic() + 30  # another test's open transaction may hold the feed back
    while len(every := lines(run("tail", "--once", "--json"))) < p.get(first).version + 2:
        assert time.monotonic() < until
    assert {event["session_id"] for event in every} == {first, second}
    rest = lines(run("tail", "--once", "--json", "--after", every[2]["position"]))
    assert rest == every[3:]
    words = run("tail", "--once").stdout.splitlines()
    assert len(words) == len(every)
    assert words[0].startswith(first)
    assert run("tail", second, "--once").stdout.splitlines()[0].split()[2] == "session_started"


class Tail:
    """`mina tail` as a process, its lines as they come."""

    def __init__(self, place: Any, *args: str) -> None:
        command = [sys.executable, "-m", "mina_pipeline", "tail", *args, "--db", place.url]
        self.process = subprocess.Popen(
            command, env=place.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    def wait_for(self, count: int) -> list[dict[str, Any]]:
        until = time.monotonic() + 30
        while len(self.lines) < count and time.monotonic() < until and self.process.poll() is None:
            time.sleep(0.02)
        return [json.loads(line) for line in list(self.lines)]

    def end(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(how)
        code = self.process.wait(30)
        assert self.process.stderr is not None
        said = self.process.stderr.read()
        self.reader.join(10)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return code, said


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_tail_follows_a_session_until_it_is_told_to_end(p: Pipeline, place: Any, how: signal.Signals) -> None:
    """Events of another process come as they are committed, each once and in order; a signal ends it with 0."""
    session_id = recording(p)
    tail = Tail(place, session_id, "--json")
    assert [event["version"] for event in tail.wait_for(2)] == [1, 2]
    p.finalize(session_id)
    p.run_until_idle()
    versions = p.get(session_id).version
    assert [event["version"] for event in tail.wait_for(versions)] == list(range(1, versions + 1))
    assert tail.end(how) == (0, "")


def test_tail_follows_all_sessions_from_now_on(p: Pipeline, place: Any) -> None:
    """What was there before is left out, unless a position is given; no event is missing."""
    before = finished(p)
    tail = Tail(place, "--json")
    beat, until = 0, time.monotonic() + 30
    while not tail.lines and time.monotonic() < until:  # it has begun once it shows something
        p.start_session(f"beat {beat}")
        beat += 1
        time.sleep(0.2)
    one, two = finished(p), finished(p)
    wanted = [(event.session_id, event.version) for one_id in (one, two) for event in p.events(one_id)]
    while time.monotonic() < until:
        seen = [(event["session_id"], event["version"]) for event in tail.wait_for(0)]
        if set(wanted) <= set(seen):
            break
        time.sleep(0.05)
    assert [place for place in seen if place in wanted] == wanted
    assert before not in {session_id for session_id, _ in seen}
    assert tail.end() == (0, "")


def test_tail_ends_when_nobody_reads_it(p: Pipeline, place: Any) -> None:
    """`mina tail | head -1`: with the next event it ends, cleanly and silently."""
    session_id = recording(p)
    command = [sys.executable, "-m", "mina_pipeline", "tail", session_id, "--db", place.url]
    process = subprocess.Popen(command, env=place.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    assert "session_started" in process.stdout.readline()
    process.stdout.close()
    p.finalize(session_id)
    assert process.wait(30) == 0
    assert process.stderr.read() == ""
    process.stderr.close()
