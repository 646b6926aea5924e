"""The log, read again step by step: each transition, the state it leads to, and what comes next from there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from .codec import decode, recorded
from .errors import MinaError, SessionNotFound
from .events import Event, Unread
from .ports import EventStore, Store
from .projections import Row, Work, open_work
from .states import INITIAL, State, evolve

BROKEN = (MinaError, ValueError, TypeError, LookupError, AttributeError)
"""What reading or folding an event may raise: a release too old for it, or a damaged log."""


@dataclass(frozen=True)
class Step:
    """One event of a replay: what happened, when (µs), and the public state before and after.

    skipped: a later release's event that may be skipped, and was. problem: why the replay ends before this event.
    after_us: the time since the event before, in µs; None for the first.
    """

    version: int
    type: str
    recorded_at: int
    before: str
    after: str
    stage: str | None = None
    run: int | None = None
    outcome: str | None = None
    skipped: bool = False
    problem: str | None = None
    after_us: int | None = None


@dataclass(frozen=True)
class Coming:
    """Something that a session is to go through next.

    kind: stage | upgrade | timer (then `stage` is the timer's name). status: blocked (by the stages in `after`) | due |
    running | waiting (until due_at) | abandoned (a worker had it, and its lease has ended). Times are the host's µs;
    only the end of the log says when, and who has it: `owner`, until `until`.
    """

    kind: str
    stage: str
    run: int
    status: str
    due_at: int | None = None
    owner: str | None = None
    until: int | None = None
    after: tuple[str, ...] = ()


def replay_steps(store: EventStore, session_id: str, to: int | None = None) -> Iterator[Step]:
    """Fold the log again, event by event, up to version `to`; SessionNotFound for an unknown id.

    Where an event cannot be read, the last step says so as its `problem`, and its state is the one before it.
    """
    rows = store.events(session_id, limit=to)
    if not rows:
        raise SessionNotFound(session_id)
    return steps(rows)


def steps(rows: Iterable[Row]) -> Iterator[Step]:
    state, then = INITIAL, None
    for row in rows:
        at = row["recorded_at"]
        step = Step(row["version"], row["type"], at, state.public, state.public)
        step = replace(step, after_us=None if then is None else at - then)
        try:
            event, state = folded_on(state, row)
        except BROKEN as error:
            yield replace(step, problem=problem_of(row, error))
            return
        yield replace(
            step,
            after=state.public,
            stage=getattr(event, "stage", None),
            run=getattr(event, "run", None),
            outcome=getattr(event, "outcome", None),
            skipped=isinstance(event, Unread),
        )
        then = at


def folded_on(state: State, row: Row) -> tuple[Event, State]:
    event = decode(recorded(row))
    return event, evolve(state, event)


def problem_of(row: Row, error: Exception) -> str:
    return f"version {row['version']}, {row['type']}: {type(error).__name__}: {error}"


# --- what comes next


def upcoming(store: Store, now: int, session_id: str, to: int | None = None) -> list[Coming]:
    """What comes after version `to`, or after the end of the log; of the latter it is also known when and by whom."""
    events = store.events(session_id, limit=to)
    if not events:
        raise SessionNotFound(session_id)
    state, whole = INITIAL, True
    for row in events:
        try:
            _, state = folded_on(state, row)
        except BROKEN:
            whole = False
            break
    if to is not None and store.events(session_id, after=len(events), limit=1):
        return folded_next(state)
    work = [row for row in store.work_rows(now) if row["session_id"] == session_id]
    return next_of(now, work) + (blocked(state) if whole else [])


def folded_next(state: State) -> list[Coming]:
    """What the state wants, by the log alone."""
    status = {stage.name: stage.status for stage in state.stages}

    def coming(key: tuple[str, str], work: Work) -> Coming:
        kind, name = key
        return Coming(kind, name, work.run, status[name] if kind == "stage" else "waiting", work.retry_at)

    return [coming(key, work) for key, work in open_work(state).items()] + blocked(state)


def blocked(state: State) -> list[Coming]:
    return [
        Coming("stage", stage.name, stage.run, "blocked", after=stage.after)
        for stage in state.stages
        if stage.status == "blocked" and state.status != "cancelled"
    ]


def next_of(now: int, rows: Sequence[Row]) -> list[Coming]:
    """What rows of work say, the stages before the timers."""
    found = []
    for row in sorted(rows, key=lambda row: (row["kind"] == "timer", row["due_at"])):
        coming = Coming(row["kind"], row["stage"], row["run"], "due", row["due_at"], row["owner"], row["until"])
        if row["until"] is not None:
            coming = replace(coming, status="running" if row["until"] > now else "abandoned")
        elif row["due_at"] > now:
            coming = replace(coming, status="waiting")
        found.append(coming)
    return found
