"""Live rooms: a watch misses nothing and sees nothing twice, whatever happens to rooms, readers and the database."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from live_places import PATIENCE, Faltering, frames, taken, until
from structlog.testing import capture_logs

from mina_pipeline import InvalidInput, MinaError, Ok, Pipeline, Segment, StoreUnreachable, define, live, stage
from mina_pipeline.live import Watch

Open = Callable[..., Pipeline]


def say(p: Pipeline, session_id: str, count: int = 1, text: str = "x") -> int:
    """Record so many times; the version reached."""
    return [p.record(session_id, [Segment(text, n, n)]).version for n in range(count)][-1]


def test_from_a_version_on_then_live(pipeline: Pipeline) -> None:
    """0 is all, a number is what came after it, None is from now on; then what comes."""
    session_id = pipeline.start_session().session_id
    say(pipeline, session_id, 4)
    watches = [pipeline.watch(session_id, after) for after in (0, 3, None, 5, -7)]
    last = say(pipeline, session_id, 3)
    seen = [taken(watch, last) for watch in watches]
    assert seen == [list(range(1, 9)), [4, 5, 6, 7, 8], [6, 7, 8], [6, 7, 8], list(range(1, 9))]
    assert not any(watch.reset for watch in watches)


def test_an_unknown_version_is_told_and_goes_on_from_now(pipeline: Pipeline) -> None:
    """reset says that the version is not known; the watch goes on after the last that there is."""
    session_id = pipeline.start_session().session_id
    first, second = pipeline.watch(session_id, 10), pipeline.watch(session_id, 2**70)
    assert (first.reset, first.version) == (second.reset, second.version) == (True, 1)
    assert taken(first, say(pipeline, session_id, 2)) == [2, 3]
    assert pipeline.watch("nobody", 1).reset
    assert not pipeline.watch("nobody", 0).reset


def test_a_session_that_is_yet_to_come(pipeline: Pipeline) -> None:
    """It is heard from its first event, and an id that cannot be is refused."""
    watches = [pipeline.watch("later", after) for after in (None, 0)]
    pipeline.start_session(session_id="later")
    last = say(pipeline, "later")
    assert [taken(watch, last) for watch in watches] == [[1, 2], [1, 2]]
    with pytest.raises(InvalidInput):
        pipeline.watch("nul \0")


def test_another_pipelines_events_are_no_news(opened: Open, url: str) -> None:
    """From now on means from what is committed, also where a room has not heard of it yet."""
    if url == "memory://":
        pytest.skip("memory is one process's own")
    p, other = opened(settings={"poll": 600.0, "transaction_pooling": True}), opened()
    session_id = p.start_session().session_id
    behind = p.watch(session_id)
    say(other, session_id, 5)
    now, known = p.watch(session_id), p.watch(session_id, 4)
    assert (now.version, known.version, known.reset) == (6, 4, False)
    last = say(p, session_id)
    assert (taken(behind, last), taken(now, last), taken(known, last)) == ([2, 3, 4, 5, 6, 7], [7], [5, 6, 7])


def test_a_slow_client_reads_the_log(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A room keeps the last frames by count and by weight; who is behind gets the rest from the log."""
    monkeypatch.setattr(live, "KEPT", 8)
    monkeypatch.setattr(live, "WEIGHT", 5_000)
    session_id = pipeline.start_session().session_id
    slow, quick = pipeline.watch(session_id), pipeline.watch(session_id)
    seen: list[int] = []
    for n in range(40):
        seen += taken(quick, say(pipeline, session_id, text="y" * (3_000 if n % 7 == 0 else 10)))
        kept = quick.room.frames
        assert len(kept) <= 8
        assert len(kept) == 1 or sum(frame.weight for frame in kept) <= 5_000
    assert seen == taken(slow, 41) == list(range(2, 42))


def test_an_event_is_read_and_encoded_once(store: Faltering, faltering: Pipeline) -> None:
    """However many watch a session, each event of it is read once, and what is encoded is shared."""
    session_id = faltering.start_session().session_id
    watches = [faltering.watch(session_id) for _ in range(50)]
    store.calls.clear()
    last = say(faltering, session_id)
    seen = [frames(watch, last)[0] for watch in watches]
    assert len({id(frame) for frame in seen}) == len({id(frame.json) for frame in seen}) == 1
    assert store.calls.count("events") == 1


