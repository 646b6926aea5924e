"""What a meeting is made of: its segments, and what the stages make of them. Shapes only, no behaviour."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch of speech. Times are milliseconds from the start of the recording; confidence is 0..1.

    `segment_id` is the caller's own name for it (a cue id), unique in its session; without one the session
    gives the next ordinal as text.
    """

    text: str
    start_ms: int
    end_ms: int
    speaker: str | None = None
    confidence: float | None = None
    segment_id: str | None = None


@dataclass(frozen=True, slots=True)
class RefinedSegment:
    """A segment whose text refinement changed; the segments it leaves alone are not listed."""

    segment_id: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Improvements:
    """How many corrections of each kind refinement made."""

    grammar_fixes: int = 0
    punctuation_fixes: int = 0
    capitalization_fixes: int = 0
    fillers_removed: int = 0


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """The changes refinement made, segment by segment. `confidence` is 0..1, the segments' mean, or None.

    kept_raw: ids of segments of which a model's text was refused, since it said something else.
    """

    changes: tuple[RefinedSegment, ...] = ()
    improvements: Improvements = Improvements()
    confidence: float | None = None
    kept_raw: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerStats:
    """One speaker's part. `share` is this speaker's fraction (0..1) of all talk time."""

    speaker: str
    talk_ms: int
    share: float
    turns: int
    words: int
    words_per_minute: float
    questions: int
    fillers: int
    longest_monologue_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PacePoint:
    """Speech in one window of the meeting: `words_per_minute` over the window's length."""

    start_ms: int
    end_ms: int
    words: int
    words_per_minute: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyword:
    """A key phrase; `score` is 0..1, the highest being the most telling; `count` is how often it is said."""

    phrase: str
    score: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentiment:
    """One window of the meeting. score: -1 negative … 1 positive; label: positive | neutral | negative | mixed."""

    start_ms: int
    end_ms: int
    score: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Analytics:
    """Counted from the segments, no model needed, but for `sentiment`. Durations carry their unit in the name."""

    total_duration_minutes: float = 0.0
    word_count: int = 0
    average_confidence: float | None = None
    segment_count: int = 0
    words_per_minute: float = 0.0
    participant_count: int = 0
    speaking_time: tuple[SpeakerStats, ...] = ()
    dominant_speaker: str | None = None
    balance_gini: float | None = None
    """0 everyone spoke alike long, towards 1 one person spoke; None below two speakers."""
    overlap_ms: int = 0
    overlap_share: float = 0.0
    silence_ms: int = 0
    turn_count: int = 0
    question_count: int = 0
    filler_count: int = 0
    longest_monologue_ms: int = 0
    longest_monologue_speaker: str | None = None
    pace: tuple[PacePoint, ...] = ()
    keywords: tuple[Keyword, ...] = ()
    sentiment: tuple[Sentiment, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Task:
    """Something to do. `evidence` holds the ids of the segments that show it, the most telling first; `quotes`, in
    parallel, the words in them.

    task_type: action_item | follow_up | decision | research. priority: low | medium | high | urgent.
    `due_date` is ISO (YYYY-MM-DD), parsed from `due_text`, the words that say so. `confidence_score` is 0..1.
    `task_id` is given when the outcome is recorded and stays the same over runs.
    """

    title: str
    description: str = ""
    task_type: str = "action_item"
    priority: str = "medium"
    assigned_to: str | None = None
    due_date: str | None = None
    due_text: str | None = None
    confidence_score: float = 0.0
    evidence: tuple[str, ...] = ()
    quotes: tuple[str, ...] = ()
    completed: bool = False
    task_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class TaskList:
    """The tasks of a meeting, the surest first. dropped_citations: of what was not in the transcript."""

    tasks: tuple[Task, ...] = ()
    dropped_citations: int = 0

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cited:
    """A statement, the ids of the segments it rests on, and in parallel the words in them."""

    text: str
    evidence: tuple[str, ...] = ()
    quotes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question somebody asked; `answer` where somebody answered it."""

    question: str
    answered: bool = False
    answer: str | None = None
    evidence: tuple[str, ...] = ()
    quotes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Summary:
    """`brief` is one or two sentences, `detailed` at most 350 words; what cites carries segment ids."""

    brief: str = ""
    detailed: str = ""
    key_points: tuple[Cited, ...] = ()
    decisions: tuple[Cited, ...] = ()
    risks: tuple[Cited, ...] = ()
    questions: tuple[Question, ...] = ()
    topics: tuple[Cited, ...] = ()
    next_steps: tuple[Cited, ...] = ()
    sentiment: str | None = None
    model: str | None = None
    confidence_score: float | None = None
    evidence: tuple[str, ...] = ()
    """The segments `detailed` is drawn from, in its order."""
    quotes: tuple[str, ...] = ()
    dropped_citations: int = 0


@dataclass(frozen=True, kw_only=True)
class Made:
    """How a result came about. outcome: ok | degraded | empty | failed; `reason` says why it is not ok."""

    outcome: str
    run: int
    provider: str | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class TranscriptLine:
    """A recorded segment beside its refined text."""

    segment_id: str
    start_ms: int
    end_ms: int
    speaker: str | None
    text: str
    refined_text: str
    confidence: float | None = None
    kept_raw: bool = False
    """A model's text was refused here, since it said something else."""


@dataclass(frozen=True, kw_only=True)
class TranscriptResult(Made):
    """The transcript, refined where refinement is done (else `refined_text` repeats `text`)."""

    lines: tuple[TranscriptLine, ...] = ()
    improvements: Improvements = Improvements()
    confidence: float | None = None

    @property
    def text(self) -> str:
        """The whole refined transcript as text, a line a turn, without names."""
        return render_transcript(self.lines)


@dataclass(frozen=True, kw_only=True)
class AnalyticsResult(Analytics, Made):
    """Analytics as recorded."""


@dataclass(frozen=True, kw_only=True)
class TasksResult(TaskList, Made):
    """Tasks as recorded, with what people changed since."""


@dataclass(frozen=True, kw_only=True)
class SummaryResult(Summary, Made):
    """The summary as recorded."""


@dataclass(frozen=True, kw_only=True)
class StageResult(Made):
    """What a host's own stage made, as the JSON value that it returned."""

    artefact: Any = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a session has come to; None for a stage that has no outcome yet. `others`: a host's own stages."""

    transcript: TranscriptResult | None = None
    analytics: AnalyticsResult | None = None
    tasks: TasksResult | None = None
    summary: SummaryResult | None = None
    others: dict[str, StageResult]


def render_transcript(lines: tuple[TranscriptLine, ...]) -> str:
    """Join refined segments to text: one line a turn, segments that refinement emptied left out."""
    turns: list[list[str]] = []
    last: object = None
    for line in lines:
        if not line.refined_text:
            continue
        if not turns or line.speaker != last:
            turns.append([])
        turns[-1].append(line.refined_text)
        last = line.speaker
    return "\n".join(" ".join(turn) for turn in turns)
