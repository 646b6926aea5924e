"""`mina replay`, `verify`, `rebuild` and `diagram`: the log, read again."""

from __future__ import annotations

import sys
from itertools import chain

import click

from ..codec import builtins, decode
from ..definition import PARALLEL, STANDARD, Definition
from ..diagnosis import age
from ..diagram import Edge, mermaid, path_of
from ..errors import SessionBusy, UpgradeNeeded
from ..events import SessionStarted
from ..pipeline import Pipeline
from ..replaying import Coming
from ..views import Session
from ..wire import iso
from .app import mina, open_pipeline, print_json, shared

PAGE = 200


@mina.command()
@click.argument("session_id", metavar="ID")
@click.option("--to", type=click.IntRange(1), metavar="N", help="Stop after version N.")
@shared
def replay(session_id: str, to: int | None, db: str | None, app: str | None, as_json: bool) -> None:
    """Fold the log again: every transition with the time between, the state reached, and what comes next.

    Exit 1 where an event cannot be read.
    """
    with open_pipeline(db, app) as pipeline:
        steps, coming = pipeline.replay(session_id, to), pipeline.upcoming(session_id, to)
        now = pipeline.clock.now()
    problem, version = steps[-1].problem, steps[-1].version - (steps[-1].problem is not None)
    for step in steps[:version]:
        if as_json:
            print_json(builtins(step))
            continue
        moved = step.after if step.before == step.after else f"{step.before} → {step.after}"
        note = f"  {step.outcome}" if step.outcome else "  unknown to this release, skipped" * step.skipped
        between = "" if step.after_us is None else f"+{step.after_us / 1e6:.3f} s"
        click.echo(f"{step.version:>4}  {iso(step.recorded_at)}  {between:>12}  {step.type:<26} {moved}{note}")
    state = steps[-1].after
    if as_json:
        print_json({"session_id": session_id, "state": state, "version": version, "next": builtins(coming)})
    else:
        for one in coming:
            click.echo(f"next: {in_words(one, now)}")
        click.echo(f"state {state} at version {version}" + ("" if coming else ", nothing comes next"))
    if problem:
        click.echo(f"mina: stopped before {problem}", err=True)
        sys.exit(1)


def in_words(coming: Coming, now: int) -> str:
    name = f"timer {coming.stage}" if coming.kind == "timer" else f"{coming.stage} run {coming.run}"
    if coming.kind == "upgrade":
        name = f"{name} (of a degraded result)"
    due_at, until = coming.due_at, coming.until
    match coming.status:
        case "running":
            return f"{name} is running" + (f" by {coming.owner}, lease for {age(until - now)}" if until else "")
        case "abandoned":
            return f"{name}: the lease of {coming.owner} ended {age(now - (until or now))} ago; anybody may claim it"
        case "waiting":
            return f"{name} waits" + (f" until {iso(due_at)} ({age(due_at - now)})" if due_at else "")
        case "blocked":
            return f"{name} comes after {', '.join(coming.after) or 'the recording'}"
        case _:
            return f"{name} is due" + (f" for {age(now - due_at)}" if due_at else "")


@mina.command()
@click.argument("session_id", metavar="[ID]", required=False)
@shared
def verify(session_id: str | None, db: str | None, app: str | None, as_json: bool) -> None:
    """Compare snapshot, read models, versions and hashes with the log; exit 1 where something differs."""
    found = 0
    with open_pipeline(db, app) as pipeline:
        ids = chosen(pipeline, session_id)
        checked = len(ids)
        unlisted = pipeline.unlisted() if session_id is None else []
        for problem in chain(unlisted, chain.from_iterable(map(pipeline.verify, ids))):
            found += 1
            if as_json:
                print_json(builtins(problem))
            else:
                click.echo(f"{problem.session_id}: {problem.what}: {problem.detail}")
    if as_json:
        print_json({"checked": checked, "problems": found})
    else:
        click.echo(f"{checked} session(s) checked, {found} problem(s)")
    sys.exit(1 if found else 0)


@mina.command()
@click.argument("session_id", metavar="[ID]", required=False)
@shared
def rebuild(session_id: str | None, db: str | None, app: str | None, as_json: bool) -> None:
    """Write the read models anew from the log, session by session, while the app goes on.

    What cannot be rebuilt is told and left as it is; exit 1 then.
    """
    refused = 0
    with open_pipeline(db, app) as pipeline:
        for one in chosen(pipeline, session_id):
            try:
                wrong = pipeline.rebuild(one)
            except (UpgradeNeeded, SessionBusy) as error:
                refused += 1
                click.echo(f"mina: {one}: {error}", err=True)
                continue
            if as_json:
                print_json({"session_id": one, "rows_corrected": wrong})
            elif wrong or session_id:
                click.echo(f"{one}: {wrong} row(s) corrected")
    sys.exit(1 if refused else 0)


@mina.command()
@click.argument("session_id", metavar="[ID]", required=False)
@click.option("--definition", type=click.Choice(["standard", "parallel"]), default="standard", show_default=True)
@shared
def diagram(session_id: str | None, definition: str, db: str | None, app: str | None, as_json: bool) -> None:
    """The machine as a Mermaid diagram: a definition's, or the one that session ID goes through, with its path marked.

    States that it was in and the one that it is in are coloured; each edge that it took has a check mark and the
    version of its event.
    """
    chosen_definition, current, path = (PARALLEL if definition == "parallel" else STANDARD), None, list[Edge]()
    if session_id is not None or app is not None:
        with open_pipeline(db, app) as pipeline:
            if session_id is None:
                chosen_definition = pipeline.workflows[0].definition
            else:
                session = pipeline.get(session_id)
                chosen_definition, current = pinned(pipeline, session), session.state
                path = path_of(pipeline.replay(session_id))
    text = mermaid(chosen_definition, current, path)
    if as_json:
        walked = [{"version": edge.version, "type": edge.type, "from": edge.before, "to": edge.after} for edge in path]
        print_json({"definition": chosen_definition.name, "state": current, "path": walked, "mermaid": text})
    else:
        click.echo(text)


def pinned(pipeline: Pipeline, session: Session) -> Definition:
    """The definition in the session's own first event: no code of the host's is needed to draw it."""
    events = map(decode, pipeline.events(session.session_id))
    first = next(event for event in events if isinstance(event, SessionStarted))
    return Definition(session.definition, first.stages, session.definition_version)


def chosen(pipeline: Pipeline, session_id: str | None) -> list[str]:
    if session_id is not None:
        return [session_id]
    found: list[str] = []
    before = None
    while page := pipeline.sessions(before=before, limit=PAGE):
        found += [session.session_id for session in page]
        before = page[-1].id
    return found
