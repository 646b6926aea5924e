"""The suite that every store passes. Subclass StoreContract in a test module and give it a `pipeline` fixture.

class TestMyStore(StoreContract):
    @pytest.fixture
    def pipeline(self):
        with Pipeline.open("my://store") as p:
            yield p
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ..commands import Begin, Finalize
from ..decisions import decide
from ..errors import ConcurrencyError, LeaseLost, SessionNotFound
from ..events import Position, RecordedEvent
from ..meeting import Segment
from ..pipeline import Pipeline
from ..ports import Append, WorkGuard
from ..projections import Op
from ..sessions import load
from ..work_shapes import Wanted

HOSTILE = "nul \x00 bell \x07 lone \ud800 e\u0301 \u202eright-to-left\u202c שלום \U0001f600 </script> %s ' \" \\ \n"


def ready(pipeline: Pipeline, *, segments: int = 2) -> str:
    """A finalized session with some segments; its id."""
    session = pipeline.start_session("contract")
    if segments:
        said = [Segment(f"word {n}", n * 1000, n * 1000 + 900, "A", 0.5) for n in range(segments)]
        pipeline.record(session.session_id, said)
    pipeline.finalize(session.session_id)
    return session.session_id


def shown(pipeline: Pipeline, after: Position, count: int) -> list[RecordedEvent]:
    """The feed once it has so many: anybody's open transaction, in any database of the cluster, holds it back."""
    found = pipeline.feed(after=after)
    for _ in range(200):
        if len(found) >= count:
            break
        time.sleep(0.05)
        found = pipeline.feed(after=after)
    return found


