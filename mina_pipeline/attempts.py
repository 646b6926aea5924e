"""One attempt at a stage: its code is run, blips are tried again, the breaker hears how it went."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from types import NoneType
from typing import Any

from .codec import builtins, dump
from .errors import ProviderUnavailable, StoreBusy, StoreUnreachable
from .llm.breaker import Admission, Breakers
from .log import logger
from .ports import Clock
from .settings import LARGEST, Settings
from .stages.base import Deadline, Degraded, Empty, Ok, Outcome, Stage, StageContext

LEASE = "lease"
"""The reason of what we broke off ourselves, the lease not being renewed in time."""
PASSING = (ProviderUnavailable, ConnectionError, TimeoutError)
"""What a stage raises for what may pass by itself."""


@dataclass(frozen=True)
class Made:
    """What a stage came to: the fields of Conclude, and who made it where that was not the stage's provider."""

    fields: Mapping[str, Any]
    provider: str | None = None

    @classmethod
    def of(cls, returned: Outcome) -> Made:
        """TypeError or ValueError for what is no outcome, or could not be stored."""
        made = cls.unchecked(returned)
        if not isinstance(made.fields.get("reason"), (str, NoneType)):
            raise TypeError(f"the reason of an outcome is a text, not {type(made.fields['reason']).__name__}")
        dump(made.fields["artefact"])
        return made

    @classmethod
    def unchecked(cls, returned: Outcome) -> Made:
        match returned:
            case Ok():
                return cls({"outcome": "ok", "artefact": builtins(returned.artefact)})
            case Degraded():
                # A provider that fell back by itself says so by this reason, and is asked again as well.
                fields = {"outcome": "degraded", "reason": returned.reason, "upgrade": returned.reason == "outage"}
                return cls({**fields, "artefact": builtins(returned.artefact)})
            case Empty():
                return cls({"outcome": "empty", "artefact": builtins(returned.artefact), "reason": returned.reason})
            case _:
                raise TypeError(f"a stage returns Ok, Degraded or Empty, not {type(returned).__name__}")

    @classmethod
    def failed(cls, reason: str, error_type: str, error: str) -> Made:
        return cls({"outcome": "failed", "reason": reason, "error_type": error_type, "error": error})

    def degraded_for(self, reason: str) -> Made:
        """A fallback's result, as that: to be made again when what it stands in for is back."""
        if self.fields["outcome"] not in ("ok", "degraded"):
            return self
        fields = {**self.fields, "outcome": "degraded", "reason": reason, "upgrade": True}
        return Made(fields, "offline")


@dataclass(frozen=True)
class Away:
    """The provider did not answer. tried: it was asked; final: there is nothing to wait for any more.

    not_before: when it may answer again (host's µs), where it or its breaker said so.
    """

    reason: str
    error: str
    not_before: int | None
    tried: bool = False
    final: bool = False
    error_type: str = "ProviderUnavailable"


@dataclass
class Attempt:
    """Runs a stage's code. `provider` None: nobody is asked who could be away."""

    breakers: Breakers
    provider: str | None
    settings: Settings
    clock: Clock
    sleep: Callable[[float], None]
    deadline: Deadline
    admission: Admission | None = field(default=None)

    def run(self, stage: Stage, context: Callable[[], StageContext]) -> Made | Away:
        """Try the stage a few times, as long as its breaker lets it and it fails in a way that passes."""
        ended = self.once(stage, context)
        if not self.is_blip(ended) or self.settings.retry_tries == 1:
            return ended
        from tenacity import Retrying, retry_if_result, stop_after_attempt, wait_random_exponential

        self.sleep(random.uniform(0.05, 0.2))
        tries = Retrying(
            retry=retry_if_result(self.is_blip),
            stop=stop_after_attempt(self.settings.retry_tries - 1),
            wait=wait_random_exponential(multiplier=0.1, max=1.0),
            sleep=self.sleep,
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )
        again: Made | Away = tries(self.once, stage, context)
        return again

    def is_blip(self, ended: Made | Away) -> bool:
        """Whether trying again at once may help: the provider was asked, said nothing of when to ask again, and what
        it would answer is still wanted."""
        passing = isinstance(ended, Away) and ended.tried and ended.not_before is None
        return passing and self.deadline.remaining() > 0

    def once(self, stage: Stage, context: Callable[[], StageContext]) -> Made | Away:
        breaker = None if self.provider is None else self.breakers.of(self.provider)
        admitted = self.admission = breaker.admit() if breaker else None
        if admitted is not None and not admitted.allowed:
            return Away("outage", "the circuit breaker is open", admitted.retry_at)
        try:
            made = self.run_code(stage.function, context, passing=PASSING)
        except PASSING as error:
            reason = reason_of(error)
            self.settle("released") if reason == LEASE else self.settle("failed", reason)
            return self.away(error, admitted)
        except BaseException:
            self.settle("released")
            raise
        # A failure of the code's own says nothing of the provider, nor does what was not asked for, to save its price.
        unasked = made.fields["outcome"] == "failed" or made.fields.get("reason") == "budget"
        self.settle("released" if unasked else "succeeded")
        return made

    def settle(self, how: str, *reason: str) -> None:
        """Tell the breaker how the call ended, once: whoever cut it off has done so already."""
        admitted, self.admission = self.admission, None
        if admitted is None or self.provider is None:
            return
        try:
            getattr(self.breakers.of(self.provider), how)(admitted, *reason)
        except (StoreUnreachable, StoreBusy) as error:  # what was answered is not lost for that
            logger(__name__).warning("breaker not told", provider=self.provider, error_type=type(error).__name__)

    def away(self, error: Exception, admitted: Admission | None) -> Away:
        after, times = getattr(error, "retry_after", None), list[int]()
        if isinstance(after, (int, float)) and isfinite(after):
            times.append(self.clock.now() + int(min(max(after, 0), LARGEST) * 1e6))
        if admitted is not None and self.provider is not None:
            breaker = self.breakers.of(self.provider).state()
            if breaker.state != "closed" and breaker.retry_at is not None:
                times.append(breaker.retry_at)
        not_before = max(times, default=None)
        return Away(reason_of(error), str(error), not_before, tried=True, error_type=type(error).__name__)

    def run_code(
        self,
        code: Callable[[StageContext], Outcome],
        context: Callable[[], StageContext],
        passing: tuple[type[Exception], ...] = (),
    ) -> Made:
        """What the code came to. Whatever it raises, but for `passing`, is an honest failure."""
        ctx = context()
        try:
            return Made.of(code(ctx))
        except passing:
            raise
        except (Exception, SystemExit) as error:
            logger("mina_pipeline.worker").warning(
                "stage failed",
                session_id=ctx.session.session_id,
                stage=ctx.stage,
                run=ctx.run,
                error_type=type(error).__name__,
            )
            return Made.failed("error", type(error).__name__, str(error))


def reason_of(error: Exception) -> str:
    if isinstance(error, ProviderUnavailable):
        return error.reason
    return "timeout" if isinstance(error, TimeoutError) else "outage"
