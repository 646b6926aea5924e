"""Recordings that nobody ends, and segments that come late."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from away import SAID, Model, Time, due_in, finalized, outcomes, types

from mina_pipeline import IllegalTransition, Pipeline, Segment, SessionNotFound

Timed = Callable[..., Pipeline]
LATE = Segment("one more thing", 9000, 9900, "Ann", 0.9)


def test_an_abandoned_recording_is_finalized(timed: Timed, at: Time) -> None:
    """No sign of life for the grace time: finalized, reason abandoned, and revealed."""
    pipeline = timed()
    session_id = pipeline.start_session().session_id
    pipeline.record(session_id, SAID)
    at.pass_by(1799)
    pipeline.run_until_idle()
    assert pipeline.get(session_id).state == "recording"
    at.pass_by(2)
    pipeline.run_until_idle()
    session = pipeline.get(session_id)
    assert session.state == "revealed"
    finalized_by = next(e for e in pipeline.events(session_id) if e.type == "session_finalized")
    assert finalized_by.data["reason"] == "abandoned"
    assert session.stats is not None and session.stats.total_segments == 3
    assert due_in(pipeline, session_id) == {}


@pytest.mark.parametrize("sign", ["touch", "record"])
def test_a_sign_of_life_puts_it_off(timed: Timed, at: Time, sign: str) -> None:
    """Segments and p.touch each begin the grace time anew."""
    pipeline = timed()
    session_id = pipeline.start_session().session_id
    for n in range(3):
        at.pass_by(1200)
        if sign == "touch":
            pipeline.touch(session_id)
        else:
            pipeline.record(session_id, [Segment(f"word {n}", n, n)])
        pipeline.run_until_idle()
        assert pipeline.get(session_id).state == "recording"
    at.pass_by(1801)
    pipeline.run_until_idle()
    assert pipeline.get(session_id).state == "revealed"
    assert pipeline.verify(session_id) == []


def test_touch_writes_no_event_and_knows_its_sessions(timed: Timed, at: Time) -> None:
    """A sign of life is no event; an unknown session is an error."""
    pipeline = timed()
    session_id = pipeline.start_session().session_id
    pipeline.touch(session_id)
    assert pipeline.get(session_id).version == 1
    with pytest.raises(SessionNotFound):
        pipeline.touch("nobody")


def test_finalize_takes_the_timer_away(timed: Timed, at: Time) -> None:
    """A session that was finalized or cancelled has no recording timer any more."""
    pipeline = timed()
    one, two = pipeline.start_session().session_id, pipeline.start_session().session_id
    pipeline.finalize(one)
    pipeline.cancel(two)
    assert set(due_in(pipeline, one)) == {("stage", "refinement")}
    assert due_in(pipeline, two) == {}
    pipeline.run_until_idle()
    assert due_in(pipeline, one) == {}


def test_late_segments_are_refused_unless_the_host_opted_in(timed: Timed) -> None:
    """record after finalize is IllegalTransition."""
    pipeline = timed()
    session_id = finalized(pipeline)
    with pytest.raises(IllegalTransition):
        pipeline.record(session_id, [LATE])
    pipeline.run_until_idle()
    with pytest.raises(IllegalTransition):
        pipeline.record(session_id, [LATE])


def test_a_late_segment_after_the_reveal_makes_everything_run_again_once(timed: Timed) -> None:
    """Each stage reads it in a second run; the session stays revealed, finalize still answers its statistics."""
    model = Model()
    pipeline = timed(provider=model, settings={"late_segments": True})
    session_id = finalized(pipeline)
    pipeline.run_until_idle()
    stats = pipeline.get(session_id).stats
    model.asked.clear()
    assert pipeline.record(session_id, [LATE]).state == "revealed"
    assert pipeline.record(session_id, [LATE, SAID[0]][1:] and [LATE], command_id="again").state == "revealed"
    pipeline.run_until_idle()
    assert sorted(model.asked) == ["analytics 2", "refinement 2", "summary 2", "tasks 2"]
    result = pipeline.result(session_id)
    assert result.transcript is not None and "One more thing." in result.transcript.text
    assert pipeline.finalize(session_id).stats == stats
    assert types(pipeline, session_id).count("post_transcription_reveal") == 1
    assert pipeline.verify(session_id) == []


def test_a_late_segment_before_the_reveal_waits_for_it(timed: Timed) -> None:
    """The first pass goes through to the reveal; then only those that read less run again."""
    model = Model({"tasks"})
    pipeline = timed(provider=model, settings={"late_segments": True})
    session_id = finalized(pipeline)
    pipeline.run_until_idle()
    pipeline.record(session_id, [LATE])
    model.away.clear()
    model.asked.clear()
    pipeline.retry(session_id, "tasks", drop=True)
    pipeline.run_until_idle()
    reveal = types(pipeline, session_id).index("post_transcription_reveal")
    assert all(event.data["run"] == 1 for event in pipeline.events(session_id)[:reveal] if "run" in event.data)
    assert pipeline.get(session_id).state == "revealed"
    assert set(outcomes(pipeline, session_id).values()) == {"ok"}
    assert model.asked.count("refinement 2") == model.asked.count("summary 2") == 1
    assert pipeline.verify(session_id) == []
