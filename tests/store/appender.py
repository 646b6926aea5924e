"""Processes that append until they are killed, forked from one that has everything imported: many a second.

Run as a program: each line of stdin, a URL, a table prefix and a name, forks one. Stdout tells `pid <n>`, then, each
after the store's answer, `<session id> <version> <segment id or ->`, and `end` when it is dead.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count

from mina_pipeline import Pipeline, Segment, Settings

THREADS = 4
RECORDS = 6  # in a session of a thread's own, before it is finalized


def main() -> None:
    warm: set[str] = set()
    for line in sys.stdin:
        url, prefix, name = line.split()
        if url not in warm:
            warm.add(url)
            with Pipeline.open(url, settings=Settings(table_prefix=prefix)) as pipeline:
                pipeline.finalize(pipeline.start_session().session_id)  # imports what is imported at first use
        child = os.fork()
        if child == 0:
            try:
                append_for_ever(url, prefix, name)
            finally:
                os._exit(1)
        say(f"pid {child}")
        os.waitpid(child, 0)
        say("end")


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def append_for_ever(url: str, prefix: str, name: str) -> None:
    """Four threads, each with sessions of its own, one after the other, and one session that all four record into."""
    pipeline = Pipeline.open(url, settings=Settings(table_prefix=prefix))
    pipeline.start_session("all", f"{name}-all")

    def record(session_id: str, segment_id: str) -> None:
        said = [Segment(f"words of {segment_id}", 0, 900, "A", 0.5, segment_id)]
        say(f"{session_id} {pipeline.record(session_id, said).version} {segment_id}")

    def work(thread: int) -> None:
        for turn in count():
            own = f"{name}-{thread}-{turn}"
            say(f"{own} {pipeline.start_session('own', own).version} -")
            for n in range(RECORDS):
                record(own, f"s{n}")
            record(f"{name}-all", own)
            say(f"{own} {pipeline.finalize(own).version} -")

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))


if __name__ == "__main__":
    main()
