"""Makes the golden logs that are not there yet: `python -m golden.make`, in tests/.

A golden log is what a release wrote, and what it made of it. Those that are there are never written again: later
releases must read them as they are. A new case is a new function below.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from mina_pipeline import STANDARD_STAGES, Degraded, Empty, Ok, Pipeline, Segment, Settings, StageContext, define, stage
from mina_pipeline.commands import Begin
from mina_pipeline.events import Event, SessionErased, StageProgress, StageWaiting, TaskChanged
from mina_pipeline.sessions import load
from mina_pipeline.stages.base import Outcome
from mina_pipeline.stages.offline import OfflineProvider
from mina_pipeline.transcripts import read_transcript

from .fold import BYTES, HERE, Row, fold

EXAMPLE = HERE.parent.parent / "examples" / "weekly_planning.vtt"
KEPT = (
    "event_id", "session_id", "version", "type", "schema_version", "skippable", "recorded_at", "trace_id",
    "causation_id", "command_id", "actor", "data", "content", *BYTES,
)  # fmt: skip
SHORT = (
    Segment("okay um so the lantern guide ships on friday", 0, 3200, "Maya", 0.93),
    Segment("i'll send the the budget to Priya by tomorrow", 3300, 6900, "Owen", 0.88),
    Segment("can you check the stairs Tomas", 7000, 8800, "Maya", None),
    Segment("Yes", 8700, 9100, "Tomas", 0.41),
    Segment("we decided to drop the German version", 9500, 12_400, "Priya", 0.9, "cue-5"),
)


class CountingClock:
    """Each look at it takes a millisecond."""

    def __init__(self) -> None:
        self.at = 1_796_122_800_000_000  # 2026-12-01T09:00Z

    def now(self) -> int:
        self.at += 1000
        return self.at

    def monotonic(self) -> float:
        return self.at / 1e6


class CountingIds:
    """Ids and salts that count."""

    def __init__(self) -> None:
        self.drawn = 0

    def uuid(self) -> str:
        self.drawn += 1
        return f"019ad8f0-0000-7000-8000-{self.drawn:012x}"

    def salt(self) -> bytes:
        self.drawn += 1
        return hashlib.sha256(str(self.drawn).encode()).digest()[:16]


class Troubled(OfflineProvider):
    """The offline provider, less well: `broken` stages raise, `poor` ones are degraded."""

    def __init__(self, broken: set[str] | None = None, poor: set[str] | None = None) -> None:
        self.broken, self.poor = broken or set(), poor or set()

    def made(self, ctx: StageContext, outcome: Outcome) -> Outcome:
        if ctx.stage in self.broken:
            raise ConnectionError("the model is away")
        return Degraded(outcome.artefact, "outage") if ctx.stage in self.poor else outcome

    def refine(self, ctx: StageContext) -> Outcome:
        return self.made(ctx, super().refine(ctx))

    def extract_tasks(self, ctx: StageContext) -> Outcome:
        return self.made(ctx, super().extract_tasks(ctx))

    def summarize(self, ctx: StageContext) -> Outcome:
        return self.made(ctx, super().summarize(ctx))


class GoldenNoted(Event, frozen=True, kw_only=True):
    """Stands for an event that a later release may write; no release may give one this name."""

    kind: ClassVar[str] = "golden_noted"
    skippable: ClassVar[bool] = True
    note: str | None = None


@stage("translation", after="refinement", running="translating")
def translate(ctx: StageContext) -> Ok | Empty:
    lines = []
    for done, (segment_id, text) in enumerate(ctx.refined.items(), 1):
        lines.append(ctx.checkpoint(segment_id, text.upper))
        ctx.progress(done, len(ctx.segments))
    return Ok({"language": "shouting", "lines": lines})


class Run:
    """One pipeline in memory, with a clock and ids that count, and one session in it."""

    def __init__(self, late: bool = False, **options: Any) -> None:
        self.clock = CountingClock()
        settings = Settings(late_segments=late)
        self.pipeline = Pipeline.open("memory://", settings=settings, clock=self.clock, ids=CountingIds(), **options)
        self.session_id = ""

    def start(self, segments: tuple[Segment, ...] = SHORT) -> None:
        session = self.pipeline.start_session(
            "The lantern guide", meeting_id="m-1", tenant="museum", timezone="Europe/Lisbon", locale="en",
            metadata={"room": "tower"}, actor="maya",
        )  # fmt: skip
        self.session_id = session.session_id
        for segment in segments[:1]:
            self.pipeline.record(self.session_id, [segment], actor="maya")
        if segments[1:]:
            self.pipeline.record(self.session_id, segments[1:], command_id="record-2", actor="maya")

    def finalize(self) -> None:
        self.pipeline.finalize(self.session_id, command_id="finalize-1", actor="maya")

    def work(self, most: int = 100) -> None:
        """Work until nothing is due, or `most` stages are done."""
        worker = self.pipeline.worker()
        worker.owner = "golden"
        worker.ending = True  # one stage a step
        for _ in range(most):
            now = self.clock.now()
            again = worker.step(now)
            if again is None or again > now:
                return

    def write(self, *events: Event) -> None:
        """Append events that no command of this release causes."""
        now = load(self.pipeline.store, self.session_id)
        append, _ = self.pipeline.handler.compose(self.session_id, now, events, None, None, "golden", None)
        assert self.pipeline.store.append(append)

    def log(self) -> list[Row]:
        return self.pipeline.store.events(self.session_id)


def revealed(segments: tuple[Segment, ...] = SHORT, **options: Any) -> Run:
    run = Run(**options)
    run.start(segments)
    run.finalize()
    run.work()
    return run


def standard() -> list[Row]:
    return revealed(tuple(read_transcript(EXAMPLE).segments[:40])).log()


def parallel() -> list[Row]:
    return revealed(definition="parallel").log()


def no_segments() -> list[Row]:
    return revealed(()).log()


def degraded() -> list[Row]:
    return revealed(provider=Troubled(poor={"refinement", "summary"})).log()


def own_stage() -> list[Row]:
    return revealed(definition=define("translated", *STANDARD_STAGES, translate)).log()


def failed_then_well() -> list[Row]:
    """Tasks fail; a later run is well, and takes the failure's place."""
    trouble = Troubled(broken={"tasks"})
    run = revealed(provider=trouble)
    trouble.broken.clear()
    run.pipeline.retry(run.session_id, "tasks", run=1, actor="maya")
    run.work()
    return run.log()


