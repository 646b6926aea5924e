"""A session on a terminal: stages, summary, tasks, analytics. All meeting text is shown as text, never markup."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table

from ..meeting import AnalyticsResult, Result, Summary, TaskList
from ..projections import Row
from ..views import Session
from .live import COLOURS
from .plain import plain, said

BAR = 24


def show_session(session: Session, made: Result, artefacts: Iterable[Row] = ()) -> None:
    """A session with its stages, and what it has come to, to stdout."""
    click.echo(f"session {session.session_id} ({session.id}), {session.state}, version {session.version}")
    click.echo(f"definition {session.definition} {session.definition_version}, {session.total_segments} segments")
    for name, stage in session.stages.items():
        took = "" if stage.duration_ms is None else f", {stage.duration_ms} ms"
        who = f" by {stage.provider}" if stage.provider else ""
        click.echo(f"  {name:<12} {stage.outcome or stage.status} (run {stage.run}{who}{took})")
    show_usage(session)
    reveal(session, made, artefacts)


def show_usage(session: Session) -> None:
    """What models cost, by stage and run; nothing where none was asked."""
    usage = session.usage
    for stage, runs in usage["stages"].items():
        for run, answers in runs.items():
            for one in answers:
                who = f"{one['provider']} {one['model']}"
                click.echo(f"  {stage:<12} run {run}: {one['answers']} answers of {plain(who)}, {spent(one)}")
    if usage["stages"]:
        click.echo(f"  {'in all':<12} {spent(usage)}")
    if usage["in_doubt"]:
        click.echo(f"  {usage['in_doubt']} answers may have been paid for twice: whoever asked first died over it")


def spent(usage: dict[str, Any]) -> str:
    cost = "" if usage["cost"] is None else f", cost {usage['cost']:.6g}"
    return f"{usage['tokens_in']} tokens in, {usage['tokens_out']} out{cost}"


def reveal(session: Session, made: Result, artefacts: Iterable[Row] = ()) -> None:
    """Print what a session has come to, to stdout."""
    console = Console(highlight=False, markup=False)
    console.print(Rule(said(session.title or session.session_id, style="bold")))
    errors = {row["stage"]: row["error"] for row in artefacts}
    for name, stage in session.stages.items():
        if stage.outcome in ("failed", "degraded"):
            why = errors.get(name) or stage.reason or ""
            console.print(said(f"{name}: {stage.outcome}  {why}", style=COLOURS[stage.outcome or ""]))
    if made.summary and made.summary.outcome != "failed":
        show_summary(console, made.summary)
    if made.tasks and made.tasks.outcome != "failed":
        show_tasks(console, made.tasks)
    if made.analytics and made.analytics.outcome != "failed":
        show_analytics(console, made.analytics)
    for name, other in made.others.items():
        console.print()
        console.print(said(f"{name}: {other.outcome}", style="bold"))


def show_summary(console: Console, summary: Summary) -> None:
    heading(console, "Summary")
    console.print(Padding(said(summary.brief or "Nothing was said."), (0, 2)))
    if summary.detailed and summary.detailed != summary.brief:
        console.print()
        console.print(Padding(said(summary.detailed), (0, 2)))
    bullets(console, "Key points", [point.text for point in summary.key_points])
    bullets(console, "Decisions", [decision.text for decision in summary.decisions])
    bullets(console, "Open questions", [q.question for q in summary.questions if not q.answered])
    bullets(console, "Topics", [topic.text for topic in summary.topics])


def show_tasks(console: Console, tasks: TaskList) -> None:
    heading(console, f"Tasks ({len(tasks)})")
    if not len(tasks):
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("what", "who", "until", "priority"):
        table.add_column(column, overflow="fold")
    for task in tasks:
        due = task.due_date or ""
        due += f" ({task.due_text})" if task.due_text and task.due_date else ""
        table.add_row(said(task.title), said(task.assigned_to or "–"), said(due or "–"), task.priority)
    console.print(Padding(table, (0, 2)))


def show_analytics(console: Console, analytics: AnalyticsResult) -> None:
    heading(console, "Analytics")
    console.print(
        f"  {analytics.total_duration_minutes:.1f} minutes, {analytics.segment_count} segments, "
        f"{analytics.word_count} words ({analytics.words_per_minute:.0f} a minute), "
        f"{analytics.question_count} questions, {analytics.filler_count} fillers"
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("speaker", "talk time", "", "turns", "words/min", "questions"):
        table.add_column(column, justify="left" if column in ("speaker", "") else "right")
    for speaker in analytics.speaking_time:
        bar = "█" * max(1, round(speaker.share * BAR)) if speaker.talk_ms else ""
        table.add_row(
            said(speaker.speaker),
            f"{speaker.share:.0%}",
            said(bar, style="blue"),
            str(speaker.turns),
            f"{speaker.words_per_minute:.0f}",
            str(speaker.questions),
        )
    console.print(Padding(table, (0, 2)))
    if analytics.keywords:
        console.print(said("  keywords: " + ", ".join(keyword.phrase for keyword in analytics.keywords)))


def heading(console: Console, text: str) -> None:
    console.print()
    console.print(said(text, style="bold"))


def bullets(console: Console, title: str, texts: list[str]) -> None:
    if not texts:
        return
    heading(console, title)
    for text in texts:
        console.print(Padding(said(f"• {text}"), (0, 2)))
