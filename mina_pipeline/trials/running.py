"""Tried again with another provider: forks of sessions, run apart from production, and what came out side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from ..crew import WorkerThreads
from ..errors import IllegalTransition, InvalidInput, MinaError, SessionBusy, SessionNotFound, UpgradeNeeded
from ..inputs import page_size
from ..opening import find_provider, share
from ..projections import Row
from ..recovery import refuse_newer
from ..sessions import load
from ..views import Session, result, session_view, transcript_lines
from ..working import Working
from .comparing import Diff, Side, compare
from .copying import FORK, Named, Prefix, copy, prefix
from .workshop import Key, Workshop, definition_name, maker, word_of

AT_ONCE = 4
"""So many threads work on a trial, and so many sessions are tried at once."""
PAGE = 200
COLUMNS = ("session", "fork", "outcomes", "tasks", "tokens", "cost", "seconds", "differs")


def trial_provider(provider: Any, model: str | None) -> Any:
    """Who does a trial's work: an object, or a provider by its name, with this model. A model alone is one of "openai".

    InvalidInput for an unknown name, and where a model is named for a provider that takes none.
    """
    if model is None:
        return find_provider(provider)
    if provider not in (None, "openai"):
        name = provider if isinstance(provider, str) else provider.name
        raise InvalidInput("model", f'{name} takes none: leave it out, or name a provider that does ("openai")')
    from ..stages.openai import provider as openai

    return openai(model=model)


@dataclass(frozen=True)
class Trial:
    """One session tried again. session: its fork as it was at the end; None where it was `refused`, and why.

    ran: the stages that were made anew; seconds: how long they took, added up; tokens and cost: by their receipts,
    None where there are none (cost: where no answer had a price).
    """

    parent: str
    session: Session | None = None
    refused: str | None = None
    ran: tuple[str, ...] = ()
    diff: Diff | None = field(default=None, repr=False)
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost: float | None = None
    seconds: float = 0.0

    @property
    def well(self) -> bool:
        """Whether it was revealed, and nothing that was made anew has failed."""
        if self.session is None or self.session.state != "revealed":
            return False
        return all(self.session.stages[name].outcome != "failed" for name in self.ran)

    @property
    def cells(self) -> tuple[str, ...]:
        """A row under COLUMNS: ids, counts and outcomes, no text of the meeting."""
        session, diff = self.session, self.diff
        if session is None or diff is None:
            return (self.parent, "–", f"refused: {self.refused}", *"–" * (len(COLUMNS) - 3))
        both = len(diff.changed_tasks) + diff.same_tasks
        return (
            self.parent,
            session.session_id,
            ", ".join(f"{name} {session.stages[name].outcome or session.stages[name].status}" for name in self.ran),
            f"{both + len(diff.tasks_only_a)} → {both + len(diff.tasks_only_b)}",
            "–" if self.tokens_in is None else f"{self.tokens_in} + {self.tokens_out}",
            "–" if self.cost is None else f"{self.cost:.4f}",
            f"{self.seconds:.1f}",
            differences(diff),
        )

    def as_dict(self) -> dict[str, Any]:
        """By the attributes' names, for JSON."""
        out: dict[str, Any] = msgspec.to_builtins(self)
        return {**out, "well": self.well, "diff": self.diff and self.diff.as_dict()}


def differences(diff: Diff) -> str:
    """How much differs, in a few numbers: lines, tasks lost, new and changed, and the summary's wording."""
    if diff.same:
        return "nothing"
    found = [
        f"{len(diff.changed_lines)} of {diff.lines} lines",
        f"tasks -{len(diff.tasks_only_a)} +{len(diff.tasks_only_b)} ~{len(diff.changed_tasks)}",
    ]
    if diff.likeness is not None:
        found.append(f"summary {1 - diff.likeness:.0%}")
    return ", ".join(found)


