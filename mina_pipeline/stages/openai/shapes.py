"""What the model may answer: one struct a question, every field required, nothing else taken."""

from __future__ import annotations

from typing import Literal

from ...llm.schemas import Shape

Mood = Literal["positive", "neutral", "negative", "mixed"]


class Cite(Shape):
    """A line of the transcript, and words of it, copied."""

    line: int
    quote: str


class RefinedLine(Shape):
    line: int
    text: str


class Refined(Shape):
    """The lines that change."""

    lines: list[RefinedLine]


class FoundTask(Shape):
    title: str
    description: str
    task_type: Literal["action_item", "follow_up", "decision", "research"]
    priority: Literal["low", "medium", "high", "urgent"]
    assigned_to: str | None
    due_text: str | None
    confidence: float
    evidence: list[Cite]


class FoundTasks(Shape):
    tasks: list[FoundTask]


class Statement(Shape):
    text: str
    evidence: list[Cite]


class Asked(Shape):
    question: str
    answered: bool
    answer: str | None
    evidence: list[Cite]


class Told(Shape):
    """A sentence of the account, and the lines it is drawn from."""

    text: str
    lines: list[int]


class Summarized(Shape):
    brief: str
    detailed: list[Told]
    key_points: list[Statement]
    decisions: list[Statement]
    risks: list[Statement]
    questions: list[Asked]
    topics: list[Statement]
    sentiment: Mood


class Joined(Shape):
    """A statement made of notes, by their numbers."""

    text: str
    notes: list[int]


class JoinedQuestion(Shape):
    question: str
    answered: bool
    answer: str | None
    notes: list[int]


class Reduced(Shape):
    brief: str
    detailed: list[Joined]
    key_points: list[Joined]
    decisions: list[Joined]
    risks: list[Joined]
    questions: list[JoinedQuestion]
    topics: list[Joined]
    sentiment: Mood


class WindowMood(Shape):
    window: int
    score: float
    label: Mood


class Moods(Shape):
    windows: list[WindowMood]