class StoreContract:
    """What a store guarantees. Each test says it in a sentence."""

    def next_append(self, pipeline: Pipeline, session_id: str) -> Append:
        """A finalize on the session as it is now, as a value, not yet appended."""
        now = load(pipeline.store, session_id)
        events = decide(now.state, Finalize(), session_id)
        append, _ = pipeline.handler.compose(session_id, now, events, None, None, None, None)
        return append

    def test_versions_have_no_gap(self, pipeline: Pipeline) -> None:
        """The events of a session are numbered 1, 2, 3 … and read back in that order."""
        session_id = ready(pipeline)
        pipeline.run_until_idle()
        versions = [event.version for event in pipeline.events(session_id)]
        assert versions == list(range(1, len(versions) + 1))

    def test_an_append_on_a_stale_version_writes_nothing(self, pipeline: Pipeline) -> None:
        """Of two appends decided on one version, one is written and the other leaves no trace."""
        session_id = pipeline.start_session().session_id
        first, second = self.next_append(pipeline, session_id), self.next_append(pipeline, session_id)
        assert pipeline.store.append(first) is True
        assert pipeline.store.append(second) is False
        assert [e.type for e in pipeline.events(session_id)] == ["session_started", "session_finalized"]
        assert pipeline.verify(session_id) == []

    def test_an_outcome_needs_the_newest_token(self, pipeline: Pipeline) -> None:
        """An append guarded by a token that is not the row's raises LeaseLost and writes nothing."""
        session_id = ready(pipeline)
        now, wanted = pipeline.clock.now(), Wanted(list(pipeline.code))
        old = pipeline.store.claim(now, "one", "token-1", 1, wanted)
        time.sleep(0.002)
        new = pipeline.store.claim(pipeline.clock.now(), "two", "token-2", 10**9, wanted)
        assert old is not None
        assert new is not None
        assert (old.session_id, old.stage, new.attempts) == (new.session_id, new.stage, 2)
        before = pipeline.get(session_id).version
        worker = pipeline.worker()
        with pytest.raises(LeaseLost):
            worker.run(old)
        assert pipeline.get(session_id).version == before
        worker.run(new)
        assert pipeline.get(session_id).stages["refinement"].outcome == "ok"

    def test_a_claim_is_nobody_elses(self, pipeline: Pipeline) -> None:
        """A claimed row is not claimed again before its lease ends, unless it was given back."""
        ready(pipeline)
        store, now, definitions = pipeline.store, pipeline.clock.now(), list(pipeline.code)
        wanted = Wanted(definitions)
        assert store.claim(now, "one", "t1", 500_000, wanted) is not None
        assert store.claim(now, "two", "t2", 500_000, wanted) is None
        due = store.next_due(now, definitions)
        assert due is not None
        assert 0 < due - now <= 600_000
        assert store.renew(now, ["t1", "lost"], 1_000_000) == ["t1"]
        due = store.next_due(now, definitions)
        assert due is not None
        assert due - now > 600_000
        assert store.claim(now, "two", "t3", 500_000, wanted) is None
        store.give_back("t1")
        again = store.claim(now, "two", "t4", 500_000, wanted)
        assert again is not None
        assert again.attempts == 1
        assert again.session["state"] == "finalized"

    def test_a_postponed_claim_comes_later(self, pipeline: Pipeline) -> None:
        """What is put off is due after its delay, its attempts begin anew and its tries are counted."""
        ready(pipeline)
        store, now, wanted = pipeline.store, pipeline.clock.now(), Wanted(list(pipeline.code))
        assert store.claim(now, "one", "t1", 10**9, wanted) is not None
        assert store.postpone(now, "t1", 50_000, tried=True)
        assert not store.postpone(now, "t1", 50_000)
        assert store.claim(now, "one", "t2", 10**9, wanted) is None
        time.sleep(0.06)
        claimed = store.claim(pipeline.clock.now(), "one", "t3", 10**9, wanted)
        assert claimed is not None
        assert (claimed.attempts, claimed.tries) == (1, 1)

    def test_limits_hold_across_workers(self, pipeline: Pipeline) -> None:
        """Of a limited group of stages no more are claimed at once; what is not of the group goes on."""
        for _ in range(4):
            ready(pipeline)
        pipeline.start_session()
        group = (frozenset({"refinement", "summary"}), 2)
        wanted = Wanted(list(pipeline.code), limits=[group])

        def claim(n: int) -> bool:
            return pipeline.store.claim(pipeline.clock.now(), "w", f"t{n}", 10**9, wanted) is not None

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(claim, range(8))) == 2
        assert pipeline.store.claim(pipeline.clock.now(), "w", "t9", 10**9, Wanted(list(pipeline.code))) is not None

    def test_work_rows_show_what_is_going_on(self, pipeline: Pipeline) -> None:
        """Each row of work comes with its session's state, and its times by the host's clock."""
        session_id = ready(pipeline)
        recording = pipeline.start_session().session_id
        now = pipeline.clock.now()
        claimed = pipeline.store.claim(now, "w", "t1", 10**9, Wanted(list(pipeline.code)))
        assert claimed is not None
        rows = {row["session_id"]: row for row in pipeline.store.work_rows(now)}
        assert (rows[session_id]["owner"], rows[session_id]["state"]) == ("w", "finalized")
        assert abs(rows[session_id]["until"] - now - 10**9) < 1_000_000
        grace = pipeline.settings.recording_grace * 1e6
        assert (rows[recording]["kind"], rows[recording]["stage"]) == ("timer", "recording")
        assert abs(rows[recording]["due_at"] - now - grace) < 1_000_000
        assert len(pipeline.store.work_rows(now, 1)) == 1
        (lease,) = pipeline.store.leases(now)
        assert (lease.session_id, lease.stage, lease.owner, lease.attempts) == (session_id, "refinement", "w", 1)
        assert abs(lease.until - now - 10**9) < 1_000_000

    def test_a_released_row_is_due_at_once(self, pipeline: Pipeline) -> None:
        """Whoever holds a row, and whenever it is due: released, it can be claimed."""
        session_id, recording = ready(pipeline), pipeline.start_session().session_id
        now, wanted = pipeline.clock.now(), Wanted(list(pipeline.code))
        assert pipeline.store.claim(now, "w", "t1", 10**9, wanted) is not None
        assert pipeline.store.claim(now, "w", "t2", 10**9, wanted) is None
        assert pipeline.store.release(now, session_id, "stage", "refinement")
        assert pipeline.store.release(now, recording, "timer", "recording")
        assert not pipeline.store.release(now, "nobody", "timer", "recording")
        for token in ("t3", "t4"):
            assert pipeline.store.claim(pipeline.clock.now(), "w", token, 10**9, wanted) is not None

    def test_unknown_definitions_are_not_claimed(self, pipeline: Pipeline) -> None:
        """A worker claims only work of definitions that it knows."""
        ready(pipeline)
        now = pipeline.clock.now()
        assert pipeline.store.claim(now, "one", "t1", 1000, Wanted([("other", 1)])) is None
        assert pipeline.store.next_due(now, [("other", 1)]) is None

    def test_excluded_sessions_are_left_to_others(self, pipeline: Pipeline) -> None:
        """A worker that cannot read a session's log claims past it, and does not wait for it."""
        first, second = ready(pipeline), ready(pipeline)
        now, definitions = pipeline.clock.now(), list(pipeline.code)
        others = Wanted(definitions, exclude=[first])
        claimed = pipeline.store.claim(now, "one", "t1", 10**9, others)
        assert claimed is not None
        assert claimed.session_id == second
        assert pipeline.store.claim(now, "one", "t2", 10**9, others) is None
        assert pipeline.store.next_due(now, definitions, exclude=[first, second]) is None

    def test_fifty_threads_finalize_once(self, pipeline: Pipeline) -> None:
        """Fifty finalizes at once append one session_finalized, and everyone gets the same answer."""
        session_id = pipeline.start_session().session_id
        pipeline.record(session_id, [Segment("hello", 0, 1500, confidence=0.5)])
        with ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(lambda _: pipeline.finalize(session_id), range(50)))
        assert len({(a.version, str(a.stats)) for a in answers}) == 1
        assert [e.type for e in pipeline.events(session_id)].count("session_finalized") == 1

    def test_threads_that_record_lose_nothing(self, pipeline: Pipeline) -> None:
        """Twenty threads that record into one session get every segment in, each once, each ordinal once."""
        session_id = pipeline.start_session().session_id

        def record(n: int) -> None:
            pipeline.record(session_id, [Segment(f"s{n}", n, n + 1, segment_id=f"id{n}"), Segment("x", n, n)])

        with ThreadPoolExecutor(20) as pool:
            list(pool.map(record, range(20)))
        rows = pipeline.store.rows("segments", session_id)
        assert [row["ordinal"] for row in rows] == list(range(1, 41))
        assert pipeline.get(session_id).total_segments == 40
        assert pipeline.verify(session_id) == []

    def test_hostile_text_comes_back_the_same(self, pipeline: Pipeline) -> None:
        """Control characters and lone surrogates are cleaned, everything else comes back as it went in."""
        session_id = pipeline.start_session(HOSTILE, metadata={"k": HOSTILE}).session_id
        pipeline.record(session_id, [Segment(HOSTILE, 0, 1, speaker=HOSTILE.strip())])
        clean = HOSTILE.replace("\x00", "").replace("\x07", "").replace("\ud800", "\ufffd").replace("\n", " ")
        assert pipeline.get(session_id).title == clean
        assert pipeline.get(session_id).metadata == {"k": clean}
        assert pipeline.events(session_id)[1].data["texts"] == [clean]
        assert pipeline.store.rows("segments", session_id)[0]["text"] == clean
        assert pipeline.verify(session_id) == []

    def test_the_feed_has_everything_in_order(self, pipeline: Pipeline) -> None:
        """The feed yields each event of each session once, in version order, and resumes from a position."""
        start = pipeline.store.head().position
        ids = [ready(pipeline) for _ in range(3)]
        pipeline.run_until_idle()
        written = {session_id: [event.version for event in pipeline.events(session_id)] for session_id in ids}
        found = shown(pipeline, start, sum(map(len, written.values())))
        for session_id in ids:
            assert [event.version for event in found if event.session_id == session_id] == written[session_id]
        first = pipeline.feed(after=start, limit=5)
        rest = pipeline.feed(after=str(first[-1].position))
        assert [e.event_id for e in first + rest] == [e.event_id for e in found]

    def test_headers_are_the_feed_without_bodies(self, pipeline: Pipeline) -> None:
        """Headers come as the feed does, page by page; a session that has lost its row is found by them."""
        session_id = ready(pipeline)
        count = len(shown(pipeline, Position(0, 0, 0), 3))
        wanted = [(event.session_id, event.version, event.type) for event in pipeline.feed()]
        assert pipeline.store.headers(None, count)[0] == wanted
        for size in (1, 2, count - 1, count + 1):
            found, after = pipeline.store.headers(None, size)
            while after is not None:
                more, after = pipeline.store.headers(after, size)
                found += more
            assert found == wanted
        assert pipeline.unlisted() == []
        gone = Op("delete", "sessions", ({"session_id": session_id},))
        assert pipeline.store.correct(pipeline.clock.now(), session_id, pipeline.get(session_id).version, [gone])
        assert [problem.session_id for problem in pipeline.unlisted()] == [session_id]

    def test_versions_and_headers_of_many_sessions(self, pipeline: Pipeline) -> None:
        """Many sessions are looked at in one read; one that is not there is left out."""
        ids = [ready(pipeline) for _ in range(3)]
        pipeline.run_until_idle()
        reached = {one: pipeline.get(one).version for one in ids}
        store = pipeline.store
        assert store.versions([*ids, "nobody"]) == reached
        assert store.versions([]) == {} and store.headers_after({}) == []
        after = {one: version - 2 - n for n, (one, version) in enumerate(reached.items())}
        found = store.headers_after({**after, "nobody": 0})
        for one in ids:
            of = [(event.session_id, event.version, event.type) for event in pipeline.events(one, after[one])]
            assert [header for header in found if header[0] == one] == of
        assert len(found) == 2 + 3 + 4

    def test_subscribers_hear_everything_once(self, pipeline: Pipeline) -> None:
        """A subscriber has heard each event of each session once and in order when run_until_idle returns."""
        heard: list[RecordedEvent] = []
        before = ready(pipeline)
        with pipeline.subscribe(heard.append):
            ids = [ready(pipeline) for _ in range(3)]
            pipeline.run_until_idle()
            for session_id in ids:
                mine = [event.version for event in heard if event.session_id == session_id]
                assert mine == [event.version for event in pipeline.events(session_id)]
        late = [event.version for event in heard if event.session_id == before]
        assert late == sorted(set(late))

    def test_integer_ids_grow(self, pipeline: Pipeline) -> None:
        """Integer ids rise with each session, find it, and page the list."""
        sessions = [pipeline.start_session(f"t{n}", tenant="x") for n in range(4)]
        ids = [session.id for session in sessions]
        assert ids == sorted(set(ids))
        assert pipeline.get(ids[1]).session_id == sessions[1].session_id
        assert [s.id for s in pipeline.sessions(limit=2)] == ids[:1:-1]
        assert [s.id for s in pipeline.sessions(before=ids[2])][:2] == [ids[1], ids[0]]
        assert pipeline.sessions(tenant="y") == []
        assert pipeline.sessions(state="revealed") == []

    def test_expected_versions(self, pipeline: Pipeline) -> None:
        """A caller who names a version gets ConcurrencyError with both versions when it is not the one."""
        session_id = pipeline.start_session().session_id
        assert pipeline.finalize(session_id, expected=1).version == 2
        with pytest.raises(ConcurrencyError) as error:
            pipeline.cancel(session_id, expected=1)
        assert (error.value.expected, error.value.actual) == (1, 2)

    def test_unknown_sessions(self, pipeline: Pipeline) -> None:
        """Reading or commanding an unknown session raises SessionNotFound and writes nothing."""
        calls: list[Any] = [pipeline.get, pipeline.events, pipeline.result, pipeline.finalize, pipeline.verify]
        for call in calls:
            with pytest.raises(SessionNotFound):
                call("nobody")
        assert pipeline.feed() == []

    def test_rebuild_mends_what_verify_finds(self, pipeline: Pipeline) -> None:
        """A read model that was changed behind the log is reported, and written anew from it."""
        session_id = ready(pipeline)
        pipeline.run_until_idle()
        version = pipeline.get(session_id).version
        row = {"session_id": session_id, "segment_id": "1", "text": "forged"}
        assert pipeline.store.correct(pipeline.clock.now(), session_id, version, [Op("update", "segments", (row,))])
        assert [problem.what for problem in pipeline.verify(session_id)] == ["read model"]
        assert pipeline.rebuild(session_id) == 1
        assert pipeline.verify(session_id) == []

    def test_a_guard_names_run_and_token(self, pipeline: Pipeline) -> None:
        """A guard for a row that is not there refuses the append."""
        session_id = ready(pipeline)
        guard = WorkGuard("refinement", 1, "never-claimed")
        with pytest.raises(LeaseLost):
            pipeline.handler.execute(session_id, Begin(stage="refinement", run=1), guard=guard)
        assert pipeline.get(session_id).state == "finalized"