def test_one_wake_for_all_who_share_it(pipeline: Pipeline) -> None:
    """Equal wakes are called once an event; one that raises keeps nobody from being woken."""
    session_id = pipeline.start_session().session_id
    rung: list[str] = []

    def shared() -> None:
        rung.append("shared")

    def broken() -> None:
        raise RuntimeError("the loop is closed")

    breaks = pipeline.watch(session_id, wake=broken)
    shares = [pipeline.watch(session_id, wake=shared) for _ in range(5)]
    other = pipeline.watch(session_id)
    assert taken(other, say(pipeline, session_id)) == [2]
    until(lambda: rung == ["shared"])
    for watch in (*shares[:4], breaks):
        watch.close()
    assert taken(other, say(pipeline, session_id)) == [3]
    until(lambda: rung == ["shared"] * 2)
    assert [taken(watch, 3) for watch in shares] == [[2, 3]] * 5


def test_a_ring_between_two_waits_is_not_lost(pipeline: Pipeline) -> None:
    """What rings just when a wait is over is seen by the next one."""
    session_id = pipeline.start_session().session_id
    with pipeline.watch(session_id) as watch:

        class Late(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                found = super().wait(timeout)
                say(pipeline, session_id)
                until(self.is_set)
                return found

        watch.bell = late = Late()
        watch.room.wakes = {late.set: 1}
        watch.wake = late.set
        assert not watch.wait(0.0)
        assert late.is_set()


def test_rooms_go_with_their_last_watch(pipeline: Pipeline) -> None:
    """Nothing is kept of a session that nobody watches, nor where watching failed; closing twice is fine."""
    session_id = pipeline.start_session().session_id
    watches = [pipeline.watch(session_id), pipeline.watch(session_id, 0), pipeline.watch_dashboard("a")]
    for watch in (*watches, *watches):
        watch.close()
    assert (pipeline.live.rooms, pipeline.live.boards, pipeline.live.hints) == ({}, {}, None)


def test_watches_come_and_go_while_others_write(pipeline: Pipeline) -> None:
    """Many threads that watch, take and leave the same session at once: each sees its versions without a gap."""
    session_id = pipeline.start_session().session_id
    stop, wrong = threading.Event(), list[Any]()

    def visit(after: int | None) -> None:
        while not stop.is_set():
            with pipeline.watch(session_id, after) as watch:
                first, seen = watch.version, [frame.version for _ in range(3) for frame in watch.take()]
                if seen != list(range(first + 1, first + 1 + len(seen))):
                    wrong.append((after, first, seen))

    visitors = [threading.Thread(target=visit, args=(after,)) for after in (None, 0, 5, None)]
    for visitor in visitors:
        visitor.start()
    with pipeline.watch(session_id) as watch:
        assert taken(watch, say(pipeline, session_id, 60)) == list(range(2, 62))
    stop.set()
    for visitor in visitors:
        visitor.join()
    assert wrong == []
    assert pipeline.live.rooms == {}


def test_a_room_that_opens_slowly_holds_up_nobody(store: Faltering, faltering: Pipeline) -> None:
    """While one session's first read waits, the others' events arrive."""
    one, other = (faltering.start_session().session_id for _ in range(2))
    watch = faltering.watch(other)
    come, go = store.gate("load")
    opened: list[Watch] = []
    thread = threading.Thread(target=lambda: opened.append(faltering.watch(one, 0)))
    thread.start()
    assert come.wait(PATIENCE)
    last = say(faltering, one)
    assert taken(watch, say(faltering, other)) == [2]
    go.set()
    thread.join()
    assert taken(opened[0], last) == [1, 2]


def test_a_database_that_is_away_for_a_while(store: Faltering, faltering: Pipeline) -> None:
    """What was committed meanwhile arrives when it is back; a watch that begins without it leaves no trace."""
    session_id = faltering.start_session().session_id
    watch = faltering.watch(session_id)
    with faltering.watch_dashboard(None) as board:
        faltering.finalize(session_id)
        faltering.run_until_idle()
        assert [frame.name for frame in frames(board, 1)] == ["dashboard_refresh"]
        last = faltering.get(session_id).version
        taken(watch, last)
        store.away = True
        for table in (faltering.live.woken, {}):  # told of, and not
            table[session_id] = last
        with pytest.raises(StoreUnreachable):
            faltering.watch("another")
        assert "another" not in faltering.live.rooms
        store.calls.clear()
        until(lambda: len(store.calls) > 2)
        store.away = False
        assert taken(watch, say_again(faltering, session_id)) == list(range(last + 1, watch.version + 1))
        until(lambda: len(board.take()) == 1)


def say_again(p: Pipeline, session_id: str) -> int:
    p.retry(session_id, "summary", run=1)
    p.run_until_idle()
    return p.get(session_id).version


def test_a_stage_of_the_hosts_that_makes_something_else(opened: Open) -> None:
    """An event whose content is not what a standard stage of that name makes goes out without it; no room breaks."""

    @stage("summary", running="summarizing")
    def summarize(_ctx: Any) -> Ok:
        return Ok({"key_points": ["a", "b"]})

    p = opened(definition=define("odd", summarize))
    session_id = p.start_session().session_id
    with p.watch(session_id) as watch:
        p.finalize(session_id)
        p.run_until_idle()
        last = p.get(session_id).version
        seen = {frame.version: frame.name for frame in frames(watch, last)}
    assert list(seen) == list(range(2, last + 1))
    assert {"summary_ready", "post_transcription_reveal"} <= set(seen.values())


def test_closing_the_pipeline_ends_watches(opened: Open) -> None:
    """Whoever waits is woken, and told that nothing more comes; a watch that begins afterwards is told at once."""
    p = opened()
    session_id = p.start_session().session_id
    watch, rung = p.watch(session_id), threading.Event()
    other = p.watch_dashboard("a", wake=rung.set)
    waits = threading.Thread(target=watch.wait)
    waits.start()
    p.close()
    waits.join(PATIENCE)
    assert not waits.is_alive()
    assert (watch.closed, other.closed, rung.is_set()) == (True, True, True)
    assert watch.wait(0.0)
    try:
        late = p.watch(session_id)
    except MinaError:
        return  # a database that is closed says so
    assert late.closed
    assert late.wait()


def test_a_host_that_is_about_to_commit(pipeline: Pipeline, url: str, tmp_path: Any) -> None:
    """What commands did in a host's transaction arrives when it commits, and not if it rolls back."""
    import sqlalchemy as sa

    from mina_pipeline.store.sqlite import immediate

    session_id = pipeline.start_session().session_id
    store: Any = pipeline.store
    with pipeline.watch(session_id) as watch, pipeline.watch("new") as new:
        if url == "memory://":
            begin = store.begin
        else:
            made = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
            begin = (immediate(made) if url.startswith("sqlite") else made).begin
        with pytest.raises(RuntimeError), begin() as connection:
            pipeline.using(connection).record(session_id, [Segment("gone", 0, 1)])
            raise RuntimeError("the host thinks again")
        with begin() as connection:
            inside = pipeline.using(connection)
            inside.record(session_id, [Segment("kept", 0, 1)])
            inside.start_session(session_id="new")
            assert (watch.take(), new.take()) == ((), ())
            with pytest.raises(MinaError):
                inside.watch(session_id)
        found = frames(watch, 2)
        assert [frame.payload["segments"][0]["text"] for frame in found] == ["kept"]
        assert taken(new, 1) == [1]
        if url != "memory://":
            made.dispose()


def test_health_sees_rooms_that_are_behind(pipeline: Pipeline) -> None:
    """Live rooms count as a relay: without any there is no lag to tell; a thread that fails shows it."""
    assert pipeline.health().relay_lag is None
    session_id = pipeline.start_session("seen").session_id
    with pipeline.watch(session_id, 0) as watch:
        until(lambda: pipeline.health().relay_seen is not None)
        until(lambda: pipeline.health().relay_lag == 0)
        broken = pipeline.live.step
        pipeline.live.step = lambda now: 1 // 0  # type: ignore[method-assign]
        pipeline.touch(session_id)
        pipeline.record(session_id, [Segment("word", 0, 1)])
        until(lambda: (pipeline.health().relay_lag or 0) > 0)
        pipeline.live.step = broken  # type: ignore[method-assign]
        until(lambda: pipeline.health().relay_lag == 0)
        assert [frame.version for frame in watch.take()] == [1, 2]


def test_an_outage_is_logged_once_in_a_while(pipeline: Pipeline) -> None:
    """A thread whose database is away says so when it begins, not at each of its tries, and again the next time."""
    steps = [0]

    def away(now: int) -> int:
        steps[0] += 1
        raise StoreUnreachable("here", "away")

    with capture_logs() as logs, pipeline.watch(pipeline.start_session("t").session_id):
        for times in (1, 2):
            whole, pipeline.live.step = pipeline.live.step, away  # type: ignore[method-assign]
            steps[0] = 0
            pipeline.live.wake(None, 0)
            until(lambda: steps[0] > 3)
            pipeline.live.step = whole  # type: ignore[method-assign]
            seen = pipeline.live.seen
            until(lambda seen=seen: pipeline.live.seen != seen)  # type: ignore[misc]
            assert [log["error_type"] for log in logs if log["event"] == "step failed"] == ["StoreUnreachable"] * times
