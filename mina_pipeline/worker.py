"""The worker: `step(now)` claims work that is due, runs its stage and records the outcome. Threads only loop it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from . import commands as ask
from .codec import builtins, clean, decode, recorded, typed
from .errors import IllegalTransition, LeaseLost, UpgradeNeeded
from .events import StageProgress
from .forks import forget_at_fork
from .log import logger
from .ports import Claimed, Clock, Ids, Store, WorkGuard
from .sessions import Loaded, Sessions, segment
from .settings import Settings
from .stages.base import Deadline, Degraded, Empty, Ok, Outcome, SessionInfo, Stage, StageContext
from .stages.standard import SHAPES
from .views import result

SET_ASIDE = 60_000_000
"""For how long (µs) a worker leaves a session alone whose log it cannot read."""
MOST_ASIDE = 500

for shape in SHAPES.values():
    msgspec.json.Decoder(shape)  # it crashes (0.22) where several threads are the first to need a dataclass

STAGE_FIELDS = {"refinement": "transcript", "analytics": "analytics", "tasks": "tasks", "summary": "summary"}


class Interrupted(BaseException):
    """The store failed under a stage's progress or checkpoint: no outcome of the stage's; a later claim goes on."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass
class Worker:
    """One at a time: claims a row, runs the stage, appends its outcome by the token of the claim."""

    store: Store
    sessions: Sessions
    code: Mapping[tuple[str, int], Mapping[str, Stage]]
    provider: Any
    clock: Clock
    ids: Ids
    settings: Settings
    owner: str
    held: dict[str, None] = field(default_factory=dict)
    # Sessions that need a later release, and until when (µs) not to look at them; the verdict is this process's alone.
    aside: dict[str, int] = field(default_factory=dict)

    def step(self, now: int) -> int | None:
        """Do one piece of work that is due at `now` (µs). The next wake: `now` for at once, None for nothing known."""
        definitions = list(self.code)
        exclude = [session_id for session_id, until in self.aside.items() if until > now]
        token, until = self.ids.uuid(), self.lease_until(now)
        claimed = self.store.claim(now, self.owner, token, until, definitions, exclude=exclude)
        if claimed is None:
            due = self.store.next_due(definitions, exclude=exclude)
            return None if due is None else max(due, now + 1)  # due, but locked by another: not at once
        self.held[claimed.token] = None
        try:
            try:
                self.run(claimed)
            except Interrupted as interrupted:
                raise interrupted.error from None
        except (LeaseLost, IllegalTransition) as lost:
            # Another holds it now, or the session was cancelled: what we made is nobody's any more.
            logger(__name__).info("outcome refused", session_id=claimed.session_id, error_type=type(lost).__name__)
        except UpgradeNeeded as needed:
            return self.set_aside(claimed, needed, now)
        finally:
            self.held.pop(claimed.token, None)
        return now

    def set_aside(self, claimed: Claimed, needed: UpgradeNeeded, now: int) -> int:
        """Leave a session to workers of a later release: nothing is stored about it, nor is the claim counted."""
        self.store.give_back(claimed.token)
        if claimed.session_id not in self.aside:
            logger(__name__).warning(
                "session needs a later release",
                session_id=claimed.session_id,
                stage=claimed.stage,
                run=claimed.run,
                unknown=f"{needed.what} {needed.name}",
                known=needed.known,
            )
        # Begun anew at the end: the first are those that were set aside longest ago.
        self.aside.pop(claimed.session_id, None)
        self.aside[claimed.session_id] = now + SET_ASIDE
        if len(self.aside) <= MOST_ASIDE:
            return now
        forgotten = self.aside.pop(next(iter(self.aside)))
        # The one that was forgotten may be what is due first: not at once, or the worker would do nothing else.
        return now if forgotten <= now else now + int(self.settings.poll * 1e6)

    def beat(self, now: int) -> None:
        """Renew the leases of what is running; called every `settings.renew` seconds."""
        tokens = list(self.held)
        if tokens:
            self.store.renew(tokens, self.lease_until(now))

    def lease_until(self, now: int) -> int:
        return now + int(self.settings.lease * 1e6)

    def run(self, claimed: Claimed) -> None:
        stage = self.code[claimed.definition, claimed.definition_version][claimed.stage]
        guard = WorkGuard(claimed.stage, claimed.run, claimed.token)
        begin = ask.Begin(stage=claimed.stage, run=claimed.run, provider=self.provider.name)
        loaded = self.sessions.execute(claimed.session_id, begin, guard=guard, actor=self.owner)
        began = self.clock.monotonic()
        if claimed.attempts > self.settings.claims_before_poison:
            ended = failed("poison", "Poison", f"{claimed.attempts - 1} claims ended without an outcome")
        else:
            ended = self.outcome(stage, self.context(claimed, loaded), loaded.row["trace_id"])
        conclude = ask.Conclude(
            stage=claimed.stage,
            run=claimed.run,
            input_version=loaded.state.version,
            duration_ms=round((self.clock.monotonic() - began) * 1000),
            completed_at=self.clock.now(),
            provider=self.provider.name,
            title=loaded.row.get("title"),
            **ended,
        )
        self.sessions.execute(claimed.session_id, conclude, guard=guard, actor=self.owner)

    def outcome(self, stage: Stage, ctx: StageContext, trace_id: str) -> dict[str, Any]:
        """What the stage's function came to, as the fields of Conclude. Whatever it raises is an honest failure."""
        try:
            return ended(stage(ctx))
        except Exception as error:
            logger(__name__).warning(
                "stage failed",
                session_id=ctx.session.session_id,
                trace_id=trace_id,
                stage=ctx.stage,
                run=ctx.run,
                error_type=type(error).__name__,
            )
            return failed("error", type(error).__name__, str(error))

    def context(self, claimed: Claimed, loaded: Loaded) -> StageContext:
        row, session_id = loaded.row, claimed.session_id
        rows = sorted(self.store.rows("segments", session_id), key=lambda r: (r["start_ms"], r["ordinal"]))
        artefacts = self.artefacts(session_id)
        names = ("session_id", "id", "title", "meeting_id", "tenant", "started_at", "timezone", "locale")
        info = SessionInfo(**{n: row[n] for n in names}, metadata=msgspec.json.decode(row["metadata"]))
        deadline = self.clock.monotonic() + self.settings.stage_deadline
        return StageContext(
            session=info,
            stage=claimed.stage,
            run=claimed.run,
            segments=tuple(segment(r) for r in rows),
            results={name: made for name, made in artefacts.items() if name != claimed.stage},
            previous=artefacts.get(claimed.stage),
            deadline=Deadline(deadline, self.clock.monotonic),
            provider=self.provider,
            new_id=self.ids.uuid,
            checkpoint=self.checkpointing(claimed),
            progress=self.reporting(claimed),
        )

    def artefacts(self, session_id: str) -> dict[str, Any]:
        """The kept artefacts by stage; standard ones as their dataclasses."""
        made = result(self.store, session_id)
        found: dict[str, Any] = {name: one.artefact for name, one in made.others.items() if one.outcome != "failed"}
        for stage, shape in SHAPES.items():
            one = getattr(made, STAGE_FIELDS[stage])
            if one is None or one.outcome == "failed":
                continue
            fields = builtins(one)
            if stage == "refinement":
                changed = [line for line in one.lines if line.refined_text != line.text]
                fields["changes"] = [{"segment_id": c.segment_id, "text": c.refined_text} for c in changed]
            found[stage] = typed(fields, shape)
        return found

    def report(self, claimed: Claimed, report: ask.Report) -> None:
        try:
            self.sessions.execute(claimed.session_id, report, actor=self.owner)
        except Exception as error:
            raise Interrupted(error) from error

    def reporting(self, claimed: Claimed) -> Callable[[int, int | None], None]:
        def progress(done: int, total: int | None = None) -> None:
            self.report(claimed, ask.Report(stage=claimed.stage, run=claimed.run, done=done, total=total))

        return progress

    def checkpointing(self, claimed: Claimed) -> Callable[[str, Callable[[], Any]], Any]:
        stored: dict[str, Any] | None = None

        def checkpoint(key: str, make: Callable[[], Any]) -> Any:
            nonlocal stored
            if stored is None:
                try:
                    stored = self.checkpoints(claimed)
                except Exception as error:  # what was bought cannot be read: no reason to buy it again, or to fail
                    raise Interrupted(error) from error
            if key not in stored:
                value = clean(builtins(make()))
                done = len(stored) + 1
                self.report(claimed, ask.Report(stage=claimed.stage, run=claimed.run, done=done, key=key, value=value))
                stored[key] = value
            return stored[key]

        return checkpoint

    def checkpoints(self, claimed: Claimed) -> dict[str, Any]:
        """What this run has stored before, by key; the first of a key wins."""
        found: dict[str, Any] = {}
        for row in self.store.events(claimed.session_id):
            if row["type"] == f"{claimed.stage}_progress":
                event = decode(recorded(row))
                if isinstance(event, StageProgress) and event.run == claimed.run and event.key is not None:
                    found.setdefault(event.key, event.value)
        return found


