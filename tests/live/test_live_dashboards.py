"""Dashboards: a tenant's hints, each once, from now on, by whatever way they become known."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from live_places import PATIENCE, Faltering, frames, until

from mina_pipeline import Pipeline, live
from mina_pipeline.live import Watch

Open = Callable[..., Pipeline]


def reveal(p: Pipeline, tenant: str | None, title: str = "a meeting") -> str:
    session_id = p.start_session(title, tenant=tenant).session_id
    p.finalize(session_id)
    p.run_until_idle()
    return session_id


def titles(watch: Watch, count: int) -> list[str]:
    """What so many hints are about, and that there are no more."""
    found = [frame.payload["session_data"]["title"] for frame in frames(watch, watch.version + count)]
    looked_again(watch)
    return found + [frame.payload["session_data"]["title"] for frame in watch.take()]


def looked_again(watch: Watch) -> None:
    """Wait until the live thread has gone once over everything there is."""
    watch.live.wake(None, 0)
    watch.live.drain()


def test_a_tenant_hears_its_own_from_now_on(pipeline: Pipeline) -> None:
    """A hint is told once to its tenant's dashboards, and to nobody else's; nothing of what was before they came."""
    reveal(pipeline, "a", "before")
    one, two, other, nobody = (pipeline.watch_dashboard(tenant) for tenant in ("a", "a", "b", None))
    reveal(pipeline, "a", "mine")
    reveal(pipeline, "b", "theirs")
    reveal(pipeline, None, "nobody's")
    assert titles(one, 1) == titles(two, 1) == ["mine"]
    assert titles(other, 1) == ["theirs"]
    assert titles(nobody, 1) == ["nobody's"]


def test_no_history_when_a_dashboard_comes(pipeline: Pipeline) -> None:
    """An old session that goes on is no news of what happened to it before the dashboard came; nor is the feed."""
    old = reveal(pipeline, "a", "old")
    for _ in range(2):
        with pipeline.watch_dashboard("a") as watch:
            pipeline.retry(old, "summary", run=1)  # one more event, and no hint
            looked_again(watch)
            assert watch.take() == ()
            pipeline.run_until_idle()
            assert titles(watch, 1) == ["old"]
        old = reveal(pipeline, "a", "old")


def test_what_nobody_told_of(opened: Open, url: str) -> None:
    """Where another process's commits are not heard of, the feed brings its hints."""
    if url == "memory://":
        pytest.skip("memory is one process's own")
    p, other = opened(settings={"transaction_pooling": True}), opened()
    with p.watch_dashboard("a") as watch:
        reveal(other, "a", "elsewhere")
        assert titles(watch, 1) == ["elsewhere"]


def test_what_the_feed_does_not_show_yet(opened: Open, postgres_url: str, url: str) -> None:
    """An open transaction holds the feed back, and neither rooms nor hints; when it ends nothing is told again."""
    if not url.startswith("postgresql"):
        pytest.skip("only PostgreSQL holds back its feed")
    psycopg = pytest.importorskip("psycopg")
    p = opened()
    session_id = p.start_session(tenant="a").session_id
    with psycopg.connect(postgres_url) as holder, p.watch_dashboard("a") as early, p.watch(session_id) as watch:
        holder.execute("SELECT pg_current_xact_id()")
        p.finalize(session_id)
        p.run_until_idle()
        last = p.get(session_id).version
        assert [frame.version for frame in frames(watch, last)] == list(range(2, last + 1))
        assert len(titles(early, 1)) == 1
        with p.watch_dashboard("a") as late, p.watch_dashboard("b") as other:
            assert p.feed_stall() is not None
            holder.rollback()
            until(lambda: p.feed_stall() is None)
            looked_again(late)
            assert (early.take(), late.take(), other.take()) == ((), (), ())
    with p.watch_dashboard("a") as again:  # one that is the first
        holder_of_next = psycopg.connect(postgres_url)
        holder_of_next.execute("SELECT pg_current_xact_id()")
        reveal(p, "a", "next")
        assert titles(again, 1) == ["next"]
        again.close()
        with p.watch_dashboard("a") as first:
            holder_of_next.close()
            until(lambda: p.feed_stall() is None)
            looked_again(first)
            assert first.take() == ()


def test_a_read_that_fails_is_made_again(store: Faltering, faltering: Pipeline) -> None:
    """Also where the feed shows nothing: the sessions that were told of are read when the database is back."""
    with faltering.watch_dashboard("a") as watch:
        store.failing = {"headers_after": 3, "headers": 10**9}
        reveal(faltering, "a", "told")
        until(lambda: watch.room.frames != ())
        assert [frame.payload["session_data"]["title"] for frame in watch.take()] == ["told"]


def test_a_wake_that_comes_before_its_commit(store: Faltering, faltering: Pipeline) -> None:
    """A session that a host is about to commit is looked for again, also where the feed shows nothing."""
    with faltering.watch_dashboard("a") as watch:
        session_id = faltering.start_session("told", tenant="a").session_id
        faltering.finalize(session_id)
        looked_again(watch)
        store.failing, store.blind = {"headers": 10**9}, 5
        faltering.run_until_idle()
        until(lambda: watch.room.frames != ())
        assert store.blind == 0
        assert [frame.payload["session_data"]["title"] for frame in watch.take()] == ["told"]


def test_one_that_falls_behind_is_told_to_look_again(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dashboard that took nothing for long gets one frame `reset` for what is not kept, and then what comes."""
    monkeypatch.setattr(live, "KEPT", 3)
    with pipeline.watch_dashboard("a") as slow, pipeline.watch_dashboard("a") as quick:
        for n in range(6):
            reveal(pipeline, "a", str(n))
            assert titles(quick, 1) == [str(n)]
        (frame,) = slow.take()
        assert (frame.name, frame.version, slow.take()) == ("reset", 6, ())
        reveal(pipeline, "a", "last")
        assert titles(slow, 1) == ["last"]
        quick.close()
        assert all(frame.name == "reset" for frame in quick.read())


def test_dashboards_come_and_go(pipeline: Pipeline) -> None:
    """While others come and go, one that stays hears every hint once."""
    stop = threading.Event()

    def visit(tenant: str) -> None:
        while not stop.is_set():
            with pipeline.watch_dashboard(tenant) as watch:
                watch.take()

    with pipeline.watch_dashboard("a") as stays:
        visitors = [threading.Thread(target=visit, args=(tenant,)) for tenant in "ab"]
        for visitor in visitors:
            visitor.start()
        wanted = [reveal(pipeline, "a", str(n)) and str(n) for n in range(5)]
        heard = titles(stays, 5)
        stop.set()
        for visitor in visitors:
            visitor.join(PATIENCE)
    assert sorted(heard) == wanted
    assert pipeline.live.hints is None


def test_anybody_may_notify(pipeline: Pipeline) -> None:
    """A wake that names a session that is not there, or a version past all bounds, spoils nothing."""
    with pipeline.watch_dashboard("a") as watch, pipeline.watch("s"):
        pipeline.live.wake("s", 2**70)
        pipeline.live.wake("nobody", 2**70)
        pipeline.live.wake("negative", -(2**70))
        reveal(pipeline, "a", "all the same")
        assert titles(watch, 1) == ["all the same"]