def second_run() -> list[Row]:
    """A second run replaces tasks, and the summary that read them; a third that fails replaces nothing."""
    trouble = Troubled()
    run = revealed(provider=trouble)
    run.pipeline.retry(run.session_id, "tasks", run=1, actor="maya")
    run.work()
    run.write(StageProgress(stage="tasks", run=1, done=1, total=2, key="late", value={"answer": "too late"}))
    trouble.broken.add("tasks")
    run.pipeline.retry(run.session_id, "tasks", run=2, actor="maya")
    run.work()
    return run.log()


def task_changed() -> list[Row]:
    """What a person changed on a task survives a new run."""
    run = revealed()
    tasks = run.pipeline.result(run.session_id).tasks
    assert tasks is not None
    first = tasks.tasks[0].task_id
    assert first is not None
    changes = {"title": "Send the budget", "completed": True, "priority": "urgent", "due_text": None}
    run.write(TaskChanged(task_id=first, fields=tuple(changes), changes=changes))
    more = {"assigned_to": "Priya", "due_date": "2026-12-03", "title": "Send the new budget"}
    run.write(TaskChanged(task_id=first, fields=tuple(more), changes=more))
    run.pipeline.retry(run.session_id, "tasks", run=1)
    run.work()
    return run.log()


def cancelled() -> list[Row]:
    run = Run()
    run.start()
    run.finalize()
    run.work(2)
    run.pipeline.cancel(run.session_id, "wrong meeting", actor="owen")
    return run.log()


