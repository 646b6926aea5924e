"""Every store against a plain model: whatever callers do in whatever order, log, snapshot and feed say the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from soak import share

from mina_pipeline import (
    ANY_VERSION,
    NO_STREAM,
    CommandIdReused,
    ConcurrencyError,
    IllegalTransition,
    MinaError,
    Ok,
    Pipeline,
    Segment,
    SegmentIdReused,
    define,
    stage,
)
from mina_pipeline.commands import Finalize
from mina_pipeline.decisions import decide
from mina_pipeline.sessions import load
from mina_pipeline.store.memory import MemoryStore
from mina_pipeline.store.sqlite import immediate

EXAMPLES = share(60, 10_000)
EXAMPLE = count(1)
RUNS = ("one_started", "one_ready", "two_started", "two_ready", "post_transcription_reveal", "dashboard_refresh")


@stage("one", running="doing_one")
def one(_ctx: Any) -> Ok:
    return Ok({})


@stage("two", after="one", running="doing_two")
def two(_ctx: Any) -> Ok:
    return Ok({})


TINY = define("tiny", one, two)


@dataclass
class Plain:
    """A session as a child would keep it: what happened, what was said, which commands came."""

    types: list[str] = field(default_factory=lambda: ["session_started"])
    state: str = "recording"
    said: dict[str, str] = field(default_factory=dict)
    commands: dict[str, str] = field(default_factory=dict)

    def copy(self) -> Plain:
        return Plain(list(self.types), self.state, dict(self.said), dict(self.commands))

    @property
    def version(self) -> int:
        return len(self.types)

    def ask(self, what: str, command_id: str | None, expected: int | None) -> type[MinaError] | None:
        """What a command must meet before it is decided; `Repeated` where it took effect before."""
        if command_id is not None and command_id in self.commands:
            return Repeated if self.commands[command_id] == what else CommandIdReused
        return ConcurrencyError if expected is not ANY_VERSION and expected != self.version else None

    def happened(self, type: str, what: str, command_id: str | None) -> None:
        self.types.append(type)
        if command_id is not None:
            self.commands[command_id] = what

    def record(self, said: list[tuple[str | None, str]]) -> type[MinaError] | dict[str, str]:
        fresh: dict[str, str] = {}
        for name, text in said:
            key = name or str(len(self.said) + len(fresh) + 1)
            known = self.said.get(key, fresh.get(key))
            if known is not None and known != text:
                return SegmentIdReused
            if known is None:
                fresh[key] = text
        return IllegalTransition if fresh and self.state != "recording" else fresh


class Repeated(MinaError):
    """Not an error of the library's: the model's word for a command that took effect before."""


class StoreMachine(RuleBasedStateMachine):
    """Commands from anywhere, host transactions, stale writers, workers; the model beside it."""

    pipeline: ClassVar[Pipeline]
    host: ClassVar[sa.Engine | None]

    @initialize()
    def begin(self) -> None:
        if isinstance(self.pipeline.store, MemoryStore):  # its transactions copy all that there is
            type(self).pipeline = Pipeline.open("memory://", definition=TINY)
        self.prefix = f"e{next(EXAMPLE)}-"
        self.plain: dict[str, Plain] = {}
        self.start = self.pipeline.store.head()
        self.door: Pipeline = self.pipeline
        self.sent: dict[str, tuple[list[tuple[str | None, str]], str | None]] = {}
        self.started("a", ANY_VERSION)

    @contextmanager
    def outcome(self, error: type[MinaError] | None) -> Iterator[None]:
        if error is None or error is Repeated:
            yield
        else:
            with pytest.raises(error):
                yield

    names = st.sampled_from(["a", "a", "a", "b"])
    command_ids = st.sampled_from([None, "c1", "c1", "c2"])
    expectations = st.sampled_from([ANY_VERSION, ANY_VERSION, ANY_VERSION, NO_STREAM, 1, 2, 3])
    # Ids that callers give never look like the ordinals that the library gives.
    saying = st.sampled_from(
        [[(None, "hi")], [(None, "ho")], [("x", "hi")], [("x", "ho")], [("y", "hi"), (None, "ho"), ("y", "hi")], []]
    )

    @rule(name=names, expected=st.sampled_from([ANY_VERSION, NO_STREAM]))
    def started(self, name: str, expected: int | None) -> None:
        plain = self.plain.get(name)
        with self.outcome(ConcurrencyError if plain and expected is NO_STREAM else None):
            session = self.door.start_session(session_id=self.prefix + name, expected=expected)
            self.plain.setdefault(name, Plain())
            assert session.version == self.plain[name].version

    @rule(name=names, said=saying, command_id=command_ids, expected=expectations)
    def recorded(
        self, name: str, said: list[tuple[str | None, str]], command_id: str | None, expected: int | None
    ) -> None:
        if (plain := self.plain.get(name)) is None:
            return
        self.sent[name] = (said, command_id)
        what = f"record {said}"
        error, fresh = plain.ask(what, command_id, expected), plain.record(said)
        if error is None and isinstance(fresh, type):
            error = fresh
        with self.outcome(error):
            segments = [Segment(text, 0, 1, segment_id=key) for key, text in said]
            session = self.door.record(self.prefix + name, segments, command_id, expected=expected)
            if error is None and isinstance(fresh, dict) and fresh:
                plain.said.update(fresh)
                plain.happened("segments_recorded", what, command_id)
            assert session.version == plain.version

    @rule(name=names)
    def recorded_again(self, name: str) -> None:
        """The very same call once more, as a client does that got no answer."""
        if name in self.sent:
            self.recorded(name, *self.sent[name], ANY_VERSION)

    @rule(name=names, command_id=command_ids, expected=expectations)
    def finalized(self, name: str, command_id: str | None, expected: int | None) -> None:
        self.ended(name, "finalize", command_id, expected, {"recording": "finalized"}, ("finalized", "revealed"))

    @rule(name=names, command_id=command_ids, expected=expectations)
    def cancelled(self, name: str, command_id: str | None, expected: int | None) -> None:
        moves = {"recording": "cancelled", "finalized": "cancelled"}
        self.ended(name, "cancel", command_id, expected, moves, ("cancelled",))

    def ended(
        self,
        name: str,
        what: str,
        command_id: str | None,
        expected: int | None,
        moves: dict[str, str],
        done: tuple[str, ...],
    ) -> None:
        if (plain := self.plain.get(name)) is None:
            return
        error = plain.ask(what, command_id, expected)
        if error is None and plain.state not in (*moves, *done):
            error = IllegalTransition
        with self.outcome(error):
            call: Callable[..., Any] = getattr(self.door, what)
            session = call(self.prefix + name, command_id=command_id, expected=expected)
            if error is None and plain.state in moves:
                plain.state = moves[plain.state]
                plain.happened(f"session_{'finalized' if what == 'finalize' else 'cancelled'}", what, command_id)
            assert (session.version, session.state) == (plain.version, plain.state)

    @rule()
    def worked(self) -> None:
        if self.door is not self.pipeline:
            return
        self.pipeline.run_until_idle()
        for plain in self.plain.values():
            if plain.state == "finalized":
                plain.state = "revealed"
                plain.types += RUNS

    @rule(name=names, between=st.sampled_from(["nothing", "record", "finalize"]), command_id=command_ids)
    def slow(self, name: str, between: str, command_id: str | None) -> None:
        """Somebody decides, another is quicker, and then the first appends: only where nothing has changed."""
        plain = self.plain.get(name)
        if plain is None or plain.state != "recording":
            return
        session_id = self.prefix + name
        now = load(self.pipeline.store, session_id)
        mark = None if command_id is None else "finalize"
        events = decide(now.state, Finalize(), session_id)
        append = self.pipeline.handler.compose(session_id, now, events, command_id, mark, None, None)[0]
        if between == "record":
            self.recorded(name, [(None, "quick")], None, ANY_VERSION)
        elif between == "finalize":
            self.finalized(name, None, ANY_VERSION)
        fits = between == "nothing" and command_id not in plain.commands
        assert self.pipeline.store.append(append) is fits
        if fits:
            plain.state = "finalized"
            # The append was made by hand: its fingerprint is that of no command.
            plain.happened("session_finalized", "by hand", command_id)

    @rule(data=st.data(), commits=st.booleans(), acts=st.lists(st.sampled_from(["r", "f", "c", "s"]), max_size=3))
    def in_a_hosts_transaction(self, data: st.DataObject, commits: bool, acts: list[str]) -> None:
        before = {name: plain.copy() for name, plain in self.plain.items()}
        with self.transaction() as (connection, end):
            self.door = self.pipeline.using(connection)
            try:
                for act in acts:
                    name, command_id = data.draw(self.names), data.draw(self.command_ids)
                    match act:
                        case "s":
                            self.started(name, ANY_VERSION)
                        case "r":
                            self.recorded(name, data.draw(self.saying), command_id, ANY_VERSION)
                        case "f":
                            self.finalized(name, command_id, ANY_VERSION)
                        case _:
                            self.cancelled(name, command_id, ANY_VERSION)
            finally:
                self.door = self.pipeline
                end(commits)
        if not commits:
            self.plain = before

    @contextmanager
    def transaction(self) -> Iterator[tuple[Any, Callable[[bool], None]]]:
        store = self.pipeline.store
        if isinstance(store, MemoryStore):
            memory = store.begin()
            yield memory, lambda commits: memory.commit() if commits else memory.rollback()
            return
        assert self.host is not None
        with self.host.connect() as connection:
            transaction = connection.begin()
            yield connection, lambda commits: transaction.commit() if commits else transaction.rollback()

    @invariant()
    def the_log_is_the_models(self) -> None:
        for name, plain in getattr(self, "plain", {}).items():
            events = self.pipeline.events(self.prefix + name)
            assert [event.type for event in events] == plain.types
            assert [event.version for event in events] == list(range(1, plain.version + 1))
            session = self.pipeline.get(self.prefix + name)
            assert (session.state, session.version) == (plain.state, plain.version)

    def teardown(self) -> None:
        for name, plain in getattr(self, "plain", {}).items():
            session_id = self.prefix + name
            assert self.pipeline.verify(session_id) == []
            rows = self.pipeline.store.rows("segments", session_id)
            assert {row["segment_id"]: row["text"] for row in rows} == plain.said
        if hasattr(self, "start"):
            shown: dict[str, list[int]] = {}
            for event in self.pipeline.feed(self.start.position):
                shown.setdefault(event.session_id, []).append(event.version)
            for versions in shown.values():  # the newest may be held back by another's transaction: never the order
                assert versions == list(range(versions[0], versions[0] + len(versions)))
        super().teardown()


@pytest.mark.laws
@pytest.mark.soak
@pytest.mark.timeout(1_200)
def test_a_store_is_a_plain_log(opened: Callable[..., Pipeline], url: str) -> None:
    """Commands, host transactions, stale writers and workers in any order leave what the model says."""
    host: sa.Engine | None = None
    if url.startswith("sqlite"):
        host = immediate(sa.create_engine(url))
    elif url.startswith("postgresql"):
        host = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    machine = type("Machine", (StoreMachine,), {"pipeline": opened(definition=TINY), "host": host})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    if host is not None:
        host.dispose()
