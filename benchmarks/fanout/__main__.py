"""One session's events to many clients at once, beside a floor that only writes bytes, and beside the usual libraries.

    python -m benchmarks.fanout [--clients 100,500] [--rounds 5] [--scale 1.0] [--only sse ws socketio flask]
                                [--who NAME …] [--writer process] [--dir DIR]

The rules:

- Round-robin: each round runs every contestant of a contest once. A cell is the median (min–max) of the rounds; a share
  is the median of the per-round ratios to the contest's first row: 1 is that row, more is better, also of times.
- One fresh process serves, another one is all clients: raw protocols that look for nothing but versions. Each client
  must get every version once and in order, else the run fails.
- The same for all on uvicorn: plain asyncio loop, httptools, websockets-sansio, no compression, no pings. The floor is
  a bare asyncio server: it encodes an event once and writes its bytes to every transport. The event is the same for
  all, a small segment; `bytes` is what a client got of it, framing included.
- Floor and peers store nothing. Ours stores each event before it is sent: a whole Pipeline.record on SQLite, as durable
  as SQLite is (synchronous=FULL), in a thread of the server's own process. There is no fan-out of ours without that.
- burst: one event after the other, as fast as they go, from before the first is made (ours: before its record) to the
  last client's having the last. So ours includes all appends: with few clients they are what takes the time. The floor
  writes each event by itself; ours, once it is behind, writes what has come meanwhile in one go, and may pass it.
- batch: all at once; ours in one host transaction (Pipeline.using), from before its COMMIT. So the making of events is
  left out: it is the fan-out alone. The floor, too, writes them all at one go; peers do so if they can.
- The server's CPU: its processor time for a delivery of the burst, in all its threads; it holds also on a busy machine.
- p50, p99: from commit (floor and peers: from before the emit) to client, at 2,000 deliveries a second in all.
- KiB a client: the server's resident memory with all clients, less that before they came.
- `--writer process` adds ours on PostgreSQL with the writer in a process of its own, heard of by NOTIFY: it competes
  for the CPUs, but not for the server's interpreter lock. PostgreSQL: the server of MINA_TEST_POSTGRES.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.engine.__main__ import named, processor
from benchmarks.store.places import DEFAULT_SERVER, Place, places
from benchmarks.store.race import Contest, figure

from .contests import BATCH, BURST, BYTES, CPU, MEMORY, P50, P99, contests

PACKAGES = (
    "starlette fastapi uvicorn httptools websockets sse-starlette python-socketio python-engineio flask flask-socketio"
)
SHORT = {
    "sse": ["SSE"],
    "ws": ["WebSocket"],
    "socketio": ["Socket.IO"],
    "flask": ["SSE, Flask threads", "Socket.IO, Flask threads"],
}


def main() -> None:
    ask = argparse.ArgumentParser(prog="python -m benchmarks.fanout", description=(__doc__ or "").split("\n")[0])
    ask.add_argument("--clients", default="100,500", help="how many, separated by commas")
    ask.add_argument("--rounds", type=int, default=int(os.environ.get("BENCH_ROUNDS", 5)))
    ask.add_argument("--scale", type=float, default=float(os.environ.get("BENCH_SCALE", 1)), help="of the work a round")
    ask.add_argument("--only", nargs="+", default=[], choices=SHORT, help="contests of these")
    ask.add_argument("--who", nargs="+", default=[], metavar="NAME", help="contestants like these, and each first row")
    ask.add_argument("--writer", choices=["thread", "process"], default="thread", help="process: also that")
    ask.add_argument("--dir", type=Path, default=Path("build"), help="where SQLite's files are: a real disk")
    given = ask.parse_args()
    began = time.perf_counter()
    with places(given.dir, os.environ.get("MINA_TEST_POSTGRES", DEFAULT_SERVER)) as (sqlite, *others):
        apart = others if given.writer == "process" else []
        print(conditions([sqlite, *apart], given), flush=True)
        for clients in map(int, given.clients.split(",")):
            done = [
                one for one in contests(sqlite, next(iter(apart), None), clients, given.scale) if wanted(one, given)
            ]
            for contest in done:
                print(f"{contest.title} …", file=sys.stderr, flush=True)
                contest.run(given.rounds)
                print("\n" + table(contest), flush=True)
    print(f"\n{time.perf_counter() - began:.0f} s in all.")


def wanted(contest: Contest, given: argparse.Namespace) -> bool:
    """Whether it was asked for; it keeps the contestants who were."""
    if given.who:
        contest.runs = {who: run for who, run in contest.runs.items() if who == contest.limit or named(who, given.who)}
    return not given.only or any(contest.measure in SHORT[one] for one in given.only)


def conditions(found: list[Place], given: argparse.Namespace) -> str:
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return "\n".join([
        f"- {os.cpu_count()} CPUs, {processor()}; load before: {load}",
        f"- Python {platform.python_version()}, mina-pipeline {version('mina-pipeline')}, {', '.join(versions())}",
        *(f"- {place.conditions()}" for place in found),
        "- plain asyncio loop, httptools, websockets-sansio, no compression; loopback TCP; one process serves, one is"
        " all clients",
        f"- {given.rounds} rounds, scale {given.scale:g}",
    ])  # fmt: skip


def versions() -> list[str]:
    found = []
    for package in PACKAGES.split():
        with suppress(PackageNotFoundError):
            found.append(f"{package} {version(package)}")
    return found


def table(contest: Contest) -> str:
    """A contest as a Markdown table; p50 and p99 have one share, that of p99."""
    lines = [
        f"| {contest.measure}, {contest.place} | burst, deliveries/s | share | batch, deliveries/s | share"
        " | server's CPU, µs | share | p50 / p99 ms | share of p99 | KiB a client | bytes |",
        "|---|" + "---:|" * 10,
    ]
    for who in contest.runs:
        if not contest.values(who, BURST):
            lines.append(f"| {who} | failed |" + " |" * 9)
            continue
        middle = {unit: figure(statistics.median(contest.values(who, unit))) for unit in (P50, P99, MEMORY, BYTES)}
        cells = [
            spread(contest, who, BURST),
            share(contest, who, BURST),
            spread(contest, who, BATCH),
            share(contest, who, BATCH),
            spread(contest, who, CPU),
            share(contest, who, CPU),
            f"{middle[P50]} / {spread(contest, who, P99)}",
            share(contest, who, P99),
            middle[MEMORY],
            middle[BYTES],
        ]
        lines.append(f"| {who} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spread(contest: Contest, who: str, unit: str) -> str:
    found = contest.values(who, unit)
    return f"{figure(statistics.median(found))} ({figure(min(found))}–{figure(max(found))})"


def share(contest: Contest, who: str, unit: str) -> str:
    found = contest.share(who, unit)
    return "limit" if who == contest.limit else "" if found is None else f"{found:.2f}"


if __name__ == "__main__":
    main()
