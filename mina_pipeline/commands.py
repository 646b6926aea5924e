"""What callers ask for: the commands, in the imperative. One class a wish; `decide` answers it with events."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec

from .events import StageShape, Usage
from .meeting import Segment

ExpectedVersion = int | None
"""The version that a caller decided on; anything else met there is ConcurrencyError."""

ANY_VERSION: Final = None
"""Whatever the version is: on a conflict the command is decided again."""

NO_STREAM: Final = 0
"""The session is not there yet. (Exactly n is the number n.)"""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """The root of all commands. `name` is the word that errors and logs use."""

    name: ClassVar[str]


class Start(Command, frozen=True, kw_only=True):
    """Begin a session. `id` is the integer drawn for it; started_at is µs since the epoch."""

    name: ClassVar[str] = "start_session"
    id: int
    definition: str
    definition_version: int
    stages: tuple[StageShape, ...]
    started_at: int
    title: str | None = None
    meeting_id: str | None = None
    tenant: str | None = None
    timezone: str | None = None
    locale: str | None = None
    metadata: dict[str, Any] = {}


class Record(Command, frozen=True, kw_only=True):
    """Add segments. `known` holds those of the same ids that the log has already; late: also after finalize."""

    name: ClassVar[str] = "record"
    segments: tuple[Segment, ...]
    known: Mapping[str, Segment] = {}
    late: bool = False


class Finalize(Command, frozen=True, kw_only=True):
    """End the recording and let the stages begin."""

    name: ClassVar[str] = "finalize"
    reason: str = "requested"


class Abandon(Command, frozen=True, kw_only=True):
    """End a recording that has given no sign of life for `grace` µs. `silent`, how long it was, is looked up."""

    name: ClassVar[str] = "abandon"
    grace: int
    silent: int = 0


class Cancel(Command, frozen=True, kw_only=True):
    """Stop for good, before the reveal."""

    name: ClassVar[str] = "cancel"
    why: str | None = None


class Retry(Command, frozen=True, kw_only=True):
    """Run a stage again. `run` names the run to repeat; None is the current one."""

    name: ClassVar[str] = "retry"
    stage: str
    run: int | None = None


class ChangeTask(Command, frozen=True, kw_only=True):
    """A person changes a task. changes: new values by field; `known`, the task's row as it is now, is looked up, None
    where there is no such task."""

    name: ClassVar[str] = "change_task"
    task_id: str
    changes: dict[str, Any]
    known: Mapping[str, Any] | None = None


class Begin(Command, frozen=True, kw_only=True):
    """A worker that claimed a run begins it, or goes on with it."""

    name: ClassVar[str] = "begin"
    stage: str
    run: int
    provider: str | None = None


class Wait(Command, frozen=True, kw_only=True):
    """A worker puts a run off until `retry_at`. `at` is now; both in µs."""

    name: ClassVar[str] = "wait"
    stage: str
    run: int
    reason: str
    retry_at: int
    at: int
    error: str | None = None


class Report(Command, frozen=True, kw_only=True):
    """A worker reports how far a run is; `key` and `value` are a checkpoint to resume from, with `hash` and `usage` a
    receipt."""

    name: ClassVar[str] = "report"
    stage: str
    run: int
    done: int
    total: int | None = None
    key: str | None = None
    hash: str | None = None
    usage: Usage | None = None
    value: Any = None


class Conclude(Command, frozen=True, kw_only=True):
    """A worker ends a run. outcome: ok | degraded | empty | failed; `completed_at` is µs since the epoch."""

    name: ClassVar[str] = "conclude"
    stage: str
    run: int
    outcome: str
    input_version: int
    duration_ms: int
    completed_at: int
    provider: str | None = None
    reason: str | None = None
    upgrade: bool = False
    artefact: Any = None
    error: str | None = None
    error_type: str | None = None
    title: str | None = None


class Upgrade(Command, frozen=True, kw_only=True):
    """A worker made a degraded result again."""

    name: ClassVar[str] = "upgrade"
    made: Conclude


class Drop(Command, frozen=True, kw_only=True):
    """End what is pending for a stage: a wait, or the upgrade of a degraded result. run: its run; None: the current.

    completed_at is now (µs), `session_title` is looked up.
    """

    name: ClassVar[str] = "drop"
    stage: str
    run: int | None = None
    reason: str = "asked"
    completed_at: int = 0
    session_title: str | None = None


# What is drawn or looked up for a command, or is its process's own, is not part of what was asked.
NOT_ASKED = frozenset(
    "id started_at definition definition_version stages known completed_at late session_title".split()
)


def fingerprint(command: Command) -> str:
    """Tell equal content from other content under one command id: a hex digest of what was asked."""
    asked = {field: getattr(command, field) for field in command.__struct_fields__ if field not in NOT_ASKED}
    text = msgspec.json.encode([command.name, asked], order="deterministic")
    return hashlib.sha256(text).hexdigest()
