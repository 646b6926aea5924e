"""What happened: the event classes, in past tense, and the envelope that a recorded one travels in.

A field is kept for ever (`Kept[...]`: counts, ids, outcomes, timings) or, by default, is content: text, names,
titles, artefacts, error messages, which can be erased. Every content field has a default, so that an event
still reads after its content is gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec

T = TypeVar("T")
KEPT = "kept"
Kept = Annotated[T, KEPT]


class StageShape(msgspec.Struct, frozen=True):
    """One stage of a definition as a session pins it: its name, what it waits for and reads, its public state."""

    name: str
    after: tuple[str, ...]
    reads: tuple[str, ...]
    running: str


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The root of all event classes. `kind` is what the machine's tables know; `type` is the wire name.

    `schema_version` is raised with the class (see codec.Registry). `skippable` is stored with each event: a release
    that does not know it may count it and go on, because it changes neither state nor read models.
    """

    kind: ClassVar[str]
    schema_version: ClassVar[int] = 1
    skippable: ClassVar[bool] = False

    @property
    def type(self) -> str:
        return self.kind


class SessionStarted(Event, frozen=True, kw_only=True):
    """A session began. Times are integer µs since the epoch; `stages` is the pinned definition's shape."""

    kind: ClassVar[str] = "session_started"
    id: Kept[int]
    definition: Kept[str]
    definition_version: Kept[int]
    stages: Kept[tuple[StageShape, ...]]
    started_at: Kept[int]
    meeting_id: Kept[str | None] = None
    tenant: Kept[str | None] = None
    timezone: Kept[str | None] = None
    locale: Kept[str | None] = None
    parent: Kept[str | None] = None
    title: str | None = None
    metadata: dict[str, Any] = {}


class SegmentsRecorded(Event, frozen=True, kw_only=True):
    """Segments came in: parallel arrays, one entry a segment; ordinals run from `first_ordinal`."""

    kind: ClassVar[str] = "segments_recorded"
    first_ordinal: Kept[int]
    segment_ids: Kept[tuple[str, ...]]
    starts_ms: Kept[tuple[int, ...]]
    ends_ms: Kept[tuple[int, ...]]
    confidences: Kept[tuple[float | None, ...]]
    texts: tuple[str, ...] = ()
    speakers: tuple[str | None, ...] = ()


class SessionFinalized(Event, frozen=True, kw_only=True):
    """Recording ended. reason: requested | abandoned (no sign of life for long). total_duration is in seconds."""

    kind: ClassVar[str] = "session_finalized"
    reason: Kept[str]
    total_segments: Kept[int]
    total_duration: Kept[float]
    average_confidence: Kept[float | None]


class StageEvent(Event, frozen=True, kw_only=True):
    """What one run of one stage reports; the wire name is the stage's with the kind's ending."""

    stage: Kept[str]
    run: Kept[int]

    @property
    def type(self) -> str:
        return self.stage + self.kind.removeprefix("stage")


class StageStarted(StageEvent, frozen=True, kw_only=True):
    """A run began, once: a takeover after a crash or the end of a wait adds no second one."""

    kind: ClassVar[str] = "stage_started"
    provider: Kept[str | None] = None


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an answer was made by and cost: in the host's currency, None where the model has no price.

    in_doubt: whoever had the run before may have bought it too, and died before that was recorded.
    """

    provider: str
    model: str
    tokens_in: int
    tokens_out: int
    cost: float | None = None
    temperature: float | None = None
    seed: int | None = None
    in_doubt: bool = False


class StageProgress(StageEvent, frozen=True, kw_only=True):
    """A checkpoint or a receipt: `done` of `total` (None: unknown); all the rest is the stage's own and never leaves.

    A receipt is a model's answer (`value`) to a part of the work (`key`); `hash` is that of prompt, model and
    parameters, and `usage` what it cost.
    """

    kind: ClassVar[str] = "stage_progress"
    done: Kept[int]
    total: Kept[int | None] = None
    key: Kept[str | None] = None
    hash: Kept[str | None] = None
    usage: Kept[Usage | None] = None
    value: Any = None


class StageWaiting(StageEvent, frozen=True, kw_only=True):
    """The run goes on at `retry_at` (µs); until then it holds no thread and no lease.

    reason: outage | rate limit | deadline | …; `since` is when the run's first wait began (µs).
    """

    kind: ClassVar[str] = "stage_waiting"
    reason: Kept[str]
    retry_at: Kept[int]
    since: Kept[int | None] = None
    error: str | None = None


class StageReady(StageEvent, frozen=True, kw_only=True):
    """A run ended with something to show. outcome: ok | degraded | empty; `input_version` is the log it read.

    `upgrade`: it is degraded because the provider was away, and is to be made again when that is back.
    """

    kind: ClassVar[str] = "stage_ready"
    outcome: Kept[str]
    input_version: Kept[int]
    duration_ms: Kept[int]
    provider: Kept[str | None] = None
    reason: Kept[str | None] = None
    upgrade: Kept[bool] = False
    artefact: Any = None


class StageFailed(StageEvent, frozen=True, kw_only=True):
    """A run ended with nothing. reason: error | poison | deadline | …; `error` is for people to read."""

    kind: ClassVar[str] = "stage_failed"
    reason: Kept[str]
    error_type: Kept[str]
    input_version: Kept[int]
    duration_ms: Kept[int]
    provider: Kept[str | None] = None
    error: str | None = None


class StageRequested(StageEvent, frozen=True, kw_only=True):
    """A person asked for another run; `run` is the new one's number."""

    kind: ClassVar[str] = "stage_requested"


