"""What cannot be forked, or run on as a fork, and what the refusal says."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
from stuck import another, due, everything, write
from trying import Open, Other, finished, unfinalized

from mina_pipeline import (
    IllegalTransition,
    InvalidInput,
    MinaError,
    Ok,
    Pipeline,
    SessionNotFound,
    UpgradeNeeded,
    define,
    stage,
)
from mina_pipeline.events import SessionErased
from mina_pipeline.projections import Op
from mina_pipeline.sessions import load
from mina_pipeline.trials.copying import prefix


def erased(p: Pipeline) -> str:
    """A session whose content is gone from its log."""
    session_id = finished(p)
    now = load(p.store, session_id)
    gone, _ = p.handler.compose(
        session_id, now, [SessionErased(through_version=now.state.version)], None, None, None, None
    )
    assert p.store.append(gone)
    return session_id


@pytest.mark.parametrize(
    ("made", "first", "error", "says"),
    [
        (unfinalized, "tasks", IllegalTransition, "never finalized: finalize it first"),
        (due, "tasks", IllegalTransition, "tasks has not begun"),
        (erased, "tasks", IllegalTransition, "content was erased"),
        (finished, "translation", InvalidInput, r"no stage of this session; it has \['refinement'"),
        (lambda p: "nobody", "tasks", SessionNotFound, "nobody"),
    ],
)
def test_what_cannot_be_forked_is_refused(
    pipeline: Pipeline, made: Callable[[Pipeline], str], first: str, error: type[MinaError], says: str
) -> None:
    """What, where and what to do about it; nothing is stored, no number drawn."""
    session_id = made(pipeline)
    before = everything(pipeline)
    with pytest.raises(error, match=says):
        pipeline.fork(session_id, first)
    with pytest.raises(MinaError):
        pipeline.fork(session_id, first, wait=False)
    assert everything(pipeline) == before


def test_a_log_that_has_lost_content_is_not_copied(pipeline: Pipeline) -> None:
    """Before the stage, that is: it would be a fork that nobody ever verifies clean. Later events are not looked at."""
    parent = finished(pipeline)
    rows = pipeline.store.events(parent)
    last = next(n for n, row in enumerate(rows) if row["type"] == "tasks_started")
    for n, row in enumerate(rows):
        if row["content"] is not None:
            damaged = [*rows[:n], {**row, "content": None}, *rows[n + 1 :]]
            with pytest.raises(IllegalTransition, match="mina verify") if n < last else nullcontext():
                prefix(parent, damaged, "tasks")


def test_a_later_releases_session_is_not_forked(pipeline: Pipeline) -> None:
    """This one would fold it on as less than it is."""
    parent = finished(pipeline)
    row = {"session_id": parent, "fold_version": 99}
    write(pipeline, parent, Op("update", "sessions", (row,)))
    before = everything(pipeline)
    with pytest.raises(UpgradeNeeded, match="fold version"):
        pipeline.fork(parent, "tasks")
    (trial,) = pipeline.replay_with("offline", [parent])
    assert "fold version" in str(trial.refused)
    assert [one for one in everything(pipeline) if one] == [one for one in before if one]


def test_the_code_of_the_definition_must_be_here(opened: Open) -> None:
    """A fork runs the stages of its parent's definition; who does not have them cannot make one, nor run one on."""
    one = stage("translation", running="translating")(lambda ctx: Ok({"by": ctx.provider.name}))
    p = opened(definition=define("mine", one))
    parent = finished(p)
    fork = p.fork(parent, "translation", provider=Other())
    assert p.result(fork.session_id).others["translation"].artefact == {"by": "other"}
    assert fork.definition.startswith("mine_trial_other_") and p.verify(fork.session_id) == []
    assert [one.field for one in p.diff(parent, fork.session_id).others] == ["translation"]
    left = p.fork(parent, "translation", wait=False)
    stranger = another(p)
    before = everything(p)
    for refused in (lambda: stranger.fork(parent, "translation"), lambda: stranger.run_fork(left.session_id)):
        with pytest.raises(UpgradeNeeded, match="definition"):
            refused()
    assert everything(p) == before


def test_run_fork_is_for_forks(pipeline: Pipeline) -> None:
    """Other sessions are the workers' to finish; one that is over is given as it is."""
    with pytest.raises(InvalidInput, match="no fork"):
        pipeline.run_fork(due(pipeline))
    with pytest.raises(SessionNotFound):
        pipeline.run_fork("nobody")
    pipeline.run_until_idle()
    fork = pipeline.fork(finished(pipeline), "summary")
    assert pipeline.run_fork(fork.session_id) == fork


def test_not_inside_a_hosts_transaction() -> None:
    """It runs stages, which a transaction would wait for; reading what differs is fine."""
    with Pipeline.open("memory://") as p, p.store.begin() as transaction:  # type: ignore[attr-defined]
        parent = finished(p)
        inside = p.using(transaction)
        for refused in (
            lambda: inside.fork(parent, "tasks"),
            lambda: inside.run_fork(parent),
            lambda: inside.replay_with("offline"),
        ):
            with pytest.raises(MinaError, match="host's transaction"):
                refused()
        assert inside.diff(parent, parent).same
