"""Workers on sessions that they cannot read."""

from __future__ import annotations

import pytest
from later import begun, everything, later_release_writes
from structlog.testing import capture_logs

from mina_pipeline import Pipeline, Settings


def test_a_session_that_cannot_be_read_stalls_no_worker(pipeline: Pipeline) -> None:
    """Work of other sessions is done; of this one nothing is stored, no claim counted, and one warning logged."""
    begun(pipeline, "s")
    begun(pipeline, "t")
    later_release_writes(pipeline, "s")
    before = everything(pipeline, "s")
    worker = pipeline.worker()
    with capture_logs() as logs:
        while (again := worker.step(pipeline.clock.now())) is not None and again <= pipeline.clock.now():
            pass
        pipeline.clock.ahead += 61_000_000  # type: ignore[attr-defined]
        assert worker.step(pipeline.clock.now()) is not None
    assert pipeline.get("t").state == "revealed"
    assert everything(pipeline, "s") == before
    assert [log["session_id"] for log in logs if log["log_level"] == "warning"] == ["s"]
    assert "A title" not in str(logs)


def test_workers_wait_for_a_later_release(pipeline: Pipeline) -> None:
    """A worker's step with nothing but unreadable work asks for no wake at once; after a minute it looks again."""
    begun(pipeline, "s")
    later_release_writes(pipeline, "s")
    worker, now = pipeline.worker(), pipeline.clock.now()
    assert worker.step(now) == now
    assert worker.step(now) is None
    assert worker.step(now + 59_000_000) is None
    assert worker.step(now + 61_000_000) == now + 61_000_000
    assert list(worker.aside) == ["s"]
    assert pipeline.run_until_idle() <= 1


def test_the_sessions_set_aside_are_bounded(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker remembers so many unreadable sessions and no more, and then slows down instead of spinning."""
    monkeypatch.setattr("mina_pipeline.claiming.MOST_ASIDE", 3)
    for n in range(5):
        later_release_writes(pipeline, begun(pipeline, f"s{n}"))
    worker, now = pipeline.worker(), pipeline.clock.now()
    assert [worker.step(now) for _ in range(3)] == [now] * 3
    assert worker.step(now) == now + 50_000
    assert len(worker.aside) == 3


def test_a_checkpoint_that_cannot_be_read_is_not_bought_again(pipeline: Pipeline) -> None:
    """A stage whose stored answers are a later release's is given back: neither run anew nor failed."""
    from mina_pipeline import Ok, StageContext, define, stage

    bought: list[str] = []

    @stage("translation", running="translating")
    def translate(ctx: StageContext) -> Ok:
        return Ok(ctx.checkpoint("chunk", lambda: bought.append("an answer")))

    with Pipeline.open("memory://", definition=define("mine", translate), settings=Settings(poll=0.05)) as p:
        p.start_session(session_id="s")
        p.finalize("s")
        later_release_writes(p, "s", "translation_progress", skippable=True)
        row = p.store.tables.events["s"][-1]  # type: ignore[attr-defined]
        row.update(schema_version=2, skippable=False)  # by a release that broke the rule of the fold version
        worker = p.worker()
        assert worker.step(p.clock.now()) is not None
        assert worker.step(p.clock.now()) is None
        assert bought == []
        assert [event.type for event in p.events("s")][-1] == "translation_started"
        assert p.store.rows("work", "s")[0]["attempts"] == 0
