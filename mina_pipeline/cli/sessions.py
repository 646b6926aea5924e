"""`mina sessions`: list them, show one, show its events."""

from __future__ import annotations

import click
from rich import box
from rich.console import Console
from rich.table import Table

from ..wire import iso
from .app import mina, open_pipeline, print_json, shared
from .plain import said
from .show import show_session


@mina.group()
def sessions() -> None:
    """The sessions in the store."""


@sessions.command("list")
@click.option("--state", help="Only those in this state.")
@click.option("--tenant", help="Only this tenant's.")
@click.option("--stuck", is_flag=True, help="Only unfinished ones that nobody works on, or silent recordings.")
@click.option("--before", type=int, metavar="ID", help="Older than this integer id (for paging).")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
@shared
def list_sessions(
    state: str | None,
    tenant: str | None,
    stuck: bool,
    before: int | None,
    limit: int,
    db: str | None,
    app: str | None,
    as_json: bool,
) -> None:
    """Sessions, newest first."""
    with open_pipeline(db, app) as pipeline:
        found = pipeline.sessions(state, tenant, stuck, before, limit)
    if as_json:
        for session in found:
            print_json(session.as_dict())
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("id", "session", "state", "version", "segments", "started", "title"):
        table.add_column(column, overflow="fold", no_wrap=column == "session")
    for s in found:
        cells = (str(s.id), s.session_id, s.state, str(s.version), str(s.total_segments), iso(s.started_at))
        table.add_row(*cells, said(s.title or ""))
    Console(highlight=False, markup=False).print(table)


@sessions.command()
@click.argument("session_id", metavar="ID")
@shared
def show(session_id: str, db: str | None, app: str | None, as_json: bool) -> None:
    """One session, and what its stages made."""
    with open_pipeline(db, app) as pipeline:
        session, made = pipeline.get(session_id), pipeline.result(session_id)
        artefacts = pipeline.store.rows("artefacts", session_id)
    if as_json:
        result = {"transcript": made.transcript, "analytics": made.analytics, "tasks": made.tasks,
                  "summary": made.summary, "others": made.others}  # fmt: skip
        print_json({**session.as_dict(), "result": result})
    else:
        show_session(session, made, artefacts)


@sessions.command()
@click.argument("session_id", metavar="ID")
@click.option("--after", type=click.IntRange(0), default=0, help="Only versions after this one.")
@click.option("--limit", type=click.IntRange(1), help="At most so many (default: all).")
@shared
def events(session_id: str, after: int, limit: int | None, db: str | None, app: str | None, as_json: bool) -> None:
    """The log of one session, oldest first."""
    with open_pipeline(db, app) as pipeline:
        found = pipeline.events(session_id, after)[:limit]
    for event in found:
        if as_json:
            print_json(event.as_dict())
        else:
            click.echo(f"{event.version:>4}  {iso(event.recorded_at)}  {event.type:<26} {event.event_id}")
