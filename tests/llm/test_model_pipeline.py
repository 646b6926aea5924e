"""The provider in a real pipeline: what each kind of failure comes to, for its policy, and that all is revealed."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asked import asking, meeting, truthful

from mina_pipeline import Pipeline, Settings
from mina_pipeline.stages.openai.stages import OpenAIProvider
from mina_pipeline.testing.openai_server import Hang, Refusal, Status, insufficient_quota

SAID = meeting("um good morning everybody let us begin", "i will send the report to the board by friday")


QUICK = Settings(reveal_deadline=1.0, retry_first=0.1, poll=0.05, breaker_failures=100)


def revealed(url: str, provider: OpenAIProvider, settings: Settings = QUICK) -> tuple[list[tuple[str, Any]], list[str]]:
    """[(outcome, reason)] of the four stages, and the types of all events."""
    with Pipeline.open(url, provider=provider, settings=settings) as pipeline:
        session = pipeline.start_session("t")
        pipeline.record(session.session_id, [replace(one) for one in SAID])
        pipeline.finalize(session.session_id)
        with pipeline.workers(2):
            for _ in range(200):
                if pipeline.get(session.session_id).state == "revealed":
                    break
                time.sleep(0.05)
        assert pipeline.get(session.session_id).state == "revealed"
        result = pipeline.result(session.session_id)
        made = [result.transcript, result.analytics, result.tasks, result.summary]
        types = [event.type for event in pipeline.events(session.session_id)]
        return [(one.outcome, one.reason) for one in made if one is not None], types


@pytest.fixture
def db(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/model.db"


def test_all_is_well(db: str) -> None:
    with asking() as (server, provider):
        outcomes, types = revealed(db, provider)
        assert outcomes == [("ok", None)] * 4
        assert server.counts().requests == 4
        assert types.count("summary_progress") == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_what_is_refused_for_good_has_failed_at_one_request_a_stage(db: str, status: int) -> None:
    with asking() as (server, provider):
        server.always(Status(status))
        outcomes, types = revealed(db, provider)
        assert outcomes == [("failed", "error")] * 4
        assert server.counts().requests == 4
        assert types[-2:] == ["post_transcription_reveal", "dashboard_refresh"]


@pytest.mark.parametrize(("reply", "reason"), [(insufficient_quota(), "quota"), (Refusal(), "refusal")])
def test_what_no_waiting_cures_is_degraded_at_one_request_a_stage(db: str, reply: Any, reason: str) -> None:
    with asking() as (server, provider):
        server.always(reply)
        outcomes, types = revealed(db, provider)
        assert outcomes == [("degraded", reason)] * 4
        assert server.counts().requests == 4
        assert not [one for one in types if one.endswith("_waiting")]


def test_a_wait_that_is_named_is_kept_and_then_all_is_well(db: str) -> None:
    with asking() as (server, provider):
        server.script(Status(429, retry_after=3))
        outcomes, types = revealed(db, provider, replace(QUICK, reveal_deadline=30))
        assert outcomes == [("ok", None)] * 4
        assert types.count("refinement_waiting") == 1
        assert server.counts().requests == 5


def test_an_outage_is_made_good_by_the_fallback_within_the_reveal_deadline(db: str) -> None:
    with asking(tries=2) as (server, provider):
        server.always(Status(500))
        outcomes, types = revealed(db, provider)
        assert outcomes == [("degraded", "outage")] * 4
        assert types.count("refinement_started") == 1
        assert "refinement_waiting" in types


def test_a_provider_that_hangs_is_made_good_at_the_stage_deadline(db: str) -> None:
    with asking() as (server, provider):
        server.always(Hang())
        outcomes, _ = revealed(db, provider, replace(QUICK, stage_deadline=0.6))
        assert [outcome for outcome, _ in outcomes] == ["degraded"] * 4
        assert {reason for _, reason in outcomes} == {"deadline"}
        assert server.wait(idle=True)


def test_a_spent_budget_is_an_outcome(db: str) -> None:
    with asking(session_tokens=100) as (server, provider):
        outcomes, _ = revealed(db, provider)
        assert outcomes == [("degraded", "budget")] * 4
        assert server.counts().requests == 0


def test_a_failed_chunk_of_a_stage_is_all_that_a_second_attempt_buys(db: str) -> None:
    failed: list[int] = []

    def answer(request: Any) -> Any:
        if request.format["name"] == "summarized" and len(failed) < 3:
            failed.append(request.number)
            return Status(500)
        return truthful(request)

    with asking(answer) as (server, provider):
        outcomes, types = revealed(db, provider, replace(QUICK, reveal_deadline=30))
        assert outcomes == [("ok", None)] * 4
        assert server.counts().requests == 7
        assert types.count("summary_waiting") == 1
