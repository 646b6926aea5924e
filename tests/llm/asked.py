"""What the model's tests share: a context with receipts, meetings, and a truthful model behind a real server."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from mina_pipeline.llm.answers import Answer
from mina_pipeline.meeting import Segment
from mina_pipeline.stages.base import Deadline, SessionInfo, StageContext
from mina_pipeline.stages.openai import provider
from mina_pipeline.stages.openai.stages import OpenAIProvider
from mina_pipeline.testing.openai_server import OpenAIServer, Request
from mina_pipeline.testing.truthful_model import rows, truthful

__all__ = ["asking", "context", "long_meeting", "meeting", "opened", "rows", "truthful"]

MONDAY = 1_772_438_400_000_000  # 2026-03-02 08:00 UTC, in µs


class Interrupted(BaseException):
    """As the worker's context raises it, once the work is another's."""


@dataclass
class Receipts:
    """What was recorded, by chunk and digest; safe to use from many threads."""

    deadline: Deadline
    kept: dict[tuple[str, str], Answer] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    totals: list[int | None] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(
        self, chunk: str, digest: str, make: Callable[[], Answer], total: int | None = None, at_once: int = 1
    ) -> Answer:
        assert re.fullmatch("[0-9a-f]{64}", digest)
        with self.lock:
            known = self.kept.get((chunk, digest))
        if known is not None:
            return known
        if self.deadline.ended:
            raise Interrupted
        answer = make()
        json.dumps(answer.value)
        with self.lock:
            self.made.append(chunk)
            self.totals.append(total)
            return self.kept.setdefault((chunk, digest), answer)

    @property
    def tokens(self) -> int:
        return sum(answer.tokens_in + answer.tokens_out for answer in self.kept.values())


def context(
    segments: Iterable[Segment], *, receipts: Receipts | None = None, seconds: float = 60.0, **given: Any
) -> StageContext:
    deadline = Deadline(time.monotonic() + seconds, time.monotonic)
    if receipts is not None:
        deadline = receipts.deadline
    fields: dict[str, Any] = {
        "session": SessionInfo("s", 1, None, None, None, MONDAY, None, None, MappingProxyType({})),
        "stage": "refinement",
        "run": 1,
        "segments": tuple(segments),
        "results": {},
        "previous": None,
        "deadline": deadline,
        "provider": None,
        "new_id": lambda: "id",
        "checkpoint": lambda key, make: make(),
        "progress": lambda done, total=None: None,
        "receipt": receipts or Receipts(deadline),
    }
    return StageContext(**fields | given)


def opened(server: OpenAIServer, **given: Any) -> OpenAIProvider:
    return provider(environ={}, base_url=server.base_url, api_key="test", **given)


@contextmanager
def asking(answer: Callable[[Request], Any] | None = None, **given: Any) -> Any:
    """(server, provider): a truthful model behind a real server, unless another is given."""
    limits = {name: given.pop(name) for name in ("models", "context", "api_key_wanted") if name in given}
    with OpenAIServer(answer or truthful, **limits) as server:
        yield server, opened(server, **given)


def meeting(*texts: str, speakers: Iterable[str] = ("Anna", "Ben")) -> list[Segment]:
    names = list(speakers)
    return [
        Segment(text, at * 4_000, at * 4_000 + 3_500, names[at % len(names)], 0.9, f"seg-{at + 1}")
        for at, text in enumerate(texts)
    ]


def long_meeting(hours: float = 10.0, minutes_a_subject: int = 15) -> list[Segment]:
    """Some hours of talk, a subject after the other: "point 17 of the budget is settled and …"."""
    subjects = "budget hiring parking printer canteen website contracts insurance training travel".split()
    found = []
    for at in range(int(hours * 3600 / 6)):
        subject = subjects[(at * 6 // 60 // minutes_a_subject) % len(subjects)]
        text = f"point {at} about the {subject} plan is that the {subject} team should look at {subject} again soon"
        if at % 200 == 57:
            text = f"i will send the {subject} report number {at} to everybody by friday"
        found.append(Segment(text, at * 6_000, at * 6_000 + 5_500, "Anna" if at % 3 else "Ben", 0.8, f"seg-{at}"))
    return found
