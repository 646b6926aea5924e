"""`mina fork`, `diff` and `replay-with`: finished sessions tried again with another provider, and compared."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..meeting import Task
from ..trials import COLUMNS, Diff, LineSides, Trial, differences
from ..views import StageView
from .app import mina, open_pipeline, print_json, shared
from .live import COLOURS
from .plain import cell, plain
from .show import show_session

PROVIDER = click.option("--provider", metavar="P", help="Who makes the stages anew (default: the pipeline's own).")
MODEL = click.option("--model", metavar="M", help="A model of that provider; alone: of openai.")
LINES = 20
"""So many lines of a transcript are shown; --json has all."""


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM is as Ctrl-C while the block runs: what is not revealed then is cancelled on the way out."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@mina.command()
@click.argument("session_id", metavar="ID")
@click.option("--from", "from_stage", metavar="STAGE", help="The first stage to make anew.")
@PROVIDER
@MODEL
@click.option("--title", help="The fork's title (default: the session's).")
@shared
def fork(
    session_id: str,
    from_stage: str | None,
    provider: str | None,
    model: str | None,
    title: str | None,
    db: str | None,
    app: str | None,
    as_json: bool,
) -> None:
    """Copy a session's log up to STAGE into a new session, and run that here to the reveal. The session is only read.

    Without --from, ID is a fork whose process was killed: it is gone on with. Exit 1 where a stage failed.
    """
    with open_pipeline(db, app) as pipeline, interruptible():
        if from_stage is None:
            made = pipeline.run_fork(session_id, provider=provider, model=model)
        else:
            made = pipeline.fork(session_id, from_stage, provider=provider, model=model, title=title)
        row = pipeline.store.load(made.session_id) or {}
        artefacts = pipeline.store.rows("artefacts", made.session_id)
        result = pipeline.result(made.session_id)
    if as_json:
        print_json(made.as_dict())
    else:
        show_session(made, result, artefacts)
        click.echo(plain(f"compare: mina diff {row['parent']} {made.session_id}"))
    failed = any(stage.outcome == "failed" for stage in made.stages.values())
    sys.exit(1 if failed or made.state != "revealed" else 0)


@mina.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@shared
def diff(a: str, b: str, db: str | None, app: str | None, as_json: bool) -> None:
    """The results of two sessions side by side: stages, transcript, tasks, summary. Exit 0, whatever differs."""
    with open_pipeline(db, app) as pipeline:
        found = pipeline.diff(a, b)
    if as_json:
        print_json(found.as_dict())
    else:
        show_diff(found)


@mina.command("replay-with")
@click.argument("session_ids", metavar="[IDS]…", nargs=-1)
@click.option("--from", "from_stage", metavar="STAGE", help="The first stage to make anew (default: each's first).")
@PROVIDER
@MODEL
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Without IDS: so many sessions.")
@shared
def replay_with(
    session_ids: tuple[str, ...],
    from_stage: str | None,
    provider: str | None,
    model: str | None,
    limit: int,
    db: str | None,
    app: str | None,
    as_json: bool,
) -> None:
    """Fork many sessions and compare each fork with its session; without IDS those revealed, newest first.

    Exit 1 where a session was refused, a fork was not revealed, or a stage failed.
    """
    with open_pipeline(db, app) as pipeline, interruptible():
        trials = pipeline.replay_with(
            provider, session_ids or None, from_stage=from_stage, model=model, limit=limit, told=progress
        )
    if as_json:
        print_json({"from": from_stage, "provider": provider, "model": model, "trials": [t.as_dict() for t in trials]})
    else:
        show_trials(trials)
    sys.exit(0 if all(trial.well for trial in trials) else 1)


def progress(trial: Trial) -> None:
    """On stderr, as each ends."""
    words = f"refused: {trial.refused}" if trial.diff is None else f"differs: {differences(trial.diff)}"
    click.echo(plain(f"{trial.parent}: {words}"), err=True)


# --- tables; whatever a model or a transcript has written is text, never markup


def table_of(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def show_trials(trials: Sequence[Trial]) -> None:
    table = table_of(*COLUMNS[1:])
    table.columns[0].header, table.columns[0].no_wrap = "session → fork", True
    for trial in trials:
        parent, fork, *rest = (cell(one, "" if trial.well else "red") for one in trial.cells)
        table.add_row(Text.assemble(parent, "\n→ ", fork), *rest)
    Console(highlight=False, markup=False).print(table)


def show_diff(found: Diff) -> None:
    """Print it to stdout."""
    console = Console(highlight=False, markup=False)
    for name, session, parent in (("A", found.a, found.a_parent), ("B", found.b, found.b_parent)):
        of = f", fork of {parent}" if parent else ""
        head = f"{name}  {session.session_id} ({session.id}), {session.state}, {session.definition}{of}"
        console.print(cell(f"{head}  {session.title or ''}", "bold"))
    table = table_of("stage", "A", "B")
    for stage in found.stages:
        table.add_row(cell(stage.stage), of_stage(stage.a), of_stage(stage.b))
    console.print(table)
    show_lines(console, found.changed_lines, found.lines)
    show_tasks(console, found)
    show_summary(console, found)
    for title, fields in (("Analytics", found.analytics), ("Other stages", found.others)):
        if fields:
            table = headed(console, title, "", "A", "B")
            for one in fields:
                table.add_row(cell(one.field), cell(one.a), cell(one.b))
            console.print(table)
    console.print(cell("The results are the same." if found.same else differences(found), "bold"))


def of_stage(stage: StageView | None) -> Text:
    if stage is None:
        return cell(None)
    took = "" if stage.duration_ms is None else f", {stage.duration_ms} ms"
    words = f"{stage.outcome or stage.status} by {stage.provider or 'nobody'}{took}"
    return cell(f"{words}: {stage.reason}" if stage.reason else words, COLOURS.get(stage.outcome or "", ""))


def show_lines(console: Console, lines: Sequence[LineSides], all_lines: int) -> None:
    if not lines:
        return
    table = headed(console, f"Transcript: {len(lines)} of {all_lines} lines differ", "at", "who", "A", "B")
    for line in lines[:LINES]:
        table.add_row(f"{line.start_ms / 1000:.1f} s", cell(line.speaker), cell(line.a), cell(line.b))
    console.print(table)
    if len(lines) > LINES:
        console.print(f"… and {len(lines) - LINES} more (--json has all)")


def show_tasks(console: Console, found: Diff) -> None:
    if not (found.changed_tasks or found.tasks_only_a or found.tasks_only_b):
        return
    table = headed(console, f"Tasks: {found.same_tasks} the same", "", "A", "B")
    for task in found.tasks_only_a:
        table.add_row("only A", cell(in_words(task)), "")
    for task in found.tasks_only_b:
        table.add_row("only B", "", cell(in_words(task)))
    for one in found.changed_tasks:
        table.add_row("changed", cell(in_words(one.a)), cell(in_words(one.b)))
        for name in one.fields:
            table.add_row(
                f"  {name.replace('_', ' ')}", cell(value(getattr(one.a, name))), cell(value(getattr(one.b, name)))
            )
    console.print(table)


def show_summary(console: Console, found: Diff) -> None:
    rows = [one for one in (*found.summary, *found.points) if not one.same]
    if not rows:
        return
    title = "Summary" if found.likeness is None else f"Summary: {found.likeness:.0%} of the wording is shared"
    table = headed(console, title, "", "A", "B")
    for one in rows:
        table.add_row(one.field.replace("_", " "), cell(one.a), cell(one.b))
    console.print(table)


def headed(console: Console, title: str, *columns: str) -> Table:
    console.print(Text(title, style="bold"))
    return table_of(*columns)


def in_words(task: Task) -> str:
    who, until = task.assigned_to or "nobody", task.due_date or task.due_text
    return f"{task.title} ({who}{f', {until}' if until else ''})"


def value(one: Any) -> Any:
    return ", ".join(map(str, one)) if isinstance(one, (tuple, list)) else one
