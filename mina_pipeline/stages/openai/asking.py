"""One stage's questions: a receipt for each part, several parts at once, what is too long in halves."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from math import inf
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from ...errors import ProviderUnavailable
from ...llm.answers import Answer
from ...llm.client import ModelClient
from ...llm.requests import Request
from ...llm.schemas import read, reread
from ...llm.verdicts import CallFailed, Cancelled, Verdict
from ..base import Deadline, Receipt, StageContext

S = TypeVar("S", bound=msgspec.Struct)
P = TypeVar("P", bound="Part")


class Part(Protocol):
    """Something to ask about. name: what its receipt is kept under."""

    @property
    def name(self) -> str: ...
    def halves(self: P) -> tuple[P, P] | None: ...


@dataclass(frozen=True)
class Heard(Generic[P, S]):
    """What came of a part. answer: None where there is none that could be used; `why`, in a word or two, says why."""

    part: P
    answer: S | None
    model: str | None = None
    why: str | None = None


@dataclass
class Asker(Generic[P, S]):
    """Asks for all parts of one pass.

    Until the server has answered once, parts are asked one by one: a wrong key costs one request, and so does the
    probe of a breaker that was open. What fails for a while ends the pass, when the calls that are out have come back
    and been recorded: the next attempt reads those. What fails for good, or the end of our time, cuts them off.
    """

    client: ModelClient
    receipt: Receipt
    session_id: str
    deadline: Deadline
    shape: type[S]
    request: Callable[[P], Request]
    total: int | None = None
    width: int = 1
    """How many parts are asked for at once."""
    stop: threading.Event = field(default_factory=threading.Event)
    spent: str | None = None
    """Why nothing more is bought, where that is so for all parts."""

    @classmethod
    def of(
        cls, client: ModelClient, ctx: StageContext, shape: type[S], request: Callable[[P], Request], total: int | None
    ) -> Asker[P, S]:
        return cls(client, ctx.receipt, ctx.session.session_id, ctx.deadline, shape, request, total)

    def all(self, parts: Sequence[P]) -> list[Heard[P, S]]:
        """What came of each, in order. Raises ProviderUnavailable, GaveUp, and whatever a receipt raises."""
        heard: list[list[Heard[P, S]]] = []
        self.width = max(1, min(len(parts), self.client.concurrency))
        for part in parts:
            if self.client.proven and len(parts) - len(heard) > 1:
                break
            heard.append(self.one(part))
        heard.extend(self.at_once(parts[len(heard) :]))
        return [one for found in heard for one in found]

    def at_once(self, parts: Sequence[P]) -> list[list[Heard[P, S]]]:
        if not parts:
            return []
        width = min(len(parts), self.client.concurrency)
        waiting = deque(enumerate(parts))
        out: dict[Future[list[Heard[P, S]]], int] = {}
        made: dict[int, list[Heard[P, S]]] = {}
        passing: ProviderUnavailable | None = None
        with ThreadPoolExecutor(width, thread_name_prefix="mina-chunk") as pool:
            try:
                while out or (waiting and passing is None):
                    while waiting and len(out) < width and passing is None:
                        at, part = waiting.popleft()
                        out[pool.submit(contextvars.copy_context().run, self.one, part)] = at
                    for future in wait(out, return_when=FIRST_COMPLETED).done:
                        at = out.pop(future)
                        try:
                            made[at] = future.result()
                        except ProviderUnavailable as error:
                            passing = passing or error
            finally:
                self.stop.set()  # where all is well nothing is out any more
        if passing is not None:
            raise passing
        return [made[at] for at in range(len(parts))]

    def remaining(self) -> float:
        return -inf if self.stop.is_set() else self.deadline.remaining()

    def one(self, part: P) -> list[Heard[P, S]]:
        """A part, or its halves; the only one that raises, but for what its receipt raises, what `all` says."""
        request = self.request(part)
        try:
            answer = self.receipt(part.name, request.digest, lambda: self.make(request), self.total, self.width)
        except CallFailed as error:
            if error.verdict is Verdict.SPLIT:
                return self.split(part, error.reason)
            if error.verdict is not Verdict.DEGRADE:
                raise
            if error.reason == "quota":
                self.spent = error.reason
            return [Heard(part, None, why=error.reason)]
        except Cancelled:
            raise self.ended(part, request) from None
        return self.understood(part, answer)

    def make(self, request: Request) -> Answer:
        if self.spent is not None:
            raise CallFailed(Verdict.DEGRADE, self.spent)
        return self.client.answer(request, self.session_id, self.validated, self.remaining)

    def validated(self, text: str) -> Any:
        return msgspec.to_builtins(read(text, self.shape))

    def understood(self, part: P, answer: Answer) -> list[Heard[P, S]]:
        """A recorded answer, which another release may have recorded."""
        value = answer.value if isinstance(answer.value, dict) else {}
        why = str(value.get("none") or "unusable answer")
        if "answer" in value:
            try:
                return [Heard(part, reread(value["answer"], self.shape), answer.model)]
            except ValueError:
                why = "unusable answer"
        return self.split(part, why) if why == "cut off" else [Heard(part, None, why=why)]

    def split(self, part: P, why: str) -> list[Heard[P, S]]:
        halves = part.halves()
        if halves is None:
            return [Heard(part, None, why=why)]
        return [heard for half in halves for heard in self.one(half)]

    def ended(self, part: P, request: Request) -> Exception:
        """What a call that was cut off amounts to. A receipt refuses, by an exception of its own, what is another's."""
        if self.deadline.ended:

            def gone() -> Answer:
                raise ProviderUnavailable(self.client.provider, "deadline", 0.0)

            self.receipt(part.name, request.digest, gone, self.total)
        reason = "deadline" if self.deadline.has_passed() else "lease"
        return ProviderUnavailable(self.client.provider, reason, 0.0)
