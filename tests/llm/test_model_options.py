"""How a provider is opened: by arguments and environment, with no request, and openai not even imported."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from asked import asking, context, meeting

from mina_pipeline.errors import InvalidInput
from mina_pipeline.llm.budget import Limits, MemoryBudget
from mina_pipeline.llm.prices import Price
from mina_pipeline.stages.base import Degraded, Ok
from mina_pipeline.stages.openai import provider
from mina_pipeline.testing.openai_server import Garbage, Status

ENVIRONMENT = {
    "OPENAI_API_KEY": "sk-1",
    "OPENAI_BASE_URL": "https://a.example/v1",
    "MINA_OPENAI_MODEL": "m",
    "MINA_OPENAI_TEMPERATURE": "0.5",
    "MINA_OPENAI_SEED": "7",
    "MINA_OPENAI_CONCURRENCY": "3",
    "MINA_OPENAI_PRICES": "m=1/2",
    "MINA_OPENAI_SESSION_MONEY": "0.5",
    "MINA_OPENAI_DAY_TOKENS": "1000",
    "MINA_OPENAI_EXTRA": '{"reasoning_effort": "low"}',
}


def test_the_environment_gives_the_defaults_and_arguments_go_first() -> None:
    made = provider(environ=ENVIRONMENT, seed=8, temperature=None)
    options = made.options
    assert (options.model, options.api_key, options.base_url) == ("m", "sk-1", "https://a.example/v1")
    assert (options.temperature, options.seed, options.concurrency) == (0.5, 8, 3)
    assert options.prices == {"m": Price(1, 2)}
    assert options.extra == {"reasoning_effort": "low"}
    assert options.limits == Limits(session_money=500_000, day_tokens=1000)
    assert made.name == "openai"


def test_our_own_variable_goes_before_the_packages() -> None:
    found = provider(environ=ENVIRONMENT | {"MINA_OPENAI_BASE_URL": "http://b.example/v1"})
    assert found.options.base_url == "http://b.example/v1"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "OPENAI_API_KEY"),
        ({"api_key": "k", "modle": "x"}, "modle"),
        ({"api_key": "k", "api": "soap"}, "api"),
        ({"api_key": "k", "base_url": "localhost:80"}, "base_url"),
        ({"api_key": "k", "concurrency": 0}, "concurrency"),
        ({"api_key": "k", "context_tokens": 10}, "context_tokens"),
        ({"api_key": "k", "day_money": -1}, "day_money"),
        ({"api_key": "k", "day_money": 1}, "prices"),
        ({"api_key": "k", "session_tokens": -1}, "budget.session_tokens"),
        ({"api_key": "k\n"}, "api_key"),
        ({"api_key": "k", "model": ""}, "model"),
    ],
)
def test_what_does_not_read_is_named(given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        provider(environ={}, **given)
    assert caught.value.field == field


@pytest.mark.parametrize(("name", "text"), [("SEED", "x"), ("TEMPERATURE", ""), ("EXTRA", "[1]"), ("PRICES", "m")])
def test_a_variable_that_does_not_read_is_named(name: str, text: str) -> None:
    environ = {"OPENAI_API_KEY": "k", f"MINA_OPENAI_{name}": text}
    if not text:
        assert provider(environ=environ).options.temperature is None  # set to nothing: not set
        return
    with pytest.raises(InvalidInput):
        provider(environ=environ)


def test_the_key_is_in_no_representation() -> None:
    made = provider(environ={}, api_key="sk-secret")
    assert "sk-secret" not in repr(made.options) + repr(made) + repr(made.client)


def test_a_server_of_ones_own_needs_no_key() -> None:
    assert provider(environ={}, base_url="http://127.0.0.1:1/v1").options.key == "none"


def test_opening_asks_nobody_and_imports_nothing_heavy() -> None:
    code = """
import sys, mina_pipeline
from mina_pipeline.stages.openai import provider
assert not [m for m in sys.modules if m.split(".")[0] in ("openai", "httpx2", "tenacity")]
p = provider(environ={}, api_key="k", base_url="http://127.0.0.1:1/v1")
assert not [m for m in sys.modules if m.split(".")[0] in ("openai", "httpx2", "tenacity")]
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_budget_of_the_hosts_is_given_the_limits() -> None:
    made: list[MemoryBudget] = []

    def budget(limits: Limits) -> MemoryBudget:
        made.append(MemoryBudget(limits))
        return made[-1]

    found = provider(environ={}, api_key="k", day_tokens=5, budget=budget)
    assert found.client.budget is made[0]
    assert made[0].limits.day_tokens == 5


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        [],
        "x",
        {"prompt_tokens": "9", "completion_tokens": -1},
        {"prompt_tokens": 1.5},
        {"prompt_tokens": 10**30},
    ],
)
def test_an_answer_without_a_count_is_an_answer_and_its_tokens_are_estimated(usage: Any) -> None:
    import json

    from asked import truthful

    def answer(request: Any) -> Any:
        message = {"role": "assistant", "content": json.dumps(truthful(request))}
        return Garbage(body=json.dumps({"choices": [{"message": message}], "usage": usage, "model": 7}))

    with asking(answer) as (_, found):
        ctx = context(meeting("i will send the report by friday"))
        assert isinstance(found.extract_tasks(ctx), Ok)
        (kept,) = ctx.receipt.kept.values()
        assert kept.tokens_in > 100
        assert kept.tokens_out > 10
        assert kept.model == "gpt-5.4-mini"


@pytest.mark.parametrize(
    "body", ["[" * 100_000, '{"choices": ' + "[" * 100_000, '{"a": ' * 50_000, "1e999", '"\\ud800"']
)
def test_no_body_is_too_odd_to_be_called_unusable(body: str) -> None:
    for api in ("chat", "responses"):
        with asking(api=api) as (server, found):
            server.always(Garbage(body=body))
            made = found.summarize(context(meeting("i will send the report by friday")))
            assert isinstance(made, Degraded)
            assert made.reason == "unusable answer"


def test_an_error_of_no_known_kind_is_sorted_as_well() -> None:
    with asking() as (server, found):
        server.always(Status(500, headers={"content-encoding": "gzip"}))  # which it is not
        with pytest.raises(Exception, match="outage") as caught:
            found.summarize(context(meeting("hello there everybody")))
        assert "hello" not in str(caught.value)
