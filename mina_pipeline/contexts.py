"""What a stage function is given: the session's segments, what was made before, and its durable checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec

from . import commands as ask
from .codec import builtins, clean, decode, recorded, typed
from .events import StageProgress
from .meeting import Segment
from .ports import Claimed, Ids, Store
from .sessions import Loaded, Sessions, segment
from .stages.base import Deadline, SessionInfo, StageContext
from .stages.standard import SHAPES
from .views import result

for shape in SHAPES.values():
    msgspec.json.Decoder(shape)  # it crashes (0.22) where several threads are the first to need a dataclass

FIELDS = {"refinement": "transcript", "analytics": "analytics", "tasks": "tasks", "summary": "summary"}
INFO = ("session_id", "id", "title", "meeting_id", "tenant", "started_at", "timezone", "locale")


class Interrupted(BaseException):
    """The store failed under a stage's progress or checkpoint: no outcome of the stage's; a later claim goes on."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass
class Checkpoints:
    """The checkpoints of one claimed run. An upgrade, which tells nothing before it has succeeded, keeps them here."""

    store: Store
    sessions: Sessions
    claimed: Claimed
    owner: str
    deadline: Deadline
    stage_deadline: float
    stored: dict[str, Any] | None = field(default=None)

    @property
    def quiet(self) -> bool:
        return self.claimed.kind == "upgrade"

    def progress(self, done: int, total: int | None = None) -> None:
        if not self.quiet:
            self.report(ask.Report(stage=self.claimed.stage, run=self.claimed.run, done=done, total=total))
        self.deadline.extend(self.stage_deadline)

    def checkpoint(self, key: str, make: Callable[[], Any]) -> Any:
        """What was stored under the key in this run, or what `make` gives, stored."""
        if self.stored is None:
            try:
                self.stored = {} if self.quiet else self.read()
            except Exception as error:  # what was bought cannot be read: no reason to buy it again, or to fail
                raise Interrupted(error) from error
        if key not in self.stored:
            value = clean(builtins(make()))
            if not self.quiet:
                done = len(self.stored) + 1
                stage, run = self.claimed.stage, self.claimed.run
                self.report(ask.Report(stage=stage, run=run, done=done, key=key, value=value))
            self.stored[key] = value
            self.deadline.extend(self.stage_deadline)
        return self.stored[key]

    def report(self, report: ask.Report) -> None:
        try:
            self.sessions.execute(self.claimed.session_id, report, actor=self.owner)
        except Exception as error:
            raise Interrupted(error) from error

    def read(self) -> dict[str, Any]:
        """What this run has stored before, by key; the first of a key wins."""
        found: dict[str, Any] = {}
        for row in self.store.events(self.claimed.session_id):
            if row["type"] == f"{self.claimed.stage}_progress":
                event = decode(recorded(row))
                if isinstance(event, StageProgress) and event.run == self.claimed.run and event.key is not None:
                    found.setdefault(event.key, event.value)
        return found


class LazyContext(StageContext):
    """A context whose segments and results are read when the stage asks for them, once."""

    _read: Callable[[str], Any]

    def __getattr__(self, name: str) -> Any:
        if name not in ("segments", "results", "previous"):
            raise AttributeError(name)
        value = self._read(name)
        object.__setattr__(self, name, value)
        return value


def stage_context(
    checkpoints: Checkpoints,
    loaded: Loaded,
    provider: Any,
    ids: Ids,
    usage: Callable[[str, int, int, float | None], None],
) -> StageContext:
    """The context for a claimed run. A store that fails when it is read from is no failure of the stage's."""
    store, claimed, row = checkpoints.store, checkpoints.claimed, loaded.row

    @cache
    def made() -> dict[str, Any]:
        return artefacts(store, claimed.session_id)

    def segments() -> tuple[Segment, ...]:
        rows = store.rows("segments", claimed.session_id)
        return tuple(segment(r) for r in sorted(rows, key=lambda r: (r["start_ms"], r["ordinal"])))

    def read(name: str) -> Any:
        try:
            if name == "segments":
                return segments()
            if name == "previous":
                return made().get(claimed.stage)
            return {stage: one for stage, one in made().items() if stage != claimed.stage}
        except Exception as error:
            raise Interrupted(error) from error

    ctx = object.__new__(LazyContext)
    given = {
        "session": SessionInfo(**{name: row[name] for name in INFO}, metadata=msgspec.json.decode(row["metadata"])),
        "stage": claimed.stage,
        "run": claimed.run,
        "deadline": checkpoints.deadline,
        "provider": provider,
        "new_id": ids.uuid,
        "checkpoint": checkpoints.checkpoint,
        "progress": checkpoints.progress,
        "usage": usage,
        "_read": read,
    }
    for name, value in given.items():
        object.__setattr__(ctx, name, value)
    return ctx


def artefacts(store: Store, session_id: str) -> dict[str, Any]:
    """The kept artefacts by stage; standard ones as their dataclasses."""
    made = result(store, session_id)
    found: dict[str, Any] = {name: one.artefact for name, one in made.others.items() if one.outcome != "failed"}
    for stage, shape in SHAPES.items():
        one = getattr(made, FIELDS[stage])
        if one is None or one.outcome == "failed":
            continue
        fields = builtins(one)
        if stage == "refinement":
            changed = [line for line in one.lines if line.refined_text != line.text]
            fields["changes"] = [{"segment_id": c.segment_id, "text": c.refined_text} for c in changed]
        found[stage] = typed(fields, shape)
    return found
