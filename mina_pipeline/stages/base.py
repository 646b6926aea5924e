"""What a stage is: a name, its place in a definition, and a function from a context to an honest outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from math import inf
from typing import Any, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ..definition import Definition
from ..errors import DefinitionError
from ..events import StageShape
from ..llm.answers import Answer
from ..meeting import Refinement, Segment


@dataclass(frozen=True)
class Ok:
    """The stage made what it should. `artefact` is a dataclass or any JSON value."""

    artefact: Any = None


@dataclass(frozen=True)
class Degraded:
    """A fallback made it; `reason` is a word or two that say why (they are kept for ever: no meeting text)."""

    artefact: Any
    reason: str


@dataclass(frozen=True)
class Empty:
    """There was nothing to work on."""

    artefact: Any = None
    reason: str = "nothing to work on"


Outcome = Ok | Degraded | Empty


@dataclass
class Deadline:
    """A point on the monotonic clock; `remaining()` is in seconds, below 0 when it has passed.

    at: the stage's own, which each checkpoint moves on. held_until: up to when nobody else can have the work, as far
    as this process knows: each renewal of the lease moves it on. Once the work is lost or handed back nothing remains.
    """

    at: float
    monotonic: Callable[[], float]
    held_until: float = inf
    ended: bool = False

    def remaining(self) -> float:
        return -inf if self.ended else min(self.at, self.held_until) - self.monotonic()

    def has_passed(self) -> bool:
        """Whether the stage's own deadline has, while the work is still its."""
        return not self.ended and self.at <= self.monotonic()

    def extend(self, seconds: float) -> None:
        """The stage's own: so long from now."""
        self.at = self.monotonic() + seconds

    def end(self) -> None:
        self.ended = True


@dataclass(frozen=True)
class SessionInfo:
    """What a stage may know of its session. started_at is µs since the epoch."""

    session_id: str
    id: int
    title: str | None
    meeting_id: str | None
    tenant: str | None
    started_at: int
    timezone: str | None
    locale: str | None
    metadata: Mapping[str, Any]

    @property
    def zone(self) -> tzinfo:
        """The meeting's time zone; UTC where none or an unknown one was given."""
        try:
            return ZoneInfo(self.timezone) if self.timezone else UTC
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return UTC

    @property
    def date(self) -> date:
        """The day the meeting began, where it was held: what "by friday" is relative to."""
        return datetime.fromtimestamp(self.started_at / 1e6, self.zone).date()


Receipt = Callable[..., Answer]


def unrecorded(
    _chunk: str, _digest: str, make: Callable[[], Answer], _total: int | None = None, _at_once: int = 1
) -> Answer:
    """A receipt in a context that no worker made: nothing is kept."""
    return make()


@dataclass(frozen=True)
class StageContext:
    """What a stage function gets.

    segments: as recorded, by start time. results: the artefacts of the stages before it, by name, failed ones
    absent. previous: this stage's artefact of an earlier run, or None. idempotency_key: the same for every
    attempt at this run. `checkpoint(key, make)` returns what was stored under the key in this run, or calls
    `make()` and stores its JSON value durably first. `progress(done, total)` tells the watchers.
    `usage(model, tokens_in, tokens_out, cost)` counts what an answer cost, for the operators' metrics.
    `receipt(chunk, digest, make, total, at_once)` returns the model's answer that was recorded for this stage under
    chunk and digest (SHA-256 hex of prompt, model and parameters), in this run or, unless a person asked for this one,
    an earlier one; else it calls `make()` and records its Answer before it returns. Progress is told by it. Any thread
    may call; at_once is how many do at a time (1): so many answers are in doubt when the process dies.
    """

    session: SessionInfo
    stage: str
    run: int
    segments: tuple[Segment, ...]
    results: Mapping[str, Any]
    previous: Any
    deadline: Deadline
    provider: Any
    new_id: Callable[[], str]
    checkpoint: Callable[[str, Callable[[], Any]], Any]
    progress: Callable[[int, int | None], None]
    usage: Callable[[str, int, int, float | None], None] = lambda model, tokens_in, tokens_out, cost: None
    receipt: Receipt = unrecorded

    @property
    def idempotency_key(self) -> str:
        return f"{self.session.session_id}:{self.stage}:{self.run}"

    @property
    def refined(self) -> dict[str, str]:
        """segment_id -> text, refined where refinement has an outcome, raw elsewhere."""
        texts = {s.segment_id or "": s.text for s in self.segments}
        refinement = self.results.get("refinement")
        if isinstance(refinement, Refinement):
            texts.update((change.segment_id, change.text) for change in refinement.changes)
        return texts


class Provider(Protocol):
    """Who does the standard stages' work. Any object with these will do for `Pipeline.open(provider=…)`."""

    @property
    def name(self) -> str: ...
    def refine(self, ctx: StageContext) -> Outcome: ...
    def analyze(self, ctx: StageContext) -> Outcome: ...
    def extract_tasks(self, ctx: StageContext) -> Outcome: ...
    def summarize(self, ctx: StageContext) -> Outcome: ...


PIPELINE = "*"
"""As a stage's `provider`: the one that the pipeline was opened with."""

POLICIES = ("degrade", "wait", "fail")


@dataclass(frozen=True)
class Stage:
    """A stage with its code. Calling it calls the function.

    policy: what becomes of a run while its provider is away: `degrade` (the fallback makes it within the reveal
    deadline; without one it fails), `wait` (until the wait maximum, then it fails) or `fail` (at the reveal deadline).
    provider: whose circuit breaker and limit it shares; None for none.
    """

    shape: StageShape
    function: Callable[[StageContext], Outcome]
    policy: str = "degrade"
    fallback: Callable[[StageContext], Outcome] | None = None
    provider: str | None = None

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise DefinitionError(f"stage {self.shape.name}: policy is {', '.join(POLICIES)}, not {self.policy!r}")

    def __call__(self, ctx: StageContext) -> Outcome:
        return self.function(ctx)


def stage(
    name: str,
    *,
    after: str | Iterable[str] = (),
    running: str,
    reads: str | Iterable[str] | None = None,
    policy: str = "degrade",
    fallback: Callable[[StageContext], Outcome] | None = None,
    provider: str | None = None,
) -> Callable[[Callable[[StageContext], Outcome]], Stage]:
    """Make a function a stage. `running` is the public state while it runs; `reads` (default: `after`) names the
    stages whose better results make this one run again.

    The function raises ProviderUnavailable (or ConnectionError, TimeoutError) for what may pass; `policy`, `fallback`
    and `provider` then say what becomes of the run: see Stage. Any other exception is an outcome: failed.
    """
    before = (after,) if isinstance(after, str) else tuple(after)
    read = before if reads is None else (reads,) if isinstance(reads, str) else tuple(reads)
    shape = StageShape(name, before, read, running)
    return lambda function: Stage(shape, function, policy, fallback, provider)


@dataclass(frozen=True)
class Workflow:
    """A definition with the code of its stages; `define` makes one."""

    definition: Definition
    code: Mapping[str, Stage] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, int]:
        return self.definition.name, self.definition.version


def define(name: str, *stages: Stage, version: int = 1) -> Workflow:
    """A workflow of these stages, in declared order. Raise `version` when you change them.

    DefinitionError where no session could go through them.
    """
    for one in stages:
        if not isinstance(one, Stage):
            raise DefinitionError(f"{one!r} is no stage; decorate it with @stage")
    definition = Definition(name, tuple(one.shape for one in stages), version)
    return Workflow(definition, {one.shape.name: one for one in stages})
