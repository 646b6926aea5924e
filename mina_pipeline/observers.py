"""Who hears what workers do, to count and time it. All observers of a pipeline are as one for its workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from .log import logger


@dataclass(frozen=True)
class StageRun:
    """One claim of a stage's run, as observers see it. takeover: another claim of this run ended without an outcome.

    trace_id is the session's: 32 hex digits once its dashes are taken out. kind: stage | upgrade. claim: the token of
    the claim, which tells one from the next.
    """

    session_id: str
    trace_id: str
    tenant: str | None
    definition: str
    stage: str
    run: int
    provider: str | None
    kind: str
    takeover: bool
    claim: str = ""


class Observer(Protocol):
    """Hears what workers do, to count and time it. Called on their threads: be quick; what it raises is logged.

    Nothing that it is given holds text of a meeting. Times are µs since the epoch. After `running`, which a run enters
    twice where its fallback is asked as well, comes one of `ended`, `waiting` and `refused`, from whichever thread.
    """

    def running(self, run: StageRun) -> AbstractContextManager[Any]:
        """Is around the stage's code, on its thread: a place for a current span."""
        ...

    def ended(
        self,
        run: StageRun,
        outcome: str,
        reason: str | None,
        began_at: int,
        ended_at: int,
        error_type: str | None = None,
    ) -> None:
        """An outcome was recorded, by this process."""
        ...

    def waiting(self, run: StageRun, reason: str, seconds: float) -> None:
        """The run was put off for some seconds."""
        ...

    def refused(self, run: StageRun, reason: str) -> None:
        """Nothing was recorded. reason: lease lost (or cancelled) | interrupted (the store was away) | no better."""
        ...

    def revealed(self, session_id: str, trace_id: str, tenant: str | None, finalized_at: int, revealed_at: int) -> None:
        """A session was revealed, by this process."""
        ...

    def breaker(self, provider: str, state: str, reason: str | None) -> None:
        """This process opened or closed a provider's breaker, or sent the probe."""
        ...

    def hung(self, threads: int) -> None:
        """So many threads of this process are in stages that were cut off and have not come back."""
        ...

    def verified(self, problems: int) -> None:
        """A session was verified."""
        ...

    def usage(self, run: StageRun, model: str, tokens_in: int, tokens_out: int, cost: float | None) -> None:
        """A model answered; cost in the host's currency, None where it has no price."""
        ...


class Observers:
    """Hands each call on to every observer; what one of them raises is logged, and stops nobody."""

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

    def running(self, run: StageRun) -> AbstractContextManager[None]:
        return self.entered(run) if self.all else nullcontext()

    @contextmanager
    def entered(self, run: StageRun) -> Iterator[None]:
        with ExitStack() as stack:
            for observer in self.all:
                try:
                    stack.enter_context(observer.running(run))
                except Exception as error:
                    logger(__name__).error("observer raised", what="running", error_type=type(error).__name__)
            yield

    def ended(
        self, run: StageRun, outcome: str, reason: str | None, began_at: int, ended_at: int, error_type: str | None
    ) -> None:
        self.tell("ended", run, outcome, reason, began_at, ended_at, error_type)

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
