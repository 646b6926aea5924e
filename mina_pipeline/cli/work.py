"""`mina worker`: a process that does the work, until it is told to end."""

from __future__ import annotations

import sys
import time

import click

from ..crew import WorkerThreads
from .app import mina, open_pipeline, shared
from .signals import LOOK, Ending, ending


@mina.command()
@click.option("--concurrency", type=click.IntRange(1), default=4, show_default=True, help="Stages at once.")
@click.option("--grace", type=click.FloatRange(0), metavar="S", help="Seconds for running stages at the end.")
@shared
def worker(concurrency: int, grace: float | None, db: str | None, app: str | None, as_json: bool) -> None:
    """Work until SIGTERM or SIGINT; nothing on stdout.

    Then no more is claimed; running stages end within the grace time (default: MINA_SHUTDOWN_GRACE), or are handed
    back. A second signal hands them back at once. Exit 1 where the process ended by itself: too many stages hung.
    """
    with ending() as asked, open_pipeline(db, app) as pipeline:
        threads = pipeline.workers(concurrency)
        definitions = ", ".join(f"{name} {version}" for name, version in pipeline.code)
        click.echo(f"mina worker {threads.name}: {concurrency} thread(s), knows {definitions}", err=True)
        while not asked.asked and not threads.failed.is_set():
            time.sleep(LOOK)
        failed = threads.failed.is_set()
        click.echo("mina worker: too many stages hang" if failed else "mina worker: ending", err=True)
        end(threads, asked, pipeline.settings.shutdown_grace if grace is None else grace)
    sys.exit(1 if failed else 0)


def end(threads: WorkerThreads, asked: Ending, grace: float) -> None:
    """Let running stages go on for the grace time, unless asked once more; hand back what is left."""
    threads.end()
    was, until = asked.asked, time.monotonic() + grace
    while asked.asked == was and time.monotonic() < until and busy(threads):
        time.sleep(LOOK / 5)
    if busy(threads):
        click.echo("mina worker: what still runs is handed back", err=True)
    threads.close(0)


def busy(threads: WorkerThreads) -> bool:
    """Whether a stage is running that has not been cut off: idle threads end at once."""
    hung = {worker.owner for worker in list(threads.hung)}
    return any(thread.is_alive() for owner, thread in list(threads.threads.items()) if owner not in hung)
