"""Hypothesis strategies for what the library takes and stores. None reads a clock or draws an id."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from .. import commands as ask
from .. import events as did
from ..definition import PARALLEL, STANDARD, Definition
from ..meeting import Segment, Task

names = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=12).filter(
    lambda text: text == text.strip()
)
texts = st.text(max_size=60)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
definitions: st.SearchStrategy[Definition] = st.sampled_from([STANDARD, PARALLEL])


@st.composite
def segments(draw: st.DrawFn, ids: st.SearchStrategy[str | None] = st.none()) -> Segment:  # noqa: B008
    """A segment with possible times and confidence; overlapping and out-of-order ones are normal."""
    start = draw(st.integers(0, 10_000_000))
    return Segment(
        text=draw(texts),
        start_ms=start,
        end_ms=start + draw(st.integers(0, 60_000)),
        speaker=draw(st.none() | names),
        confidence=draw(st.none() | st.floats(0, 1)),
        segment_id=draw(ids),
    )


def starts() -> st.SearchStrategy[ask.Start]:
    """The command that begins a session."""
    return definitions.map(
        lambda definition: ask.Start(
            id=1,
            definition=definition.name,
            definition_version=definition.version,
            stages=definition.stages,
            started_at=0,
        )
    )


def task_changes() -> st.SearchStrategy[dict[str, Any]]:
    """What a person may change on a task, some of it."""
    fields: dict[str, st.SearchStrategy[Any]] = {
        "title": names,
        "description": texts,
        "task_type": st.sampled_from(["action_item", "follow_up", "decision", "research"]),
        "priority": st.sampled_from(["low", "medium", "high", "urgent"]),
        "assigned_to": st.none() | names,
        "due_date": st.none() | st.dates().map(str),
        "completed": st.booleans(),
    }
    return st.fixed_dictionaries({}, optional=fields).filter(bool)


def commands() -> st.SearchStrategy[ask.Command]:
    """Any command, sensible or not in the state it meets; stage names are the standard ones."""
    stage = st.sampled_from([shape.name for shape in STANDARD.stages])
    run = st.integers(1, 3)
    outcome = st.sampled_from(["ok", "degraded", "empty", "failed"])
    conclude = st.builds(
        ask.Conclude,
        stage=stage,
        run=run,
        outcome=outcome,
        input_version=st.integers(0, 99),
        duration_ms=st.integers(0, 10_000),
        completed_at=st.just(0),
        artefact=st.none() | st.just({}),
    )
    some_ids = st.none() | st.sampled_from(["a", "b", "c"])
    return st.one_of(
        starts(),
        st.builds(ask.Record, segments=st.lists(segments(some_ids), max_size=3).map(tuple)),
        st.builds(ask.Finalize),
        st.builds(ask.Cancel, why=st.none() | texts),
        st.builds(ask.Retry, stage=stage, run=st.none() | run),
        st.builds(
            ask.ChangeTask,
            task_id=st.sampled_from(["a", "b"]),
            changes=task_changes(),
            known=st.none() | st.just(vars(Task(title="a task"))),
        ),
        st.builds(ask.Begin, stage=stage, run=run),
        st.builds(ask.Report, stage=stage, run=run, done=st.integers(0, 9)),
        conclude,
    )


def events() -> st.SearchStrategy[did.Event]:
    """Any event class with any values, for round trips through the codec."""
    unsigned, text, maybe = st.integers(0, 2**53), st.text(st.characters(codec="utf-8"), max_size=20), st.none()
    shapes = st.lists(
        st.builds(did.StageShape, name=names, after=st.just(()), reads=st.just(()), running=names),
        max_size=2,
    ).map(tuple)
    stage = {"stage": st.sampled_from(["refinement", "tasks", "translation"]), "run": st.integers(1, 9)}
    ended = {"input_version": unsigned, "duration_ms": unsigned, "provider": maybe | names}
    return st.one_of(
        st.builds(
            did.SessionStarted,
            id=unsigned,
            definition=names,
            definition_version=st.integers(1, 9),
            stages=shapes,
            started_at=unsigned,
            title=maybe | text,
            metadata=st.dictionaries(names, json_values, max_size=2),
            meeting_id=maybe | names,
            tenant=maybe | names,
        ),
        st.lists(segments(), min_size=1, max_size=3).map(
            lambda found: did.SegmentsRecorded(
                first_ordinal=1,
                segment_ids=tuple(str(n) for n, _ in enumerate(found, 1)),
                starts_ms=tuple(s.start_ms for s in found),
                ends_ms=tuple(s.end_ms for s in found),
                confidences=tuple(s.confidence for s in found),
                texts=tuple(s.text for s in found),
                speakers=tuple(s.speaker for s in found),
            )
        ),
        st.builds(
            did.SessionFinalized,
            reason=names,
            total_segments=unsigned,
            total_duration=st.floats(0, 1e9),
            average_confidence=maybe | st.floats(0, 1),
        ),
        st.builds(did.StageStarted, **stage, provider=maybe | names),
        st.builds(
            did.StageProgress, **stage, done=unsigned, total=maybe | unsigned, key=maybe | names, value=json_values
        ),
        st.builds(did.StageWaiting, **stage, reason=names, retry_at=unsigned, error=maybe | text),
        st.builds(did.StageReady, **stage, **ended, outcome=names, reason=maybe | names, artefact=json_values),
        st.builds(did.StageFailed, **stage, **ended, reason=names, error_type=names, error=maybe | text),
        st.builds(did.StageRequested, **stage),
        st.builds(did.Revealed, outcomes=st.dictionaries(names, names, max_size=3)),
        st.builds(did.DashboardRefreshed, action=names, status=names, completed_at=unsigned, title=maybe | text),
        st.builds(did.ArtefactUpdated, **stage, outcome=names),
        st.builds(
            did.TaskChanged,
            task_id=names,
            fields=st.lists(names, max_size=2).map(tuple),
            changes=st.dictionaries(names, json_values, max_size=2),
        ),
        st.builds(did.SessionCancelled, why=maybe | text),
        st.builds(did.SessionErased, through_version=unsigned),
    )
