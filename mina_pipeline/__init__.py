"""Event-sourced meeting pipelines. The public names, and nothing else."""

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
    RetryTransaction,
    SegmentIdReused,
    SessionBusy,
    SessionNotFound,
    StoreUnreachable,
    TranscriptError,
    UpgradeNeeded,
)
from .events import Position, RecordedEvent
from .meeting import Result, Segment
from .pipeline import Pipeline
from .settings import Settings
from .stages.base import Degraded, Empty, Ok, StageContext, Workflow, define, stage
from .stages.standard import STANDARD_STAGES
from .views import Session

__all__ = [
    "STANDARD_STAGES",
    "CommandIdReused",
    "ConcurrencyError",
    "Definition",
    "DefinitionError",
    "Degraded",
    "Empty",
    "ForeignSchema",
    "IllegalTransition",
    "InvalidInput",
    "LeaseLost",
    "MinaError",
    "MissingExtra",
    "Ok",
    "Pipeline",
    "Position",
    "RecordedEvent",
    "Result",
    "RetryTransaction",
    "Segment",
    "SegmentIdReused",
    "Session",
    "SessionBusy",
    "SessionNotFound",
    "Settings",
    "StageContext",
    "StoreUnreachable",
    "TranscriptError",
    "UpgradeNeeded",
    "Workflow",
    "define",
    "stage",
]
