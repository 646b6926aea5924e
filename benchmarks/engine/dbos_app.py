"""A DBOS application driven over stdin: `python -m benchmarks.engine.dbos_app URL`. A command a line, an answer a line.

direct N | start N | queue N    sessions a second through four steps that do nothing
hang                            starts a workflow whose second step never ends (this process is to be killed)
scan                            seconds to find what executor `dead` has left, and how many
sequence PACE | parallel PACE   seconds from start to end, sleeping PACE times as long as a model call
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import Callable

from dbos import DBOS
from dbos._dbos import _get_dbos_instance  # what its own recovery asks

SLEEPS = {"refine": 1.0, "analyze": 0.2, "extract": 1.0, "summarize": 1.0}  # s; as our stages
POLL = 0.01  # s, of the queue; 1 by default
RESULT_POLL = 0.02
HANGS = "DBOS_HANGS"  # in the environment: the second step never ends
VERSION = "1"


@DBOS.step()
def stage(n: int) -> int:
    if n == 1 and HANGS in os.environ:
        time.sleep(3600)
    return n


@DBOS.workflow()
def session(n: int) -> int:
    for one in range(4):
        stage(one)
    return n


@DBOS.step()
async def sleeping(name: str, pace: float) -> None:
    await asyncio.sleep(SLEEPS[name] * pace)


@DBOS.workflow()
async def sequence(pace: float) -> None:
    for name in SLEEPS:
        await sleeping(name, pace)


@DBOS.workflow()
async def parallel(pace: float) -> None:
    first, *others = SLEEPS
    await sleeping(first, pace)
    await asyncio.gather(*(sleeping(name, pace) for name in others))


def main() -> None:
    url, executor = sys.argv[1:]
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR", "application_version": VERSION,
                 "executor_id": executor})  # fmt: skip
    DBOS.launch()
    queue = DBOS.register_queue("bench", worker_concurrency=8, polling_interval_sec=POLL)

    def direct(count: int) -> None:
        for n in range(count):
            session(n)

    def start(count: int) -> None:
        for handle in [DBOS.start_workflow(session, n) for n in range(count)]:
            handle.get_result()

    def queued(count: int) -> None:
        for handle in [queue.enqueue(session, n) for n in range(count)]:
            handle.get_result(polling_interval_sec=RESULT_POLL)

    rates: dict[str, Callable[[int], None]] = {"direct": direct, "start": start, "queue": queued}
    slow = {"sequence": sequence, "parallel": parallel}
    print("ready", flush=True)
    for line in sys.stdin:
        command, *given = line.split()
        found: object = ""
        began = time.perf_counter()
        if command in rates:
            rates[command](int(given[0]))
        elif command in slow:
            asyncio.run(slow[command](float(given[0])))
        elif command == "hang":
            DBOS.start_workflow(session, 1)
            time.sleep(1)
        elif command == "scan":
            gc.disable()  # as in finder
            began = time.perf_counter()
            found = len(_get_dbos_instance()._sys_db.get_pending_workflows("dead", VERSION))
        seconds = time.perf_counter() - began
        print(int(given[0]) / seconds if command in rates else seconds, found, flush=True)
    os._exit(0)  # whatever threads it has


if __name__ == "__main__":
    main()
