"""`mina run`: import transcripts, run them to the reveal, show them."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ..codec import builtins
from ..errors import InvalidInput
from ..events import RecordedEvent
from ..meeting import Result
from ..pipeline import Pipeline
from ..transcripts import Transcript, read_transcript
from ..views import Session, transcript_lines
from .app import mina, open_pipeline, print_json, shared
from .live import Watch


@mina.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--provider", default="offline", show_default=True, help="Who does the stages' work.")
@click.option("--date", type=click.DateTime(["%Y-%m-%d"]), help="The day of the meeting (default: today).")
@click.option("--title", help="The session's title (default: the file's).")
@shared
def run(
    files: tuple[str, ...],
    provider: str,
    date: datetime | None,
    title: str | None,
    db: str | None,
    app: str | None,
    as_json: bool,
) -> None:
    """Import transcripts (WebVTT, SRT, Whisper, WhisperX, JSON), run each to the reveal and show it.

    All files are read before the first is stored: a broken one stops the command with nothing stored.
    """
    transcripts = [read_transcript(file) for file in files]
    began = [start_time(transcript, date) for transcript in transcripts]
    all_well = True
    with open_pipeline(db, app, provider) as pipeline:
        for transcript, started_at in zip(transcripts, began, strict=True):
            for warning in transcript.warnings:
                click.echo(f"{transcript.source}: {warning}", err=True)
            session = run_one(pipeline, transcript, title, started_at, as_json)
            made = pipeline.result(session.session_id)
            all_well &= session.state == "revealed" and all(
                stage.outcome != "failed" for stage in session.stages.values()
            )
            if as_json:
                print_json(as_line(pipeline, session, made, transcript))
            else:
                from .show import reveal

                reveal(session, made, pipeline.store.rows("artefacts", session.session_id))
    sys.exit(0 if all_well else 1)


def start_time(transcript: Transcript, date: datetime | None) -> datetime | None:
    """When the meeting began: as asked, as the file says, or now."""
    if date is not None:
        return date.replace(tzinfo=UTC) if transcript.timezone is None else date
    if transcript.started_at is None:
        return None
    try:
        return datetime.fromisoformat(transcript.started_at)
    except ValueError:
        raise InvalidInput(f"{transcript.source}: started_at", "not an ISO date and time") from None


def run_one(
    pipeline: Pipeline, transcript: Transcript, title: str | None, started_at: datetime | None, as_json: bool
) -> Session:
    session = pipeline.start_session(
        title or transcript.title or Path(transcript.source).stem,
        started_at=started_at,
        timezone=transcript.timezone,
        locale=transcript.language,
        metadata={"file": Path(transcript.source).name, "format": transcript.format},
    )
    session_id = session.session_id
    watch = Watch(session, sys.stderr if as_json else sys.stdout, transcript.source)
    with watch, pipeline.subscribe(lambda event: told(watch, event, session_id)):
        # What was committed before the subscription is shown too.
        for event in pipeline.events(session_id):
            watch.event(event)
        if transcript.segments:
            pipeline.record(session_id, transcript.segments)
        pipeline.finalize(session_id)
        wait_for_reveal(pipeline, session_id)
    return pipeline.get(session_id)


def told(watch: Watch, event: RecordedEvent, session_id: str) -> None:
    if event.session_id == session_id:
        watch.event(event)


def wait_for_reveal(pipeline: Pipeline, session_id: str) -> None:
    """Work here until this session is done; a stage that another worker holds is waited for, for a lease's time."""
    give_up = time.monotonic() + 2 * pipeline.settings.lease
    while True:
        worked = pipeline.run_until_idle()
        if pipeline.get(session_id).state in ("revealed", "cancelled"):
            return
        if worked:
            give_up = time.monotonic() + 2 * pipeline.settings.lease
        if time.monotonic() > give_up:
            return
        time.sleep(pipeline.settings.poll)


def as_line(pipeline: Pipeline, session: Session, made: Result, transcript: Transcript) -> dict[str, Any]:
    """The object that --json prints for a file."""
    lines = (
        made.transcript.lines
        if made.transcript
        else transcript_lines(pipeline.store.rows("segments", session.session_id), None)
    )
    stages = {
        name: {field: stage[field] for field in ("status", "outcome", "run", "provider", "duration_ms", "reason")}
        for name, stage in session.stages.items()
    }
    return {
        "session_id": session.session_id,
        "id": session.id,
        "file": transcript.source,
        "title": session.title,
        "state": session.state,
        "version": session.version,
        "stats": session.stats,
        "stages": stages,
        "refined_transcript": made.transcript.text if made.transcript else None,
        "analytics": builtins(made.analytics) if made.analytics else None,
        "tasks": [builtins(task) for task in made.tasks.tasks] if made.tasks else [],
        "summary": builtins(made.summary) if made.summary else None,
        "others": builtins(made.others),
        "transcript": builtins(lines),
        "warnings": list(transcript.warnings),
    }
