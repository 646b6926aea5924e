"""The machine, drawn: what a definition allows, and the path that a session took through it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from mina_pipeline import Pipeline, Segment, define, stage
from mina_pipeline.definition import PARALLEL, STANDARD
from mina_pipeline.diagram import Edge, mermaid, path_of, public_transitions
from mina_pipeline.stages.base import Ok, StageContext

Opened = Callable[..., Pipeline]


def classes(text: str) -> dict[str, str]:
    return dict(re.findall(r"^ +Class (\w+) s_(\w+)$", text, flags=re.MULTILINE))


def walked(text: str) -> list[tuple[int, str, str]]:
    """The marked edges: (version, from, to)."""
    found = re.findall(r"^ +(\w+) --> (\w+): (.*)$", text, flags=re.MULTILINE)
    marks = [(one, to, mark) for one, to, label in found for mark in re.findall(r"✓ (\d+) \w", label)]
    return sorted((int(version), one, to) for one, to, version in marks)


@pytest.fixture
def p() -> Pipeline:
    return Pipeline.open("memory://")


def finished(p: Pipeline) -> str:
    session_id = p.start_session().session_id
    p.record(session_id, [Segment("hello", 0, 900)])
    p.finalize(session_id)
    p.run_until_idle()
    return session_id


def test_a_definition_is_drawn_from_its_first_state() -> None:
    """Every public state once, the first one marked and entered; no edge is marked."""
    text = mermaid(STANDARD)
    states = classes(text)
    assert next(iter(states)) == "recording"
    assert states.pop("recording") == "active"
    assert set(states.values()) == {"default"}
    assert text.rstrip().endswith("[*] --> recording")
    assert walked(text) == []
    assert "title: standard, version 1" in text


def test_the_path_of_a_session_is_marked(p: Pipeline) -> None:
    """States that it was in, edges that it took with their versions, and where it is; it begins at the start."""
    session_id = finished(p)
    path = path_of(p.replay(session_id))
    text = mermaid(STANDARD, "revealed", path)
    states = classes(text)
    assert states.pop("revealed") == "active"
    assert states.pop("cancelled") == "default"
    assert set(states.values()) == {"visited"}
    assert "classDef s_visited" in text
    assert [(one, to) for _, one, to in walked(text)] == [
        ("recording", "finalized"), ("finalized", "refining"), ("refining", "analyzing"),
        ("analyzing", "extracting_tasks"), ("extracting_tasks", "summarizing"), ("summarizing", "revealed"),
    ]  # fmt: skip
    events = {event.version: event.type for event in p.events(session_id)}
    assert [events[version] for version, _, _ in walked(text)] == [edge.type for edge in path]
    assert text.rstrip().endswith("[*] --> recording")


def test_a_cancelled_session_went_no_further(p: Pipeline) -> None:
    """Its last edge is the cancellation, from where it was."""
    session_id = p.start_session().session_id
    p.finalize(session_id)
    p.cancel(session_id)
    text = mermaid(STANDARD, "cancelled", path_of(p.replay(session_id)))
    assert [(one, to) for _, one, to in walked(text)] == [("recording", "finalized"), ("finalized", "cancelled")]
    assert classes(text)["refining"] == "default"


def test_a_failed_stage_takes_the_same_edge() -> None:
    """The edge of `_ready | _failed` is marked once, whichever it was."""

    @stage("one", running="making_one")
    def one(ctx: StageContext) -> Ok:
        raise RuntimeError

    @stage("two", after="one", running="making_two")
    def two(ctx: StageContext) -> Ok:
        return Ok()

    workflow = define("mine", one, two)
    with Pipeline.open("memory://", definition=workflow) as p:
        session_id = finished(p)
        text = mermaid(workflow.definition, "revealed", path_of(p.replay(session_id)))
    assert re.search(r"making_one --> making_two: ✓ \d+ one_ready \| _failed$", text, flags=re.MULTILINE)
    assert len(walked(text)) == 4


def test_every_edge_that_a_session_takes_is_in_the_picture(opened: Opened) -> None:
    """Also where stages run beside each other."""
    p = opened(definition="parallel")
    session_id = finished(p)
    edges = {(one, to) for one, _, to in public_transitions(PARALLEL)}
    path = path_of(p.replay(session_id))
    assert {(edge.before, edge.after) for edge in path} <= edges
    assert len(walked(mermaid(PARALLEL, "revealed", path))) == len(path)


def test_what_no_first_pass_does_is_drawn_too() -> None:
    """A step that another release allowed is an edge of its own; a state of its own is drawn."""
    text = mermaid(STANDARD, "splitting", [Edge("finalized", "session_split", "splitting", 4)])
    assert walked(text) == [(4, "finalized", "splitting")]
    assert classes(text)["splitting"] == "active"


def test_no_line_is_read_as_something_else() -> None:
    """Mermaid has no linkStyle in state diagrams, and no colon or semicolon may stand in a label."""
    text = mermaid(STANDARD, "revealed", [Edge("recording", "session_finalized", "finalized", 3)])
    assert "linkStyle" not in text
    for line in text.splitlines():
        if "-->" in line and ":" in line:
            assert not set(line.split(": ", 1)[1]) & set(":;#")