class StageDropped(StageEvent, frozen=True, kw_only=True):
    """What was to be made better after `run` is left as it is. reason: asked | tries | age | poison | no better."""

    kind: ClassVar[str] = "stage_dropped"
    reason: Kept[str]


class Revealed(Event, frozen=True, kw_only=True):
    """Every stage has an outcome; the session is shown. Exactly one writer appends this."""

    kind: ClassVar[str] = "post_transcription_reveal"
    outcomes: Kept[dict[str, str]]


class DashboardRefreshed(Event, frozen=True, kw_only=True):
    """Dashboards should show this session anew. completed_at is in µs."""

    kind: ClassVar[str] = "dashboard_refresh"
    skippable: ClassVar[bool] = True
    action: Kept[str]
    status: Kept[str]
    completed_at: Kept[int]
    title: str | None = None


class ArtefactUpdated(StageEvent, frozen=True, kw_only=True):
    """After the reveal, a later run's result took the old one's place."""

    kind: ClassVar[str] = "artefact_updated"
    skippable: ClassVar[bool] = True
    outcome: Kept[str]

    @property
    def type(self) -> str:
        return self.kind


class TaskChanged(Event, frozen=True, kw_only=True):
    """A person changed a task; `fields` names what, `changes` holds the new values. Later runs respect it."""

    kind: ClassVar[str] = "task_changed"
    task_id: Kept[str]
    fields: Kept[tuple[str, ...]]
    changes: dict[str, Any] = {}


class SessionCancelled(Event, frozen=True, kw_only=True):
    """Nobody wants this session any more; nothing runs for it from here on."""

    kind: ClassVar[str] = "session_cancelled"
    why: str | None = None


class SessionErased(Event, frozen=True, kw_only=True):
    """The content of all events up to and including `through_version` was erased."""

    kind: ClassVar[str] = "session_erased"
    through_version: Kept[int]


class Unread(Event, frozen=True, kw_only=True):
    """Stands in for a stored event that only a later release can read and whose writer called it skippable."""

    kind: ClassVar[str] = "unread"
    skippable: ClassVar[bool] = True
    stored_type: Kept[str]

    @property
    def type(self) -> str:
        return self.stored_type


SESSION_EVENTS: tuple[type[Event], ...] = (
    SessionStarted,
    SegmentsRecorded,
    SessionFinalized,
    Revealed,
    DashboardRefreshed,
    ArtefactUpdated,
    TaskChanged,
    SessionCancelled,
    SessionErased,
)
STAGE_EVENTS: tuple[type[StageEvent], ...] = (
    StageStarted,
    StageProgress,
    StageWaiting,
    StageReady,
    StageFailed,
    StageRequested,
    StageDropped,
)


FIRST_ERA = 1


@dataclass(frozen=True, order=True)
class Position:
    """A place in the feed, opaque to callers: compare it, keep it, hand it back. `str()` and `parse` round-trip."""

    era: int
    feed_xid: int
    seq: int

    def __str__(self) -> str:
        return f"{self.era}-{self.feed_xid}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read what `str()` wrote; ValueError on anything else."""
        era, feed_xid, seq = text.split("-")
        return cls(int(era), int(feed_xid), int(seq))


@dataclass(frozen=True)
class RecordedEvent:
    """An event as the log holds it: the envelope, and the two stored texts.

    version counts 1, 2, 3 … within the session without a gap; recorded_at is integer µs since the epoch.
    """

    event_id: str
    session_id: str
    version: int
    position: Position
    type: str
    schema_version: int
    skippable: bool
    recorded_at: int
    trace_id: str
    causation_id: str | None
    command_id: str | None
    actor: str | None
    data_text: str
    content_text: str | None

    @cached_property
    def data(self) -> dict[str, Any]:
        """Everything the event says, kept fields and content together; erased content is absent."""
        fields: dict[str, Any] = msgspec.json.decode(self.data_text)
        if self.content_text is not None:
            fields.update(msgspec.json.decode(self.content_text))
        return fields

    def as_dict(self) -> dict[str, Any]:
        """The envelope by its names, for JSON."""
        return {
            "event_id": self.event_id,
            "session_id": self.session_id,
            "version": self.version,
            "position": str(self.position),
            "type": self.type,
            "schema_version": self.schema_version,
            "skippable": self.skippable,
            "recorded_at": self.recorded_at,
            "trace_id": self.trace_id,
            "causation_id": self.causation_id,
            "command_id": self.command_id,
            "actor": self.actor,
            "data": self.data,
        }
