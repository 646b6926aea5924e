"""Budgets: the contract, and on a real server never a token more than is allowed."""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress
from datetime import date
from typing import Any

import pytest
from asked import asking, context, long_meeting, meeting, truthful

from mina_pipeline.errors import InvalidInput, ProviderUnavailable
from mina_pipeline.llm.budget import DAY, SESSION, Budget, Limits, MemoryBudget
from mina_pipeline.llm.prices import Price, read_prices
from mina_pipeline.stages.base import Degraded, Ok
from mina_pipeline.stages.offline import OfflineProvider
from mina_pipeline.testing.budgets import BudgetContract
from mina_pipeline.testing.openai_server import Answer, Cut, Drip, Garbage, Longer, Refusal, Reset, Status, WrongSchema

SAID = meeting("um good morning everybody let us begin", "i will send the report to the board by friday")
STAGES = ("refine", "analyze", "extract_tasks", "summarize")


class SlowLimits(Limits):
    """Gives other threads their turn between a look and a change."""

    def of(self, scope: str) -> tuple[int | None, int | None]:
        time.sleep(0.001)
        return super().of(scope)


def test_between_a_look_and_a_reservation_nobody_else_reserves() -> None:
    budget = MemoryBudget(SlowLimits(session_tokens=100))
    threads = [threading.Thread(target=budget.reserve, args=("a", date(2026, 3, 2), 30, 0)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.spent(SESSION, "a").reserved_tokens == 90


LIMITS = (
    {"session_tokens": 100},
    {"day_tokens": 100},
    {"session_money": 0.00001},
    {"day_money": 0.00001},
    {"day_tokens": 0},
)


class TestMemoryBudget(BudgetContract):
    def make(self, limits: Limits) -> Budget:
        return MemoryBudget(limits)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    "limit",
    [
        {"session_tokens": 100},
        {"day_tokens": 100},
        {"session_money": 0.00001},
        {"day_money": 0.00001},
        {"day_tokens": 0},
    ],
)
def test_a_spent_budget_is_an_outcome(stage: str, limit: dict[str, Any]) -> None:
    """Degraded, with the offline result, and nothing was asked."""
    with asking(prices={"gpt-5.4-mini": (0.25, 2)}, **limit) as (server, provider):
        made = getattr(provider, stage)(context(SAID))
        assert isinstance(made, Degraded)
        assert made.reason == "budget"
        if stage != "analyze":
            assert made.artefact == getattr(OfflineProvider(), stage)(context(SAID)).artefact
        assert server.counts().requests == 0


@pytest.mark.parametrize("seed", range(12))
def test_never_above_budget_whatever_is_answered(seed: int) -> None:
    """Also where an answer is twice as long as was asked, is of no use, breaks off, and many are out at once."""
    rng = random.Random(seed)
    limit = rng.choice((3_000, 20_000, 60_000))
    kind = rng.choice(("session_tokens", "day_tokens"))
    lock = threading.Lock()

    def answer(request: Any) -> Any:
        with lock:
            luck = rng.random()
        if luck < 0.5:
            return Answer(truthful(request))
        choices = (Longer(times=2), Cut(), Refusal(), Garbage(), WrongSchema(), Status(500), Reset(), Reset(after=30))
        return choices[int(luck * 1000) % len(choices)]

    options = {"output_tokens": 300, "refine_tokens": 600, "chunk_tokens": 600, "tries": 2, "concurrency": 8}
    with asking(answer, **{kind: limit}, **options) as (server, provider):
        ctx = context(long_meeting(0.5))
        for stage in STAGES:
            with suppress(ProviderUnavailable):
                getattr(provider, stage)(ctx)
        counts = server.counts()
        assert counts.tokens_in + counts.tokens_out <= limit
        scope, name = (SESSION, "s") if kind == "session_tokens" else (DAY, provider.client.today().isoformat())
        spent = provider.client.budget.spent(scope, name)
        assert counts.tokens_in + counts.tokens_out <= spent.tokens <= limit
        assert spent.reserved_tokens == 0


def test_an_answer_twice_as_long_as_was_asked_is_still_within_the_budget() -> None:
    """It is asked for only where there is room for that."""
    limit = 30_000
    with asking(session_tokens=limit, output_tokens=8_000) as (server, provider):
        server.always(Longer(times=2))
        for _ in range(5):
            provider.extract_tasks(context(SAID))
        counts = server.counts()
        assert 0 < counts.tokens_in + counts.tokens_out <= limit
        assert counts.requests < 5


def test_a_slow_answer_that_was_cut_off_is_counted_as_bought() -> None:
    with asking(call_timeout=0.3, output_tokens=300) as (server, provider):
        server.always(Drip(Answer(None), every=0.05))
        with pytest.raises(ProviderUnavailable):
            provider.summarize(context(SAID))
        assert server.wait(idle=True)
        counts = server.counts()
        assert provider.client.budget.spent(SESSION, "s").tokens >= counts.tokens_in + counts.tokens_out > 0


def test_what_was_not_answered_costs_nothing() -> None:
    with asking() as (server, provider):
        server.always(Status(401))
        with pytest.raises(Exception, match="key refused"):
            provider.summarize(context(SAID))
        assert provider.client.budget.spent(SESSION, "s").tokens == 0
        assert provider.client.budget.spent(SESSION, "s").reserved_tokens == 0


def test_money_is_counted_by_the_hosts_prices() -> None:
    with asking(prices={"gpt-5.4-mini": (1_000, 10_000)}) as (server, provider):
        ctx = context(SAID)
        provider.extract_tasks(ctx)
        (answer,) = ctx.receipt.kept.values()
        counts = server.counts()
        cost = (counts.tokens_in * 1_000 + counts.tokens_out * 10_000) / 1e6
        assert answer.cost == pytest.approx(cost)
        assert (answer.tokens_in, answer.tokens_out) == (counts.tokens_in, counts.tokens_out)
        assert provider.client.budget.spent(SESSION, "s").money == round(cost * 1e6)


def test_calls_that_are_out_are_waited_for_before_a_budget_is_called_spent() -> None:
    """More is set aside than a call costs: what the first chunks leave is there for the later ones."""
    with asking(session_tokens=60_000, refine_tokens=600, output_tokens=2_000, concurrency=8) as (server, provider):
        made = provider.refine(context(long_meeting(0.5)))
        assert isinstance(made, Ok)
        assert server.counts().requests > 10


def test_what_the_budget_left_is_made_by_the_model_and_the_rest_offline() -> None:
    with asking(session_tokens=12_000, refine_tokens=600, output_tokens=1_500, concurrency=2) as (server, provider):
        made = provider.refine(context(long_meeting(1)))
        assert isinstance(made, Degraded)
        assert made.reason == "budget"
        assert server.counts().requests > 2


def test_a_day_begins_anew() -> None:
    with asking(day_tokens=12_000, output_tokens=1_500) as (_, provider):
        provider.client.today = lambda: date(2026, 3, 2)
        outcomes = [type(provider.summarize(context(SAID))) for _ in range(12)]
        assert outcomes[0] is Ok
        assert outcomes[-1] is Degraded
        provider.client.today = lambda: date(2026, 3, 3)
        assert isinstance(provider.summarize(context(SAID)), Ok)


def test_a_budget_in_money_needs_the_models_price() -> None:
    with pytest.raises(InvalidInput, match="prices"), asking(session_money=1.0, model="unknown"):
        pass


def test_prices_read_as_they_are_given() -> None:
    assert read_prices("a=1/2, b=0.5") == {"a": Price(1, 2), "b": Price(0.5, 0.5)}
    assert read_prices({"a": (1, 2)}) == {"a": Price(1, 2)}
    for wrong in ("a", "a=x/1", "a=-1/1", "a=nan"):
        with pytest.raises(InvalidInput):
            read_prices(wrong)


def test_money_is_rounded_up_to_whole_millionths() -> None:
    assert Price(0.25, 2).money(1, 0) == 1
    assert Price(0.1, 0).money(30, 0) == 3
    assert Price(0, 0).money(10**9, 10**9) == 0
