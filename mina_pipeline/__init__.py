"""Event-sourced meeting pipelines. The public names, and nothing else."""

from .blocking import BlockingCall
from .commands import ANY_VERSION, NO_STREAM
from .definition import Definition
from .errors import (
    CommandIdReused,
    ConcurrencyError,
    DefinitionError,
    ForeignSchema,
    IllegalTransition,
    InvalidInput,
    LeaseLost,
    MinaError,
    MissingExtra,
    ProviderUnavailable,
    RetryTransaction,
    SchemaOutdated,
    SegmentIdReused,
    SessionBusy,
    SessionNotFound,
    StoreBusy,
    StoreUnreachable,
    TaskNotFound,
    TranscriptError,
    UpgradeNeeded,
)
from .events import Position, RecordedEvent
from .meeting import Result, Segment
from .pipeline import Pipeline
from .ports import FeedStall
from .settings import Settings
from .stages.base import Degraded, Empty, Ok, StageContext, Workflow, define, stage
from .stages.standard import STANDARD_STAGES
from .views import Session

__all__ = [
    "ANY_VERSION",
    "NO_STREAM",
    "STANDARD_STAGES",
    "BlockingCall",
    "CommandIdReused",
    "ConcurrencyError",
    "Definition",
    "DefinitionError",
    "Degraded",
    "Empty",
    "FeedStall",
    "ForeignSchema",
    "IllegalTransition",
    "InvalidInput",
    "LeaseLost",
    "MinaError",
    "MissingExtra",
    "Ok",
    "Pipeline",
    "Position",
    "ProviderUnavailable",
    "RecordedEvent",
    "Result",
    "RetryTransaction",
    "SchemaOutdated",
    "Segment",
    "SegmentIdReused",
    "Session",
    "SessionBusy",
    "SessionNotFound",
    "Settings",
    "StageContext",
    "StoreBusy",
    "StoreUnreachable",
    "TaskNotFound",
    "TranscriptError",
    "UpgradeNeeded",
    "Workflow",
    "define",
    "stage",
]
