"""Whatever clients, writers and processes do in whatever order: each client sees each version once, in order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from live_places import over, taken
from soak import share

from mina_pipeline import Pipeline, Segment, frames, live
from mina_pipeline.live import Watch
from mina_pipeline.store.memory import MemoryStore

EXAMPLES = share(8, 1_500)
EXAMPLE, SEGMENT = count(1), count(1)
NAMES = ("a", "b")
HERE, ELSEWHERE = 0, 1


@dataclass
class Visitor:
    """A client, and the versions that it has got. begin: the version after which it is to get all."""

    session_id: str
    place: int
    watch: Watch | None
    begin: int
    seen: list[int] = field(default_factory=list)

    @property
    def last(self) -> int:
        return self.seen[-1] if self.seen else self.begin

    def got(self, versions: list[int]) -> None:
        assert versions == list(range(self.last + 1, self.last + 1 + len(versions)))
        self.seen += versions

    def drop(self) -> None:
        if self.watch is not None:
            self.watch.close()
        self.watch = None


class LiveMachine(RuleBasedStateMachine):
    """Two processes' views of one database, two sessions, and clients that come, stall, go and come back."""

    open: ClassVar[Callable[[], Pipeline]]
    pipelines: ClassVar[list[Pipeline]]

    @initialize()
    def begin(self) -> None:
        self.prefix = f"e{next(EXAMPLE)}-"
        self.visitors: list[Visitor] = []
        self.reached = dict.fromkeys(NAMES, 0)

    names = st.sampled_from(NAMES)
    places = st.sampled_from([HERE, ELSEWHERE])

    def write_some(self, place: int, name: str, times: int) -> None:
        pipeline, session_id = self.pipelines[place], self.prefix + name
        pipeline.start_session(session_id=session_id)
        for _ in range(times):
            text = "long " * 100 if times == 3 else "x"
            pipeline.record(session_id, [Segment(text, 0, 1, segment_id=f"s{next(SEGMENT)}")])

    def wrote(self) -> None:
        for name in NAMES:
            rows = self.pipelines[HERE].store.versions([self.prefix + name])
            self.reached[name] = rows.get(self.prefix + name, 0)

    @rule(place=places, name=names, times=st.integers(1, 9))
    def writes(self, place: int, name: str, times: int) -> None:
        self.write_some(place, name, times)
        self.wrote()

    @rule(work=st.lists(st.tuples(places, names, st.integers(1, 4)), min_size=2, max_size=4), joins=st.booleans())
    def all_write_at_once(self, work: list[tuple[int, str, int]], joins: bool) -> None:
        threads = [threading.Thread(target=self.write_some, args=one) for one in work]
        for thread in threads:
            thread.start()
        if joins:
            for place, name, _ in work:
                self.joined(place, name, 0)
        self.take_all()
        for thread in threads:
            thread.join()
        self.wrote()

    @precondition(lambda self: len(self.visitors) < 8)
    @rule(place=places, name=names, after=st.sampled_from([None, None, 0, 1, 3, 999]))
    def joins(self, place: int, name: str, after: int | None) -> None:
        visitor = self.joined(place, name, after)
        now = self.reached[name]
        if after is None or after > now:
            assert visitor.begin == now
        assert visitor.watch is not None
        assert visitor.watch.reset is (after is not None and after > now)

    def joined(self, place: int, name: str, after: int | None) -> Visitor:
        watch = self.pipelines[place].watch(self.prefix + name, after)
        visitor = Visitor(self.prefix + name, place, watch, watch.version)
        assert watch.reset or after in (None, watch.version)
        self.visitors.append(visitor)
        return visitor

    @precondition(lambda self: self.visitors)
    @rule(data=st.data())
    def one_takes(self, data: st.DataObject) -> None:
        visitor = data.draw(st.sampled_from(self.visitors))
        if visitor.watch is not None:
            visitor.got([frame.version for frame in visitor.watch.take()])

    @precondition(lambda self: self.visitors)
    @rule(data=st.data())
    def one_goes(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.visitors)).drop()

    @rule(place=places)
    def the_dropped_come_back(self, place: int) -> None:
        for visitor in self.visitors:
            if visitor.watch is None:
                self.comes_back(visitor, place)

    def comes_back(self, visitor: Visitor, place: int) -> None:
        visitor.watch, visitor.place = self.pipelines[place].watch(visitor.session_id, visitor.last), place
        assert (visitor.watch.version, visitor.watch.reset) == (visitor.last, False)

    @rule()
    def take_all(self) -> None:
        for visitor in self.visitors:
            if visitor.watch is not None:
                visitor.got([frame.version for frame in visitor.watch.take()])

    @rule(place=places)
    def a_process_restarts(self, place: int) -> None:
        self.pipelines[place].close()
        for visitor in self.visitors:
            if visitor.place == place and visitor.watch is not None:
                assert visitor.watch.closed
                visitor.drop()
        assert self.pipelines[place].live.rooms == {}
        self.pipelines[place] = type(self).open()

    def teardown(self) -> None:
        for visitor in getattr(self, "visitors", ()):
            last = self.reached[visitor.session_id[-1]]
            if visitor.watch is None:
                self.comes_back(visitor, HERE)
            assert visitor.watch is not None
            visitor.got(taken(visitor.watch, last))
            assert visitor.last == last
            assert visitor.watch.take() == ()
            visitor.drop()
        super().teardown()


@pytest.mark.laws
@pytest.mark.soak
@pytest.mark.timeout(1_200)
def test_each_client_sees_each_version_once(
    opened: Callable[..., Pipeline], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Joins, drops, returns, slow takers, restarts and writers here and elsewhere, in any order: no gap, no double."""
    monkeypatch.setattr(live, "KEPT", 6)
    monkeypatch.setattr(live, "WEIGHT", 2_000)
    monkeypatch.setattr(frames, "PAGE_WEIGHT", 2_000)
    memory = MemoryStore()

    def open_one() -> Pipeline:
        return over(memory) if url == "memory://" else opened(settings={"poll": 0.02})

    machine = type("Machine", (LiveMachine,), {"open": staticmethod(open_one), "pipelines": [open_one(), open_one()]})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    for pipeline in machine.pipelines:
        pipeline.close()
