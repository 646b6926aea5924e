"""The suite that every Budget passes. Subclass BudgetContract in a test module and say how one is made.

class TestMyBudget(BudgetContract):
    def make(self, limits):
        return MyBudget(limits)
"""

from __future__ import annotations

import sys
import threading
from abc import ABC, abstractmethod
from datetime import date

from ..llm.budget import DAY, SESSION, Budget, Limits, Refused, Reservation, Spent

TODAY = date(2026, 3, 2)


def reserved(
    budget: Budget, tokens: int = 10, money: int = 100, session_id: str = "a", day: date = TODAY
) -> Reservation:
    found = budget.reserve(session_id, day, tokens, money)
    assert isinstance(found, Reservation)
    return found


class BudgetContract(ABC):
    """What a budget guarantees."""

    @abstractmethod
    def make(self, limits: Limits) -> Budget:
        """A budget in which nothing is spent yet."""

    def test_without_limits_everything_is_counted_and_nothing_refused(self) -> None:
        budget = self.make(Limits())
        budget.settle(reserved(budget, 10**12, 10**12), 7, 70)
        assert budget.spent(SESSION, "a") == budget.spent(DAY, "2026-03-02") == Spent(7, 70)

    def test_what_was_never_used_is_zero(self) -> None:
        assert self.make(Limits()).spent(SESSION, "nobody") == Spent()

    def test_a_reservation_counts_until_it_ends(self) -> None:
        budget = self.make(Limits(session_tokens=100))
        first = reserved(budget, 60)
        assert budget.reserve("a", TODAY, 41, 0) == Refused(SESSION)
        assert budget.spent(SESSION, "a") == Spent(0, 0, 60, 100)
        second = reserved(budget, 40)
        budget.release(first)
        third = reserved(budget, 60)
        budget.settle(second, 10, 0)
        budget.settle(third, 10, 0)
        assert budget.spent(SESSION, "a") == Spent(20, 0, 0, 0)

    def test_the_limit_itself_may_be_reached(self) -> None:
        budget = self.make(Limits(session_tokens=10, session_money=100, day_tokens=10, day_money=100))
        budget.settle(reserved(budget, 10, 100), 10, 100)
        assert budget.reserve("a", TODAY, 1, 0) == Refused(SESSION)
        assert isinstance(budget.reserve("a", TODAY, 0, 0), Reservation)

    def test_each_limit_holds_by_itself(self) -> None:
        for limits, scope in (
            (Limits(session_tokens=9), SESSION),
            (Limits(session_money=99), SESSION),
            (Limits(day_tokens=9), DAY),
            (Limits(day_money=99), DAY),
            (Limits(session_tokens=9, day_tokens=9), SESSION),
        ):
            budget = self.make(limits)
            assert budget.reserve("a", TODAY, 10, 100) == Refused(scope)
            assert isinstance(budget.reserve("a", TODAY, 9, 99), Reservation)

    def test_a_refusal_sets_nothing_aside(self) -> None:
        budget = self.make(Limits(day_tokens=5))
        assert budget.reserve("a", TODAY, 6, 0) == Refused(DAY)
        assert budget.spent(SESSION, "a") == Spent()
        assert budget.spent(DAY, TODAY.isoformat()) == Spent()

    def test_sessions_share_the_day_only(self) -> None:
        budget = self.make(Limits(session_tokens=10, day_tokens=15))
        budget.settle(reserved(budget, 10, session_id="a"), 10, 0)
        assert budget.reserve("b", TODAY, 6, 0) == Refused(DAY)
        budget.settle(reserved(budget, 5, session_id="b"), 5, 0)
        assert budget.spent(DAY, TODAY.isoformat()).tokens == 15

    def test_a_day_is_counted_where_it_was_reserved(self) -> None:
        budget = self.make(Limits(day_tokens=10))
        late = reserved(budget, 10)
        assert isinstance(budget.reserve("a", date(2026, 3, 3), 10, 0), Reservation)
        budget.settle(late, 8, 0)
        assert budget.spent(DAY, "2026-03-02").tokens == 8
        assert budget.spent(DAY, "2026-03-03").tokens == 0

    def test_a_reservation_ends_once(self) -> None:
        budget = self.make(Limits())
        one = reserved(budget, 10)
        budget.settle(one, 4, 40)
        budget.settle(one, 4, 40)
        budget.release(one)
        assert budget.spent(SESSION, "a") == Spent(4, 40)
        other = reserved(budget, 10)
        budget.release(other)
        budget.settle(other, 4, 40)
        assert budget.spent(SESSION, "a") == Spent(4, 40)

    def test_what_cost_more_than_was_reserved_is_counted_in_full(self) -> None:
        budget = self.make(Limits(session_tokens=10))
        budget.settle(reserved(budget, 10), 25, 0)
        assert budget.spent(SESSION, "a").tokens == 25
        assert budget.reserve("a", TODAY, 1, 0) == Refused(SESSION)

    def test_keys_are_never_the_same(self) -> None:
        budget = self.make(Limits())
        assert len({reserved(budget).key for _ in range(50)}) == 50

    def test_many_threads_never_set_aside_more_than_there_is(self) -> None:
        budget = self.make(Limits(day_tokens=1_000, session_tokens=300))
        won: list[Reservation] = []
        ready = threading.Barrier(8)

        def take(number: int) -> None:
            ready.wait()
            for turn in range(40):
                found = budget.reserve(f"s{number % 4}", TODAY, 17, 3)
                if isinstance(found, Reservation):
                    won.append(found)
                    if turn % 3 == 0:
                        budget.settle(found, 9, 3)

        threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
        often = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(often)
        spent = budget.spent(DAY, TODAY.isoformat())
        assert spent.tokens + spent.reserved_tokens <= 1_000
        for number in range(4):
            own = budget.spent(SESSION, f"s{number}")
            assert own.tokens + own.reserved_tokens <= 300
        for one in won:
            budget.release(one)
        assert budget.spent(DAY, TODAY.isoformat()).reserved_tokens == 0
