"""What the detail page fetches: the artefacts in the shapes that its scripts read. Pure.

Old pages put some of it in by innerHTML, and a model may write anything: see `escaped`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mina_pipeline import Result, Session
from mina_pipeline.meeting import Cited, Made, SummaryResult
from mina_pipeline.views import refined_text

from .replies import as_json

Page = dict[str, Any]
MakePage = Callable[[Session, Result], Page]

ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})


def escaped(value: Any) -> Any:
    """Every string in it made safe as HTML text, or within double quotes; names of fields stay."""
    if isinstance(value, str):
        return value.translate(ESCAPES)
    if isinstance(value, dict):
        return {name: escaped(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [escaped(one) for one in value]
    return value


def state_of(session: Session, made: Made | None) -> Page:
    """What every page begins with. status: pending (ask again) | completed | failed.

    A cancelled session's stages will make nothing more.
    """
    if made is None:
        status = "failed" if session.state == "cancelled" else "pending"
    else:
        status = "failed" if made.outcome == "failed" else "completed"
    return {
        "session_id": session.session_id,
        "title": session.title,
        "status": status,
        "version": session.version,
        "outcome": made.outcome if made else None,
        "run": made.run if made else None,
        "reason": made.reason if made else None,
        "provider": made.provider if made else None,
    }


def refined(session: Session, result: Result) -> Page:
    """refined_text: as refinement_ready has it, a line a segment with who said it."""
    made = result.transcript
    lines = made.lines if made else ()
    rows = [
        {"start_ms": line.start_ms, "ordinal": n, "speaker": line.speaker, "text": line.refined_text}
        for n, line in enumerate(lines)
    ]
    return {
        **state_of(session, made),
        "refined_text": refined_text(rows),
        "segments": as_json(lines),
        "improvements": as_json(made.improvements) if made else {},
        "confidence": made.confidence if made else None,
    }


def insights(session: Session, result: Result) -> Page:
    """The summary, with the tasks' titles as action items. Lists of texts, but for the questions."""
    made = result.summary
    of = made or SummaryResult(outcome="", run=0, provider=None)
    return {
        **state_of(session, made),
        "summary": of.brief,
        "detailed": of.detailed,
        "key_points": texts(of.key_points),
        "action_items": [task.title for task in result.tasks or () if task.task_type != "decision"],
        "decisions": texts(of.decisions),
        "risks": texts(of.risks),
        "questions": [
            {"question": one.question, "answered": one.answered, "answer": one.answer} for one in of.questions
        ],
        "topics": texts(of.topics),
        "next_steps": texts(of.next_steps),
        "sentiment": of.sentiment,
        "model": of.model,
        "confidence_score": of.confidence_score,
    }


def texts(cited: Iterable[Cited]) -> list[str]:
    return [one.text for one in cited]


def analytics(session: Session, result: Result) -> Page:
    """All that was counted, by its names; speaking_time is a list, a speaker each."""
    made = result.analytics
    counted: Page = as_json(made) if made else {"speaking_time": []}
    return {**counted, **state_of(session, made)}


def tasks(session: Session, result: Result) -> Page:
    """The tasks, each with its `id`, by which it is changed."""
    made = result.tasks
    listed = [{"id": task.task_id, **as_json(task)} for task in made or ()]
    return {**state_of(session, made), "tasks": listed, "count": len(listed)}


PAGES: dict[str, MakePage] = {"refined": refined, "insights": insights, "analytics": analytics, "tasks": tasks}
"""By the last part of their URLs."""
