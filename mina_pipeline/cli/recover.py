"""`mina recover`: what is stuck, why, and what helps; repaired where it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from ..diagnosis import Finding
from .app import mina, open_pipeline, print_json, shared


@mina.command()
@click.option("--dry-run", is_flag=True, help="Say what is wrong, change nothing.")
@click.option("--yes", is_flag=True, help="Repair all that can be repaired here.")
@click.option("--run", is_flag=True, help="Then do the work that is due, here, until none is left.")
@click.option("--all", "everything", is_flag=True, help="Compare finished sessions with their logs too.")
@shared
def recover(
    dry_run: bool, yes: bool, run: bool, everything: bool, db: str | None, app: str | None, as_json: bool
) -> None:
    """Find sessions that are stuck, say why, and repair them; running workers are not in the way.

    Without --yes and --dry-run it asks about each repair on a terminal, and changes nothing elsewhere. Exit 0 when
    nothing is wrong or all is repaired, 1 when problems are left.
    """
    if dry_run and (yes or run):
        raise click.UsageError("--dry-run changes nothing: leave out --yes and --run")
    asking = not (dry_run or yes or as_json) and on_terminal()
    if run and not (yes or asking):
        raise click.UsageError("--run wants --yes where there is nobody to ask")
    with open_pipeline(db, app) as pipeline:
        if yes:
            found = shown = pipeline.recover(run=run, everything=everything)
        else:
            found = shown = pipeline.recover(dry_run=True, everything=everything)
        if asking:
            chosen = choose(found)
            if chosen or run:
                found = pipeline.recover(run=run, everything=everything, choose=lambda one: one.key in chosen)
            shown = [one for one in found if one.repaired or one.key in chosen]  # all were shown with the question
    left = sum(not one.repaired for one in found)
    counts = {"found": len(found), "repaired": len(found) - left, "left": left}
    if as_json:
        for value in (*(one.as_dict() for one in shown), counts):
            print_json(value)
    else:
        tell(shown)
        click.echo(
            "{found} problem(s), {repaired} repaired, {left} left".format(**counts) if found else "nothing is stuck"
        )
    sys.exit(1 if left else 0)


def on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def choose(found: Iterable[Finding]) -> set[tuple[str, ...]]:
    """Ask about each repair: yes, no, all that are left, none of them."""
    chosen: set[tuple[str, ...]] = set()
    answer = ""
    for one in found:
        click.echo(f"{one.session_id}: {one.what}: {one.detail}")
        if not one.repairable:
            click.echo(f"    {one.remedy}")
            continue
        if answer not in ("all", "quit"):
            click.echo(f"    {one.remedy}")
            options = click.Choice(["yes", "no", "all", "quit"])
            answer = click.prompt("    repair it?", type=options, default="no")
        if answer in ("yes", "all"):
            chosen.add(one.key)
    return chosen


def tell(found: Iterable[Finding]) -> None:
    for one in found:
        click.echo(f"{one.session_id}: {one.what}: {one.detail}")
        became = "repaired" if one.repaired else f"not repaired: {one.remedy}"
        click.echo(f"    {one.remedy if one.repaired is None else became}")
