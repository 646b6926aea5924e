"""`mina finalize`, `retry` and `cancel`: commands on one session, which is then shown."""

from __future__ import annotations

import click

from ..pipeline import Pipeline
from ..views import Session
from .app import mina, open_pipeline, print_json, shared
from .show import show_session

ACTOR = "mina"


@mina.command()
@click.argument("session_id", metavar="ID")
@shared
def finalize(session_id: str, db: str | None, app: str | None, as_json: bool) -> None:
    """End the recording and let the stages begin; a worker does them. Asked again, it changes nothing."""
    with open_pipeline(db, app) as pipeline:
        print_session(pipeline, pipeline.finalize(session_id, actor=ACTOR), as_json)


@mina.command()
@click.argument("session_id", metavar="ID")
@click.argument("stage")
@click.option("--run", type=click.IntRange(1), metavar="N", help="The run to repeat: then asking twice is asking once.")
@click.option("--drop", is_flag=True, help="Instead, end what is pending for it: a wait (it fails), or an upgrade.")
@shared
def retry(
    session_id: str, stage: str, run: int | None, drop: bool, db: str | None, app: str | None, as_json: bool
) -> None:
    """Run a stage again, once there is a worker; the stages that read its result follow."""
    with open_pipeline(db, app) as pipeline:
        before = pipeline.get(session_id).version if drop else 0
        session = pipeline.retry(session_id, stage, run=run, drop=drop, actor=ACTOR)
        if session.version == before:
            click.echo(f"mina: nothing was pending for {stage}", err=True)
        print_session(pipeline, session, as_json)


@mina.command()
@click.argument("session_id", metavar="ID")
@click.option("--why", metavar="TEXT", help="Kept with the session.")
@shared
def cancel(session_id: str, why: str | None, db: str | None, app: str | None, as_json: bool) -> None:
    """Stop a session for good, before its reveal; exit 1 once it is revealed."""
    with open_pipeline(db, app) as pipeline:
        print_session(pipeline, pipeline.cancel(session_id, why, actor=ACTOR), as_json)


def print_session(pipeline: Pipeline, session: Session, as_json: bool) -> None:
    if as_json:
        print_json(session.as_dict())
    else:
        artefacts = pipeline.store.rows("artefacts", session.session_id)
        show_session(session, pipeline.result(session.session_id), artefacts)
