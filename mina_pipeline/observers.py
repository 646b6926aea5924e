"""All observers of a pipeline as one: what one of them raises is logged, and stops nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from .log import logger
from .ports import Observer, StageRun


class Observers:
    """Hands each call on to every observer."""

    def __init__(self) -> None:
        self.all: list[Observer] = []

    def add(self, observer: Observer) -> None:
        self.all.append(observer)

    def tell(self, what: str, *given: Any) -> None:
        for observer in self.all:
            try:
                getattr(observer, what)(*given)
            except Exception as error:
                logger(__name__).error("observer raised", what=what, error_type=type(error).__name__)

    @contextmanager
    def running(self, run: StageRun) -> Iterator[None]:
        with ExitStack() as stack:
            for observer in self.all:
                try:
                    stack.enter_context(observer.running(run))
                except Exception as error:
                    logger(__name__).error("observer raised", what="running", error_type=type(error).__name__)
            yield

    def ended(self, run: StageRun, outcome: str, reason: str | None, began_at: int, ended_at: int) -> None:
        self.tell("ended", run, outcome, reason, began_at, ended_at)

    def waiting(self, run: StageRun, reason: str, seconds: float) -> None:
        self.tell("waiting", run, reason, seconds)

    def refused(self, run: StageRun, reason: str) -> None:
        self.tell("refused", run, reason)

    def revealed(self, session_id: str, trace_id: str, tenant: str | None, finalized_at: int, revealed_at: int) -> None:
        self.tell("revealed", session_id, trace_id, tenant, finalized_at, revealed_at)

    def breaker(self, provider: str, state: str, reason: str | None) -> None:
        self.tell("breaker", provider, state, reason)

    def hung(self, threads: int) -> None:
        self.tell("hung", threads)

    def verified(self, problems: int) -> None:
        self.tell("verified", problems)

    def usage(self, run: StageRun, model: str, tokens_in: int, tokens_out: int, cost: float | None) -> None:
        self.tell("usage", run, model, tokens_in, tokens_out, cost)
