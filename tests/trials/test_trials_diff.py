"""Sessions compared: stages, lines, tasks and points, side by side."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import pytest
from stuck import due
from trying import STAGES, Other, finished

from mina_pipeline import Degraded, Pipeline, SessionNotFound, StageContext
from mina_pipeline.meeting import Cited, Result, SummaryResult, Task
from mina_pipeline.stages.base import Outcome
from mina_pipeline.trials.comparing import Side, compare, paired_tasks


def test_diff_of_a_session_with_itself(pipeline: Pipeline) -> None:
    """Nothing differs, and both sides are shown."""
    session_id = finished(pipeline)
    found = pipeline.diff(session_id, session_id)
    assert found.same and found.likeness == 1 and found.lines == 3 and found.same_tasks == 1
    assert [(one.field, one.same) for one in found.summary] == [("brief", True), ("detailed", True)]
    assert [one.stage for one in found.stages] == list(STAGES)
    with pytest.raises(SessionNotFound):
        pipeline.diff(session_id, "nobody")


def test_diff_shows_what_another_provider_made(pipeline: Pipeline) -> None:
    """Stages, lines, tasks and summary; and all of it is JSON."""
    parent = finished(pipeline)

    class Shouting(Other):
        def refine(self, ctx: StageContext) -> Outcome:
            made = super().refine(ctx)
            changes = tuple(replace(change, text=change.text.upper()) for change in made.artefact.changes)
            return Degraded(replace(made.artefact, changes=changes), "budget")

    fork = pipeline.fork(parent, "refinement", provider=Shouting())
    found = pipeline.diff(parent, fork.session_id)
    assert not found.same and (found.a_parent, found.b_parent) == (None, parent)
    first = found.stages[0]
    assert first.a and first.b and (first.a.outcome, first.b.outcome, first.b.reason) == ("ok", "degraded", "budget")
    assert (first.a.provider, first.b.provider) == ("offline", "other") and first.b.duration_ms is not None
    line = found.changed_lines[0]
    assert (line.segment_id, line.speaker, line.b) == ("1", "Ann", str(line.a).upper())
    assert [task.title for task in found.tasks_only_b] == ["Tidy up"] and len(found.tasks_only_a) == 1
    assert found.summary[0].b == "All else." and found.likeness is not None and found.likeness < 0.5
    shown = json.loads(msgspec.json.encode(found.as_dict()))
    assert shown["same"] is False and shown["b_parent"] == parent
    assert shown["tasks_only_b"][0]["title"] == "Tidy up"


def test_tasks_are_matched_by_title_then_by_evidence() -> None:
    """Each is matched once; who has the same title goes first, whatever else cites the same segment."""
    a = [Task(title="Send figures", evidence=("2",)), Task(title="Ask Bob", evidence=("3",)), Task(title="Twice")]
    b = [
        Task(title="Call Bob", evidence=("2", "3")), Task(title="SEND figures", evidence=("2",), priority="high"),
        Task(title="Twice"), Task(title="Twice"), Task(title="New"),
    ]  # fmt: skip
    both, only_a, only_b = paired_tasks(a, b)
    assert [(one.a.title, one.b.title, one.fields) for one in both] == [
        ("Send figures", "SEND figures", ("title", "priority")),
        ("Ask Bob", "Call Bob", ("title", "evidence")),
        ("Twice", "Twice", ()),
    ]
    assert only_a == [] and [task.title for task in only_b] == ["Twice", "New"]


def test_points_are_matched_by_words_then_by_evidence(pipeline: Pipeline) -> None:
    """Side by side in the order of A, what only B has at the end."""

    def side(*points: tuple[str, str]) -> Side:
        cited = tuple(Cited(text=text, evidence=(of,)) for text, of in points)
        summary = SummaryResult(outcome="ok", run=1, provider="p", brief="b", decisions=cited)
        return Side(session, None, Result(summary=summary, others={}), ())

    session = pipeline.start_session("Points")
    found = compare(
        side(("We go", "1"), ("We stay", "2"), ("Alone", "3")), side(("New", "4"), ("Stay!", "2"), ("we go", "5"))
    )
    assert [(one.field, one.a, one.b) for one in found.points] == [
        ("decisions", "We go", "we go"),
        ("decisions", "We stay", "Stay!"),
        ("decisions", "Alone", None),
        ("decisions", None, "New"),
    ]
    assert not found.same and found.likeness == 1
    assert compare(side(("We go", "1")), side(("We go", "9"))).same


def test_diff_of_sessions_that_have_nothing_in_common(pipeline: Pipeline) -> None:
    """Sessions of other meetings, with no result yet or with other stages: what one does not have is None."""
    one, other = finished(pipeline), due(pipeline)
    found = pipeline.diff(one, other)
    assert found.likeness is None and found.summary[0].b is None and len(found.tasks_only_a) == 1
    assert {line.segment_id for line in found.changed_lines if line.b is None} == {"2", "3"}
    empty = compare(*(Side(pipeline.get(session_id), None, Result(others={}), ()) for session_id in (one, other)))
    assert empty.same and empty.lines == 0
