"""The machine: tables, folds and `transitions` machines are one; decide and evolve agree."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from mina_pipeline import IllegalTransition, InvalidInput, MinaError, Segment, SegmentIdReused
from mina_pipeline import commands as ask
from mina_pipeline import events as did
from mina_pipeline.decisions import decide
from mina_pipeline.definition import PARALLEL, STANDARD, Definition, DefinitionError
from mina_pipeline.diagram import mermaid, public_transitions
from mina_pipeline.events import StageShape
from mina_pipeline.machine import SESSION, SESSION_FOLD, STAGE, STAGE_FOLD, fire, session_machine, stage_machine
from mina_pipeline.states import INITIAL, EventRefused, evolve, replay
from mina_pipeline.testing.scenario import conclude, given, start
from mina_pipeline.testing.strategies import commands

NINE = (
    "refinement_started", "refinement_ready", "analytics_started", "analytics_ready", "tasks_started", "tasks_ready",
    "summary_started", "summary_ready", "post_transcription_reveal",
)  # fmt: skip


@pytest.mark.parametrize(("table", "fold"), [(SESSION, SESSION_FOLD), (STAGE, STAGE_FOLD)])
def test_every_state_has_a_row(table: dict[str, dict[str, str]], fold: dict[tuple[str, str], str]) -> None:
    """Every state that a row leads to has a row itself, and every state but the first is reached."""
    reached = set(fold.values())
    assert reached <= set(table)
    assert set(table) - reached <= {next(iter(table))}


def test_every_event_class_has_a_place_in_the_tables() -> None:
    """No event kind is missing from the session's table, and no trigger there is unknown."""
    kinds = {cls.kind for cls in (*did.SESSION_EVENTS, *did.STAGE_EVENTS, did.Unread)}
    assert {trigger for _, trigger in SESSION_FOLD} == kinds


@pytest.mark.parametrize("which", ["session", "stage"])
def test_the_compiled_fold_equals_the_machine(which: str) -> None:
    """For every state and every trigger, the dict and the `transitions` machine say the same."""
    table, fold, machine = {
        "session": (SESSION, SESSION_FOLD, session_machine()),
        "stage": (STAGE, STAGE_FOLD, stage_machine()),
    }[which]
    triggers = {trigger for row in table.values() for trigger in row}
    for state in table:
        for trigger in triggers:
            assert fire(machine, state, trigger) == fold.get((state, trigger))


def walk(definition: Definition = STANDARD) -> list[ask.Command]:
    found: list[ask.Command] = [start(definition), ask.Finalize()]
    for stage in definition.stages:
        found += [ask.Begin(stage=stage.name, run=1), conclude(stage.name)]
    return found


def test_the_nine_events_in_order() -> None:
    """The standard definition yields the nine events in their order, the reveal with the last outcome."""
    scenario, types = given(), list[str]()
    for command in walk():
        scenario = scenario.when(command)
        types += [event.type for event in scenario.decided]
    assert tuple(types[2:11]) == NINE
    assert types[11:] == ["dashboard_refresh"]
    scenario.then_state("revealed")


def test_public_states_follow_the_stages() -> None:
    """The public state is the running name of the earliest stage that is not done."""
    scenario = given().when(start(), ask.Finalize()).then_state("finalized")
    for stage in STANDARD.stages:
        scenario = scenario.when(ask.Begin(stage=stage.name, run=1)).then_state(stage.running)
        scenario = scenario.when(conclude(stage.name))
    scenario.then_state("revealed")


def test_a_failed_stage_stops_no_other() -> None:
    """After a failure the next stage is due, and the reveal says what failed."""
    commands_ = [c if not isinstance(c, ask.Conclude) else conclude(c.stage, "failed") for c in walk()]
    scenario = given().when(*commands_).then("summary_failed", "post_transcription_reveal", "dashboard_refresh")
    revealed = scenario.decided[1]
    assert isinstance(revealed, did.Revealed)
    assert set(revealed.outcomes.values()) == {"failed"}


def test_one_started_for_each_run() -> None:
    """Beginning a run that has begun (a takeover) adds no second _started."""
    scenario = given().when(start(), ask.Finalize(), ask.Begin(stage="refinement", run=1))
    scenario.then("refinement_started").when(ask.Begin(stage="refinement", run=1)).then()


