"""A model for tests that answers the standard stages' questions honestly, from nothing but what it is shown.

    with OpenAIServer(truthful) as server: …
    with OpenAIServerProcess(answer="mina_pipeline.testing.truthful_model:truthful") as server: …
    python -m mina_pipeline.testing.openai_server --answer mina_pipeline.testing.truthful_model:truthful

It understands little, and always the same: a line with "i will" is a task, one with "decided" a decision, one that ends
with "?" a question, the first longer lines are the key points and the account; refinement takes out "um" and "uh",
raises the first letter and ends the sentence. Every citation is a quote of its line. A host that answers some requests
otherwise, and hands the rest to `truthful`, tests its own pipeline without a key or a network.
"""

from __future__ import annotations

import json
import re
from typing import Any

from .openai_server import Request

QUOTED = 12
"""Words of a quote, at most."""
FILLERS = ("um", "uh")
_DATA = re.compile(r"^<data-(\w+)>\n(.*?)\n</data-\1>$", re.DOTALL | re.MULTILINE)
_TASK = re.compile(r"\bi(?: will|'ll) ", re.IGNORECASE)
_UNTIL = re.compile(r"by \w+$")


def truthful(request: Request) -> Any:
    """What a model would answer that does as it is told; None (the server's own answer) to what no stage asks."""
    data = rows(request)
    match request.format.get("name"):
        case "refined":
            return {"lines": [{"line": row["n"], "text": tidied(row["text"])} for row in data]}
        case "foundtasks":
            return {"tasks": [task(row) for row in data if _TASK.search(row["text"])]}
        case "summarized":
            return summary(data)
        case "reduced":
            return reduction(data)
        case "moods":
            windows = dict.fromkeys(row["w"] for row in data)
            return {"windows": [{"window": window, "score": 0.5, "label": "positive"} for window in windows]}
    return None


def rows(request: Request) -> list[dict[str, Any]]:
    """The data of a prompt: what stands between its marks, an object a line."""
    found = _DATA.search(request.prompt)
    return [json.loads(row) for row in found[2].split("\n")] if found and found[2] else []


def quote(row: dict[str, Any]) -> dict[str, Any]:
    """A citation of a line, by its first words."""
    return {"line": row["n"], "quote": " ".join(row["text"].split()[:QUOTED])}


def task(row: dict[str, Any]) -> dict[str, Any]:
    """What the line says that its speaker will do."""
    until = _UNTIL.search(row["text"])
    return {
        "title": _TASK.split(row["text"], maxsplit=1)[1].capitalize(),
        "description": "",
        "task_type": "action_item",
        "priority": "medium",
        "assigned_to": row.get("who"),
        "due_text": until[0] if until else None,
        "confidence": 0.8,
        "evidence": [quote(row)],
    }


def summary(data: list[dict[str, Any]]) -> dict[str, Any]:
    """Of a part of the transcript."""
    said = [row for row in data if len(row["text"].split()) > 3] or data
    asked = [row for row in said if row["text"].endswith("?")]
    return {
        "brief": "They talked.",
        "detailed": [{"text": f"It was said: {row['text']}.", "lines": [row["n"]]} for row in said[:6]],
        "key_points": [{"text": row["text"], "evidence": [quote(row)]} for row in said[:3]],
        "decisions": [{"text": row["text"], "evidence": [quote(row)]} for row in said if "decided" in row["text"]],
        "risks": [],
        "questions": [
            {"question": row["text"], "answered": False, "answer": None, "evidence": [quote(row)]} for row in asked
        ],
        "topics": [{"text": " ".join(row["text"].split()[:1]), "evidence": [quote(row)]} for row in said[:1]],
        "sentiment": "neutral",
    }


def reduction(data: list[dict[str, Any]]) -> dict[str, Any]:
    """Of notes on parts: the first few of each kind, as they are."""
    found: dict[str, Any] = {
        "brief": "All in all.",
        "decisions": [],
        "risks": [],
        "questions": [],
        "sentiment": "mixed",
    }
    for kind in ("detailed", "key_points", "topics"):
        notes = [row for row in data if row["kind"] == kind]
        found[kind] = [{"text": row["text"], "notes": [row["n"]]} for row in notes[:8]]
    return found


def tidied(text: str) -> str:
    """A line's text as refined."""
    new = " ".join(word for word in text.split() if word not in FILLERS)
    return new[:1].upper() + new[1:] + ("" if new.endswith((".", "?", "!")) or not new else ".")
