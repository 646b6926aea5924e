"""Processes killed in the middle of their appends: what was acknowledged is there."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import appender
import pytest
from soak import dice, share

from mina_pipeline import Pipeline, Settings

PREFIX = f"kill{os.getpid()}_"
Acknowledged = dict[str, tuple[int, set[str]]]
"""By session: the highest version, and the segments, that a process was told were on disk."""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/killed.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def template() -> Iterator[subprocess.Popen[str]]:
    """The process that forks those to be killed."""
    with subprocess.Popen(
        [sys.executable, appender.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


@pytest.mark.soak
def test_a_killed_process_loses_nothing_acknowledged(url: str, template: subprocess.Popen[str]) -> None:
    """After SIGKILL at any moment all that was acknowledged is there, without gap, clean, and the store goes on."""
    random, kills, began = dice(), share(6, 1000), time.monotonic()
    told: Acknowledged = {}
    names: list[str] = []
    acknowledged = 0
    for n in range(kills):
        name = f"r{n}"
        names.append(name)
        # One in eight dies while it opens the store; on SQLite it may be mending what the last one left.
        opening = random.random() < 0.125
        lines = killed(template, f"{url} {PREFIX} {name}\n", opening, random.uniform(0, 0.03 if opening else 0.1))
        for line in lines:
            session_id, version, segment_id = line.split()
            before, segments = told.get(session_id, (0, set()))
            told[session_id] = max(before, int(version)), segments | {segment_id} - {"-"}
        acknowledged += len(lines)
        # Else the next process finds the files as this one left them.
        if random.random() < 0.5 or n == kills - 1:
            check(url, names, told)
            names.clear()
        if url.startswith("sqlite") and (n % 20 == 0 or kills < 20):
            assert integrity(url) == "ok"
    everything(url, told)
    print(f"{kills} kills, {acknowledged} acknowledged, {kills / (time.monotonic() - began):.1f} kills/s")


def killed(template: subprocess.Popen[str], order: str, opening: bool, after: float) -> list[str]:
    """What a process acknowledged until it was killed so many seconds after its first acknowledgement, or its start."""
    assert template.stdin is not None and template.stdout is not None
    template.stdin.write(order)
    template.stdin.flush()
    lines: list[str] = []
    pid = 0
    while not pid or not (opening or lines):
        word, _, rest = (line := template.stdout.readline()).partition(" ")
        assert line and line != "end\n", "the appender ended by itself"
        if word == "pid":
            pid = int(rest)
        else:
            lines.append(line)
    time.sleep(after)
    os.kill(pid, signal.SIGKILL)
    while (line := template.stdout.readline()) != "end\n":
        assert line
        lines.append(line)
    return lines


def check(url: str, names: list[str], told: Acknowledged) -> None:
    """The sessions of these processes: versions without gap, what was told, nothing that verify finds."""
    with Pipeline.open(url, settings=Settings(table_prefix=PREFIX)) as pipeline:
        table = pipeline.store.schema.sql("sessions")
        for name in names:
            rows = pipeline.store.rows_of(
                f"SELECT session_id FROM {table} WHERE session_id LIKE {pipeline.store.texts.mark}", (f"{name}-%",)
            )
            found = {session_id for (session_id,) in rows}
            assert found >= {session_id for session_id in told if session_id.startswith(f"{name}-")}
            for session_id in found:
                version, segments = told.get(session_id, (0, set()))
                versions = [event.version for event in pipeline.events(session_id)]
                assert versions == list(range(1, len(versions) + 1))
                assert len(versions) >= version
                assert {row["segment_id"] for row in pipeline.store.rows("segments", session_id)} >= segments
                assert pipeline.verify(session_id) == []
                if session_id.endswith("-all"):
                    assert pipeline.finalize(session_id).version > len(versions)


def everything(url: str, told: Acknowledged) -> None:
    """At the end, over all kills: each session has as many events as its version, and no less than was told."""
    with Pipeline.open(url, settings=Settings(table_prefix=PREFIX)) as pipeline:
        text = "SELECT session_id, count(*), max(version) FROM {} GROUP BY session_id"
        counted = {row[0]: row[1:] for row in pipeline.store.rows_of(text.format(pipeline.store.schema.sql("events")))}
        rows = pipeline.store.rows_of(f"SELECT session_id, version FROM {pipeline.store.schema.sql('sessions')}")
        assert counted == {session_id: (version, version) for session_id, version in rows}
        segments = defaultdict(set)
        text = f"SELECT session_id, segment_id FROM {pipeline.store.schema.sql('segments')}"
        for session_id, segment_id in pipeline.store.rows_of(text):
            segments[session_id].add(segment_id)
    for session_id, (version, ids) in told.items():
        assert counted[session_id][0] >= version
        assert segments[session_id] >= ids


def integrity(url: str) -> str:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        connection.close()
