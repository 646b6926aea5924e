"""The provider and model of a trial, by name or by hand, and how a fork's definition is called after it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from stuck import everything
from trying import Open, Other, finished

from mina_pipeline import InvalidInput, Pipeline
from mina_pipeline.llm.budget import Limits
from mina_pipeline.testing.openai_server import OpenAIServer
from mina_pipeline.testing.truthful_model import truthful
from mina_pipeline.trials import trial_provider
from mina_pipeline.trials.workshop import definition_name


def test_providers_that_are_not_there(pipeline: Pipeline) -> None:
    """An unknown name, and a model of a provider that takes none, are refused before anything is stored."""
    parent = finished(pipeline)
    before = everything(pipeline)
    for given in ({"provider": "nobody"}, {"provider": "offline", "model": "m"}, {"provider": Other(), "model": "m"}):
        with pytest.raises(InvalidInput):
            pipeline.fork(parent, "tasks", **given)
        with pytest.raises(InvalidInput):
            pipeline.replay_with(sessions=[parent], **given)
    with pytest.raises(InvalidInput, match="other takes none"):
        trial_provider(Other(), "m")
    assert everything(pipeline) == before


def test_a_model_alone_is_one_of_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    """No request is made for that."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    for provider in (None, "openai"):
        assert trial_provider(provider, "gpt-next").options.model == "gpt-next"


def test_another_model_on_a_real_server(opened: Open, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named by provider and model, as `mina fork --model` does: only that model is asked, and its answers have a cost;
    a budget counts them with production's."""
    p = opened()
    parent = finished(p)
    with OpenAIServer(truthful) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("MINA_OPENAI_PRICES", "m-next=1/2")
        monkeypatch.setenv("MINA_OPENAI_DAY_TOKENS", "1000000")
        (trial,) = p.replay_with("openai", [parent], from_stage="tasks", model="m-next")
        assert trial.session and trial.well and trial.session.definition.startswith("standard_trial_m_next_")
        assert [one.provider for one in trial.session.stages.values()] == ["offline", "offline", "openai", "openai"]
        assert trial.tokens_in and trial.tokens_out and trial.cost and trial.cost > 0
        assert server.counts().requests == 2
        answers = [one for runs in trial.session.usage["stages"].values() for one in runs["1"]]
        assert {one["model"] for one in answers} == {"m-next"}
        if url != "memory://":  # where it is shared by all who have it open
            counted = p.store.budget(Limits(), p.ids.uuid).spent("day", datetime.now(UTC).date().isoformat())
            assert counted.tokens == trial.tokens_in + trial.tokens_out
        fork = p.fork(parent, "summary", model="m-other")
        assert [one["model"] for one in fork.usage["stages"]["summary"]["1"]] == ["m-other"]


def test_names_of_forks_are_definition_names() -> None:
    """Whatever the provider is called: `mina diagram` and whoever else reads them takes them for one."""
    from mina_pipeline.definition import NAME

    for base in ("a", "standard", "x" * 40):
        for provider in ("offline", "openai:gpt-5.4/mini", "ÄÖ", "", "9", "a" * 80):
            assert NAME.match(definition_name(base, provider, "0123456789ab"))
    assert definition_name("standard", "GPT 5.4 mini", "xx1f3a9c2b") == "standard_trial_gpt_5_4_mini_1f3a9c2b"
