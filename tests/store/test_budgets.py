"""Budgets in a database: the contract of all budgets, and several processes that share one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from mina_pipeline import Pipeline
from mina_pipeline.interrupted import Interrupted
from mina_pipeline.llm.budget import DAY, SESSION, Budget, Limits, Spent
from mina_pipeline.testing.budgets import BudgetContract, reserved

Open = Callable[..., Pipeline]
TODAY = date(2026, 3, 2)


class TestSqlBudget(BudgetContract):
    @pytest.fixture(autouse=True)
    def stores(self, opened: Open, url: str) -> None:
        if url == "memory://":
            pytest.skip("that one counts in memory")
        self.opened, self.url = opened, url

    def make(self, limits: Limits) -> Budget:
        """Over the same tables each time, emptied."""
        if not hasattr(self, "pipeline"):
            self.pipeline = self.opened()
        store: Any = self.pipeline.store
        for table in map(store.schema.sql, ("budgets", "reservations")):
            store.writing(lambda link, table=table: link.count(f"DELETE FROM {table}"))
        return self.pipeline.store.budget(limits, self.pipeline.ids.uuid)


SPENDING = """
import os, sys
from datetime import date
from mina_pipeline import Pipeline, Settings
from mina_pipeline.llm.budget import Limits, Reservation

url, prefix, number, dies = sys.argv[1:]
p = Pipeline.open(url, settings=Settings(table_prefix=prefix))
budget = p.store.budget(Limits(day_tokens=1000), p.ids.uuid)
for turn in range(60):
    found = budget.reserve(f"s{number}", date(2026, 3, 2), 17, 1)
    if isinstance(found, Reservation):
        if turn == 3 and dies == "dies":
            os._exit(9)
        budget.settle(found, 11, 1)
p.close()
"""


def test_processes_share_what_there_is(opened: Open, url: str) -> None:
    """Together they never spend more than the day has; what a process had set aside when it died stays so."""
    if url == "memory://":
        pytest.skip("memory is one process's own")
    p = opened()
    given = [sys.executable, "-c", SPENDING, url, p.settings.table_prefix]
    assert subprocess.run([*given, "0", "dies"], timeout=60).returncode == 9
    running = [subprocess.Popen([*given, str(n), "ends"]) for n in range(1, 4)]
    assert [one.wait(60) for one in running] == [0, 0, 0]
    budget = p.store.budget(Limits(), p.ids.uuid)
    spent = budget.spent(DAY, TODAY.isoformat())
    assert spent.reserved_tokens == 17
    assert 1000 - 2 * 17 < spent.tokens + spent.reserved_tokens <= 1000
    assert sum(budget.spent(SESSION, f"s{n}").tokens for n in range(4)) == spent.tokens


def test_a_store_that_is_away_is_no_failure_of_the_stage(opened: Open, url: str) -> None:
    """The question is not asked, and the stage has no outcome: it is claimed again."""
    if url == "memory://":
        pytest.skip("memory is never away")
    p = opened()
    budget = p.store.budget(Limits(session_tokens=5), p.ids.uuid)
    reserved(budget, 5)
    p.close()
    with pytest.raises(Interrupted):
        budget.reserve("b", TODAY, 1, 1)
    with pytest.raises(Interrupted):
        budget.spent(SESSION, "a")


def test_in_memory_it_counts_in_memory(opened: Open, url: str) -> None:
    if url != "memory://":
        pytest.skip("a database counts for all")
    budget = opened().store.budget(Limits(session_tokens=5), lambda: "key")
    reserved(budget, 5)
    assert budget.spent(SESSION, "a") == Spent(0, 0, 5, 100)


def test_a_provider_counts_in_the_database_of_each_pipeline(opened: Open, url: str) -> None:
    """One provider object, opened with twice: each pipeline counts in its own store, also when the other is closed;
    a budget of the host's own stays where it is."""
    from mina_pipeline.llm.budget import MemoryBudget, Refused
    from mina_pipeline.stages.openai import provider

    given: dict[str, Any] = {"base_url": "http://127.0.0.1:9/v1", "environ": {}, "day_tokens": 10}
    shared = provider(**given)
    first = opened(provider=shared)
    reserved(first.provider.client.budget, 10)
    assert first.provider.client.budget.reserve("a", TODAY, 1, 0) == Refused(DAY)
    first.close()
    second = Pipeline.open("memory://", provider=shared)
    reserved(second.provider.client.budget, 10)
    assert shared.client.budget.spent(DAY, TODAY.isoformat()) == Spent()
    own = MemoryBudget(Limits(day_tokens=3))
    third = Pipeline.open("memory://", provider=provider(**given, budget=lambda limits: own))
    assert third.provider.client.budget is own
    assert Pipeline.open("memory://", provider=provider(**{**given, "day_tokens": None})).provider is not None
