"""Server-sent events by the servers that Flask apps run on: threads and greenlets, with forks, over real sockets."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask_clients import PATIENCE, Events, ask, served
from mina_adapters.streams.wsgi import event_stream
from mina_adapters.web.settings import WebSettings
from store.running import until

from mina_pipeline import Pipeline, Segment, Settings

SERVERS = {"werkzeug": "sqlite", "gthread": "sqlite", "gevent": "postgresql", "pywsgi": "postgresql"}
EACH_KIND = pytest.mark.parametrize("host", ["werkzeug", "gevent"], indirect=True)
"""Threads on SQLite, greenlets on PostgreSQL, one process each."""


@pytest.fixture(scope="module", params=SERVERS)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Pipeline]]:
    """A server's port, and a pipeline of another process (this one) over the same database."""
    database = f"sqlite:///{tmp_path_factory.mktemp('flask')}/host.db"
    if SERVERS[request.param] == "postgresql":
        database = str(request.getfixturevalue("postgres_url"))
    prefix = f"{request.param}{os.getpid()}_"
    with (
        Pipeline.open(database, settings=Settings(table_prefix=prefix, poll=0.05)) as pipeline,
        served(request.param, {"HOST_DB": database, "HOST_PREFIX": prefix}) as (port, _),
    ):
        yield port, pipeline


def recorded(pipeline: Pipeline, title: str) -> str:
    session = pipeline.start_session(title)
    pipeline.record(session.session_id, [Segment("bob can you send the budget by friday", 0, 3000, speaker="Ann")])
    return session.session_id


def refused(port: int, path: str, **given: str) -> tuple[int, str]:
    """Status and error_type; 200 for a stream that opens."""
    with Events(port, path, **given) as stream:
        return stream.status, json.loads(stream.answer.read())["error_type"] if stream.status != 200 else ""


def versions(events: list[tuple[str, int | None, Any]]) -> list[int | None]:
    return [number for _, number, _ in events]


def test_catches_up_and_goes_on_live(host: tuple[int, Pipeline]) -> None:
    """What was there and what another process commits meanwhile comes once, in order, up to the reveal."""
    port, pipeline = host
    one = recorded(pipeline, "live")
    with Events(port, f"/api/sessions/{one}/stream?after=0") as stream:
        assert stream.answer.headers["Content-Type"].startswith("text/event-stream")
        seen = stream.up_to("segments_recorded")
        pipeline.finalize(one)
        pipeline.run_until_idle()
        seen += stream.up_to("dashboard_refresh")
    assert versions(seen) == list(range(1, pipeline.get(one).version + 1))
    assert stream.retry == 1000
    assert all(data["version"] == number and data["session_id"] == one for _, number, data in seen)


@EACH_KIND
def test_goes_on_where_the_browser_says(host: tuple[int, Pipeline]) -> None:
    """Last-Event-ID is later than the URL's `after`; without either, only what comes from now on."""
    port, pipeline = host
    one = recorded(pipeline, "resume")
    where = f"/api/sessions/{one}/stream"
    with Events(port, f"{where}?after=0", Last_Event_ID="1") as back, Events(port, where) as new:
        assert versions([back.next() or ("", 0, None)]) == [2]
        pipeline.cancel(one)
        assert versions([back.next() or ("", 0, None)]) == [3]
        assert versions([new.next() or ("", 0, None)]) == [3]


@EACH_KIND
def test_says_so_where_a_version_is_unknown(host: tuple[int, Pipeline]) -> None:
    """`reset` names the version to go on from, carries no id, and the stream goes on."""
    port, pipeline = host
    one = recorded(pipeline, "reset")
    with Events(port, f"/api/sessions/{one}/stream?after=90") as stream:
        assert stream.next() == ("reset", None, {"version": 2})
        pipeline.cancel(one)
        assert versions(stream.up_to("session_cancelled")) == [3]


@EACH_KIND
def test_is_kept_alive_and_let_go_of(host: tuple[int, Pipeline]) -> None:
    """An idle stream shows signs of life; once its client is gone, nothing of it is kept in the server."""
    port, pipeline = host
    one = recorded(pipeline, "idle")
    with Events(port, f"/api/sessions/{one}/stream") as stream:
        assert stream.answer.readline() == b"retry: 1000\n"
        lines = {stream.answer.readline() for _ in range(5)}
        assert b": keep-alive\n" in lines
    until(lambda: ask(port, "GET", "/inside")[1]["open"] == 0)
    assert ask(port, "GET", "/inside")[1]["rooms"] == 0


@EACH_KIND
def test_open_streams_are_bounded(host: tuple[int, Pipeline]) -> None:
    """The fourth is refused, in words, while others of other people are not; a closed one makes room."""
    port, pipeline = host
    one = recorded(pipeline, "many")
    where = f"/api/sessions/{one}/stream"
    first, *others = [Events(port, where, user="greedy") for _ in range(3)]
    assert refused(port, where, user="greedy") == (429, "TooManyWatches")
    with Events(port, "/api/dashboard/stream") as fair:
        assert fair.status == 200
    first.close()
    until(lambda: refused(port, where, user="greedy")[0] == 200)
    for stream in others:
        stream.close()


