"""SQLite's acknowledgements come after the disk's: seen in the system calls, since a killed process is no power cut."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from soak import share

APPENDER = """
    import os, sys
    from concurrent.futures import ThreadPoolExecutor
    from mina_pipeline import Pipeline, Segment, Settings

    path, synchronous, threads, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    pipeline = Pipeline.open(f"sqlite:///{path}", settings=Settings(synchronous=synchronous))

    def work(thread):
        session_id = pipeline.start_session().session_id
        for n in range(count):
            mark = f"canary-{thread}-{n}-"
            os.write(2, f"ASK {mark}".encode())
            pipeline.record(session_id, [Segment(mark, n, n)])
            os.write(2, f"ACK {mark}".encode())

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    os._exit(0)  # closing would sync as well
"""


@dataclass(frozen=True)
class Call:
    """A system call: where in the trace it began and ended, by which thread, and its arguments' text."""

    name: str
    thread: str
    text: str
    began: int
    ended: int

    @property
    def writes_log(self) -> bool:
        return self.name.startswith("pwrite") and "-wal>" in self.text

    @property
    def syncs_log(self) -> bool:
        return self.name in ("fsync", "fdatasync") and "-wal>" in self.text


def calls(trace: Path) -> list[Call]:
    """The calls of a trace, in the order they began; those of other threads may lie between a call's two halves."""
    found: list[Call] = []
    unfinished: dict[str, tuple[str, str, int]] = {}
    for at, line in enumerate(trace.read_text().splitlines()):
        thread, rest = line.split(maxsplit=1)
        if begun := re.match(r"(\w+)\((.*?)(<unfinished \.\.\.>)?$", rest):
            name, text, halved = begun.groups()
            if halved:
                unfinished[thread] = (name, text, at)
            else:
                found.append(Call(name, thread, text, at, at))
        elif re.match(r"<\.\.\. \w+ resumed>", rest):
            name, text, began = unfinished.pop(thread)
            found.append(Call(name, thread, text, began, at))
    return sorted(found, key=lambda call: call.began)


@pytest.fixture(scope="module")
def strace() -> str:
    found = shutil.which("strace")
    if found is None:
        pytest.skip("strace is not installed")
    if subprocess.run([found, "-f", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")
    return found


def traced(strace: str, folder: Path, synchronous: str, threads: int, count: int) -> list[Call]:
    trace = folder / "trace"
    python = [
        sys.executable,
        "-c",
        textwrap.dedent(APPENDER),
        str(folder / "a.db"),
        synchronous,
        f"{threads}",
        f"{count}",
    ]
    options = ["-f", "-y", "-s", "5000", "-e", "trace=write,pwrite64,pwritev,fsync,fdatasync", "-o", str(trace)]
    subprocess.run([strace, *options, *python], check=True, capture_output=True, timeout=600)
    return calls(trace)


def unsynced(found: list[Call]) -> Iterator[str]:
    """Appends that were acknowledged before a sync of the log that began after the log had been written."""
    written: dict[str, int] = {}
    for call in (call for call in found if call.writes_log):
        for mark in re.findall(r"canary-\d+-\d+-", call.text):
            written.setdefault(mark, call.ended)  # later ones are other appends' on the same page
    syncs = [call for call in found if call.syncs_log]
    for told in (call for call in found if '"ACK ' in call.text):
        mark = re.findall(r"canary-\d+-\d+-", told.text)[0]
        since = written.get(mark, told.began)
        if not any(since < sync.began and sync.ended < told.began for sync in syncs):
            yield mark


@pytest.mark.soak
@pytest.mark.parametrize("threads", [1, 4])
def test_every_acknowledgement_comes_after_its_sync(strace: str, tmp_path: Path, threads: int) -> None:
    """Between the write of an append's words to the log and its acknowledgement the log is synced, also in groups."""
    count = share(25, 250)
    found = traced(strace, tmp_path, "FULL", threads, count)
    assert len([call for call in found if '"ACK ' in call.text]) == threads * count
    assert list(unsynced(found)) == []


def test_nothing_is_written_between_sync_and_acknowledgement(strace: str, tmp_path: Path) -> None:
    """With one thread the last that happens to the log before each acknowledgement is its sync."""
    last: Call | None = None
    acknowledged = 0
    for call in traced(strace, tmp_path, "FULL", 1, 25):
        if call.writes_log or call.syncs_log:
            last = call
        elif '"ACK ' in call.text:
            acknowledged += 1
            assert last is not None and last.syncs_log
    assert acknowledged == 25


def test_normal_does_not_sync_before_the_acknowledgement(strace: str, tmp_path: Path) -> None:
    """With synchronous=NORMAL appends are acknowledged unsynced: the others would see it, too."""
    assert len(list(unsynced(traced(strace, tmp_path, "NORMAL", 1, 25)))) > 20
