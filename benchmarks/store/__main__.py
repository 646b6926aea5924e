"""The store beside the raw driver (the limit) and the `eventsourcing` library (the peer): one table.

    python -m benchmarks.store [--rounds 5] [--scale 1.0] [--only TEXT] [--json FILE] [--dir DIR]

PostgreSQL: the server of MINA_TEST_POSTGRES, else postgres@127.0.0.1:5432. Every database is made and dropped here.

The rules:

- Round-robin: each round runs every contestant once. A cell is the median (min–max) of the rounds; a share is the
  median of the per-round ratios to the limit: 1 is the limit, more is better, also where the figure is a time.
- The limit writes the very same rows into the very same tables, which a Pipeline has made: event rows with all
  columns and the session row's guarded update (version, state, snapshot, hash, …), in one durable transaction, on one
  raw connection a thread. Everything is ready beforehand but the hash chain: both compute it inside the clock.
- Its form is the fastest known. SQLite: WAL, synchronous=FULL, BEGIN IMMEDIATE … COMMIT; with 8 threads the limit is
  one thread that commits for all who wait. PostgreSQL: one prepared autocommit statement; several rows as one JSON
  text, since psycopg's arrays cost more.
- `store.append` does that same work: an Append composed by the library itself, without read model rows, its values
  ready but for the hashes. `whole command` is all of Pipeline.record: load, decide, encode, append, read model; ten
  segments are one event there, and segments are counted. It is information: the limit does none of it.
- Threads append to sessions of their own, eight in turn, versions rising. An event carries one spoken sentence.
- Every run has a fresh copy of the same prepared database; what was written is counted afterwards.
- Load: the limit reads the same row by primary key and decodes the same snapshot.
- Replay: limit and ours read the log in the feed's order into the same fold of the state machine's tables; to the
  whole State, both also decode every event (that is information).
- Each thread appends a little before the clock runs: connections are open then, statements prepared.
- Commit to reader: from the moment after the commit to the reader's having read the event. PostgreSQL's other process
  hears by NOTIFY, SQLite's polls; both with a pause between appends, so nothing queues up.
- The peer makes no hashes and has no session row: its recorders insert what they insert. Its sessions have 10 or so
  events of like size.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

import sqlalchemy

from . import appends, latency, peer, reads
from .places import DEFAULT_SERVER, Place, places
from .race import Contest, table
from .template import EVENTS, started


def main() -> None:
    ask = argparse.ArgumentParser(prog="python -m benchmarks.store", description=(__doc__ or "").split("\n")[0])
    ask.add_argument("--rounds", type=int, default=int(os.environ.get("BENCH_ROUNDS", 5)))
    ask.add_argument("--scale", type=float, default=float(os.environ.get("BENCH_SCALE", 1)), help="of the work a round")
    ask.add_argument(
        "--only", default=os.environ.get("BENCH_ONLY", ""), help="contests with this in `database: measure`"
    )
    ask.add_argument("--json", type=Path, help="a file for all figures")
    ask.add_argument("--dir", type=Path, default=Path("build"), help="where SQLite's files are: a real disk")
    given = ask.parse_args()
    began = time.perf_counter()
    with places(given.dir, os.environ.get("MINA_TEST_POSTGRES", DEFAULT_SERVER)) as found:
        said = conditions(found, given)
        print(said, flush=True)
        done: list[Contest] = []
        for place in found:
            done += contests(place, given)
        print("\n" + table(done, [place.name for place in found]))
    print(f"\n{time.perf_counter() - began:.0f} s in all.")
    if given.json:
        given.json.write_text(
            json.dumps({"conditions": said.splitlines(), "contests": list(map(plain, done))}, indent=1)
        )


def conditions(found: list[Place], given: argparse.Namespace) -> str:
    template = started(found[0], 1)
    found[0].drop(template.url)
    return "\n".join([
        f"- Python {platform.python_version()}, SQLAlchemy {sqlalchemy.__version__}, {os.cpu_count()} CPUs",
        *(f"- {place.conditions()}" for place in found),
        f"- eventsourcing {peer.version()}",
        f"- {template.event_size}",
        f"- replays: {int(reads.SESSIONS * given.scale):,} sessions of {EVENTS} events,"
        f" to the whole State {int(reads.WHOLE_SESSIONS * given.scale):,}",
        f"- {given.rounds} rounds, scale {given.scale:g}",
    ])  # fmt: skip


def contests(place: Place, given: argparse.Namespace) -> list[Contest]:
    done: list[Contest] = []

    def run(contest: Contest) -> None:
        if given.only.lower() in contest.title.lower():
            print(f"{contest.title} …", file=sys.stderr, flush=True)
            contest.run(given.rounds)
            done.append(contest)

    def any_of(measures: tuple[str, ...]) -> bool:
        return any(given.only.lower() in f"{place.name}: {measure}".lower() for measure in measures)

    if any_of(appends.MEASURES):
        for contest in appends.contests(place, given.scale):
            run(contest)
    if any_of(reads.MEASURES):
        with reads.contests(place, given.scale) as found:
            for contest in found:
                run(contest)
    if any_of(latency.MEASURES):
        for contest in latency.contests(place, given.scale):
            run(contest)
    return done


def plain(contest: Contest) -> dict[str, object]:
    shares = {name: {unit: contest.share(name, unit) for unit in contest.units()} for name in contest.runs}
    return {"measure": contest.measure, "place": contest.place, "limit": contest.limit, "rounds": contest.got,
            "shares": shares}  # fmt: skip


if __name__ == "__main__":
    main()