def waiting() -> list[Row]:
    """A run waits twice, then goes on without an event of its own."""
    run = Run()
    run.start()
    run.finalize()
    begin = Begin(stage="refinement", run=1, provider="offline")
    run.pipeline.handler.execute(run.session_id, begin, actor="golden")
    for n in (1, 2):
        until = run.clock.now() + n * 5_000_000
        run.write(StageWaiting(stage="refinement", run=1, reason="outage", retry_at=until, error=f"attempt {n}"))
        run.clock.at = until
    run.work()
    return run.log()


def upgraded() -> list[Row]:
    """Two results are degraded for an outage. One is made again by itself, the other is left as it is."""
    run = revealed(provider=Troubled(poor={"refinement", "summary"}))
    run.pipeline.retry(run.session_id, "summary", drop=True, actor="maya")
    run.pipeline.provider.poor.clear()
    run.clock.at += 3_600_000_000
    run.work()
    return run.log()


def late() -> list[Row]:
    """Segments come after finalize and after the reveal; each time the stages run once more."""
    run = Run(late=True)
    run.start()
    run.finalize()
    run.work(2)
    run.pipeline.record(run.session_id, [Segment("one more thing", 13_000, 14_000, "Maya")])
    run.work()
    run.pipeline.record(run.session_id, [Segment("and goodbye", 15_000, 16_000, "Owen")])
    run.work()
    return run.log()


def abandoned() -> list[Row]:
    """Nobody finalizes: the recording's timer does."""
    run = Run()
    run.start()
    run.clock.at += 3_600_000_000
    run.work()
    return run.log()


def erased() -> list[Row]:
    """Everything up to the reveal was erased; what came later is there."""
    run = revealed()
    through = len(run.log())
    run.write(SessionErased(through_version=through))
    run.pipeline.retry(run.session_id, "analytics", run=1)
    run.work()
    return [{**row, "content": None} if row["version"] <= through else row for row in run.log()]


def skipped() -> list[Row]:
    """Events that this release does not know, and may skip, in every state."""
    run = Run()
    run.start()
    run.write(GoldenNoted(note="while recording"))
    run.finalize()
    run.work(1)
    run.write(GoldenNoted(), GoldenNoted(note="while processing"))
    run.work()
    run.write(GoldenNoted(note="after the reveal"))
    return run.log()


CASES: tuple[Callable[[], list[Row]], ...] = (
    standard, parallel, no_segments, degraded, own_stage, failed_then_well, second_run, task_changed, cancelled,
    waiting, erased, skipped, upgraded, late, abandoned,
)  # fmt: skip


def lines(rows: list[Row]) -> Iterator[str]:
    for row in rows:
        kept = {name: row[name].hex() if isinstance(row[name], bytes) else row[name] for name in KEPT}
        yield msgspec.json.encode({**kept, "skippable": bool(row["skippable"])}).decode() + "\n"


def expectation(rows: list[Row]) -> str:
    """The fold as JSON, a line a state and a line a row."""
    found = fold(rows)
    tables = ",\n".join(f"{json(name)}:{listed(there)}" for name, there in found["rows"].items())
    return (
        f'{{\n"states":{listed(found["states"])},\n"last":{json(found["last"])},\n'
        f'"session":{json(found["session"])},\n"rows":{{\n{tables}\n}}\n}}\n'
    )


def json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def listed(values: list[Row]) -> str:
    return "[\n" + ",\n".join(map(json, values)) + "\n]" if values else "[]"


def main(folder: Path = HERE) -> list[str]:
    """Write the cases that have no files yet; their names."""
    made = []
    for case in CASES:
        log, expected = folder / f"{case.__name__}.jsonl", folder / f"{case.__name__}.json"
        if log.exists() or expected.exists():
            continue
        rows = case()
        log.write_text("".join(lines(rows)))
        expected.write_text(expectation(rows))
        made.append(case.__name__)
    return made


if __name__ == "__main__":
    sys.stdout.write("".join(f"{name}: made\n" for name in main()))