class TrialList(list[Trial]):
    """Trials, in the order in which their sessions were asked for; printed, they are a table."""

    def __str__(self) -> str:
        rows = [COLUMNS, *(trial.cells for trial in self)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
        return "\n".join(lines)


class Trials(Working):
    """The part of a Pipeline that tries things on finished sessions, without touching them."""

    def fork(
        self,
        session_id: str,
        from_stage: str,
        *,
        provider: Any = None,
        model: str | None = None,
        title: str | None = None,
        wait: bool = True,
    ) -> Session:
        """A new session that copies the log up to that stage, names its parent, and runs on from there.

        It is run here, up to the reveal, by `provider` ("offline", "openai" or an object; None: the pipeline's), or by
        a `model` of it; where that is interrupted it is cancelled, for nobody else knows the definition that it pins.
        The parent is only read. wait=False only makes the fork; `run_fork` runs it.
        SessionNotFound, InvalidInput (no such stage, provider or model), IllegalTransition (not finalized, not begun,
        erased), UpgradeNeeded (the code of the parent's definition is not here): then nothing is stored.
        """
        self.refuse_inside(FORK)
        shop = self._workshop(provider, model)
        copied = self._prefix(self._row(session_id), from_stage)
        if not wait:
            return self._session(self._copied(copied, shop, title))
        running = set[str]()
        with self._working(shop, running) as threads:
            running.add(made := self._copied(copied, shop, title))
            while running:
                self._wait(shop, running, threads)
        return self._session(made)

    def run_fork(self, session_id: str, *, provider: Any = None, model: str | None = None) -> Session:
        """Run a fork that nobody works on (made with wait=False, or left by a process that was killed) to the reveal.

        InvalidInput for a session that is no fork, since workers finish those; and where the pipeline's own provider is
        not the one that it was begun with, and none is named.
        """
        self.refuse_inside("run_fork")
        row = self._row(session_id)
        key = (row["definition"], row["definition_version"])
        if key in self.code:
            raise InvalidInput("session_id", f"{session_id} is no fork: name a stage to fork it from")
        shop = self._workshop(provider, model, {self._base(row): key})
        if provider is model is None and maker(row["definition"]) != word_of(str(self.provider.name)):
            raise InvalidInput(
                "provider", f"{session_id} was being made by {maker(row['definition'])}: name who goes on"
            )
        running = {session_id}
        with self._working(shop, running) as threads:
            while running:
                self._wait(shop, running, threads)
        return self._session(session_id)

    def diff(self, a: str, b: str) -> Diff:
        """The results of two sessions side by side; SessionNotFound."""
        return compare(self._side(a), self._side(b))

    def replay_with(
        self,
        provider: Any = None,
        sessions: Iterable[str] | None = None,
        *,
        from_stage: str | None = None,
        model: str | None = None,
        limit: int = 20,
        told: Callable[[Trial], None] = lambda _: None,
    ) -> TrialList:
        """Fork many sessions, run the forks here, and compare each with its parent. The list prints as a table.

        sessions: their ids; None: the `limit` that were started last, of those revealed that are no forks.
        from_stage: None is the one that each session began with. told: hears of each trial as it ends. A session that
        cannot be forked is a row that says why; SessionNotFound for an unknown id, before anything is made.
        """
        self.refuse_inside("replay_with")
        if isinstance(sessions, str):
            raise InvalidInput("sessions", "is a list of ids, or None for the newest")
        shop = self._workshop(provider, model)
        rows = self._newest(limit) if sessions is None else map(self._row, sessions)
        parents = {row["session_id"]: row for row in rows}
        ended, ran, running = dict[str, Trial](), dict[str, tuple[str, tuple[str, ...]]](), set[str]()

        def end(trial: Trial) -> None:
            ended[trial.parent] = trial
            told(trial)

        def wait(most: int, threads: WorkerThreads) -> None:
            while len(running) > most:
                for made in self._wait(shop, running, threads):
                    end(self._trial(made, *ran.pop(made)))

        with self._working(shop, running) as threads:
            for parent, row in parents.items():
                wait(AT_ONCE - 1, threads)
                try:
                    copied = self._prefix(row, from_stage)
                    made = self._copied(copied, shop, None)
                except (IllegalTransition, InvalidInput, UpgradeNeeded) as error:
                    end(Trial(parent, refused=str(error)))
                    continue
                running.add(made)
                ran[made] = (parent, copied.stages)
            wait(0, threads)
        return TrialList(ended[parent] for parent in parents)

    # --- inside

    def _workshop(self, provider: Any, model: str | None, names: dict[Key, Key] | None = None) -> Workshop:
        """names: what forks of a definition pin; by default a new name for each that is known here."""
        asked = self.provider
        if provider is not None or model is not None:
            asked = share(trial_provider(provider, model), self.store, self.ids.uuid)
        word = model or str(asked.name)
        names = names or {key: (definition_name(key[0], word, self.ids.uuid()), key[1]) for key in self.code}
        code = {own: self.code[base] for base, own in names.items()}
        handler = replace(self.handler, definitions=frozenset(code))
        given = (asked, self.clock, self.ids, self.settings, self.observers, self._process())
        return Workshop(self.store, handler, names, code, *given)

    @contextmanager
    def _working(self, shop: Workshop, running: set[str]) -> Iterator[WorkerThreads]:
        with shop.workers(AT_ONCE) as threads:
            try:
                yield threads
            except BaseException:  # a signal too: nobody else could finish them, and what they still buy is for nothing
                shop.give_up(running)
                threads.close(0)
                raise

    def _wait(self, shop: Workshop, running: set[str], threads: WorkerThreads) -> list[str]:
        """Those that are over, taken out of `running`; looks once, and sleeps where there are none."""
        over = [one for one in sorted(running) if shop.over(one)]
        running.difference_update(over)
        if not over:
            if threads.failed.is_set():
                raise MinaError("too many stages hang: the trial is ended")
            time.sleep(self.settings.poll)
        return over

    def _prefix(self, row: Row, stage: str | None) -> Prefix:
        refuse_newer(row)  # it would be folded on as less than it is
        return prefix(row["session_id"], self.store.events(row["session_id"]), stage)

    def _copied(self, copied: Prefix, shop: Workshop, title: str | None) -> str:
        """Store the fork; its id."""
        own, _ = shop.names[self._base(self._row(copied.parent))]
        named = Named(self.ids.uuid(), self.store.draw_id(), own, title)
        append = copy(copied, named, self.clock.now(), self.ids, self.handler.delays)
        if not self.store.append(append):
            raise SessionBusy(named.session_id, 1)
        self.handler.log(append)
        return named.session_id

    def _base(self, row: Row) -> Key:
        """The definition whose code runs a session: its own, or for a fork that of the session that it goes back to."""
        pinned = "{} {}".format(row["definition"], row["definition_version"])
        while (row["definition"], row["definition_version"]) not in self.code:
            older = self.store.load(row["parent"]) if row["parent"] is not None else None
            if older is None:
                raise UpgradeNeeded("definition", pinned, ", ".join(self.known()))
            row = older
        return row["definition"], row["definition_version"]

    def _newest(self, limit: int) -> Iterator[Row]:
        """Rows of revealed sessions that are no forks, newest first."""
        left, before = page_size(limit) or 0, None
        while left and (page := self.store.sessions("revealed", None, before, PAGE)):
            before = page[-1]["id"]
            chosen = [row for row in page if row["parent"] is None][:left]
            left -= len(chosen)
            yield from chosen

    def _trial(self, made: str, parent: str, ran: tuple[str, ...]) -> Trial:
        session = self._session(made)
        runs = [runs for stage, runs in session.usage["stages"].items() if stage in ran]
        answers = [answer for one in runs for of_run in one.values() for answer in of_run]
        costs = [answer["cost"] for answer in answers if answer["cost"] is not None]
        return Trial(
            parent=parent,
            session=session,
            ran=ran,
            diff=self.diff(parent, made),
            tokens_in=sum(answer["tokens_in"] for answer in answers) if answers else None,
            tokens_out=sum(answer["tokens_out"] for answer in answers) if answers else None,
            cost=sum(costs) if costs else None,
            seconds=sum(session.stages[name].duration_ms or 0 for name in ran) / 1000,
        )

    def _row(self, session_id: str) -> Row:
        row = self.store.load(session_id)
        if row is None:
            raise SessionNotFound(session_id)
        return row

    def _session(self, session_id: str) -> Session:
        loaded = load(self.store, session_id)
        if not loaded.row:
            raise SessionNotFound(session_id)
        return session_view(loaded.row, loaded.state)

    def _side(self, session_id: str) -> Side:
        session, row = self._session(session_id), self._row(session_id)
        made = result(self.store, session_id)
        rows = () if made.transcript else self.store.rows("segments", session_id)
        lines = made.transcript.lines if made.transcript else transcript_lines(list(rows), None)
        return Side(session, row["parent"], made, lines)
