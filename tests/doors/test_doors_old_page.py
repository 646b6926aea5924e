"""The front end of the app that this replaces goes on working, on both kinds of host, without a change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from asgi_serving import Host
from away import Model
from doors_old_page import DETAIL, SEGMENTS, OldPage, fetched, missing
from socket_hosts import NINE, until
from web_servers import flask_app, socketio_app, uvicorn, werkzeug

from mina_pipeline import Pipeline, Segment, Settings

SERVERS: dict[str, Any] = {
    "flask": lambda pipeline: werkzeug(flask_app(pipeline, "threading")),
    "fastapi": lambda pipeline: uvicorn(socketio_app(pipeline)),
}
RECORDER = "/live-transcription"
WITHOUT_ANALYTICS = [name.replace("analytics_ready", "analytics_failed") for name in NINE]
UNTITLED = ["dashboard_refresh: session_data.title"]  # null where nobody gave one: a page's join has none


@contextmanager
def serving(kind: str, provider: Any = "offline") -> Iterator[tuple[Pipeline, str, Host]]:
    with (
        Pipeline.open("memory://", provider=provider, settings=Settings(poll=0.05)) as pipeline,
        SERVERS[kind](pipeline) as port,
        pipeline.workers(1),
    ):
        yield pipeline, f"http://127.0.0.1:{port}", Host(port, None)


def say(pipeline: Pipeline, session_id: str) -> None:
    pipeline.record(session_id, [Segment(**one) for one in SEGMENTS])


@pytest.mark.parametrize("kind", SERVERS)
def test_a_recording_from_start_to_detail_page(kind: str) -> None:
    """Begun and ended by the recorder's socket; joined in `/` and in `/live` while it is there; then the detail page,
    by either id. Nothing that its scripts read is missing or null."""
    with (
        serving(kind) as (p, url, http),
        OldPage(url, RECORDER) as recorder,
        OldPage(url, "/") as page,
        OldPage(url, "/live") as live,
        OldPage(url, "/") as dashboard,
    ):
        recorder.send("start_session", {"title": "Call", "locale": "en", "device_info": {"mic": "usb"}})
        session_id = recorder.wait_for("session_started")["session_id"]
        for joins in (page, live):
            joins.send("join_session", {"session_id": session_id})
        until(lambda: len(p.live.rooms[session_id].wakes) == 3)  # each namespace has joined
        say(p, session_id)
        for joins in (page, live):
            joins.wait_for("segments_recorded")
        recorder.send("end_session")
        refresh = [one.wait_for("dashboard_refresh") for one in (recorder, page, live, dashboard)]

        for one in (recorder, page, live):
            assert one.nine() == NINE and one.all()[-1] == "dashboard_refresh"
        assert dashboard.all() == ["dashboard_refresh"]
        assert all(told["action"] == "session_completed" for told in refresh)
        assert refresh[0]["session_data"]["title"] == p.get(session_id).title
        assert refresh[0]["session_data"]["status"] == "completed"
        session = p.get(session_id)
        stats = page.wait_for("session_finalized")["stats"]
        assert stats["total_segments"] == len(SEGMENTS)
        tasks = page.wait_for("tasks_ready")
        assert tasks["count"] == len(tasks["tasks"]) > 0
        assert session.locale == "en" and session.metadata == {"device_info": {"mic": "usb"}}
        reveal = page.wait_for("post_transcription_reveal")
        assert reveal["redirect_url"] == f"/sessions/{session_id}/refined"
        assert http.ask("GET", reveal["redirect_url"])[0] == 200

        by_id, by_number = fetched(http, session_id), fetched(http, session.id)
        assert by_id == by_number
        for name, reads in DETAIL.items():
            assert missing(by_id[name], reads) == []
        assert {task["completed"] for task in by_id["tasks"]["tasks"]} == {False}
        for one in (recorder, page, live, dashboard):
            assert one.problems == [] and one.errors(one.namespace) == []


@pytest.mark.parametrize("kind", SERVERS)
def test_an_id_that_is_not_there_yet(kind: str) -> None:
    """`/live` waits for it, `/` starts it, and finalize_session ends it: both hear everything from the first event."""
    with serving(kind) as (p, url, _), OldPage(url, "/live") as live, OldPage(url, "/") as page:
        live.send("join_session", {"session_id": "m-1"})
        until(lambda: "m-1" in p.live.rooms)
        page.send("join_session", {"session_id": "m-1"})
        page.wait_for("session_started")
        say(p, "m-1")
        page.send("finalize_session", {"session_id": "m-1", "settings": {}})
        for one in (page, live):
            one.wait_for("dashboard_refresh")
            assert one.all() == ["session_started", "segments_recorded", "session_finalized", *NINE, one.all()[-1]]
            assert one.problems == UNTITLED and one.errors(one.namespace) == []


@pytest.mark.parametrize("kind", SERVERS)
def test_failed_stands_in_for_ready(kind: str) -> None:
    """A stage that raises: its `_failed` says so, in the place of its `_ready`, and the meeting is revealed."""
    model = Model(away={"analytics"}, error=RuntimeError("no"))
    with serving(kind, model) as (p, url, http), OldPage(url, "/") as page:
        page.send("join_session", {"session_id": "m-1"})
        page.wait_for("session_started")
        say(p, "m-1")
        page.send("finalize_session", {"session_id": "m-1", "settings": {}})
        page.wait_for("dashboard_refresh")
        assert page.nine() == WITHOUT_ANALYTICS
        told = page.wait_for("analytics_failed")
        assert told["status"] == "failed" and told["error_type"] == "RuntimeError"
        assert page.problems == UNTITLED
        assert fetched(http, "m-1")["analytics"]["status"] == "failed"


@pytest.mark.parametrize("kind", SERVERS)
def test_a_recorder_is_told_of_failure(kind: str) -> None:
    """end_session where nothing was started: `error{message}`, as ever."""
    with serving(kind) as (_, url, _http), OldPage(url, RECORDER) as recorder:
        recorder.send("end_session")
        assert recorder.wait_for("error")["message"]
