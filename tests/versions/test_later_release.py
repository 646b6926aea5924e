"""What a later release wrote: what may be skipped, and what needs an upgrade."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from later import stored

from mina_pipeline import MinaError, UpgradeNeeded
from mina_pipeline import events as did
from mina_pipeline.codec import REGISTRY, decode, encode
from mina_pipeline.decisions import decide
from mina_pipeline.events import SESSION_EVENTS, STAGE_EVENTS, Event, Unread
from mina_pipeline.machine import SESSION
from mina_pipeline.states import INITIAL, EventRefused, State, evolve, replay
from mina_pipeline.testing.strategies import commands


@pytest.mark.parametrize(
    ("type", "version", "names"),
    [
        ("session_split", 1, ("event type", "session_split")),
        ("session_ready", 1, ("event type", "session_ready")),  # no stage can be called `session`
        ("_started", 1, ("event type", "_started")),
        ("session_finalized", 2, ("version of session_finalized", "2")),
        ("tasks_ready", 7, ("version of tasks_ready", "7")),
    ],
)
def test_what_cannot_be_skipped_needs_an_upgrade(type: str, version: int, names: tuple[str, str]) -> None:
    """An unknown type or a newer version is refused by name, unless its writer said that it can be skipped."""
    with pytest.raises(UpgradeNeeded) as refused:
        decode(stored(type, version, '{"anything":1}'))
    assert (refused.value.what, refused.value.name) == names
    assert decode(stored(type, version, '{"anything":1}', skippable=True)) == Unread(stored_type=type)


def test_a_hosts_own_stage_is_no_unknown_type() -> None:
    """An ending of ours under a name that a stage can have is that stage's event."""
    event = decode(stored("translation_progress", 1, '{"stage":"translation","run":1,"done":1}'))
    assert event == did.StageProgress(stage="translation", run=1, done=1)


def test_what_was_not_read_is_not_written() -> None:
    """The stand-in for an event of a later release cannot be stored in its place."""
    with pytest.raises(TypeError):
        encode(Unread(stored_type="session_split"))


def test_a_skipped_event_is_counted_in_every_state() -> None:
    """In each state of a session, a skipped event raises the version by one and changes nothing else."""
    for status in SESSION:
        state = msgspec.structs.replace(INITIAL, status=status, version=6)
        after = evolve(state, Unread(stored_type="session_noted"))
        assert after == msgspec.structs.replace(state, version=7)


@pytest.mark.laws
@for_all(st.lists(commands(), max_size=20), st.data())
def test_skipped_events_anywhere_change_only_the_version(wishes: list[Any], data: st.DataObject) -> None:
    """A log folds to the same state with skippable events of a later release strewn into it, but for the count."""
    state, log = INITIAL, list[Event]()
    for wish in wishes:
        try:
            found = decide(state, wish, "s")
        except MinaError:
            continue
        state, log = replay(found, state), [*log, *found]
    places = data.draw(st.lists(st.integers(0, len(log)), max_size=4))
    for place in sorted(places, reverse=True):
        log.insert(place, Unread(stored_type="session_noted"))
    found = counted_out(replay(log))
    assert found == msgspec.structs.replace(counted_out(state), version=state.version + len(places))


def counted_out(state: State) -> State:
    """The state without the versions that it remembers: they are counted on as well."""
    stages = tuple(msgspec.structs.replace(stage, kept_version=None) for stage in state.stages)
    return msgspec.structs.replace(state, segments_version=0, stages=stages)


def test_confidences_add_up_alike_on_every_python() -> None:
    """The fold rounds a sum of confidences once: `sum` itself rounds otherwise from Python 3.12 on."""
    start = did.SessionStarted(id=1, definition="d", definition_version=1, stages=(), started_at=0)
    ten = tuple(str(n) for n in range(10))
    said = did.SegmentsRecorded(
        first_ordinal=1, segment_ids=ten, starts_ms=(0,) * 10, ends_ms=(1,) * 10, confidences=(0.1,) * 10
    )
    assert replay([start, said]).confidence_sum == 1.0


def test_a_log_that_no_table_allows_is_refused() -> None:
    """Skipping is for what the writer called skippable: a known event out of place is still refused."""
    with pytest.raises(EventRefused):
        evolve(evolve(INITIAL, Unread(stored_type="session_noted")), did.SessionCancelled())


def test_this_release_reads_what_it_writes() -> None:
    """Each class is read at the version that it is written with."""
    for cls in (*SESSION_EVENTS, *STAGE_EVENTS):
        reading = REGISTRY.find("anything" + cls.kind.removeprefix("stage") if cls in STAGE_EVENTS else cls.kind)
        assert reading is not None
        assert (reading.cls, reading.version) == (cls, cls.schema_version)
