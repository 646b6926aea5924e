"""What a stage function is given: the session's segments, what was made before, and its durable checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

import msgspec

from . import commands as ask
from .codec import builtins, clean, decode, recorded, typed
from .errors import LeaseLost
from .events import StageProgress
from .interrupted import Interrupted
from .ports import Ids, Store
from .projections import Row
from .receipts import Receipts
from .sessions import Loaded, Sessions, segment
from .stages.base import Deadline, SessionInfo, StageContext
from .stages.standard import SHAPES
from .views import result
from .work_shapes import Claimed

for shape in SHAPES.values():
    msgspec.json.Decoder(shape)  # it crashes (0.22) where several threads are the first to need a dataclass

FIELDS = {"refinement": "transcript", "analytics": "analytics", "tasks": "tasks", "summary": "summary"}
INFO = ("session_id", "id", "title", "meeting_id", "tenant", "started_at", "timezone", "locale")


@dataclass
class Checkpoints:
    """The checkpoints of one claimed run. An upgrade, which tells nothing before it has succeeded, keeps them here."""

    store: Store
    sessions: Sessions
    claimed: Claimed
    owner: str
    deadline: Deadline
    stage_deadline: float
    stored: dict[str, Any] = field(default_factory=dict)
    version: int = 0

    @property
    def quiet(self) -> bool:
        return self.claimed.kind == "upgrade"

    def progress(self, done: int, total: int | None = None) -> None:
        if not isinstance(done, int) or not isinstance(total, (int, NoneType)):
            raise TypeError("progress is told in whole numbers: done, and total or None")
        self.refuse_after_the_end()
        if not self.quiet:
            self.report(ask.Report(stage=self.claimed.stage, run=self.claimed.run, done=done, total=total))
        self.deadline.extend(self.stage_deadline)

    def checkpoint(self, key: str, make: Callable[[], Any]) -> Any:
        """What was stored under the key in this run, or what `make` gives, stored."""
        if key not in self.stored and not self.quiet:
            try:
                self.read()  # each time: who had this run before us may have stored its answer meanwhile
            except Exception as error:  # what was bought cannot be read: no reason to buy it again, or to fail
                raise Interrupted(error) from error
        if key not in self.stored:
            self.refuse_after_the_end()
            value = clean(builtins(make()))
            if not self.quiet:
                done = len(self.stored) + 1
                stage, run = self.claimed.stage, self.claimed.run
                self.report(ask.Report(stage=stage, run=run, done=done, key=key, value=value))
            self.stored[key] = value
            self.deadline.extend(self.stage_deadline)
        return self.stored[key]

    def refuse_after_the_end(self) -> None:
        """What is another's, cut off or handed back buys nothing more: whoever has it now buys that itself."""
        if self.deadline.ended:
            raise Interrupted(LeaseLost(self.claimed.session_id, self.claimed.stage, self.claimed.run))

    def report(self, report: ask.Report) -> None:
        try:
            self.sessions.execute(self.claimed.session_id, report, actor=self.owner)
        except Exception as error:
            raise Interrupted(error) from error

    def read(self) -> None:
        """What this run has stored since the last look, by key; the first of a key wins."""
        for row in self.store.events(self.claimed.session_id, after=self.version):
            self.version = row["version"]
            if row["type"] == f"{self.claimed.stage}_progress":
                event = decode(recorded(row))
                if isinstance(event, StageProgress) and event.run == self.claimed.run and event.key is not None:
                    self.stored.setdefault(event.key, event.value)


READ = ("session", "segments", "results", "previous")


class LazyContext(StageContext):
    """A context of which the store's part is read when the stage asks for it, once.

    A store that fails then is no failure of the stage's.
    """

    _store: Store
    _claimed: Claimed
    _row: Row

    def __getattr__(self, name: str) -> Any:
        if name not in READ:
            raise AttributeError(name)
        try:
            self._read(name)
        except Exception as error:
            raise Interrupted(error) from error
        return self.__dict__[name]

    def _read(self, name: str) -> None:
        claimed, fields = self._claimed, self.__dict__
        if name == "session":
            metadata = msgspec.json.decode(self._row["metadata"])
            fields[name] = SessionInfo(**{column: self._row[column] for column in INFO}, metadata=metadata)
        elif name == "segments":
            rows = self._store.rows("segments", claimed.session_id)
            by_time = sorted(rows, key=lambda row: (row["start_ms"], row["ordinal"]))
            fields[name] = tuple(segment(row) for row in by_time)
        else:
            made = artefacts(self._store, claimed.session_id)
            fields["previous"] = made.pop(claimed.stage, None)
            fields["results"] = made


def stage_context(
    checkpoints: Checkpoints,
    loaded: Loaded,
    provider: Any,
    ids: Ids,
    receipts: Receipts,
) -> StageContext:
    """The context for a claimed run."""
    claimed = checkpoints.claimed
    ctx = object.__new__(LazyContext)
    ctx.__dict__.update(
        stage=claimed.stage,
        run=claimed.run,
        deadline=checkpoints.deadline,
        provider=provider,
        new_id=ids.uuid,
        checkpoint=checkpoints.checkpoint,
        progress=checkpoints.progress,
        receipt=receipts,
        usage=receipts.told,
        _store=checkpoints.store,
        _claimed=claimed,
        _row=loaded.row,
    )
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