@EACH_KIND
def test_large_events_are_thin(host: tuple[int, Pipeline]) -> None:
    """Over the limit the big fields stay behind, and href says where; the version goes out all the same."""
    port, pipeline = host
    one = pipeline.start_session("long").session_id
    pipeline.record(one, [Segment("word " * 2000, 0, 3000)])
    with Events(port, f"/api/sessions/{one}/stream?after=1") as stream:
        name, number, data = stream.next() or ("", 0, {})
    assert (name, number) == ("segments_recorded", 2)
    assert "href" in data and "segments" not in data


@EACH_KIND
def test_dashboards_hear_of_their_own_tenant(host: tuple[int, Pipeline]) -> None:
    """A hint without an id, once a session of the tenant is revealed; another tenant's is not heard of."""
    port, pipeline = host
    with Events(port, "/api/dashboard/stream", X_Tenant="acme") as stream:
        for tenant in ("other", "acme"):
            one = pipeline.start_session(tenant, tenant=tenant).session_id
            pipeline.finalize(one)
            pipeline.run_until_idle()
        name, number, data = stream.next() or ("", 0, {})
        assert (name, number, data["session_data"]["title"]) == ("dashboard_refresh", None, "acme")


@EACH_KIND
@pytest.mark.parametrize("path", ["/api/sessions/{}/stream", "/api/dashboard/stream"])
def test_streams_ask_for_rights(host: tuple[int, Pipeline], path: str) -> None:
    """Nobody: 401; another tenant's session: as unknown; a foreign page: 403; a version that is none: 422. In JSON."""
    port, pipeline = host
    where = path.format(recorded(pipeline, "mine"))
    assert refused(port, where, user="") == (401, "Unauthenticated")
    assert refused(port, where, Origin="https://evil.example") == (403, "OriginRefused")
    if "dashboard" not in path:
        assert refused(port, where, X_Tenant="other") == (404, "SessionNotFound")
        assert refused(port, f"{where}?after=soon") == (422, "InvalidInput")


def test_bodies_are_bounded_also_chunked(host: tuple[int, Pipeline]) -> None:
    """A body of no stated length is read up to the bound and refused; one within it is taken."""
    port, pipeline = host
    where = f"/api/sessions/{recorded(pipeline, 'chunks')}/transcript"
    assert ask(port, "POST", where, iter([b"Ann: good ", b"morning\n"]))[0] == 200
    assert ask(port, "POST", where, iter([b"Ann: morning\n" * 100] * 20))[1]["error_type"] == "BodyTooLarge"
    assert ask(port, "POST", where, b"Ann: morning\n" * 2000)[0] == 413


def test_a_closed_pipeline_ends_its_streams(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A host that closes the pipeline lets its clients go: they come back to the next process."""
    database = f"sqlite:///{tmp_path_factory.mktemp('flask')}/closed.db"
    with (
        Pipeline.open(database, settings=Settings(table_prefix="c_")) as pipeline,
        served("werkzeug", {"HOST_DB": database, "HOST_PREFIX": "c_"}) as (port, _),
        Events(port, f"/api/sessions/{recorded(pipeline, 'end')}/stream?after=1") as stream,
    ):
        assert stream.next() is not None
        assert ask(port, "POST", "/close")[0] == 200
        assert stream.next() is None


@pytest.mark.parametrize("server", ["gthread", "gevent"])
def test_a_server_that_stops_ends_its_streams(server: str, tmp_path: Path) -> None:
    """gunicorn waits for open responses: streams end whole when it is told to stop, and so does it, in time."""
    database = f"sqlite:///{tmp_path}/stopped.db"
    with (
        Pipeline.open(database, settings=Settings(table_prefix="s_")) as pipeline,
        served(server, {"HOST_DB": database, "HOST_PREFIX": "s_"}, grace=120) as (port, pid),
        Events(port, f"/api/sessions/{recorded(pipeline, 'stop')}/stream?after=1") as stream,
    ):
        assert stream.next() is not None
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + PATIENCE
        while stream.answer.readline():
            assert time.monotonic() < end


def test_versions_that_a_restored_database_lost_are_told() -> None:
    """An open stream gets `reset` with the version after which it goes on, also as the id that brings it back."""
    with Pipeline.open("memory://") as pipeline:
        one = recorded(pipeline, "lost")
        with pipeline.watch(one, 1) as watch:
            stream = event_stream(watch, WebSettings(keep_alive=0.01), resumable=True)
            assert b"id: 2\n" in next(stream) + next(stream)
            watch.room.rewind(watch.room.reached, 1)
            told = next(part for part in stream if not part.startswith(b":"))
            assert told == b'id: 1\nevent: reset\ndata: {"version":1}\n\n'


@pytest.mark.parametrize("host", ["gthread"], indirect=True)
def test_a_loaded_app_survives_the_fork(host: tuple[int, Pipeline]) -> None:
    """gunicorn --preload opens the pipeline once, in the parent; each child watches with threads of its own."""
    port, pipeline = host
    one = recorded(pipeline, "fork")
    until(lambda: len({ask(port, "GET", "/inside")[1]["pid"] for _ in range(4)}) == 2)
    streams = [Events(port, f"/api/sessions/{one}/stream?after=0") for _ in range(6)]
    pipeline.cancel(one)
    for stream in streams:
        assert versions(stream.up_to("session_cancelled")) == [1, 2, 3]
        stream.close()
