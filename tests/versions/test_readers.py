"""Readers of what they can only half read."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from later import begun, everything, later_release_writes, stored
from mina_adapters.jsonlines import JsonLines

from mina_pipeline import Pipeline, Segment, UpgradeNeeded
from mina_pipeline.projections import Row
from mina_pipeline.recovery import chain_problems
from mina_pipeline.sessions import load
from mina_pipeline.states import FOLD_VERSION
from mina_pipeline.wire import wire_view


def test_commands_go_on_past_a_skipped_event(pipeline: Pipeline) -> None:
    """A session with skippable events of a later release is worked on to the reveal, verifies and rebuilds."""
    begun(pipeline, "s")
    later_release_writes(pipeline, "s", skippable=True)
    pipeline.run_until_idle()
    later_release_writes(pipeline, "s", skippable=True)
    pipeline.retry("s", "tasks")
    pipeline.run_until_idle()
    assert pipeline.get("s").state == "revealed"
    assert [step.version for step in pipeline.replay("s") if step.skipped] == [4, 15]
    assert pipeline.verify("s") == []
    assert pipeline.rebuild("s") == 0


def test_commands_are_refused_on_what_cannot_be_read(pipeline: Pipeline) -> None:
    """No command writes to a session of a later release: each is refused with UpgradeNeeded, and nothing changes."""
    begun(pipeline, "s")
    later_release_writes(pipeline, "s")
    before = everything(pipeline, "s")
    wishes: list[Callable[[], object]] = [
        lambda: pipeline.finalize("s"),
        lambda: pipeline.cancel("s"),
        lambda: pipeline.retry("s", "tasks"),
        lambda: pipeline.record("s", [Segment("more", 1000, 1100)]),
        lambda: pipeline.rebuild("s"),
    ]
    for wish in wishes:
        with pytest.raises(UpgradeNeeded):
            wish()
    assert everything(pipeline, "s") == before


def test_a_newer_snapshot_over_a_known_log_is_read_and_never_written_over(pipeline: Pipeline) -> None:
    """Where only the snapshot is a later release's, the log is folded for reading; commands and rebuild refuse."""
    begun(pipeline, "s")
    later_release_writes(pipeline, "s", "session_noted", skippable=True)
    session = pipeline.store.tables.by_key["sessions"]["s",]  # type: ignore[attr-defined]
    session.update(fold_version=FOLD_VERSION + 1, snapshot='{"shape":"of a later release"}')
    before = everything(pipeline, "s")
    assert load(pipeline.store, "s").state.public == "finalized"
    assert pipeline.get("s").state == "finalized"
    for wish in (pipeline.finalize, pipeline.cancel, pipeline.rebuild):
        with pytest.raises(UpgradeNeeded):
            wish("s")
    assert [problem.what for problem in pipeline.verify("s")] == ["unreadable"]
    assert everything(pipeline, "s") == before


def test_an_older_snapshot_is_no_problem(pipeline: Pipeline) -> None:
    """After a release that folds otherwise, verify does not report the snapshots that are yet to be folded anew."""
    begun(pipeline, "s")
    session = pipeline.store.tables.by_key["sessions"]["s",]  # type: ignore[attr-defined]
    session.update(fold_version=FOLD_VERSION - 1, snapshot="{}")
    assert pipeline.verify("s") == []
    assert pipeline.cancel("s").state == "cancelled"
    assert pipeline.store.load("s")["fold_version"] == FOLD_VERSION  # type: ignore[index]


def test_readers_show_what_they_can(pipeline: Pipeline) -> None:
    """Session, list, results, events, replay and verify read on, and say what it is that they do not know."""
    begun(pipeline, "s")
    later_release_writes(pipeline, "s", state="splitting")
    assert (pipeline.get("s").state, pipeline.get("s").version) == ("splitting", 4)
    assert [session.session_id for session in pipeline.sessions()] == ["s"]
    stats = pipeline.get("s").stats
    assert stats is not None
    assert (stats.total_segments, stats.total_duration, stats.average_confidence) == (1, 0.9, 0.5)
    assert pipeline.result("s").tasks is None
    assert [event.type for event in pipeline.events("s")][-1] == "session_split"
    steps = pipeline.replay("s")
    assert [step.problem for step in steps[:-1]] == [None] * 3
    assert (steps[-1].version, steps[-1].before, steps[-1].after) == (4, "finalized", "finalized")
    assert "session_split" in (steps[-1].problem or "")
    assert pipeline.replay("s", to=3)[-1].problem is None
    (problem,) = pipeline.verify("s")
    assert problem.what == "unreadable"


def test_verify_names_what_cannot_be_read(pipeline: Pipeline) -> None:
    """Below a snapshot of its own, an unknown event is reported by version and name, beside what is amiss besides."""
    begun(pipeline, "s")
    later_release_writes(pipeline, "s")
    session = pipeline.store.tables.by_key["sessions"]["s",]  # type: ignore[attr-defined]
    session.update(fold_version=FOLD_VERSION, hash=b"other")
    hashes, unreadable = pipeline.verify("s")
    assert hashes.what == "hash"
    assert unreadable.what == "unreadable"
    assert "version 4" in unreadable.detail
    assert "session_split" in unreadable.detail


@pytest.mark.parametrize(
    "damage", ["nonsense", "[]", '{"reason":1}', '{"stage":"refinement"}', '{"stage":"x","run":1}']
)
def test_a_damaged_text_is_reported(pipeline: Pipeline, damage: str) -> None:
    """Verify and replay also survive stored text that is no event of its type."""
    begun(pipeline, "s")
    pipeline.run_until_idle()
    for version in (3, 4):
        row = pipeline.store.tables.events["s"][version - 1]  # type: ignore[attr-defined]
        there, row["data"] = row["data"], damage
        assert [problem.what for problem in pipeline.verify("s")] == ["hash", "unreadable"]
        assert len(pipeline.replay("s")) == version
        row["data"] = there


def test_an_unread_event_may_have_erased(pipeline: Pipeline) -> None:
    """Content that is missing before an event that cannot be read is not called lost: that may have erased it."""
    begun(pipeline, "s")
    later_release_writes(pipeline, "s", "session_erased_in_part")
    rows: list[Row] = [{**row, "content": None} for row in pipeline.store.events("s")]
    assert list(chain_problems(rows, None)) == []
    assert [what for what, _ in chain_problems(rows[:3], None)] == ["content", "content"]


@pytest.mark.parametrize(
    ("type", "version", "data"),
    [
        ("session_split", 1, '{"secret":1}'),
        ("tasks_ready", 2, '{"secret":1}'),
        ("export_failed", 1, '{"secret":1}'),  # a later session's event that ends like a stage's
    ],
)
@pytest.mark.parametrize("skippable", [True, False])
def test_clients_see_the_envelope_of_what_is_unknown(type: str, version: int, data: str, skippable: bool) -> None:
    """An event that this release cannot read goes out as session_event, without content, so that no version lacks."""
    event = stored(type, version, data, '{"text":"secret"}', skippable)
    name, payload = wire_view(event)
    assert name == "session_event"
    assert payload == {
        "session_id": "s", "trace_id": "t", "event_id": "e", "version": 4, "timestamp": "2023-11-14T22:13:20.000Z",
        "type": type,
    }  # fmt: skip
    out = io.StringIO()
    JsonLines(out).publish(event)
    assert "secret" not in out.getvalue()