def test_no_late_outcome() -> None:
    """After an outcome the same run accepts no other."""
    scenario = given().when(start(), ask.Finalize(), ask.Begin(stage="refinement", run=1), conclude("refinement"))
    scenario.when(conclude("refinement", "failed")).then_refused(IllegalTransition)


def test_finalize_and_cancel_are_idempotent_by_state() -> None:
    """Finalize and cancel asked again change nothing; each is refused where the other has won."""
    finalized = given().when(start(), ask.Finalize()).then("session_finalized")
    finalized.when(ask.Finalize()).then()
    cancelled = finalized.when(ask.Cancel()).then("session_cancelled").then_state("cancelled")
    cancelled.when(ask.Cancel()).then()
    cancelled.when(ask.Finalize()).then_refused(IllegalTransition)
    given().when(*walk(), ask.Cancel()).then_refused(IllegalTransition)


def test_an_illegal_command_names_session_state_and_command() -> None:
    """IllegalTransition carries what was asked, where, and in what state."""
    refused = given().when(start(), ask.Finalize(), ask.Record(segments=(Segment("x", 0, 1),))).refused
    assert isinstance(refused, IllegalTransition)
    assert (refused.session_id, refused.state, refused.command) == ("a-session", "finalized", "record")


def test_known_segments_change_nothing_in_any_state() -> None:
    """A known id with equal content is no event, even after finalize; with other content it is refused."""
    said = Segment("x", 0, 1, segment_id="a")
    again = ask.Record(segments=(said,), known={"a": said})
    given().when(start(), ask.Finalize(), again).then()
    other = ask.Record(segments=(Segment("y", 0, 1, segment_id="a"),), known={"a": said})
    given().when(start(), other).then_refused(SegmentIdReused)


def test_statistics_come_from_the_fold() -> None:
    """Finalize answers count, span in seconds and mean confidence without reading a segment."""
    segments = (Segment("a", 1000, 2000, confidence=0.5), Segment("b", 500, 4500, confidence=1.0), Segment("c", 0, 1))
    finalized = given().when(start(), ask.Record(segments=segments), ask.Finalize()).decided[0]
    assert isinstance(finalized, did.SessionFinalized)
    found = (finalized.total_segments, finalized.total_duration, finalized.average_confidence)
    assert found == (3, 4.5, 0.75)


def test_a_retry_runs_again_and_what_read_it_after() -> None:
    """A person's retry replaces the result, tells clients, and makes later stages that read it run again once."""
    revealed = given().when(*walk())
    asked = revealed.when(ask.Retry(stage="tasks")).then("tasks_requested").then_state("revealed")
    asked.when(ask.Retry(stage="tasks", run=1)).then()
    done = asked.when(ask.Begin(stage="tasks", run=2), conclude("tasks", run=2))
    done.then("tasks_ready", "artefact_updated", "dashboard_refresh")
    statuses = {stage.name: (stage.status, stage.run) for stage in done.state.stages}
    assert statuses == {
        "refinement": ("done", 1), "analytics": ("done", 1), "tasks": ("done", 2), "summary": ("due", 2),
    }  # fmt: skip
    revealed.when(ask.Retry(stage="tasks", run=5)).then_refused(InvalidInput)
    revealed.when(ask.Retry(stage="nonsense")).then_refused(InvalidInput)


def test_a_worse_result_replaces_nothing() -> None:
    """A later run that fails leaves the old result, tells nobody and makes nothing stale."""
    asked = given().when(*walk(), ask.Retry(stage="tasks"), ask.Begin(stage="tasks", run=2))
    failed = asked.when(conclude("tasks", "failed", run=2)).then("tasks_failed")
    stage = failed.state.stage("tasks")
    assert (stage.outcome, stage.kept_run, stage.kept_outcome) == ("failed", 1, "ok")
    assert failed.state.stage("summary").status == "done"


