"""Many sessions tried at once: which, a row for each, and nothing of the meetings in it."""

from __future__ import annotations

import json
import threading

import msgspec
import pytest
from stuck import due, everything
from trying import Open, Other, finished, stored, unfinalized, unfinished

from mina_pipeline import Segment, SessionNotFound, StageContext
from mina_pipeline.stages.base import Outcome
from mina_pipeline.stages.offline import OfflineProvider
from mina_pipeline.trials import AT_ONCE, Trial


def test_replay_with_many(opened: Open) -> None:
    """More sessions than are run at once: a row for each in the order given, with what it cost, or why it was not."""
    p, heard, open_ones = opened(), list[Trial](), list[int]()
    parents = [finished(p, f"n{n}") for n in range(6)]
    young = unfinalized(p)
    before = [stored(p, one) for one in (*parents, young)]

    class Counting(Other):
        def summarize(self, ctx: StageContext) -> Outcome:
            threading.Event().wait(0.1)
            open_ones.append(len({*unfinished(p)} - {young}))
            return super().summarize(ctx)

    trials = p.replay_with(Counting(), [*parents[:2], young, *parents[2:]], from_stage="tasks", told=heard.append)
    assert [stored(p, one) for one in (*parents, young)] == before
    assert [trial.parent for trial in trials] == [*parents[:2], young, *parents[2:]]
    assert sorted(trial.parent for trial in heard) == sorted(trial.parent for trial in trials)
    assert 1 < max(open_ones) <= AT_ONCE
    refused = trials.pop(2)
    assert refused.session is None and "finalize it first" in str(refused.refused) and not refused.well
    for trial in trials:
        assert trial.well and trial.ran == ("tasks", "summary")
        assert (trial.tokens_in, trial.tokens_out, trial.cost) == (150, 30, 0.5)
        assert trial.diff and trial.diff.a.session_id == trial.parent and not trial.diff.same
        assert trial.session and p.verify(trial.session.session_id) == []
    assert unfinished(p) == [key for key in unfinished(p) if key == young]
    table = str(trials).splitlines()
    assert len(table) == 7 and table[0].split() == "session fork outcomes tasks tokens cost seconds differs".split()
    assert "tasks ok, summary ok" in table[1] and "150 + 30" in table[1] and "1 → 1" in table[1]
    assert "tasks -1 +1 ~0" in table[1]
    json.dumps([msgspec.to_builtins(trial.as_dict()) for trial in [*trials, refused]])


def test_replay_with_takes_the_newest_that_are_no_forks(opened: Open) -> None:
    """Revealed sessions, `limit` of them; with nothing to try it makes nothing. An unknown id stops it before."""
    p = opened()
    assert p.replay_with("offline") == []
    assert str(p.replay_with("offline")).split()[0] == "session"
    parents = [finished(p, f"n{n}") for n in range(3)]
    due(p)
    p.fork(parents[2], "summary")
    assert [trial.parent for trial in p.replay_with("offline", limit=2)] == [parents[2], parents[1]]
    assert [trial.parent for trial in p.replay_with()] == parents[::-1]
    before = everything(p)
    with pytest.raises(SessionNotFound):
        p.replay_with("offline", [parents[0], "nobody"])
    assert everything(p) == before


def test_a_stage_that_fails_is_told(opened: Open) -> None:
    """The fork is revealed with the failure in it, and the trial is not well."""
    p = opened()
    parent = finished(p)

    class Broken(OfflineProvider):
        name = "broken"

        def summarize(self, ctx: StageContext) -> Outcome:
            raise RuntimeError("no")

    (trial,) = p.replay_with(Broken(), [parent], from_stage="summary")
    assert trial.session and trial.session.state == "revealed" and not trial.well
    assert "summary failed" in str(trial.cells)


def test_nothing_of_the_meeting_is_logged(opened: Open, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor printed by the library, nor in the table's rows."""
    p = opened()
    parent = finished(p, "Zebra", [Segment("i will send the xylophone by friday", 0, 900, "Zebediah", 0.5)])
    trials = p.replay_with(Other(), [parent])
    found = capsys.readouterr()
    assert found.out == ""
    assert not {"xylophone", "Zebediah", "Zebra", "Tidy"} & set((found.err + str(trials)).split())
