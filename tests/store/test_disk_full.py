"""A full disk: callers are told, nothing acknowledged is lost, and with room again the same pipeline goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mina_pipeline import MinaError, Pipeline, Segment
from mina_pipeline.errors import StoreUnreachable

THREADS = 4
ROOM = 300_000  # bytes that are left when the threads begin


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a file system may not be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    """On a full disk each append is refused by name, reading goes on, and after making room so does appending."""
    filler = small_disk / "filler"

    def squeeze() -> None:
        room = int(subprocess.check_output(["df", "-B1", "--output=avail", str(small_disk)]).split()[-1])
        filler.write_bytes(b"x" * (room - ROOM))

    endure(f"sqlite:///{small_disk}/full.db", squeeze, filler.unlink, says="disk is full")


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """The same where a limit on a file's size is what stops the log; this needs no file system of its own."""
    resource = pytest.importorskip("resource", reason="no limits of this kind on this system")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def squeeze() -> None:
        size = (tmp_path / "limited.db-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + ROOM, hard))

    def free() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    try:
        endure(f"sqlite:///{tmp_path}/limited.db", squeeze, free, says="disk I/O error")
    finally:
        free()


def endure(url: str, squeeze: Callable[[], object], free: Callable[[], object], says: str) -> None:
    with Pipeline.open(url) as pipeline:
        ids = [pipeline.start_session().session_id for _ in range(THREADS)]
        counts = dict.fromkeys(ids, 0)

        def record(session_id: str) -> None:
            pipeline.record(session_id, [Segment("word " * 50, 0, 1)])
            counts[session_id] += 1

        def until_full(session_id: str) -> MinaError:
            try:
                while True:
                    record(session_id)
            except MinaError as error:
                return error

        squeeze()
        with ThreadPoolExecutor(THREADS) as pool:
            refused = list(pool.map(until_full, ids))
        there = [pipeline.get(session_id).total_segments for session_id in ids]
        assert there == list(counts.values())
        assert sum(there) > THREADS  # some fitted in
        refused += map(until_full, ids)  # what did not fit with four at once might fit alone, but not for ever
        for error in refused:
            assert isinstance(error, StoreUnreachable)
            assert says in str(error)
        free()
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(record, ids * 5))
        for session_id in ids:
            pipeline.finalize(session_id)
            assert pipeline.get(session_id).total_segments == counts[session_id]
            assert [event.version for event in pipeline.events(session_id)] == list(range(1, counts[session_id] + 3))
            assert pipeline.verify(session_id) == []
        pipeline.run_until_idle()
        assert {pipeline.get(session_id).state for session_id in ids} == {"revealed"}
