"""What a stage has paid a model for: each answer is recorded before it is used, and bought once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from . import commands as ask
from .codec import builtins, clean, decode, recorded
from .errors import LeaseLost
from .events import StageProgress, Usage
from .interrupted import Interrupted
from .llm.answers import Answer
from .ports import Store
from .sessions import Sessions
from .stages.base import Deadline
from .work_shapes import Claimed

Key = tuple[str, str]


@dataclass
class Receipts:
    """The receipts of one claimed run, for `StageContext.receipt`. Safe to call from several threads.

    A receipt is known by stage, chunk and hash. anew: a person asked for this run, so that what earlier ones bought
    does not count. resumed: the run was under way when it was claimed. told: hears what each answer cost.
    """

    store: Store
    sessions: Sessions
    claimed: Claimed
    owner: str
    deadline: Deadline
    stage_deadline: float
    anew: bool
    resumed: bool
    told: Callable[[str, int, int, float | None], None]
    known: dict[Key, tuple[int, Answer]] = field(default_factory=dict)
    done: set[Key] = field(default_factory=set)
    begun: int = 0
    version: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(
        self, chunk: str, digest: str, make: Callable[[], Answer], total: int | None = None, at_once: int = 1
    ) -> Answer:
        """The answer that was recorded for this chunk and hash; or what `make` gives, recorded.

        at_once: how many chunks the stage asks for at the same time, in the order in which it asks after them here. So
        many may have been out when whoever had this run before died: the first so many that are bought are in doubt.
        """
        key = (chunk, digest)
        with self.lock:
            self.read()  # each time: who had this run before us may have recorded its answer meanwhile
            if key in self.known:
                self.done.add(key)
                return self.known[key][1]
            if self.deadline.ended:  # what is another's buys nothing more: whoever has it now buys that itself
                raise Interrupted(LeaseLost(self.claimed.session_id, self.claimed.stage, self.claimed.run))
            in_doubt = self.resumed and self.begun < at_once
            self.begun += 1
        try:
            answer = make()
        except BaseException:  # nothing was bought here
            with self.lock:
                self.begun -= 1
            raise
        with self.lock:
            self.record(key, answer, total, in_doubt)
            self.deadline.extend(self.stage_deadline)
            return self.known[key][1]

    def record(self, key: Key, answer: Answer, total: int | None, in_doubt: bool) -> None:
        """It needs no lease: what is paid for is kept, whoever has the run now."""
        self.done.add(key)
        usage = Usage(
            answer.provider,
            answer.model,
            answer.tokens_in,
            answer.tokens_out,
            answer.cost,
            answer.temperature,
            answer.seed,
            in_doubt,
        )
        report = ask.Report(
            stage=self.claimed.stage,
            run=self.claimed.run,
            done=len(self.done),
            total=total,
            key=key[0],
            hash=key[1],
            usage=usage,
            value=clean(builtins(answer.value)),
        )
        try:
            self.sessions.execute(self.claimed.session_id, report, actor=self.owner)
        except Exception as error:
            raise Interrupted(error) from error
        self.told(answer.model, answer.tokens_in, answer.tokens_out, answer.cost)
        self.read()  # ours, unless somebody's was first

    def read(self) -> None:
        """What was recorded since the last look: the latest run's, and of one run the first."""
        try:
            for row in self.store.events(self.claimed.session_id, after=self.version):
                self.version = row["version"]
                if row["type"] == f"{self.claimed.stage}_progress":
                    event = decode(recorded(row))
                    if isinstance(event, StageProgress):
                        self.take(event)
        except Exception as error:  # what was bought cannot be read: no reason to buy it again, or to fail
            raise Interrupted(error) from error

    def take(self, event: StageProgress) -> None:
        if event.key is None or event.hash is None or event.usage is None:
            return
        if self.anew and event.run != self.claimed.run:
            return
        key, of = (event.key, event.hash), event.usage
        if key not in self.known or self.known[key][0] < event.run:
            answer = Answer(
                event.value, of.model, of.tokens_in, of.tokens_out, of.cost, of.provider, of.temperature, of.seed
            )
            self.known[key] = event.run, answer