def ended(returned: Outcome) -> dict[str, Any]:
    match returned:
        case Ok():
            return {"outcome": "ok", "artefact": builtins(returned.artefact)}
        case Degraded():
            return {"outcome": "degraded", "artefact": builtins(returned.artefact), "reason": returned.reason}
        case Empty():
            return {"outcome": "empty", "artefact": builtins(returned.artefact), "reason": returned.reason}
        case _:
            raise TypeError(f"a stage returns Ok, Degraded or Empty, not {type(returned).__name__}")


def failed(reason: str, error_type: str, error: str) -> dict[str, Any]:
    return {"outcome": "failed", "reason": reason, "error_type": error_type, "error": error}


@contextmanager
def heartbeat(worker: Worker) -> Iterator[None]:
    """Renew the worker's leases from a thread of its own while the block runs."""
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(worker.settings.renew):
            try:
                worker.beat(worker.clock.now())
            except Exception as error:  # the next beat may find the store back before the lease has run out
                logger(__name__).warning("leases not renewed", error_type=type(error).__name__)

    thread = threading.Thread(target=loop, name="mina-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class WorkerThreads:
    """`count` threads that loop a worker each until closed. A context manager."""

    def __init__(self, make: Callable[[], Worker], count: int, poll: float) -> None:
        self.poll = poll
        self.stop = threading.Event()
        self.woken = threading.Condition()
        self.pending = 0
        self.threads = [
            threading.Thread(target=self.loop, args=(make(),), name=f"mina-worker-{n + 1}", daemon=True)
            for n in range(count)
        ]
        forget_at_fork(self)

    def forget(self) -> None:
        """In a forked child: the threads are the parent's, and it does the work; close() has nothing to wait for."""
        self.stop, self.woken, self.threads = threading.Event(), threading.Condition(), []

    def start(self) -> WorkerThreads:
        for thread in self.threads:
            thread.start()
        return self

    def wake(self) -> None:
        with self.woken:
            self.pending += 1
            self.woken.notify_all()

    def loop(self, worker: Worker) -> None:
        with heartbeat(worker):
            while not self.stop.is_set():
                now, pending, failing = worker.clock.now(), self.pending, False
                try:
                    again = worker.step(now)
                except Exception as error:
                    # The store is away or refused: the lease runs out and the work is claimed again.
                    logger(__name__).error("worker step failed", owner=worker.owner, error_type=type(error).__name__)
                    again, failing = None, True
                if again is not None and again <= now:
                    continue
                with self.woken:
                    # Who was woken while it looked looks again, but after an error not at once.
                    if not self.stop.is_set() and (failing or self.pending == pending):
                        self.woken.wait(self.poll)

    def close(self) -> None:
        """Claim no more; returns when what is running has ended."""
        self.stop.set()
        with self.woken:
            self.woken.notify_all()
        for thread in self.threads:
            if thread.is_alive():
                thread.join()

    def __enter__(self) -> WorkerThreads:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