def test_a_waiting_stage_goes_on_without_an_event() -> None:
    """After a wait the same run may report, wait again or end."""
    waiting = did.StageWaiting(stage="refinement", run=1, reason="outage", retry_at=5)
    scenario = given().when(start(), ask.Finalize(), ask.Begin(stage="refinement", run=1))
    state = evolve(evolve(scenario.state, waiting), waiting)
    assert state.stage("refinement").status == "waiting"
    assert decide(state, ask.Begin(stage="refinement", run=1), "s") == []
    assert decide(state, conclude("refinement"), "s")[0].type == "refinement_ready"


@pytest.mark.laws
@for_all(st.lists(commands(), max_size=25))
def test_any_commands_leave_the_fold_of_their_events(wishes: list[ask.Command]) -> None:
    """Whatever is asked, decide never yields an event that evolve refuses, and the state is the fold of the log."""
    state, log = INITIAL, list[did.Event]()
    for wish in wishes:
        try:
            events = decide(state, wish, "s")
        except MinaError:
            continue
        for event in events:
            state = evolve(state, event)
            log.append(event)
        assert state.public
    assert replay(log) == state
    assert state.version == len(log)
    assert [e.type for e in log].count("post_transcription_reveal") <= 1
    started = [e.type + str(e.run) for e in log if isinstance(e, did.StageStarted)]
    assert len(started) == len(set(started))
    outcomes = [(e.stage, e.run) for e in log if isinstance(e, (did.StageReady, did.StageFailed))]
    assert len(outcomes) == len(set(outcomes))


@pytest.mark.laws
@for_all(st.data(), st.sampled_from([STANDARD, PARALLEL]))
def test_every_interleaving_is_revealed_last(data: st.DataObject, definition: Definition) -> None:
    """In any order that workers may work in, the reveal comes once, after every outcome."""
    scenario, types = given().when(start(definition), ask.Finalize()), list[str]()
    while scenario.state.public != "revealed":
        due = [s.name for s in scenario.state.stages if s.status == "due"]
        running = [s.name for s in scenario.state.stages if s.status == "running"]
        name = data.draw(st.sampled_from(sorted(due + running)))
        outcome = data.draw(st.sampled_from(["ok", "degraded", "empty", "failed"]))
        command = ask.Begin(stage=name, run=1) if name in due else conclude(name, outcome)
        scenario = scenario.when(command)
        types += [event.type for event in scenario.decided]
    assert types[-2:] == ["post_transcription_reveal", "dashboard_refresh"]
    assert len(types) == 2 * len(definition.stages) + 2


def test_evolve_refuses_what_no_table_allows() -> None:
    """An event out of place raises EventRefused instead of being folded somehow."""
    with pytest.raises(EventRefused):
        evolve(INITIAL, did.SessionCancelled())
    state = given().when(start(), ask.Finalize()).state
    with pytest.raises(EventRefused):
        evolve(state, did.StageStarted(stage="refinement", run=2))


@pytest.mark.parametrize(
    "stages",
    [
        (),
        (StageShape("a", (), (), "doing"), StageShape("a", (), (), "doing_b")),
        (StageShape("a", ("b",), (), "doing"),),
        (StageShape("a", ("b",), (), "doing"), StageShape("b", ("a",), (), "doing_b")),
        (StageShape("session", (), (), "doing"),),
        (StageShape("a", (), (), "revealed"),),
        (StageShape("a", (), (), "doing"), StageShape("b", (), (), "doing")),
        (StageShape("A b", (), (), "doing"),),
    ],
)
def test_impossible_definitions_are_refused(stages: tuple[StageShape, ...]) -> None:
    """No stage, doubles, unknown or circular `after`, reserved or malformed names: DefinitionError."""
    with pytest.raises(DefinitionError):
        Definition("mine", stages)


def test_the_picture_is_drawn_from_the_tables() -> None:
    """The diagram has every public state of the path and an edge to cancelled from each before the reveal."""
    edges = public_transitions(STANDARD)
    path = ["recording", "finalized", *(s.running for s in STANDARD.stages), "revealed"]
    assert [(a, b) for a, _, b in edges if b != "cancelled"] == list(pairwise(path))
    assert {a for a, _, b in edges if b == "cancelled"} == set(path[:-1])
    text = mermaid(STANDARD, "refining")
    assert "refining --> analyzing" in text
    assert "revealed" in mermaid(PARALLEL)
