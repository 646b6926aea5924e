"""`python -m mina_pipeline.testing.simulation`: live through one seed's history again, or through many."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from . import FAULTS, simulate


@click.command()
@click.option("--seed", type=int, help="Live through this one, and print its trace.")
@click.option("--histories", type=int, default=1000, show_default=True, help="Live through so many.")
@click.option("--first", type=int, default=0, show_default=True, help="The seed that they begin with.")
@click.option("--store", default="memory://", show_default=True, help="A database URL.")
@click.option("--without", default="", help=f"Faults to leave out: {', '.join(FAULTS)}.")
@click.option("--traces", type=click.Path(file_okay=False, path_type=Path), help="Keep the traces of the broken here.")
def main(seed: int | None, histories: int, first: int, store: str, without: str, traces: Path | None) -> None:
    """Exit 0 where every promise was kept, 1 where one was broken."""
    left_out = frozenset(filter(None, without.split(",")))
    if seed is not None:
        history = simulate(seed, url=store, without=left_out)
        click.echo(history.text)
        sys.exit(1 if history.broken else 0)
    began, events, turns, broken = time.perf_counter(), 0, 0, 0
    for number in range(first, first + histories):
        history = simulate(number, url=store, without=left_out)
        events, turns = events + history.events, turns + history.turns
        if not history.broken:
            continue
        broken += 1
        click.echo(f"seed {number}: {'; '.join(map(str, history.broken))}")
        if traces is not None:
            traces.mkdir(parents=True, exist_ok=True)
            (traces / f"{number}.txt").write_text(history.text)
    took = time.perf_counter() - began
    click.echo(f"{histories} histories, {broken} broken: {events} events, {turns} turns in {took:.1f} s", nl=False)
    click.echo(f", {histories / took * 60:.0f} histories a minute")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
