"""The engine beside hand-written code on the raw driver (the limit), DBOS and procrastinate (the peers): one table.

    python -m benchmarks.engine [--rounds 5] [--scale 1.0] [--only NAME …] [--who NAME …] [--dir DIR]

PostgreSQL: the server of MINA_TEST_POSTGRES, else postgres@127.0.0.1:5432. Every database is made and dropped here.

The rules:

- Round-robin: each round runs every contestant once. A cell is the median (min–max) of the rounds; a share is the
  median of the per-round ratios to the limit: 1 is the limit, more is better, also where the figure is a time.
- Same durability for all: SQLite in WAL with synchronous=FULL, also for DBOS; PostgreSQL as the server is set.
- Same work: four stages that do nothing. What each clock includes, and what a contestant leaves out, is printed.
- A little work goes before each clock: connections are open then, statements prepared. The limit, ours and
  procrastinate have a fresh database each time; DBOS keeps one, in a process that is stopped between its turns.
- What was done is counted afterwards: sessions revealed with four outcomes, rows of the limit, jobs finished.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from benchmarks.store.places import DEFAULT_SERVER, Place, places
from benchmarks.store.race import Contest, table

from . import peers, recovery, reveal, sessions

PARTS: dict[str, ModuleType] = {
    sessions.MEASURE: sessions,
    "Find interrupted among finished": recovery,
    "Finalize to reveal": reveal,
}


def main() -> None:
    ask = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=(__doc__ or "").split("\n")[0])
    ask.add_argument("--rounds", type=int, default=int(os.environ.get("BENCH_ROUNDS", 5)))
    ask.add_argument("--scale", type=float, default=float(os.environ.get("BENCH_SCALE", 1)), help="of the work a round")
    ask.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="contests with one of these in `database: measure`"
    )
    ask.add_argument(
        "--who",
        nargs="+",
        default=[],
        metavar="NAME",
        help="contestants with one of these in their name, and the limit",
    )
    ask.add_argument("--dir", type=Path, default=Path("build"), help="where SQLite's files are: a real disk")
    given = ask.parse_args()
    logging.disable(logging.CRITICAL)
    began = time.perf_counter()
    with places(given.dir, os.environ.get("MINA_TEST_POSTGRES", DEFAULT_SERVER)) as found:
        print(conditions(found, given), flush=True)
        done = [contest for place in found for contest in raced(place, given)]
        print("\n" + table(done, [place.name for place in found]))
    print(f"\n{time.perf_counter() - began:.0f} s in all.")


def conditions(found: list[Place], given: argparse.Namespace) -> str:
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return "\n".join([
        f"- {os.cpu_count()} CPUs, {processor()}; load before: {load}",
        f"- Python {platform.python_version()}, mina-pipeline {version('mina-pipeline')},"
        f" SQLAlchemy {version('sqlalchemy')}, {', '.join(peers.versions())}",
        *(f"- {place.conditions()}" for place in found),
        f"- {given.rounds} rounds, scale {given.scale:g}",
        *(f"- {title}:\n" + "\n".join(f"  - {clock}" for clock in part.CLOCKS) for title, part in PARTS.items()),
    ])  # fmt: skip


def processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def raced(place: Place, given: argparse.Namespace) -> list[Contest]:
    """The contests of one place that were asked for, run."""
    done: list[Contest] = []
    for part in PARTS.values():
        with part.contests(place, given.scale) as contests:
            for contest in contests:
                if given.only and not named(contest.title, given.only):
                    continue
                if given.who:
                    contest.runs = {who: run for who, run in contest.runs.items()
                                    if who == contest.limit or named(who, given.who)}  # fmt: skip
                print(f"{contest.title} …", file=sys.stderr, flush=True)
                contest.run(given.rounds)
                done.append(contest)
    return done


def named(text: str, wanted: list[str]) -> bool:
    return any(one.lower() in text.lower() for one in wanted)


if __name__ == "__main__":
    main()
